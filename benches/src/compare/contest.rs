//! Contestants on one input, in turn, and their datasets compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::input::{Input, TTL_DAYS};
use super::proof::Proof;
use super::{Peers, THREADS};
use crate::child::{self, Done};
use crate::generate::{self, AGGREGATED, features};
use crate::stage::Task;
use crate::stage::extract::Extracted;
use crate::stage::floor::{Floor, Floored};
use crate::workload::Workload;

/// Who does the work of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contestant {
    /// This engine, on the files.
    Asof,
    /// This engine, on managed tables with the same rows.
    Managed(Workload),
    /// Decoding and encoding alone.
    Floor,
    Peer(Peer),
}

/// A peer, and how it does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) script: &'static str,
    /// Which of the ways that the script knows; empty where it knows one.
    pub(super) form: &'static str,
}

/// The peers of cases without windows.
pub(super) const NEWEST: [Peer; 2] = [
    Peer {
        name: "DuckDB",
        script: "run_duckdb.py",
        form: "",
    },
    Peer {
        name: "Polars",
        script: "run_polars.py",
        form: "",
    },
];

/// The ways in which each peer can do the windows.
pub(super) const WINDOWS: [&[Peer]; 2] = [
    &[
        Peer {
            name: "DuckDB",
            script: "run_duckdb_windows.py",
            form: "prefix sums",
        },
        Peer {
            name: "DuckDB",
            script: "run_duckdb_windows.py",
            form: "frames",
        },
        Peer {
            name: "DuckDB",
            script: "run_duckdb_windows.py",
            form: "range joins",
        },
    ],
    &[
        Peer {
            name: "Polars",
            script: "run_polars_windows.py",
            form: "prefix sums",
        },
        Peer {
            name: "Polars",
            script: "run_polars_windows.py",
            form: "range joins",
        },
    ],
];

impl Contestant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Asof => "asof",
            Self::Managed(_) => "asof, managed table",
            Self::Floor => "decode and encode",
            Self::Peer(peer) => peer.name,
        }
    }
}

/// The runs of one contestant.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    pub(super) seconds: Vec<f64>,
    /// In MiB.
    pub(super) peaks: Vec<f64>,
    /// What a peer says that it is.
    pub(super) version: Option<String>,
}

/// One run, and where its dataset is if it wrote one.
struct Run {
    seconds: f64,
    peak_bytes: Option<u64>,
    version: Option<String>,
    dataset: Option<PathBuf>,
}

/// What a peer says when it is done.
#[derive(Debug, Deserialize)]
struct Timed {
    seconds: f64,
    version: String,
}

/// What a peer is asked to do.
#[derive(Debug, Serialize)]
struct Job<'a> {
    spine: &'a Path,
    /// Each view with the pattern of its files.
    views: Vec<(&'a str, PathBuf)>,
    keys: Vec<&'static str>,
    features: Vec<&'static str>,
    ttl_days: u32,
    aggregated: &'static str,
    /// Each with its length and the step of its tail, in microseconds.
    windows: [(&'static str, u64, u64); 3],
    form: &'static str,
    out: &'a Path,
    threads: usize,
}

/// Lets all contestants run so many times, the order of one round being the reverse of that of the one before;
/// the datasets of all runs must be equal, as far as `P` tells them apart.
///
/// # Errors
///
/// A contestant that fails, and datasets that differ.
pub(super) fn hold<P: Proof>(
    input: &Input,
    contestants: &[Contestant],
    peers: Option<&Peers>,
    rounds: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Runs>> {
    let mut runs = vec![Runs::default(); contestants.len()];
    let mut expected: Option<(&'static str, P)> = None;
    for round in 1..=rounds {
        let mut order: Vec<_> = contestants.iter().zip(&mut runs).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for (contestant, runs) in order {
            let name = contestant.name();
            say(&format!("{name}, run {round} of {rounds}"));
            let run = once(input, contestant, peers).with_context(|| name.to_owned())?;
            runs.seconds.push(run.seconds);
            runs.peaks
                .extend(run.peak_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)));
            runs.version = run.version;
            let Some(dataset) = run.dataset else { continue };
            let found = P::of(&dataset)?;
            match &expected {
                Some((first, expected)) => expected.same(first, &found, name)?,
                None => expected = Some((name, found)),
            }
        }
    }
    Ok(runs)
}

fn once(input: &Input, contestant: &Contestant, peers: Option<&Peers>) -> Result<Run> {
    match contestant {
        Contestant::Asof => asof(&input.workload),
        Contestant::Managed(workload) => asof(workload),
        Contestant::Floor => floor(input),
        Contestant::Peer(asked) => peer(input, peers, *asked),
    }
}

fn asof(workload: &Workload) -> Result<Run> {
    let done: Done<Extracted> = child::run(&Task::Extract(workload.clone()))?;
    Ok(Run {
        seconds: done.result.seconds,
        peak_bytes: done.peak_bytes,
        version: None,
        dataset: Some(workload.dataset()),
    })
}

fn floor(input: &Input) -> Result<Run> {
    let keys = input.key.columns().iter().map(|(name, _)| *name);
    let columns = keys.chain(["event_time"]).chain(features());
    let task = Task::Floor(Floor {
        files: input.files()?,
        columns: columns.map(str::to_owned).collect(),
        dataset: input.workload.dataset(),
        out: input.workload.scratch.clone(),
        threads: THREADS,
    });
    let done: Done<Floored> = child::run(&task)?;
    Ok(Run {
        seconds: done.result.seconds,
        peak_bytes: done.peak_bytes,
        version: None,
        dataset: None,
    })
}

fn peer(input: &Input, peers: Option<&Peers>, Peer { script, form, .. }: Peer) -> Result<Run> {
    let peers = peers.context("no Python with the peers was named")?;
    let out = input.workload.scratch.join(script).with_extension("parquet");
    let job = Job {
        spine: &input.workload.spine,
        views: input
            .views
            .iter()
            .map(|(view, folder)| (view.as_str(), folder.join("*.parquet")))
            .collect(),
        keys: input.key.columns().iter().map(|(name, _)| *name).collect(),
        features: features().collect(),
        ttl_days: TTL_DAYS,
        aggregated: AGGREGATED,
        windows: generate::WINDOWS.map(|window| (window.name, window.length, window.hop)),
        form,
        out: &out,
        threads: THREADS,
    };
    let mut command = Command::new(&peers.python);
    command
        .arg(peers.scripts.join(script))
        .arg(serde_json::to_string(&job)?)
        // Polars reads this when it is imported.
        .env("POLARS_MAX_THREADS", THREADS.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let done: Done<Timed> = child::run_command(&mut command)?;
    Ok(Run {
        seconds: done.result.seconds,
        peak_bytes: done.peak_bytes,
        version: Some(done.result.version),
        dataset: Some(out),
    })
}
