//! A server that is told to stop ends well, whatever else is at work in it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::memory;
use crate::project::Project;
use crate::server::Server;

/// Has the loader of programs tell what it calls into a file of `directory`.
fn traced(mut command: Command, directory: &Path) -> Command {
    command
        .env("LD_DEBUG", "libs")
        .env("LD_DEBUG_OUTPUT", directory.join("calls"));
    command
}

/// What the loader called of one kind, of the library that RocksDB is in or needs.
fn called(directory: &Path, what: &str) -> usize {
    let files = std::fs::read_dir(directory).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let of = |text: String| {
        let lines = text.lines();
        lines
            .filter(|line| line.contains(what) && line.contains("libstdc++"))
            .count()
    };
    texts.map(of).sum()
}

/// However a process ends, nothing is taken down that other threads may be in.
#[test]
fn a_process_ends_without_destructors() {
    let project = Project::applied();
    let traces = tempfile::tempdir().unwrap();
    let run = |args: &[&str], code: i32| {
        let mut command = traced(project.command(args), traces.path());
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{args:?}");
    };
    run(&["list"], 0);
    if called(traces.path(), "calling init") == 0 {
        println!("not run: the loader tells nothing");
        return;
    }
    run(&["show", "nothing"], 2);
    // Its reader is gone.
    let mut command = traced(project.command(&["list"]), traces.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let serve = project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    let mut server = Server::of(traced(serve, traces.path()));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(called(traces.path(), "calling init"), 4);
    assert_eq!(called(traces.path(), "calling fini"), 0);
}

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
    assert!(cut > 0, "{runs}");
    project.done(&["materialize"]);
    project.done(&["verify"]);
}
