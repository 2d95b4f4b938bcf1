//! Definitions and jobs over gRPC.

use asof_proto::v1;
use asof_proto::v1::job_service_client::JobServiceClient;
use asof_proto::v1::registry_service_client::RegistryServiceClient;
use tonic::Code;

use crate::harness::{DEFINITIONS, Server, files, of_features, row, text_column};
use asof_server::Limits;

#[tokio::test]
async fn plan_apply_and_read_back() {
    let server = Server::empty(Limits::default()).await;
    let mut client = RegistryServiceClient::new(server.channel().await);
    let plan = v1::PlanRequest {
        files: files(DEFINITIONS),
    };
    let planned = client.plan(plan).await.unwrap().into_inner();
    assert_eq!((planned.base_version, planned.changes), (0, true));
    assert!(
        planned
            .text
            .ends_with("Plan: 9 to add, 0 to change, 0 to remove."),
        "{}",
        planned.text
    );
    let apply = |expected_version| v1::ApplyRequest {
        files: files(DEFINITIONS),
        expected_version,
        allow_breaking: false,
    };
    let applied = client.apply(apply(0)).await.unwrap().into_inner();
    assert_eq!((applied.changed, applied.version.unwrap().number), (true, 1));
    let again = client.apply(apply(1)).await.unwrap().into_inner();
    assert_eq!((again.changed, again.version.unwrap().number), (false, 1));
    let late = client.apply(apply(0)).await.unwrap_err();
    assert_eq!(
        (late.code(), late.message()),
        (Code::Aborted, "the registry moved from v0 to v1: plan again")
    );

    let list = v1::ListRequest {
        kind: v1::DefinitionKind::View.into(),
    };
    let listed = client.list(list).await.unwrap().into_inner();
    let names: Vec<_> = listed
        .definitions
        .iter()
        .map(|definition| definition.name.as_str())
        .collect();
    assert_eq!(names, ["fleeting", "lasting", "leg_facts"]);
    let get = v1::GetRequest {
        kind: 0,
        name: "fleeting".into(),
    };
    let got = client.get(get).await.unwrap().into_inner();
    assert!(
        got.toml.starts_with("[[view]]\nname = \"fleeting\"\n"),
        "{}",
        got.toml
    );
    let get = v1::GetRequest {
        kind: 0,
        name: "fleetin".into(),
    };
    assert_eq!(client.get(get).await.unwrap_err().code(), Code::NotFound);
    let get = v1::GetRequest {
        kind: 0,
        name: "model_v1".into(),
    };
    let columns = client.get(get).await.unwrap().into_inner().columns;
    assert_eq!(
        columns[0],
        v1::FrozenColumn {
            name: "fleeting__temp".into(),
            feature: "fleeting:temp".into(),
            r#type: "float64".into(),
        }
    );
    let search = v1::SearchRequest {
        query: "OPS@example".into(),
    };
    let found = client.search(search).await.unwrap().into_inner();
    assert_eq!(found.definitions[0].name, "fleeting");
    let whole = client
        .get_version(v1::GetVersionRequest { number: 1 })
        .await
        .unwrap()
        .into_inner();
    let planned = client
        .plan(v1::PlanRequest {
            files: files(&whole.toml),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(
        !planned.changes,
        "the text of a version defines it: {}",
        planned.text
    );
    let none = client
        .get_version(v1::GetVersionRequest { number: 9 })
        .await
        .unwrap_err();
    assert_eq!(
        (none.code(), none.message()),
        (Code::NotFound, "the registry has no version 9")
    );
    let history = client.history(v1::HistoryRequest {}).await.unwrap().into_inner();
    assert_eq!(history.versions.len(), 1);
}

#[tokio::test]
async fn wrong_and_breaking_definitions_are_refused() {
    let server = Server::start().await;
    let mut client = RegistryServiceClient::new(server.channel().await);
    let wrong = v1::PlanRequest {
        files: files("[[view]]\nname = \"a\"\ntpl = 3\n"),
    };
    let error = client.plan(wrong).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            Code::InvalidArgument,
            "features/all.toml:1:1: [[view]] \"a\" has no \"entity\"; expected entity = \"a_name\"\n\
             features/all.toml:1:1: [[view]] \"a\" has no \"source\"; expected source = \"a_name\"\n\
             features/all.toml:1:1: [[view]] \"a\" has no \"features\"; expected [view.features] with a line such as temp = \"float64\", or [[view.aggregate]]\n\
             features/all.toml:3:1: unknown key \"tpl\" in [[view]] \"a\"; did you mean \"ttl\"?"
        )
    );
    let breaking = v1::ApplyRequest {
        files: files(&DEFINITIONS.replace("temp = \"float64\"", "temp = \"float32\"")),
        expected_version: 1,
        allow_breaking: false,
    };
    let error = client.apply(breaking).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            Code::FailedPrecondition,
            "1 breaking change: view fleeting breaks service model_v1 (column fleeting__temp is retyped float64 -> float32); \
             apply with --allow-breaking"
        )
    );
}

/// A request sees the version in force, and another process's apply within the poll interval.
#[tokio::test]
async fn versions_applied_elsewhere_are_seen() {
    let server = Server::empty(Limits::default()).await;
    let elsewhere = asof_registry::Authored::parse(
        &asof_registry::ProjectConfig::new(std::path::Path::new("."), crate::harness::project()),
        &[asof_registry::AuthoredFile {
            path: "a.toml".into(),
            bytes: DEFINITIONS.into(),
        }],
    );
    let plan = asof_registry::plan(None, elsewhere.unwrap()).unwrap();
    let at = asof_core::time::Timestamp::EPOCH;
    asof_registry::apply(&server.registry, &plan, false, at)
        .await
        .unwrap();
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    let mut client = server.online().await;
    let request = || of_features(&["lasting:code"], vec![text_column("origin", &[Some("JFK")])]);
    let mut waited = 0;
    while client.get_features(request()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        waited += 1;
        assert!(waited < 50, "not seen within 5 s");
    }
}

#[tokio::test]
async fn jobs_are_started_and_views_say_how_they_stand() {
    let server = Server::start().await;
    server.clock.set(90);
    server.load("lasting", 20, &[], true).await;
    let mut client = JobServiceClient::new(server.channel().await);
    let materialize = |view: &str| v1::MaterializeRequest {
        views: vec![view.into()],
        as_of_micros: Some(5),
        full: false,
        redo: false,
        wait: false,
    };
    let runs = client
        .materialize(materialize("lasting"))
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert_eq!(
        (runs[0].subject.as_str(), runs[0].as_of_micros),
        ("lasting", Some(5))
    );
    assert_eq!(runs[0].state(), v1::RunState::Running);
    let busy = client.materialize(materialize("busy")).await.unwrap_err();
    assert_eq!(busy.code(), Code::Aborted);
    let status = client
        .get_status(v1::GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            status.project.as_str(),
            status.registry_version,
            status.now_micros
        ),
        ("flights", 1, 90)
    );
    let views: Vec<_> = status
        .views
        .iter()
        .map(|view| (view.view.as_str(), view.lag_micros, view.current))
        .collect();
    assert_eq!(
        views,
        [
            ("fleeting", None, false),
            ("lasting", Some(70), true),
            ("leg_facts", None, false)
        ]
    );
    let error = client
        .list_runs(v1::ListRunsRequest {
            subject: String::new(),
            limit: 1001,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "limit: is 1001, at most 1000")
    );
    let runs = client
        .list_runs(v1::ListRunsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert!(runs.is_empty());
}
