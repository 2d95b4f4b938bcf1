//! The point-in-time engine beside DuckDB and Polars.
//!
//! Each contestant is a process of its own with two threads, Parquet in and zstd Parquet out, and times its work
//! itself. The datasets of all of them must be equal, value for value.

mod case;
mod contest;
pub(crate) mod digest;
pub(crate) mod input;
mod proof;
mod ring;

pub use case::Case;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::child::{self, Done};
use crate::generate::{AGGREGATES, Asks, KeyKind, Spec, Values, WINDOWS};
use crate::report::{Comparison, count};
use crate::sets;
use crate::stage::Task;
use crate::stage::ingest::{Ingest, Ingested};
use crate::workload::Workload;

use case::wanted;
use contest::{Contestant, Peer};
use digest::Column;
use input::{Input, Shape, WHOLE};
use proof::Rounded;
use ring::{Ring, median, say};

/// Threads of each contestant.
const THREADS: usize = 2;
/// What a spine of few rows is of the whole one, and what the keys that it may ask for are of its rows.
const NARROW: u64 = 100;
const FEW_KEYS: u64 = 10;
/// What the keys of the set are of those that windows are computed of besides, and of what their number is a multiple.
const FEWER: u64 = 100;
const HUNDREDS: u64 = 100;
/// What a peer's key types and its ways of computing windows are measured with: once is enough to compare.
const ONCE: usize = 1;

/// Datasets of values as they are in the sources.
type Exact = Vec<Column>;

/// Where the peers are.
#[derive(Debug, Clone)]
pub struct Peers {
    /// A Python with DuckDB and Polars.
    pub python: PathBuf,
    /// The folder of the scripts.
    pub scripts: PathBuf,
}

/// Which cases to measure, on what.
#[derive(Debug, Clone)]
pub struct Comparing<'a> {
    /// Where sets and stores go.
    pub data: &'a Path,
    /// The generated set; its keys are `int64` but where a case says otherwise.
    pub spec: Spec,
    /// The cases.
    pub cases: &'a [Case],
    /// How often each contestant runs.
    pub runs: usize,
    /// The peers; without them, this engine runs alone.
    pub peers: Option<&'a Peers>,
}

/// Measures.
///
/// # Errors
///
/// A contestant that fails, and datasets that differ.
pub fn run(comparing: Comparing<'_>) -> Result<Comparison> {
    let spec = Spec {
        key: KeyKind::Int64,
        ..comparing.spec.clone()
    };
    let mut cases = Cases {
        ring: Ring::new(Comparing { spec, ..comparing }),
        managed: None,
        one_view: None,
    };
    for case in comparing.cases {
        cases.measure(*case).with_context(|| format!("{case:?}"))?;
    }
    cases.remove_managed()?;
    Ok(cases.ring.found)
}

struct Cases<'a> {
    ring: Ring<'a>,
    /// The managed table, once it is filled.
    managed: Option<Workload>,
    /// The median of one view for the whole spine, once it is measured.
    one_view: Option<f64>,
}

