//! The sets that are measured: the flights example, and a generated one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use asof_core::time::Timestamp;
use clap::ValueEnum;

use crate::generate::{Definitions, END_MICROS, FORMAT, Generated, SERVICE, Spec, Values, generate};
use crate::workload::Workload;

/// Which set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// The example of that name, on real data.
    Flights,
    /// Generated rows, as many as asked for.
    Generated,
}

impl Set {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Flights, Self::Generated];
}

/// The last hour of which the example has the weather of all its airports.
const FLIGHTS_AS_OF: &str = "2013-12-30T23:00:00Z";

/// The flights example in `project`, with its scratch under `data`.
///
/// # Errors
///
/// A scratch directory that cannot be made.
pub fn flights(project: &Path, data: &Path) -> Result<Workload> {
    Ok(Workload {
        name: "flights".into(),
        project: project.to_owned(),
        scratch: scratch(data, "flights")?,
        service: "delay_model_v1".into(),
        spine: project.join("data/departures.parquet"),
        as_of_micros: Timestamp::parse(FLIGHTS_AS_OF)?.micros(),
        threads: None,
    })
}

/// The generated set of `spec` under `data`: made now, or by an earlier run.
///
/// # Errors
///
/// A `spec` that makes no sense, and whatever writing meets.
pub fn generated(spec: &Spec, data: &Path) -> Result<Workload> {
    let generated = made(spec, data)?;
    Ok(Workload {
        name: "generated".into(),
        scratch: scratch(data, &directory_of(spec))?,
        service: SERVICE.into(),
        spine: generated.spine,
        project: generated.project,
        as_of_micros: END_MICROS,
        threads: None,
    })
}

/// A project with a managed source of the columns of the generated set of `spec`, and a file with its last rows.
///
/// # Errors
///
/// As [`generated`].
pub fn pushed(spec: &Spec, data: &Path, values: Values<'_>) -> Result<(Workload, PathBuf)> {
    pushed_and_streamed(spec, data, values, None)
}

/// The same, where a stream fills the source as well, as definition files say it.
///
/// # Errors
///
/// As [`generated`].
pub fn pushed_and_streamed(
    spec: &Spec,
    data: &Path,
    values: Values<'_>,
    stream: Option<&str>,
) -> Result<(Workload, PathBuf)> {
    let generated = made(spec, data)?;
    let scratch = scratch(data, "pushed")?;
    let project = scratch.join("project");
    let definitions = Definitions {
        key: spec.key,
        views: &[("v0".into(), "s0".into())],
        values,
        managed: true,
        stream,
        computed: false,
    };
    definitions.write(&project)?;
    let events = generated.project.join("data/events");
    let files = fs::read_dir(&events).with_context(|| format!("cannot read {}", events.display()))?;
    let files = files
        .map(|file| Ok(file?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let file = files
        .into_iter()
        .max()
        .context("the generated set has no files")?;
    let workload = Workload {
        name: "generated".into(),
        project,
        scratch,
        service: SERVICE.into(),
        spine: generated.spine,
        as_of_micros: END_MICROS,
        threads: None,
    };
    Ok((workload, file))
}

/// The set of `spec` under `data`: made now, or by an earlier run.
///
/// # Errors
///
/// A `spec` that makes no sense, and whatever writing meets.
pub fn made(spec: &Spec, data: &Path) -> Result<Generated> {
    let name = directory_of(spec);
    let project = data.join(&name);
    // Made beside its place, so that one that was cut short is never in the way.
    if !project.exists() {
        let partial = data.join(format!("{name}.partial"));
        remove(&partial)?;
        generate(&partial, spec)?;
        fs::rename(&partial, &project).with_context(|| format!("cannot make {}", project.display()))?;
    }
    generate(&project, spec)
}

/// An empty directory: what an earlier version of asof left could not be read, or would help.
///
/// # Errors
///
/// One that cannot be emptied or made.
pub fn scratch(data: &Path, name: &str) -> Result<PathBuf> {
    let scratch = data.join("scratch").join(name);
    remove(&scratch)?;
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    Ok(scratch)
}

/// Removes a directory where there is one.
///
/// # Errors
///
/// One that cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn directory_of(spec: &Spec) -> String {
    let Spec {
        rows,
        keys,
        spine_rows,
        files,
        seed,
        key,
        once,
    } = spec;
    let drawn = if *once { "-once" } else { "" };
    format!(
        "generated-{FORMAT}-{rows}-rows-{keys}-{}-keys-{spine_rows}-spine-{files}-files-{seed}{drawn}",
        key.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_set_is_made_once_and_half_a_one_is_not_in_the_way() {
        let data = tempfile::tempdir().unwrap();
        let spec = Spec {
            rows: 200,
            keys: 100,
            spine_rows: 10,
            files: 2,
            ..Spec::default()
        };
        let partial = data.path().join(format!("{}.partial", directory_of(&spec)));
        fs::create_dir_all(partial.join("data")).unwrap();
        fs::write(partial.join("data/spine.parquet"), "half").unwrap();

        let first = generated(&spec, data.path()).unwrap();
        assert!(!partial.exists());
        let made = fs::metadata(&first.spine).unwrap().modified().unwrap();
        fs::write(first.scratch.join("left"), "by the first").unwrap();

        let second = generated(&spec, data.path()).unwrap();
        assert_eq!(second, first);
        assert_eq!(fs::metadata(&second.spine).unwrap().modified().unwrap(), made);
        assert!(fs::read_dir(&second.scratch).unwrap().next().is_none());
        // 2024-03-31T00:00:00Z, 90 days after the start of 2024.
        assert_eq!(second.as_of(), Timestamp::parse("2024-03-31T00:00:00Z").unwrap());
    }
}
