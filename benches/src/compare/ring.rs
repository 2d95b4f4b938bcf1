//! Contestants held on inputs, and the book of what came of it.

use anyhow::{Context, Result};

use super::Comparing;
use super::case::wanted;
use super::contest::{self, Contestant, Peer, Runs};
use super::digest::Column;
use super::input::{Input, NEWEST, Shape, WHOLE};
use super::proof::Proof;
use crate::generate::Asks;
use crate::report::Comparison;
use crate::spread::Spread;
use crate::verdict::Wanted;

/// Two threads each, whatever the rest was measured with.
const METHOD: &str = "\
The same extract by each engine, as a process of its own with two threads: Parquet in, Parquet with zstd level 1 out,
rows in the order of the spine, ttl 7 days, or count, sum and mean over 1 hour, 1 day and 7 days. Engines take turns, in one order and then in the reverse one; files are warm
in the page cache; each times its work from the call to the written file, without starting up. Asof notes a digest of
every input in its manifest, which it takes the first time that it reads a file and knows afterwards: of three runs the
median leaves the first one out. The datasets of all runs were equal in every column, bit for bit; those of windows within
a millionth. Of the ways in which a peer can compute windows each ran once, and the fastest is what ours is held against.
Ratios are of medians, ours to the least of what it is held against, and are rounded up.
";

const TIME: &str = "time, s";
const MEMORY: &str = "peak memory, MiB";

/// Where the cases are measured.
pub(super) struct Ring<'a> {
    pub(super) on: Comparing<'a>,
    pub(super) found: Comparison,
}

impl<'a> Ring<'a> {
    pub(super) fn new(on: Comparing<'a>) -> Self {
        let mut found = Comparison::new("Beside DuckDB and Polars", METHOD);
        if on.peers.is_none() {
            let fact = "not measured: no --python with DuckDB and Polars was named";
            found.fact("peers", fact);
        }
        Self { on, found }
    }

    pub(super) fn shape<'n>(&self, name: &'n str, views: u64, asks: Asks, spine_rows: u64) -> Shape<'n> {
        Shape {
            name,
            views,
            values: NEWEST,
            eighths: WHOLE,
            asks,
            spine_rows,
        }
    }

    /// An input of the whole set, its spine with so many rows.
    pub(super) fn input(&self, name: &str, views: u64, asks: Asks, spine_rows: u64) -> Result<Input> {
        say(&format!("{name}: input"));
        Input::make(
            self.on.data,
            &self.on.spec,
            self.shape(name, views, asks, spine_rows),
        )
    }

    /// Holds our own contestants and the peers on newest values, as [`Self::beside_peers`].
    pub(super) fn newest(
        &mut self,
        label: &str,
        input: &Input,
        own: &[Contestant],
        most: f64,
    ) -> Result<Vec<f64>> {
        self.beside_peers::<Vec<Column>>(label, input, own, &contest::NEWEST, most)
    }

    /// Holds our own contestants and the peers, and judges time and memory; returns the median times of our own.
    pub(super) fn beside_peers<P: Proof>(
        &mut self,
        label: &str,
        input: &Input,
        own: &[Contestant],
        peers: &[Peer],
        most: f64,
    ) -> Result<Vec<f64>> {
        let mut all = own.to_vec();
        if self.on.peers.is_some() {
            all.extend(peers.iter().copied().map(Contestant::Peer));
        }
        let runs = self.hold::<P>(label, input, &all, self.on.runs)?;
        let (own_runs, peer_runs) = runs.split_at(own.len());
        let peers = all.iter().skip(own.len()).zip(peer_runs);
        let medians = |of: fn(&Runs) -> &Vec<f64>| -> Vec<(String, f64)> {
            let medians = peers.clone().filter_map(|(peer, runs)| {
                let spread = Spread::of(of(runs).iter().copied())?;
                Some((peer.name().to_owned(), spread.median))
            });
            medians.collect()
        };
        let (times, peaks) = (medians(|runs| &runs.seconds), medians(|runs| &runs.peaks));
        for (at, contestant) in own.iter().enumerate() {
            let (label, most) = match contestant {
                Contestant::Managed(_) => (format!("{label}, managed table"), wanted::MANAGED),
                Contestant::Asof => (label.to_owned(), most),
                _ => continue,
            };
            self.time(&label, median(own_runs, at)?, times.clone(), most);
            let ours = own_runs
                .get(at)
                .and_then(|runs| Spread::of(runs.peaks.iter().copied()));
            if let Some(ours) = ours {
                self.found.verdict(
                    &label,
                    MEMORY,
                    ours.median,
                    peaks.clone(),
                    Wanted::Below(wanted::MEMORY),
                );
            }
        }
        (0..own.len()).map(|at| median(own_runs, at)).collect()
    }

    /// Lets contestants run and notes their figures.
    pub(super) fn hold<P: Proof>(
        &mut self,
        label: &str,
        input: &Input,
        all: &[Contestant],
        rounds: usize,
    ) -> Result<Vec<Runs>> {
        let announce = |what: &str| say(&format!("{label}: {what}"));
        let runs = contest::hold::<P>(input, all, self.on.peers, rounds, &announce)
            .with_context(|| label.to_owned())?;
        for (contestant, runs) in all.iter().zip(&runs) {
            let name = contestant.name();
            self.figure(&format!("{label}: {name}"), "s", runs.seconds.iter().copied());
            self.figure(
                &format!("{label}: {name}, peak memory"),
                "MiB",
                runs.peaks.iter().copied(),
            );
            if let Some(version) = &runs.version {
                self.found.fact(name, version);
            }
        }
        Ok(runs)
    }

    /// Judges a median in seconds by its ratio to the least of others.
    pub(super) fn time(&mut self, case: &str, ours: f64, against: Vec<(String, f64)>, most: f64) {
        self.found
            .verdict(case, TIME, ours, against, Wanted::AtMost(most));
    }

    pub(super) fn figure(&mut self, measure: &str, unit: &'static str, runs: impl IntoIterator<Item = f64>) {
        if let Some(spread) = Spread::of(runs) {
            self.found.figure(measure, unit, spread);
        }
    }
}

/// The median time of one of the contestants.
pub(super) fn median(runs: &[Runs], at: usize) -> Result<f64> {
    let runs = runs
        .get(at)
        .and_then(|runs| Spread::of(runs.seconds.iter().copied()));
    Ok(runs.context("there were no runs")?.median)
}

/// Tells whoever waits.
#[allow(clippy::print_stderr, reason = "the page alone goes to the standard output")]
pub(super) fn say(what: &str) {
    eprintln!("compare: {what}");
}
