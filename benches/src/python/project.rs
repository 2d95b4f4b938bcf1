//! A project as users have it: defined, materialized, extracted and served by the command.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use asof_core::time::Timestamp;
use serde::Deserialize;

use crate::compare::input::{Input, NEWEST, Shape, WHOLE};
use crate::generate::{Asks, END_MICROS, SERVICE, Spec};
use crate::stage::requests::Callers;
use crate::workload::Opened;

/// A project of one view over the files of the generated set.
pub(super) struct Project {
    pub(super) input: Input,
    command: PathBuf,
}

impl Project {
    /// Makes it, and materializes it as of the end of its rows.
    pub(super) fn make(data: &Path, spec: &Spec) -> Result<Self> {
        let shape = Shape {
            name: "python",
            views: 1,
            values: NEWEST,
            eighths: WHOLE,
            asks: Asks::Everything,
            spine_rows: spec.spine_rows,
        };
        let project = Self {
            input: Input::make(data, spec, shape)?,
            command: std::env::current_exe()?.with_file_name("asof"),
        };
        project.run(["apply", "--yes"])?;
        project.run(["materialize", "--as-of", &now()])?;
        Ok(project)
    }

    /// Its directory.
    pub(super) fn directory(&self) -> &Path {
        &self.input.workload.project
    }

    /// Its one key column.
    pub(super) fn key(&self) -> &'static str {
        self.input.key.columns().first().map_or("", |(name, _)| name)
    }

    /// A file for what is written.
    pub(super) fn out(&self, name: &str) -> PathBuf {
        self.input.workload.scratch.join(name).with_extension("parquet")
    }

    /// The keys of some rows of the spine.
    pub(super) fn keys(&self, most: usize) -> Result<Vec<i64>> {
        let workload = &self.input.workload;
        let runtime = tokio::runtime::Runtime::new()?;
        let opened = runtime.block_on(Opened::open(workload))?;
        let keys = Callers::read(workload, &opened.plan)?.numbers(1)?;
        Ok(keys.into_iter().flatten().take(most).collect())
    }

    /// Extracts the spine's dataset, and gives the seconds of the whole process.
    pub(super) fn extract(&self, out: &Path) -> Result<f64> {
        let (spine, out) = (self.input.workload.spine.to_string_lossy(), out.to_string_lossy());
        let start = Instant::now();
        self.run([
            "extract",
            "--service",
            SERVICE,
            "--spine",
            &spine,
            "--out",
            &out,
            "--overwrite",
        ])?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Starts its server.
    pub(super) fn serve(&self) -> Result<Served> {
        let mut command = self.asof(["serve", "--listen", "127.0.0.1:0", "--now", &now()]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match serde_json::from_str(&line) {
            Ok(Announced { url }) => Ok(Served {
                child,
                url: url.replacen("http://", "grpc://", 1),
            }),
            Err(_) => {
                let _ = child.kill();
                bail!("the server did not start: it ended with {}", child.wait()?)
            }
        }
    }

    /// Takes it away.
    pub(super) fn remove(self) -> Result<()> {
        self.input.remove()
    }

    fn asof<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(&self.command);
        command
            .arg("--project")
            .arg(self.directory())
            .arg("--json")
            .args(arguments);
        command
    }

    fn run<const N: usize>(&self, arguments: [&str; N]) -> Result<()> {
        let status = self
            .asof(arguments)
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", self.command.display()))?;
        ensure!(
            status.success(),
            "asof {} ended with {status}",
            arguments.join(" ")
        );
        Ok(())
    }
}

/// The end of the rows, as the command takes it.
pub(super) fn now() -> String {
    Timestamp::from_micros(END_MICROS).to_string()
}

/// What a server says when it listens.
#[derive(Deserialize)]
struct Announced {
    url: String,
}

/// A server, which ends when this is dropped.
pub(super) struct Served {
    child: Child,
    pub(super) url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
