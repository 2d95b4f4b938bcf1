//! I11: what was acknowledged is there after SIGKILL, and rows and progress are there together.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use asof_core::online::conformance::{address, key, order, read_one, row, sorted};
use asof_core::online::{Counts, OnlineStore};
use asof_core::time::Timestamp;
use asof_online::Recovery;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;

/// How many kills come first, while the store is being created.
const EARLY: usize = 3;
pub(crate) const STORE: &str = "ASOF_TEST_KILLED_STORE";
const KEYS: u64 = 50;
const NOW: Timestamp = Timestamp::from_micros(i64::MAX - 1);

/// This test program again, as a process that writes until it is killed.
pub(crate) struct Child {
    process: std::process::Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// One that writes row by row.
    pub(crate) fn start(store: &Path) -> Self {
        Self::run("kills::writes_until_it_is_killed", store)
    }

    pub(crate) fn run(test: &str, store: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(STORE, store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next write that was acknowledged; `None` once the process is gone.
    pub(crate) fn next_acknowledged(&mut self) -> Option<u64> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
    }

    /// Kills it after so many acknowledgements, and returns the last one that it had sent by then.
    pub(crate) fn kill_after(&mut self, acknowledgements: usize) -> Option<u64> {
        let mut last = None;
        for _ in 0..acknowledgements {
            last = self.next_acknowledged().or(last);
        }
        self.kill();
        std::iter::from_fn(|| self.next_acknowledged()).last().or(last)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test of its own: the other side of [`acknowledged_writes_survive_kills`].
#[test]
#[ignore = "is started by other tests"]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = harness::open(Path::new(&path)).unwrap();
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    if store.view_state(slot).unwrap().serving.is_none() {
        harness::serving(&store, "v");
    }
    let mut state = store.view_state(slot).unwrap().serving.unwrap();
    let written = progress(&state.progress);
    let mut out = std::io::stdout().lock();
    for n in written + 1.. {
        // The n-th write: one row of one key, one pending row, and the number as progress.
        let k = key(&(n % KEYS).to_string());
        let rows = [
            row(&k, order(n as i64, 0, 1), n as i64),
            row(&k, order(i64::MAX, n as i64, 1), n as i64),
        ];
        state.progress = n.to_be_bytes().to_vec();
        store
            .write(slot, state.generation, NOW, &rows, Some(&state))
            .unwrap();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Not a test of its own: the other side of [`acknowledged_loads_survive_kills`].
#[test]
#[ignore = "is started by other tests"]
fn loads_until_it_is_killed() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = harness::open(Path::new(&path)).unwrap();
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    if store.view_state(slot).unwrap().serving.is_none() {
        harness::serving(&store, "v");
    }
    let generation = store.view_state(slot).unwrap().serving.unwrap().generation;
    let loaded = store.loaded(slot, generation).unwrap();
    let mut out = std::io::stdout().lock();
    for n in progress(&loaded.unwrap_or_default()) + 1.. {
        // The n-th load: every key, and the number as progress.
        let rows: Vec<_> = (0..KEYS)
            .map(|k| row(&key(&k.to_string()), order(n as i64, 0, 1), n as i64))
            .collect();
        store
            .load(slot, generation, &sorted(&rows), &n.to_be_bytes())
            .unwrap();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn acknowledged_loads_survive_kills() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    for kill in 0..harness::cases(20) {
        let case = format!("kill {kill}, seed {seed}");
        let mut child = Child::run("kills::loads_until_it_is_killed", directory.path());
        let acknowledged = child.kill_after(random.random_range(1..40)).unwrap_or(total);
        let store = harness::open(directory.path()).unwrap();
        assert_eq!(store.recovery(), Recovery::Complete, "{case}");
        let slot = store.open_view(&address("a", "string", "v")).unwrap();
        let generation = store.view_state(slot).unwrap().serving.unwrap().generation;
        let loaded = store.loaded(slot, generation).unwrap();
        total = progress(&loaded.unwrap_or_default());
        assert!(total >= acknowledged, "{total} of {acknowledged}, {case}");
        // All of it or nothing: no key has another load's row.
        for k in 0..KEYS {
            let found = read_one(&store, slot, generation, &key(&k.to_string()), NOW.micros()).unwrap();
            assert_eq!(
                found.0,
                (total > 0).then_some(total as i64),
                "key {k} of {total}, {case}"
            );
        }
        let left: Vec<_> = std::fs::read_dir(directory.path().join("asof.load"))
            .into_iter()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}, {case}");
    }
    println!(
        "figure: {} kills of a store that takes loads, {total} loads acknowledged, all there",
        harness::cases(20)
    );
    assert!(total > 50, "only {total} loads in all");
}

fn progress(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[test]
fn acknowledged_writes_survive_kills() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    for kill in 0..harness::cases(60).max(EARLY + 5) {
        let mut child = Child::start(directory.path());
        let acknowledged = if kill < EARLY {
            std::thread::sleep(Duration::from_millis(random.random_range(0..60)));
            child.kill_after(0)
        } else {
            child.kill_after(random.random_range(1..=400))
        };
        total = acknowledged.unwrap_or(total);
        check(directory.path(), &mut total, &format!("kill {kill}, seed {seed}"));
    }
    println!(
        "figure: {} kills of a store, {total} writes acknowledged, all there",
        harness::cases(60).max(EARLY + 5)
    );
    assert!(total > 100, "only {total} writes in all");
}

/// Everything up to `acknowledged` is there, and of each later write all or nothing.
fn check(path: &Path, acknowledged: &mut u64, case: &str) {
    let store = harness::open(path).unwrap();
    assert_eq!(store.recovery(), Recovery::Complete, "{case}");
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let Some(state) = store.view_state(slot).unwrap().serving else {
        assert_eq!(*acknowledged, 0, "{case}");
        return;
    };
    let written = progress(&state.progress);
    assert!(written >= *acknowledged, "{written} of {acknowledged}, {case}");
    *acknowledged = written;
    for k in 0..KEYS {
        let expect = (written.saturating_sub(KEYS - 1)..=written).find(|n| *n > 0 && n % KEYS == k);
        let found = read_one(&store, slot, state.generation, &key(&k.to_string()), NOW.micros()).unwrap();
        assert_eq!(found.0, expect.map(|n| n as i64), "key {k} of {written}, {case}");
    }
    let counts = store.count(slot, state.generation).unwrap();
    let expect = Counts {
        keys: written.min(KEYS),
        pending: written,
        ..counts
    };
    assert_eq!(counts, expect, "{case}");
}
