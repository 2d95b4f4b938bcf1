//! A project whose online store is on a Redis server: served, killed, stopped and started again.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use asof_proto::v1::ingest_service_client::IngestServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::operating::get;
use crate::project::{Project, Ran};
use crate::pushing::{self, CLICKS, PAGES};
use crate::server::Server;

/// A `redis-server` on a port of its own, killed when dropped.
struct Redis {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let child = Self::spawn(directory.path(), port);
        let redis = Self {
            child,
            port,
            directory,
        };
        redis.wait();
        redis
    }

    fn spawn(directory: &Path, port: u16) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command
            .args(["--appendonly", "yes", "--save", "", "--dir"])
            .arg(directory);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        command
            .spawn()
            .expect("redis-server, which scripts/setup.sh test installs")
    }

    fn wait(&self) {
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "redis-server does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn kill_and_start_again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.directory.path(), self.port);
        self.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn project(redis: &Redis) -> Project {
    let project = Project::starter();
    let config = project.read("asof.toml");
    let url = format!("redis://127.0.0.1:{}/0", redis.port);
    project.write("asof.toml", &format!("{config}\n[online]\nurl = \"{url}\"\n"));
    let service = "[[service]]\nname = \"pages\"\nfeatures = [\"page_clicks:*\"]\n";
    project.write("features/clicks.toml", &format!("{CLICKS}{PAGES}{service}"));
    project.done(&["apply", "--yes"]);
    project
}

const ORDER: [&str; 6] = [
    "get",
    "--service",
    "reorder_v1",
    "--key",
    "customer_id=1",
    "--json",
];

fn push(project: &Project, customer: i64, amount: f64) -> Ran {
    let click =
        json!({ "customer_id": customer, "at": "2026-01-01T00:01:00Z", "amount": amount, "page": "home" });
    project.write("click.jsonl", &format!("{click}\n"));
    project.asof(&["push", "clicks", "click.jsonl"])
}

fn clicks(project: &Project) -> Ran {
    project.asof(&["get", "--service", "pages", "--key", "page=home", "--json"])
}

fn count(ran: &Ran) -> i64 {
    let told = ran.json();
    let columns = told["columns"].as_array().unwrap();
    let is = |column: &&Value| column["name"] == "page_clicks__count_all";
    columns.iter().find(is).unwrap()["values"][0].as_i64().unwrap()
}

#[test]
fn a_project_is_served_from_redis_through_kills_and_pauses() {
    let mut redis = Redis::start();
    let project = project(&redis);
    // Without a server, as ever.
    project.done(&["materialize"]);
    let alone = project.done(&ORDER).json();
    let mut server = Server::start(&project, &[]);
    let served = project.done(&ORDER).json();
    assert_eq!(served["columns"], alone["columns"]);
    for customer in 1..=20 {
        let ran = push(&project, customer, 1.5);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(count(&clicks(&project)), 20);

    // A server that says nothing is not one that has nothing.
    redis.signal("-STOP");
    let started = Instant::now();
    let ran = clicks(&project);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(
        !ran.stderr.contains("NOT_FOUND") && ran.stdout.is_empty(),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("127.0.0.1"), "it names the server: {ran:?}");
    // What needs many answers does not wait for each of them.
    let runtime = pushing::runtime();
    for id in ["a", "b"] {
        let started = Instant::now();
        let refused = runtime.block_on(async {
            let mut ingest = IngestServiceClient::connect(server.url.clone()).await.unwrap();
            ingest.push(pushing::request(id, 1, 1.5)).await.unwrap_err()
        });
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
    }
    let metrics = get(&server, "/metrics");
    assert!(metrics.contains("\nasof_online_store_up 0\n"), "{metrics}");
    // Nothing is taken for damage.
    let status = project.done(&["status"]).stdout;
    let why = format!(
        "\n?: the online store at redis://127.0.0.1:{} failed: it does not answer",
        redis.port
    );
    assert!(status.contains(&why), "{status}");
    redis.signal("-CONT");
    let recovered = |project: &Project| {
        let started = Instant::now();
        loop {
            let ran = clicks(project);
            if ran.code == 0 {
                return ran;
            }
            assert_eq!(ran.code, 5, "{ran:?}");
            assert!(started.elapsed() < Duration::from_secs(5), "{ran:?}");
        }
    };
    assert_eq!(count(&recovered(&project)), 20);

    assert!(get(&server, "/metrics").contains("\nasof_online_store_up 1\n"));

    redis.kill_and_start_again();
    assert_eq!(count(&recovered(&project)), 20);
    assert_eq!(push(&project, 21, 1.5).code, 0);
    assert_eq!(count(&clicks(&project)), 21);
    let status = project.done(&["status", "--json"]).json();
    assert_eq!(status["views"].as_array().unwrap().len(), 3);
    // The store is on no disk of ours, and copied by its servers' means.
    assert!(!status["disks"].to_string().contains("online"), "{status}");
    let text = project.done(&["status"]).stdout;
    assert!(
        text.contains("Disk of the registry, the managed tables: "),
        "{text}"
    );
    assert!(!text.contains("ackup"), "{text}");

    // The next process that wants the store waits until what a killed one held is free.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(count(&clicks(&project)), 21);
    project.done(&["materialize"]);
    assert_eq!(count(&clicks(&project)), 21, "each once");
    project.done(&["verify"]);
}

#[test]
fn what_a_store_on_servers_does_not_have_is_refused() {
    let redis = Redis::start();
    let project = project(&redis);
    let place = format!("redis://127.0.0.1:{}", redis.port);
    let ran = project.asof(&["backup", "copy"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let told = "keeps the online store on servers: copy it by their own means, and the registry and the tables as files";
    assert!(
        ran.stderr.contains(told) && ran.stderr.contains(&place),
        "{ran:?}"
    );
    let ran = project.asof(&["restore", "copy"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains(told), "{ran:?}");
    // One process at a time: another directory is another user of the same store.
    let server = Server::start(&project, &[]);
    let other = Project::starter();
    let config = other.read("asof.toml");
    other.write("asof.toml", &format!("{config}\n[online]\nurl = \"{place}\"\n"));
    other.done(&["apply", "--yes"]);
    let ran = other.asof(&["status"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.contains(&server.child.id().to_string()),
        "it names the process: {ran:?}"
    );
    drop(redis);
    let ran = other.asof(&["status"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains(&place), "{ran:?}");
}
