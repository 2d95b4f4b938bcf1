//! A server that is told to stop ends well, whatever else is at work in it.

use std::process::Stdio;
use std::time::Duration;

use crate::memory;
use crate::server::Server;

/// A run that nobody waits for ends with the process, wherever it is, and the process ends as it should: what is static in
/// RocksDB must not be taken down under it.
#[test]
fn a_server_that_is_stopped_during_a_run_ends_well() {
    let project = memory::project(2);
    project.done(&["materialize"]);
    for delay in [50, 100, 200, 300, 400, 600, 800, 1_200] {
        let mut server = Server::start(&project, &[]);
        let mut run = project
            .command(&["materialize", "--full"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        run.kill().unwrap();
        run.wait().unwrap();
        server.signal("-TERM");
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "after {delay} ms: {status}");
    }
    let runs = project.done(&["runs", "--json"]).json();
    let states = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["state"].as_str().unwrap());
    let cut = states.filter(|state| *state == "cut short").count();
    println!("figure: {cut} of 8 runs were under way when the server stopped");
    assert!(cut > 3, "{runs}");
    project.done(&["materialize"]);
    project.done(&["verify"]);
}