impl Cases<'_> {
    fn measure(&mut self, case: Case) -> Result<()> {
        let narrow = (self.ring.on.spec.spine_rows / NARROW).max(1);
        match case {
            Case::OneView => {
                self.whole_spine(1, true)?;
            }
            Case::ThreeViews => {
                self.whole_spine(3, false)?;
            }
            Case::Spread => {
                let label = format!("1 view, {} spine rows spread evenly", count(narrow));
                let input = self.ring.input("spread", 1, Asks::Everything, narrow)?;
                self.ring
                    .newest(&label, &input, &[Contestant::Asof], wanted::SPREAD)?;
                input.remove()?;
            }
            Case::FewKeys => {
                let keys = (narrow / FEW_KEYS).max(1);
                let (rows, of) = (count(narrow), count(keys));
                self.narrow(
                    "few-keys",
                    &format!("1 view, {rows} spine rows of {of} keys"),
                    Asks::Keys(keys),
                )?;
            }
            Case::OneDay => {
                let rows = count(narrow);
                self.narrow(
                    "one-day",
                    &format!("1 view, {rows} spine rows of one day"),
                    Asks::Day,
                )?;
            }
            Case::Growth => self.growth()?,
            Case::KeyTypes => {
                // The disk that it takes is better used for the sets of this case.
                self.remove_managed()?;
                self.key_type(KeyKind::String)?;
                self.key_type(KeyKind::Composite)?;
            }
            Case::Windows => {
                let keys = self.ring.on.spec.keys;
                self.windows((keys / FEWER / HUNDREDS).max(1) * HUNDREDS)?;
                self.windows(keys)?;
            }
        }
        Ok(())
    }

    fn whole_spine(&mut self, views: u64, floor: bool) -> Result<()> {
        let rows = self.ring.on.spec.spine_rows;
        let ending = if views == 1 { "" } else { "s" };
        let label = format!("{views} view{ending}, {} spine rows", count(rows));
        let input = self.ring.input("whole-spine", views, Asks::Everything, rows)?;
        let mut own = vec![Contestant::Asof];
        own.extend(floor.then_some(Contestant::Floor));
        let medians = self.ring.newest(&label, &input, &own, wanted::MANY_ROWS)?;
        if let [ours, floor, ..] = medians.as_slice()
            && own.len() == 2
        {
            let against = vec![(Contestant::Floor.name().to_owned(), *floor)];
            self.ring.time(&label, *ours, against, wanted::FLOOR);
        }
        if views == 1 {
            self.one_view = medians.first().copied();
        }
        input.remove()
    }

    fn narrow(&mut self, name: &str, label: &str, asks: Asks) -> Result<()> {
        let narrow = (self.ring.on.spec.spine_rows / NARROW).max(1);
        let input = self.ring.input(name, 1, asks, narrow)?;
        let managed = self.managed(&input)?;
        let own = [Contestant::Asof, Contestant::Managed(managed)];
        self.ring.newest(label, &input, &own, wanted::NARROW)?;
        input.remove()
    }

    /// The managed table with the rows of `input`, which every input of one view has, asked by its spine.
    fn managed(&mut self, input: &Input) -> Result<Workload> {
        let spine = input.workload.spine.clone();
        if let Some(managed) = &self.managed {
            return Ok(Workload {
                spine,
                ..managed.clone()
            });
        }
        let workload = input.managed(self.ring.on.data)?;
        say("managed table: ingest and compact");
        let task = Task::Ingest(Ingest {
            workload: workload.clone(),
            data: input.data(),
        });
        let done: Done<Ingested> = child::run(&task)?;
        let rate = done.result.rows as f64 / done.result.seconds;
        self.ring.figure("managed table, ingest", "rows/s", [rate]);
        let rate = done.result.rows as f64 / done.result.compact_seconds;
        self.ring.figure("managed table, compact", "rows/s", [rate]);
        self.managed = Some(workload.clone());
        Ok(workload)
    }

    fn remove_managed(&mut self) -> Result<()> {
        match self.managed.take() {
            Some(managed) => sets::remove(&managed.scratch),
            None => Ok(()),
        }
    }

    fn growth(&mut self) -> Result<()> {
        let mut first = None;
        for eighths in [1, 2, 4, WHOLE] {
            let label = format!(
                "growth, {eighths} × {} rows",
                count(self.ring.on.spec.rows / WHOLE)
            );
            let shape = Shape {
                eighths,
                ..self
                    .ring
                    .shape("growth", 1, Asks::Everything, self.ring.on.spec.spine_rows)
            };
            let input = Input::make(self.ring.on.data, &self.ring.on.spec, shape)?;
            let runs = self
                .ring
                .hold::<Exact>(&label, &input, &[Contestant::Asof], self.ring.on.runs)?;
            input.remove()?;
            let ours = median(&runs, 0)?;
            let Some(first) = first else {
                first = Some(ours);
                continue;
            };
            let against = vec![("1 ×".to_owned(), first)];
            self.ring.time(&label, ours, against, eighths as f64);
        }
        Ok(())
    }

    fn key_type(&mut self, key: KeyKind) -> Result<()> {
        let int64 = self.int64()?;
        let label = format!(
            "1 view, {} spine rows, {} keys",
            count(self.ring.on.spec.spine_rows),
            key.as_str()
        );
        // A set that only this needs, and which goes again: made with no spine, it is nobody else's.
        let spec = Spec {
            key,
            spine_rows: 0,
            ..self.ring.on.spec.clone()
        };
        let shape = self
            .ring
            .shape("key-type", 1, Asks::Everything, self.ring.on.spec.spine_rows);
        let input = Input::make(self.ring.on.data, &spec, shape)?;
        if self.ring.on.peers.is_some() {
            let mut all = vec![Contestant::Asof];
            all.extend(contest::NEWEST.map(Contestant::Peer));
            self.ring
                .hold::<Exact>(&format!("{label}, compared"), &input, &all, ONCE)?;
        }
        let runs = self
            .ring
            .hold::<Exact>(&label, &input, &[Contestant::Asof], self.ring.on.runs)?;
        input.remove()?;
        sets::remove(&sets::made(&spec, self.ring.on.data)?.project)?;
        let against = vec![("int64 keys".to_owned(), int64)];
        self.ring
            .time(&label, median(&runs, 0)?, against, wanted::KEY_TYPES);
        Ok(())
    }

    /// Windows over as many rows as the generated set has, of so many keys.
    fn windows(&mut self, keys: u64) -> Result<()> {
        let spec = Spec {
            keys,
            ..self.ring.on.spec.clone()
        };
        let label = format!(
            "{} aggregates × {} windows, {} spine rows, {} keys",
            AGGREGATES.len(),
            WINDOWS.len(),
            count(spec.spine_rows),
            count(keys)
        );
        say(&format!("{label}: input"));
        let shape = Shape {
            values: Values::Windows,
            ..self.ring.shape("windows", 1, Asks::Everything, spec.spine_rows)
        };
        let input = Input::make(self.ring.on.data, &spec, shape)?;
        let mut fastest = Vec::new();
        if self.ring.on.peers.is_some() {
            for forms in contest::WINDOWS {
                fastest.push(self.fastest(&label, &input, forms)?);
            }
        }
        self.ring
            .beside_peers::<Rounded>(&label, &input, &[Contestant::Asof], &fastest, wanted::WINDOWS)?;
        input.remove()?;
        if keys != self.ring.on.spec.keys {
            sets::remove(&sets::made(&spec, self.ring.on.data)?.project)?;
        }
        Ok(())
    }

    /// The fastest of the ways in which a peer can do the same.
    fn fastest(&mut self, label: &str, input: &Input, forms: &[Peer]) -> Result<Peer> {
        let mut times = Vec::new();
        for form in forms {
            let label = format!("{label}, {}", form.form);
            let runs = self
                .ring
                .hold::<Rounded>(&label, input, &[Contestant::Peer(*form)], ONCE)?;
            times.push((median(&runs, 0)?, *form));
        }
        let fastest = times.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b));
        let (_, fastest) = fastest.context("a peer has no way to do it")?;
        self.ring.found.fact(
            &format!("{label}, {}", fastest.name),
            &format!("by {}", fastest.form),
        );
        Ok(fastest)
    }

    /// The median of one view for the whole spine, of this run.
    fn int64(&mut self) -> Result<f64> {
        if let Some(median) = self.one_view {
            return Ok(median);
        }
        let rows = self.ring.on.spec.spine_rows;
        let label = format!("1 view, {} spine rows", count(rows));
        let input = self.ring.input("whole-spine", 1, Asks::Everything, rows)?;
        let runs = self
            .ring
            .hold::<Exact>(&label, &input, &[Contestant::Asof], self.ring.on.runs)?;
        input.remove()?;
        let median = median(&runs, 0)?;
        self.one_view = Some(median);
        Ok(median)
    }
}
