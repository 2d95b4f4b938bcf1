//! Feast: the same views over the same files, materialized into Redis, and its own server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ground::{Ground, TTL_DAYS};
use super::redis::{Redis, free_port};
use crate::child;
use crate::generate::{END_MICROS, SERVICE, typed_features};
use crate::stage::load::Call;

/// How long its server may take to start.
const START: Duration = Duration::from_secs(120);
/// Processes of its server: one for each core.
const WORKERS: &str = "2";

/// Where Feast is.
#[derive(Debug, Clone)]
pub struct Feast {
    /// A Python with Feast, with the command of that name beside it.
    pub python: PathBuf,
    /// The folder of its script.
    pub scripts: PathBuf,
}

/// What a materialization took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Materialized {
    pub(super) seconds: f64,
    pub(super) version: String,
}

impl Feast {
    /// Defines the views of a ground and materializes them into Redis.
    pub(super) fn materialize(&self, ground: &Ground, redis: &Redis) -> Result<Materialized> {
        let job = json!({
            "folder": folder(ground),
            "redis": redis.address.to_string(),
            "key": "user_id",
            "ttl_days": TTL_DAYS,
            "service": SERVICE,
            "features": typed_features().collect::<Vec<_>>(),
            "views": ground.files,
            "end_micros": END_MICROS,
        });
        let mut command = Command::new(&self.python);
        command
            .arg(self.scripts.join("run_feast.py"))
            .arg(job.to_string());
        Ok(child::run_command::<Materialized>(&mut command)?.result)
    }

    /// Starts its server on what was materialized, and waits until it answers.
    pub(super) async fn serve(&self, ground: &Ground) -> Result<FeastServer> {
        let address = free_port()?;
        let mut command = Command::new(self.python.with_file_name("feast"));
        command.arg("-c").arg(folder(ground));
        command.args(["serve", "--no-access-log", "--workers", WORKERS, "--port"]);
        let child = command
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Feast's server")?;
        let server = FeastServer { child, address };
        let begun = Instant::now();
        let health = format!("http://{address}/health");
        while reqwest::get(&health).await.is_err() {
            ensure!(begun.elapsed() < START, "Feast's server did not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }
}

fn folder(ground: &Ground) -> PathBuf {
    absolute(&ground.workload.scratch).join("feast")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A server, which ends when this is dropped.
pub(super) struct FeastServer {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Drop for FeastServer {
    fn drop(&mut self) {
        // It stops its own processes when it is asked to end, and leaves them behind when it is killed.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The bodies of requests for the keys of each position.
pub(super) fn requests(keys: &[Vec<i64>]) -> Arc<[String]> {
    let body = |keys: &Vec<i64>| {
        let entities = json!({ "user_id": keys });
        json!({ "feature_service": SERVICE, "full_feature_names": true, "entities": entities }).to_string()
    };
    keys.iter().map(body).collect()
}

/// Reads features from Feast.
pub(super) struct ReadFeast {
    client: reqwest::Client,
    url: String,
}

/// What is looked at of an answer.
#[derive(Deserialize)]
struct Answer {
    metadata: Names,
    results: Vec<Column>,
}

#[derive(Deserialize)]
struct Names {
    feature_names: Vec<String>,
}

#[derive(Deserialize)]
struct Column {
    values: Vec<Value>,
}

impl ReadFeast {
    async fn answer(&mut self, request: String) -> Result<Vec<u8>> {
        let request = self.client.post(&self.url).body(request);
        let answer = request.header("content-type", "application/json").send().await?;
        ensure!(answer.status().is_success(), "Feast answered {}", answer.status());
        Ok(answer.bytes().await?.to_vec())
    }

    /// The share of the values that are there, from 0 to 1, over some of the requests.
    pub(super) async fn present(address: SocketAddr, requests: &[String]) -> Result<f64> {
        let mut feast = Self::connect(address).await?;
        let (mut present, mut all) = (0, 0);
        for request in requests {
            let answer: Answer = serde_json::from_slice(&feast.answer(request.clone()).await?)?;
            let columns = answer.metadata.feature_names.iter().zip(answer.results);
            for (_, column) in columns.filter(|(name, _)| *name != "user_id") {
                all += column.values.len();
                present += column.values.iter().filter(|value| !value.is_null()).count();
            }
        }
        Ok(present as f64 / all.max(1) as f64)
    }
}

impl Call for ReadFeast {
    type Request = String;

    async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::new(),
            url: format!("http://{address}/get-online-features"),
        })
    }

    async fn ask(&mut self, request: String) -> Result<()> {
        self.answer(request).await.map(drop)
    }
}
