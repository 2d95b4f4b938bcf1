//! What the contestants of a case read: a project of its own, whose files are links to those of the sets.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::generate::{Asks, Definitions, END_MICROS, KeyKind, SERVICE, Spec, Values, write_spine};
use crate::sets;
use crate::stage::ingest::files;
use crate::workload::Workload;

/// The values of cases without windows: the newest ones, for a week.
pub(crate) const NEWEST: Values<'static> = Values::Newest("7d");
/// How long they stay valid, in days.
pub(crate) const TTL_DAYS: u32 = 7;
/// A whole set in the parts that [`Shape::eighths`] counts.
pub(crate) const WHOLE: u64 = 8;

/// What a case asks of its input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// The folder of the input.
    pub(crate) name: &'a str,
    pub(crate) views: u64,
    pub(crate) values: Values<'a>,
    /// How many eighths of the files are read.
    pub(crate) eighths: u64,
    pub(crate) asks: Asks,
    pub(crate) spine_rows: u64,
}

/// Files, definitions and a spine.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The project, which reads the files in place.
    pub(crate) workload: Workload,
    pub(crate) key: KeyKind,
    /// Each view with the folder of its files.
    pub(crate) views: Vec<(String, PathBuf)>,
}

impl Input {
    /// Makes an input under `data`, of the sets of `spec` and of the seeds after its own.
    ///
    /// # Errors
    ///
    /// Whatever generating and linking meets.
    pub(crate) fn make(data: &Path, spec: &Spec, shape: Shape<'_>) -> Result<Self> {
        ensure!(
            shape.eighths == WHOLE || spec.files.is_multiple_of(WHOLE),
            "for parts of the files their number must be a multiple of {WHOLE}; got {}",
            spec.files
        );
        let scratch = sets::scratch(data, &format!("compare-{}", shape.name))?;
        let project = scratch.join("project");
        let names: Vec<_> = (1..=shape.views)
            .map(|view| (format!("v{view}"), format!("events{view}")))
            .collect();
        let definitions = Definitions {
            key: spec.key,
            views: &names,
            values: shape.values,
            managed: false,
            stream: None,
            computed: false,
        };
        definitions.write(&project)?;
        let mut views = Vec::new();
        for (offset, (view, source)) in (0..).zip(&names) {
            let folder = project.join("data").join(source);
            link(&set(data, spec, offset)?, &folder, shape.eighths)?;
            views.push((view.clone(), folder));
        }
        let spine = project.join("data/spine.parquet");
        let spine_rows = shape.spine_rows;
        write_spine(
            &spine,
            &Spec {
                spine_rows,
                ..spec.clone()
            },
            shape.asks,
        )?;
        let input = Self {
            workload: workload(shape.name, project, &scratch, spine),
            key: spec.key,
            views,
        };
        input.warm()?;
        Ok(input)
    }

    /// A project beside it whose sources are managed tables with nothing in them.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub(crate) fn managed(&self, data: &Path) -> Result<Workload> {
        let scratch = sets::scratch(data, "compare-managed")?;
        let project = scratch.join("project");
        let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let names = self
            .views
            .iter()
            .map(|(view, folder)| Some((view.clone(), name(folder)?)));
        let names = names
            .collect::<Option<Vec<_>>>()
            .context("a source without a folder")?;
        let definitions = Definitions {
            key: self.key,
            views: &names,
            values: NEWEST,
            managed: true,
            stream: None,
            computed: false,
        };
        definitions.write(&project)?;
        Ok(workload(
            "managed",
            project,
            &scratch,
            self.workload.spine.clone(),
        ))
    }

    /// The folder of the folders of files.
    pub(crate) fn data(&self) -> PathBuf {
        self.workload.project.join("data")
    }

    /// The files of all sources.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let folders = self.views.iter().map(|(_, folder)| files(folder));
        Ok(folders
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Reads everything once, so that the first to be measured has it no harder than the others.
    fn warm(&self) -> Result<()> {
        for file in self.files()?.iter().chain([&self.workload.spine]) {
            io::copy(&mut File::open(file)?, &mut io::sink())?;
        }
        Ok(())
    }

    /// Takes away what it and the contestants wrote.
    ///
    /// # Errors
    ///
    /// Folders that cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        sets::remove(&self.workload.scratch)
    }
}

/// The files of the set of `spec` with its seed moved on; the first is the very set of the other figures.
fn set(data: &Path, spec: &Spec, offset: u64) -> Result<PathBuf> {
    let spec = match offset {
        0 => spec.clone(),
        _ => Spec {
            seed: spec.seed + offset,
            spine_rows: 0,
            ..spec.clone()
        },
    };
    Ok(sets::made(&spec, data)?.project.join("data/events"))
}

/// Links files into `folder`, evenly over the set.
fn link(set: &Path, folder: &Path, eighths: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (at, file) in (0..).zip(files(set)?) {
        if (at + 1) * eighths / WHOLE > at * eighths / WHOLE {
            let name = file.file_name().context("a file without a name")?;
            fs::hard_link(&file, folder.join(name))
                .with_context(|| format!("cannot link {} into {}", file.display(), folder.display()))?;
        }
    }
    Ok(())
}

fn workload(name: &str, project: PathBuf, scratch: &Path, spine: PathBuf) -> Workload {
    Workload {
        name: name.to_owned(),
        project,
        scratch: scratch.to_owned(),
        service: SERVICE.into(),
        spine,
        as_of_micros: END_MICROS,
        threads: Some(super::THREADS),
    }
}
