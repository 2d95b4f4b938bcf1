//! Each refusal, with its code and its exact text.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array};
use asof_proto::v1;
use tonic::Code;

use crate::harness::{DEFINITIONS, Server, codes, column, of_features, of_service, row, text_column};

async fn check(server: &Server, request: v1::GetFeaturesRequest, code: Code, message: &str) {
    let error = server.online().await.get_features(request).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (code, message));
}

fn jfk() -> Vec<v1::Column> {
    vec![text_column("origin", &[Some("JFK")])]
}

#[tokio::test]
async fn what_does_not_exist_is_named_with_the_nearest() {
    let server = Server::start().await;
    let not_found = [
        (
            of_service("model_v2", jfk()),
            "unknown service \"model_v2\"; did you mean \"model_v1\"?",
        ),
        (
            of_features(&["lastin:code"], jfk()),
            "unknown view \"lastin\"; did you mean \"lasting\"?",
        ),
        (
            of_features(&["lasting:cod"], jfk()),
            "view \"lasting\" has no feature \"cod\"; did you mean \"code\"?",
        ),
    ];
    for (request, message) in not_found {
        check(&server, request, Code::NotFound, message).await;
    }
}

#[tokio::test]
async fn arguments_are_refused_with_their_field() {
    let server = Server::start().await;
    let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let legs = |number: v1::Column| of_service("legs_v1", vec![text_column("tail", &[Some("a")]), number]);
    let many = vec![Some("k"); 10_001];
    let long = "k".repeat(1 << 20);
    let mut both = of_service("model_v1", jfk());
    both.features = vec!["lasting:code".into()];
    let invalid = [
        (
            of_service("", jfk()),
            "service, features: both are empty: name a service, or list features such as \"view:feature\"",
        ),
        (
            both,
            "features: must be empty where a service is named: give one of both",
        ),
        (
            of_features(&["lasting"], jfk()),
            "\"lasting\" is not a feature: write view:feature or view:*",
        ),
        (
            of_features(&["lasting:code", "lasting:*"], jfk()),
            "two columns would be named \"lasting__code\": give one of the entries a prefix",
        ),
        (
            of_features(&["lasting:code"], vec![]),
            "keys[\"origin\"]: is missing: give a column of string, the key of view lasting",
        ),
        (
            of_features(&["lasting:code"], vec![text_column("origins", &[Some("JFK")])]),
            "keys[\"origins\"]: is not a key column here; expected \"origin\"; did you mean \"origin\"?",
        ),
        (
            of_features(&["lasting:code"], [jfk(), jfk()].concat()),
            "keys[\"origin\"]: is given twice",
        ),
        (
            of_features(&["lasting:code"], vec![text_column("origin", &[])]),
            "keys[\"origin\"]: has no values: give one for each entity",
        ),
        (
            of_features(&["lasting:code"], vec![text_column("origin", &many)]),
            "keys[\"origin\"]: has 10001 values, one request takes at most 10000: send several",
        ),
        (
            of_features(
                &["lasting:code"],
                vec![text_column("origin", &[None, Some(&long)])],
            ),
            "keys[\"origin\"][1]: has 1048576 bytes, a key has at most 65536",
        ),
        (
            of_features(
                &["lasting:code"],
                vec![column("origin", "float64", &floats(&[1.0]))],
            ),
            "keys[\"origin\"]: has the type float64, the key is string",
        ),
        (
            of_service(
                "legs_v1",
                vec![
                    text_column("tail", &[Some("a")]),
                    text_column("number", &[None, None]),
                ],
            ),
            "keys[\"number\"]: has 2 values where the columns before it have 1",
        ),
        (
            legs(column("number", "float64", &floats(&[1.5]))),
            "keys[\"number\"][0]: is 1.5, not a value of int64",
        ),
        (
            legs(column("number", "float64", &floats(&[f64::NAN]))),
            "keys[\"number\"][0]: is NaN, not a value of int64",
        ),
        (
            legs(column("number", "float64", &floats(&[9_007_199_254_740_994.0]))),
            "keys[\"number\"][0]: is a floating-point number beyond 2^53, which may not be exact: give an integer",
        ),
        (
            legs(v1::Column {
                name: "number".into(),
                values: None,
            }),
            "keys[\"number\"].values.kind: is missing",
        ),
    ];
    for (request, message) in invalid {
        check(&server, request, Code::InvalidArgument, message).await;
    }
    // The numbers that are integers are taken.
    server.load("leg_facts", 0, &[], true).await;
    let request = legs(column("number", "float64", &floats(&[1.0])));
    assert_eq!(
        server
            .online()
            .await
            .get_features(request)
            .await
            .unwrap()
            .into_inner()
            .statuses[..],
        [3]
    );
}

