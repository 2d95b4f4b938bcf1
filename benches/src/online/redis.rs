//! Redis, with the same values: a hash for each key, a field for each feature, read by `HMGET`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, Value};

use super::ground::Ground;
use crate::generate::features;
use crate::stage::load::Call;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// Rows that are written at a time.
const ROWS: usize = 1_000;

/// A server, which ends when this is dropped.
pub(super) struct Redis {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Redis {
    /// Starts a server that keeps nothing on disk, and waits until it answers.
    pub(super) async fn start(program: &Path) -> Result<Self> {
        let address = free_port()?;
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
        ]);
        let child = command
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let redis = Self { child, address };
        let begun = Instant::now();
        while let Err(error) = connect(address).await {
            ensure!(begun.elapsed() < START, "redis-server did not start: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    /// Its version.
    pub(super) async fn version(&self) -> Result<String> {
        let mut connection = connect(self.address).await?;
        let told: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await?;
        let version = told.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.context("Redis does not tell its version")?.to_owned())
    }

    /// Writes what the files of a ground hold, a row for each key.
    pub(super) async fn fill(&self, ground: &Ground) -> Result<()> {
        let mut connection = connect(self.address).await?;
        for (view, file) in &ground.files {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
            for batch in reader.with_batch_size(ROWS).build()? {
                let pipeline = rows_of(view, &batch?)?;
                pipeline.exec_async(&mut connection).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback that nobody listens on.
pub(super) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn connect(address: SocketAddr) -> redis::RedisResult<MultiplexedConnection> {
    let client = Client::open(format!("redis://{address}"))?;
    client.get_multiplexed_async_connection().await
}

fn rows_of(view: &str, batch: &RecordBatch) -> Result<Pipeline> {
    let column = |name: &str| {
        let column = batch.column_by_name(name);
        column.with_context(|| format!("the files have no column {name:?}"))
    };
    let keys = column("user_id")?.as_primitive::<Int64Type>();
    let columns = features().map(|name| Ok((format!("{view}:{name}"), column(name)?)));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let mut pipeline = Pipeline::new();
    for row in 0..batch.num_rows() {
        let hash = pipeline.cmd("HSET").arg(keys.value(row));
        for (name, values) in columns.iter().filter(|(_, values)| values.is_valid(row)) {
            hash.arg(name).arg(&bytes(values, row)?);
        }
        hash.ignore();
    }
    Ok(pipeline)
}

fn bytes(values: &ArrayRef, row: usize) -> Result<[u8; 8]> {
    if let Some(floats) = values.as_primitive_opt::<Float64Type>() {
        return Ok(floats.value(row).to_le_bytes());
    }
    let numbers = values.as_primitive_opt::<Int64Type>();
    Ok(numbers
        .context("neither a float nor a number")?
        .value(row)
        .to_le_bytes())
}

/// `HMGET` of all features, one for each key of a request, in one pipeline.
#[derive(Clone)]
pub(super) struct Hmget {
    pipeline: Arc<Pipeline>,
    keys: usize,
    features: usize,
}

impl Hmget {
    /// Requests for the keys of each position.
    pub(super) fn requests(names: &[String], keys: &[Vec<i64>]) -> Arc<[Self]> {
        let request = |keys: &Vec<i64>| {
            let mut pipeline = Pipeline::new();
            for key in keys {
                pipeline.cmd("HMGET").arg(*key).arg(names);
            }
            Self {
                pipeline: Arc::new(pipeline),
                keys: keys.len(),
                features: names.len(),
            }
        };
        keys.iter().map(request).collect()
    }
}

/// Reads features from Redis.
pub(super) struct ReadHashes(MultiplexedConnection);

impl ReadHashes {
    async fn answer(&mut self, request: &Hmget) -> Result<Vec<Value>> {
        let answer: Vec<Value> = request.pipeline.query_async(&mut self.0).await?;
        let whole = |value: &Value| matches!(value, Value::Array(values) if values.len() == request.features);
        ensure!(
            answer.len() == request.keys && answer.iter().all(whole),
            "Redis answered {} of {} keys, or not all features",
            answer.len(),
            request.keys
        );
        Ok(answer)
    }

    /// The share of the values that are there, from 0 to 1, over some of the requests.
    pub(super) async fn present(address: SocketAddr, requests: &[Hmget]) -> Result<f64> {
        let mut redis = Self::connect(address).await?;
        let (mut present, mut all) = (0, 0);
        for request in requests {
            for hash in redis.answer(request).await? {
                if let Value::Array(values) = hash {
                    all += values.len();
                    present += values.iter().filter(|value| **value != Value::Nil).count();
                }
            }
        }
        Ok(present as f64 / all.max(1) as f64)
    }
}

impl Call for ReadHashes {
    type Request = Hmget;

    async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self(connect(address).await?))
    }

    async fn ask(&mut self, request: Hmget) -> Result<()> {
        self.answer(&request).await.map(drop)
    }
}
