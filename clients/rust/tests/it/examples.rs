//! The programs of the documentation, as they stand there.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::Server;

/// Runs an example, which cargo builds beside this test.
async fn run(name: &str, server: &Server) -> String {
    let tests = std::env::current_exe().unwrap();
    let directory = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let program: PathBuf = directory.join("examples").join(name);
    let url = server.url.clone();
    let run = tokio::task::spawn_blocking(move || Command::new(program).arg(url).output().unwrap());
    let output = run.await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_payment_is_pushed_and_served() {
    let server = Server::start().await;
    let told = run("serve", &server).await;
    let expected = "1 accepted, 0 rejected\ncard 7: Some(12.5)\ncard 8: None\nSome([Present, NotFound])\n";
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_spine_has_a_dataset() {
    let server = Server::start().await;
    run("serve", &server).await;
    let told = run("train", &server).await;
    let expected = "card, event_timestamp, last_payment__amount, last_payment__place\n2 rows\nrun 1\n";
    assert_eq!(told, expected);
}
