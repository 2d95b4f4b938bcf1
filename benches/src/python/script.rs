//! The scripts that are measured, what they are asked to do, and how they answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Package;
use super::project::{Project, now};
use crate::child::{self, Done};
use crate::compare::input::TTL_DAYS;
use crate::generate::{SERVICE, typed_features};
use crate::stage::calls::{Answers, Calls, Place};

pub(super) struct Scripts {
    package: Package,
}

/// `import asof`.
#[derive(Serialize, Deserialize)]
pub(super) struct Imported {
    pub(super) seconds: f64,
    pub(super) bytes: i64,
    pub(super) version: String,
}

/// A dataset.
#[derive(Serialize, Deserialize)]
pub(super) struct Extracted {
    pub(super) seconds: f64,
    pub(super) rows: u64,
    pub(super) version: String,
}

/// Calls for features.
#[derive(Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) answers: Answers,
    pub(super) call_micros: f64,
    pub(super) dicts_micros: f64,
}

impl Scripts {
    pub(super) fn of(package: &Package) -> Self {
        Self {
            package: package.clone(),
        }
    }

    pub(super) fn import(&self) -> Result<Imported> {
        Ok(self.run("asof_import.py", &Value::Null)?.result)
    }

    /// Into a data frame, which is written to be compared.
    pub(super) fn extract(&self, project: &Project, url: &str) -> Result<Done<Extracted>> {
        self.run("asof_extract.py", &dataset(project, url, false))
    }

    /// Batch by batch.
    pub(super) fn batches(&self, project: &Project, url: &str) -> Result<Done<Extracted>> {
        self.run("asof_extract.py", &dataset(project, url, true))
    }

    /// By Feast, where it is.
    pub(super) fn feast(&self, project: &Project) -> Result<Option<Done<Extracted>>> {
        let Some(python) = &self.package.feast else {
            return Ok(None);
        };
        let views = project.input.views.iter();
        let job = json!({
            "folder": std::path::absolute(project.input.workload.scratch.join("feast"))?,
            "spine": project.input.workload.spine,
            "views": views.map(|(view, folder)| Ok((view, std::path::absolute(folder)?.join("*.parquet"))))
                .collect::<Result<Vec<_>>>()?,
            "features": typed_features().collect::<Vec<_>>(),
            "key": project.key(),
            "service": SERVICE,
            "ttl_days": TTL_DAYS,
            "out": project.out("feast"),
        });
        run(python, &self.script("run_feast_history.py"), &job).map(Some)
    }

    pub(super) fn features(&self, calls: &Calls) -> Result<Read> {
        let (project, url) = match &calls.place {
            Place::Project(directory, _) => (Some(directory), None),
            Place::Server(url) => (None, Some(url)),
        };
        let job = json!({
            "project": project,
            "url": url,
            "now": now(),
            "service": calls.service,
            "key": calls.key,
            "keys": calls.keys,
            "seconds": calls.seconds,
        });
        Ok(self.run("asof_features.py", &job)?.result)
    }

    fn run<T: DeserializeOwned>(&self, script: &str, job: &Value) -> Result<Done<T>> {
        run(&self.package.python, &self.script(script), job)
    }

    fn script(&self, name: &str) -> PathBuf {
        self.package.scripts.join(name)
    }
}

fn dataset(project: &Project, url: &str, batches: bool) -> Value {
    let views = project.input.views.iter();
    let features = views.flat_map(|(view, _)| {
        typed_features().map(move |(name, data_type)| (format!("{view}__{name}"), data_type))
    });
    json!({
        "url": url,
        "service": SERVICE,
        "spine": project.input.workload.spine,
        "features": features.collect::<Vec<_>>(),
        "batches": batches,
        "out": project.out("pandas"),
    })
}

fn run<T: DeserializeOwned>(python: &Path, script: &Path, job: &Value) -> Result<Done<T>> {
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(job.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    child::run_command(&mut command)
}
