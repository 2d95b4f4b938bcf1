//! Health, readiness, metrics, reflection, and calls that do not exist.

use asof_proto::v1;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::{Server, of_features, row, text_column};
use crate::json::http;

#[tokio::test]
async fn health_is_told_over_both() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "asof.v1.OnlineService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        assert_eq!(
            client.check(request).await.unwrap().into_inner().status,
            1,
            "{service:?} serves"
        );
    }
    assert_eq!(http(&server, "GET", "/healthz", "").await, (200, "ok\n".into()));
    assert_eq!(http(&server, "GET", "/readyz", "").await, (200, "ready\n".into()));
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.retain(|name| name.starts_with("asof"));
    names.sort();
    assert_eq!(
        names,
        [
            "asof.v1.IngestService",
            "asof.v1.JobService",
            "asof.v1.OnlineService",
            "asof.v1.RegistryService"
        ]
    );
}

#[tokio::test]
async fn metrics_count_what_was_asked() {
    let server = Server::start().await;
    server.clock.set(3_000_000);
    server.load("lasting", 1_000_000, &[row("JFK", 0, 1)], true).await;
    let mut client = server.online().await;
    let keys = || vec![text_column("origin", &[Some("JFK"), Some("LAX")])];
    client
        .get_features(of_features(&["lasting:code"], keys()))
        .await
        .unwrap();
    client
        .get_features(of_features(&["lasting:none"], keys()))
        .await
        .unwrap_err();
    let (status, text) = http(&server, "GET", "/metrics", "").await;
    assert_eq!(status, 200);
    for line in [
        r#"asof_requests_total{method="asof.v1.OnlineService/GetFeatures",code="OK"} 1"#,
        r#"asof_requests_total{method="asof.v1.OnlineService/GetFeatures",code="NOT_FOUND"} 1"#,
        r#"asof_request_duration_seconds_count{method="asof.v1.OnlineService/GetFeatures"} 2"#,
        r#"asof_feature_values_total{view="lasting",status="PRESENT"} 1"#,
        r#"asof_feature_values_total{view="lasting",status="NOT_FOUND"} 1"#,
        r#"asof_view_lag_seconds{view="lasting"} 2.0"#,
        r#"asof_view_materialized_timestamp_seconds{view="lasting"} 1.0"#,
        "asof_registry_version 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn unknown_calls_are_unimplemented() {
    let server = Server::start().await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::ListRequest, v1::ListResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/asof.v1.Nothing/Do");
    let error = grpc
        .unary(tonic::Request::new(v1::ListRequest::default()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unimplemented, "there is no call /asof.v1.Nothing/Do")
    );
}
