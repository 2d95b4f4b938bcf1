//! Eight appliers at once, each with its own handle on one file, against a sequential model (invariant I15).

use std::path::Path;
use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::registry::{RegistryError, RegistryStore, Version};
use asof_core::time::Timestamp;
use asof_registry::{ApplyError, MemoryRegistry, SqliteRegistry, apply, plan};

use crate::support::{config, parse, plan_on, weather_with};

const APPLIERS: u64 = 8;
const CASES: u64 = 200;
/// Cases share a file, each on the versions that the ones before it left.
const CASES_PER_FILE: u64 = 25;

/// A small generator with a printable seed; the sequence is that of splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit
    }
}

/// One of a few texts, so that appliers collide, repeat each other and come back to earlier states; some
/// change the columns of the service, some do not.
fn wanted(random: &mut Random) -> String {
    let ttl = ["1h", "2h"][random.below(2) as usize];
    let owner = ["ann", "bob", "eve"][random.below(3) as usize];
    weather_with("\"airport_weather:temp\"")
        .replace("ttl = \"3h\"", &format!("ttl = \"{ttl}\"\nowner = \"{owner}\""))
}

/// What one applier saw.
struct Outcome {
    base: u64,
    definitions: Arc<Definitions>,
    result: Result<Version, ApplyError>,
}

/// Plans on the newest version, lets others go first now and then, and applies.
async fn one_applier<S: RegistryStore>(store: &S, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let head = store.head(&config().project).await.unwrap();
    let plan = plan(head.as_ref(), parse(wanted(&mut random)).unwrap()).unwrap();
    for _ in 0..random.below(3) {
        tokio::task::yield_now().await;
    }
    let at = Timestamp::from_micros(seed as i64);
    Outcome {
        base: plan.base(),
        definitions: plan.definitions().clone(),
        result: apply(store, &plan, true, at).await,
    }
}

/// The history after the case is what some order of the appliers, one after the other, would have made.
async fn check<S: RegistryStore>(store: &S, before: Option<Version>, outcomes: &[Outcome], case: u64) {
    let project = config().project;
    let start = before.as_ref().map_or(0, |version| version.number);
    let end = store.head(&project).await.unwrap().unwrap().number;
    let history = store.history(&project).await.unwrap();
    let numbers: Vec<u64> = history.iter().map(|(number, _, _)| *number).collect();
    assert_eq!(numbers, (1..=end).collect::<Vec<_>>(), "case {case}: no gaps");

    // The model: definitions by version, each put there by an applier that planned on the one before.
    let mut previous = before;
    for number in start + 1..=end {
        let version = store.version(&project, number).await.unwrap().unwrap();
        let makers = outcomes.iter().filter(|outcome| {
            outcome.base == number - 1
                && outcome.result.as_ref().is_ok_and(|made| *made == version)
                && outcome.definitions == version.definitions
        });
        assert!(
            makers.count() >= 1,
            "case {case}: v{number} was applied by someone who planned on the one before"
        );
        let digest = previous.as_ref().map(|previous| previous.digest.clone());
        assert_ne!(
            digest,
            Some(version.digest.clone()),
            "case {case}: v{number} changes something"
        );
        let ttl = |version: &Version| version.definitions.views["airport_weather"].ttl;
        let (_, since) = version.services[0];
        match &previous {
            Some(previous) if ttl(previous) == ttl(&version) => assert_eq!(since, previous.services[0].1),
            _ => assert_eq!(
                since, number,
                "case {case}: the columns' meaning changed in v{number}"
            ),
        }
        previous = Some(version);
    }
    for outcome in outcomes {
        match &outcome.result {
            Ok(version) => {
                assert_eq!(version.definitions, outcome.definitions, "case {case}");
                assert!((start..=end).contains(&version.number), "case {case}");
            }
            Err(ApplyError::Registry(RegistryError::Conflict { expected, found })) => {
                assert_eq!(*expected, outcome.base, "case {case}");
                assert!(*found > *expected && *found <= end, "case {case}");
            }
            Err(other) => panic!("case {case}: {other}"),
        }
    }
    assert!(
        outcomes.iter().any(|outcome| outcome.result.is_ok()),
        "case {case}: someone gets through"
    );
}

async fn cases<S: RegistryStore + Clone + 'static>(handles: &[S], cases: std::ops::Range<u64>) {
    for case in cases {
        let before = handles[0].head(&config().project).await.unwrap();
        let tasks: Vec<_> = handles
            .iter()
            .zip(0..)
            .map(|(store, applier)| {
                let store = store.clone();
                tokio::spawn(async move { one_applier(&store, case * APPLIERS + applier).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        check(&handles[0], before, &outcomes, case).await;
    }
}

async fn handles(path: &Path) -> Vec<SqliteRegistry> {
    // Opened at once, so that they also race for making the file.
    let tasks: Vec<_> = (0..APPLIERS)
        .map(|_| {
            let path = path.to_owned();
            tokio::spawn(async move { SqliteRegistry::open(&path).await.unwrap() })
        })
        .collect();
    let mut handles = Vec::new();
    for task in tasks {
        handles.push(task.await.unwrap());
    }
    handles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_appliers_on_one_file_are_serialised() {
    let folder = tempfile::tempdir().unwrap();
    for first in (0..CASES).step_by(CASES_PER_FILE as usize) {
        let handles = handles(&folder.path().join(format!("{first}.db"))).await;
        cases(&handles, first..first + CASES_PER_FILE).await;
        for handle in handles {
            handle.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_appliers_in_memory_are_serialised() {
    let handles = vec![MemoryRegistry::new(); APPLIERS as usize];
    cases(&handles, 0..CASES).await;
}

#[tokio::test]
async fn who_comes_second_plans_again() {
    let store = MemoryRegistry::new();
    let text = weather_with("\"airport_weather:temp\"");
    let ours = plan_on(None, &text).unwrap();
    let theirs = plan_on(None, &text.replace("3h", "4h")).unwrap();
    apply(&store, &theirs, false, Timestamp::EPOCH).await.unwrap();
    assert_eq!(
        apply(&store, &ours, false, Timestamp::EPOCH)
            .await
            .unwrap_err()
            .to_string(),
        "the registry moved from v0 to v1: plan again"
    );
    // The same plan applied by both is applied once.
    let again = apply(&store, &theirs, false, Timestamp::MAX).await.unwrap();
    assert_eq!((again.number, again.applied_at), (1, Timestamp::EPOCH));
}
