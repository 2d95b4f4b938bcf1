//! Several processes that apply to one registry at once, some of them killed (I15).

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use asof_core::name::ProjectName;
use asof_core::registry::RegistryStore;
use asof_registry::{ObjectKind, SqliteRegistry, find};

use crate::project::Project;

const APPLIERS: usize = 8;
const ROUNDS: usize = 12;

/// A project of its own for each applier, all with the registry of the first; each writes its own mark
/// into two definitions, which must never be seen apart.
fn appliers() -> Vec<Project> {
    let appliers: Vec<Project> = (0..APPLIERS).map(|_| Project::starter()).collect();
    let registry = appliers[0].path().join("registry.db");
    for applier in &appliers {
        applier.write(
            "asof.toml",
            &format!(
                "project = \"shared\"\n[registry]\nurl = \"sqlite://{}\"\n",
                registry.display()
            ),
        );
    }
    appliers
}

fn mark(applier: &Project, mark: &str) {
    applier.write(
        "features/orders.toml",
        &format!(
            "[[entity]]\nname = \"customer\"\nkeys = {{ customer_id = \"int64\" }}\ndescription = \"{mark}\"\n\n\
             [[source]]\nname = \"orders\"\npath = \"data/orders.csv\"\nevent_time = \"ordered_at\"\n\
             description = \"{mark}\"\n"
        ),
    );
}

/// A small generator of its own, so that a failing run can be repeated from its seed.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn appliers_and_kills_leave_whole_versions_without_gaps() {
    let seed = 20_131_102;
    let mut state = seed;
    let appliers = appliers();
    let mut won = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut running: Vec<(String, Child, bool)> = Vec::new();
        for (place, applier) in appliers.iter().enumerate() {
            let text = format!("round {round} applier {place}");
            mark(applier, &text);
            let mut command = applier.command(&["apply", "--yes"]);
            let child = command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            running.push((text, child, next(&mut state).is_multiple_of(4)));
        }
        std::thread::sleep(Duration::from_millis(next(&mut state) % 60));
        for (_, child, kill) in &mut running {
            if *kill {
                let _ = child.kill();
            }
        }
        for (text, child, killed) in running {
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => {
                    won.insert(text, ());
                }
                Some(5) => {
                    let shape = error.replace(|c: char| c.is_ascii_digit(), "");
                    let expect = "error: the registry moved from v to v: plan again\n";
                    assert_eq!(shape, expect, "seed {seed}: {error}");
                }
                code => assert!(killed, "seed {seed}: {code:?}: {error}"),
            }
        }
    }
    let versions = versions(&appliers[0]);
    assert!(
        versions.len() >= ROUNDS,
        "seed {seed}: {} versions",
        versions.len()
    );
    for (at, (entity, source)) in versions.iter().enumerate() {
        assert_eq!(entity, source, "seed {seed}: v{} is torn", at + 1);
    }
    for text in won.keys() {
        assert!(
            versions.iter().any(|(entity, _)| entity == text),
            "seed {seed}: {text} is lost"
        );
    }
}

/// The marks of every version's entity and source, oldest first.
fn versions(project: &Project) -> Vec<(String, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let registry = SqliteRegistry::open(&project.path().join("registry.db"))
            .await
            .unwrap();
        let name = ProjectName::parse("shared").unwrap();
        let history = registry.history(&name).await.unwrap();
        let mut marks = Vec::new();
        for (place, (number, _, _)) in history.iter().enumerate() {
            assert_eq!(*number, place as u64 + 1, "versions count up without gaps");
            let version = registry.version(&name, *number).await.unwrap().unwrap();
            let description = |kind, name| {
                let object = find(&version.definitions, kind, name).unwrap();
                object.description().unwrap().to_owned()
            };
            marks.push((
                description(ObjectKind::Entity, "customer"),
                description(ObjectKind::Source, "orders"),
            ));
        }
        marks
    })
}