#[tokio::test]
async fn what_cannot_be_served_now_says_what_to_type() {
    let server = Server::start().await;
    let request = || of_features(&["lasting:code"], jfk());
    let failed = Code::FailedPrecondition;
    check(
        &server,
        request(),
        failed,
        "view \"lasting\" was never materialized: run `asof materialize lasting`",
    )
    .await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], false).await;
    check(
        &server,
        request(),
        failed,
        "view \"lasting\" is being materialized for the first time: wait for that run, or run `asof materialize lasting` if it stopped",
    )
    .await;
    server.load("lasting", 1_000_000, &[row("JFK", 0, 1)], true).await;
    check(
        &server,
        request(),
        failed,
        "view \"lasting\" was materialized as of 1970-01-01T00:00:01Z, after the clock at 1970-01-01T00:00:00Z: \
         give a later --now, or run `asof materialize lasting --as-of 1970-01-01T00:00:00Z --full`",
    )
    .await;
    server.clock.set(1_000_000);
    assert!(server.online().await.get_features(request()).await.is_ok());
}

#[tokio::test]
async fn a_new_feature_waits_for_its_generation_and_the_old_ones_go_on() {
    let server = Server::start().await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    let wider = DEFINITIONS.replace(
        "name = \"lasting\"\nentity = \"airport\"\nsource = \"weather\"\n[view.features]",
        "name = \"lasting\"\nentity = \"airport\"\nsource = \"weather\"\n[view.features]\ngust = \"int64\"",
    );
    assert_ne!(wider, DEFINITIONS);
    server.apply(&wider, 1).await;
    let failed = Code::FailedPrecondition;
    let request = || of_features(&["lasting:gust"], jfk());
    check(
        &server,
        request(),
        failed,
        "feature \"lasting:gust\" is not in what was materialized of its view: run `asof materialize lasting`",
    )
    .await;
    server.load("lasting", 0, &[row("JFK", 0, 2)], false).await;
    check(
        &server,
        request(),
        failed,
        "feature \"lasting:gust\" is only in the generation that is being built: wait for that run, or run `asof materialize lasting` if it stopped",
    )
    .await;
    let old = of_features(&["lasting:code"], jfk());
    let answer = server
        .online()
        .await
        .get_features(old)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (codes(&answer.features().unwrap()[0]), answer.registry_version),
        (vec![1], 2)
    );
    let moved = DEFINITIONS.replace("weather.parquet", "elsewhere.parquet");
    server.apply(&moved, 2).await;
    check(
        &server,
        of_features(&["lasting:code"], jfk()),
        failed,
        "view \"lasting\" was redefined since it was materialized: run `asof materialize lasting`",
    )
    .await;
}

#[tokio::test]
async fn damage_fails_only_the_reads_that_need_what_is_damaged() {
    let server = Server::start().await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    check(
        &server,
        of_features(
            &["lasting:code"],
            vec![text_column("origin", &[Some("JFK"), Some("damaged")])],
        ),
        Code::DataLoss,
        "the online store is damaged at 000017.sst: block checksum mismatch",
    )
    .await;
    assert!(
        server
            .online()
            .await
            .get_features(of_features(&["lasting:code"], jfk()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn integers_of_another_width_are_taken_where_they_fit() {
    let server = Server::start().await;
    server.load("leg_facts", 0, &[], true).await;
    let number: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1]));
    let keys = vec![
        text_column("tail", &[Some("a")]),
        column("number", "int32", &number),
    ];
    assert!(
        server
            .online()
            .await
            .get_features(of_service("legs_v1", keys))
            .await
            .is_ok()
    );
    let text: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let keys = vec![column("tail", "int64", &text), column("number", "int32", &number)];
    check(
        &server,
        of_service("legs_v1", keys),
        Code::InvalidArgument,
        "keys[\"tail\"]: has the type int64, the key is string",
    )
    .await;
}
