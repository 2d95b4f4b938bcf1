//! What is read: a project over generated files, materialized, and who asks for which keys.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::child::{self, Done};
use crate::generate::{
    Definitions, END_MICROS, EVEN_UNTIL_MICROS, KeyKind, SERVICE, Spec, Values, features, write_even,
    write_keys,
};
use crate::sets;
use crate::stage::Task;
use crate::stage::ingest::files;
use crate::stage::materialize::Materialized;
use crate::stage::requests::Callers;
use crate::workload::{Opened, Workload};

/// How long values stay valid: as long as the set is.
const TTL: &str = "90d";
/// The same in days.
pub(super) const TTL_DAYS: u32 = 90;

/// A project of which every view is materialized.
pub(super) struct Ground {
    pub(super) workload: Workload,
    views: Vec<String>,
    /// The files, each with the view that reads it.
    pub(super) files: Vec<(String, PathBuf)>,
    pub(super) callers: Callers,
    pub(super) materialized: Materialized,
}

impl Ground {
    /// Makes a project of so many views, each over a set of `spec` with a seed of its own, and materializes it.
    pub(super) fn make(data: &Path, name: &str, spec: &Spec, views: u64) -> Result<Self> {
        let scratch = sets::scratch(data, &format!("online-{name}"))?;
        let project = scratch.join("project");
        let names: Vec<_> = (0..views)
            .map(|at| (format!("v{at}"), format!("s{at}")))
            .collect();
        let definitions = Definitions {
            key: spec.key,
            views: &names,
            values: Values::Newest(TTL),
            managed: false,
            stream: None,
            computed: false,
        };
        definitions.write(&project)?;
        let mut found = Vec::new();
        for (at, (view, source)) in (0..).zip(&names) {
            let set = sets::made(&set_of(spec, at), data)?;
            let folder = project.join("data").join(source);
            fs::create_dir_all(&folder)?;
            for file in files(&set.project.join("data/events"))? {
                let link = folder.join(file.file_name().context("a file without a name")?);
                fs::hard_link(&file, &link).with_context(|| format!("cannot make {}", link.display()))?;
                found.push((view.clone(), std::path::absolute(link)?));
            }
        }
        let workload = Workload {
            name: name.to_owned(),
            project,
            scratch,
            service: SERVICE.into(),
            spine: sets::made(&set_of(spec, 0), data)?.spine,
            as_of_micros: END_MICROS,
            threads: None,
        };
        let views = names.into_iter().map(|(view, _)| view).collect();
        Self::materialize(workload, views, found)
    }

    /// Makes a project of one view with windows over events of `keys` keys, each of which has so many a day, and
    /// materializes it.
    pub(super) fn of_windows(data: &Path, seed: u64, keys: u64, a_day: u64) -> Result<Self> {
        let name = format!("windows-{a_day}-a-day-of-{keys}");
        let scratch = sets::scratch(data, &format!("online-{name}"))?;
        let project = scratch.join("project");
        let view = ("v0".to_owned(), "s0".to_owned());
        let definitions = Definitions {
            key: KeyKind::Int64,
            views: std::slice::from_ref(&view),
            values: Values::Windows,
            managed: false,
            stream: None,
            computed: false,
        };
        definitions.write(&project)?;
        let folder = project.join("data/s0");
        fs::create_dir_all(&folder)?;
        write_even(&folder.join("part.parquet"), seed, keys, a_day)?;
        let spine = project.join("data/spine.parquet");
        write_keys(&spine, keys)?;
        let workload = Workload {
            name,
            project,
            scratch,
            service: SERVICE.into(),
            spine,
            as_of_micros: EVEN_UNTIL_MICROS,
            threads: None,
        };
        Self::materialize(workload, vec![view.0], Vec::new())
    }

    fn materialize(workload: Workload, views: Vec<String>, files: Vec<(String, PathBuf)>) -> Result<Self> {
        let done: Done<Materialized> = child::run(&Task::Materialize(workload.clone()))?;
        let runtime = tokio::runtime::Runtime::new()?;
        let opened = runtime.block_on(Opened::open(&workload))?;
        Ok(Self {
            callers: Callers::read(&workload, &opened.plan)?,
            workload,
            views,
            files,
            materialized: done.result,
        })
    }

    /// The features, as a service names them.
    pub(super) fn features(&self) -> Vec<String> {
        let names = self.views.iter();
        let names = names.flat_map(|view| features().map(move |name| format!("{view}:{name}")));
        names.collect()
    }

    /// Takes it away.
    pub(super) fn remove(self) -> Result<()> {
        sets::remove(&self.workload.scratch)
    }
}

/// The set of a view; the first has the spine.
fn set_of(spec: &Spec, at: u64) -> Spec {
    Spec {
        seed: spec.seed + at,
        spine_rows: if at == 0 { spec.spine_rows } else { 0 },
        ..spec.clone()
    }
}
