//! Rows that come as messages of NATS JetStream.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use asof_core::data_type::DataType;
use asof_core::definition::Location;
use asof_core::status::Status;
use asof_proto::convert::to_proto;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use asof_proto::v1::{Column, GetFeaturesRequest};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context as JetStream};
use bytes::Bytes;
use hdrhistogram::Histogram;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::time::sleep;

use crate::generate::SERVICE;
use crate::stage::load;
use crate::workload::Opened;

/// How many different messages there are.
const MESSAGES: usize = 100_000;
/// How many messages are on their way to the broker at a time: fewer than its client waits for.
const UNDER_WAY: usize = 2_000;
const STREAM: &str = "ROWS";
const SUBJECT: &str = "rows";
/// The longest that anything is waited for.
const LONGEST: Duration = Duration::from_secs(120);

/// A nats-server, which ends when this is dropped.
pub struct Nats {
    child: Child,
    url: String,
}

/// How late messages were.
#[derive(Debug, Clone, Copy)]
pub struct Streamed {
    /// The median, in milliseconds.
    pub p50_millis: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_millis: f64,
}

/// What is asked of a server while messages come.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The server.
    pub address: SocketAddr,
    /// For how long.
    pub seconds: f64,
    /// How many messages come, beside those that are waited for.
    pub per_second: f64,
}

impl Nats {
    /// Starts one on a free port of the loopback.
    ///
    /// # Errors
    ///
    /// One that does not start.
    pub fn start(program: &Path, scratch: &Path) -> Result<Self> {
        let scratch = std::path::absolute(scratch)?;
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"]);
        command.arg(&scratch).arg("--ports_file_dir").arg(&scratch);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let ports = scratch.join(format!("nats-server_{}.ports", child.id()));
        let mut started = Self {
            child,
            url: String::new(),
        };
        let began = Instant::now();
        while started.url.is_empty() {
            ensure!(began.elapsed() < LONGEST, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(10));
            let told = fs::read_to_string(&ports).unwrap_or_default();
            let url = told.split('"').find(|part| part.starts_with("nats://"));
            started.url = url.unwrap_or_default().to_owned();
        }
        Ok(started)
    }

    /// The stream, as a definition file says it.
    pub fn definition(&self) -> String {
        format!("nats = \"{}\", subject = \"{SUBJECT}\"", self.url)
    }

    async fn client(&self) -> Result<JetStream> {
        Ok(jetstream::new(async_nats::connect(&self.url).await?))
    }

    /// Makes the stream, in the memory of the broker.
    ///
    /// # Errors
    ///
    /// A broker that does not.
    pub async fn make(&self) -> Result<()> {
        let config = Config {
            name: STREAM.into(),
            subjects: vec![SUBJECT.into()],
            storage: StorageType::Memory,
            ..Config::default()
        };
        self.client().await?.create_stream(config).await?;
        Ok(())
    }

    /// Publishes so many messages, from the first on and then again.
    ///
    /// # Errors
    ///
    /// A broker that does not take them.
    pub async fn publish(&self, messages: &[Bytes], count: usize) -> Result<()> {
        let client = self.client().await?;
        let mut under_way = Vec::with_capacity(UNDER_WAY);
        for message in messages.iter().cycle().take(count) {
            under_way.push(client.publish(SUBJECT, message.clone()).await?);
            if under_way.len() == UNDER_WAY {
                futures::future::try_join_all(under_way.drain(..).map(IntoFuture::into_future)).await?;
            }
        }
        futures::future::try_join_all(under_way.into_iter().map(IntoFuture::into_future)).await?;
        Ok(())
    }

    /// Publishes messages at a rate, and beside them, one after the other, rows of keys that nobody has: each is asked for
    /// until it is there.
    ///
    /// # Errors
    ///
    /// A row that does not come.
    pub async fn delays(&self, opened: &Opened, messages: &[Bytes], asked: Asked) -> Result<Streamed> {
        let beside = self.client().await?;
        let (messages, per_second) = (messages.to_vec(), asked.per_second);
        let load = tokio::spawn(async move {
            let began = Instant::now();
            for (number, message) in messages.iter().cycle().enumerate() {
                let due = Duration::from_secs_f64(number as f64 / per_second);
                if let Some(early) = due
                    .checked_sub(began.elapsed())
                    .filter(|early| early.as_millis() > 0)
                {
                    sleep(early).await;
                }
                // What the broker answers is not waited for.
                drop(beside.publish(SUBJECT, message.clone()).await?);
            }
            Ok::<_, anyhow::Error>(())
        });
        let delays = self.probe(opened, asked).await;
        load.abort();
        delays
    }

    async fn probe(&self, opened: &Opened, asked: Asked) -> Result<Streamed> {
        let client = self.client().await?;
        let mut server = OnlineServiceClient::new(load::channel(asked.address).await?);
        let mut delays = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
        let (began, end) = (Instant::now(), Duration::from_secs_f64(asked.seconds));
        // So that no run asks for what another one published.
        let mut key = -i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_micros())?;
        while began.elapsed() < end {
            key -= 1;
            let message = probe(opened, key)?;
            let published = Instant::now();
            drop(client.publish(SUBJECT, message).await?);
            let request = request(key)?;
            loop {
                let answer = server.get_features(request.clone()).await?.into_inner();
                let features = answer.features()?;
                let there = features
                    .first()
                    .is_some_and(|feature| feature.statuses.contains(&Status::Present));
                if there {
                    break;
                }
                ensure!(published.elapsed() < LONGEST, "a row did not come");
                // Asking all the time would take the processors from what is measured.
                sleep(Duration::from_millis(1)).await;
            }
            delays.saturating_record(u64::try_from(published.elapsed().as_micros())?);
        }
        let millis = |quantile| delays.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Streamed {
            p50_millis: millis(0.5),
            p99_millis: millis(0.99),
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(key: i64) -> Result<GetFeaturesRequest> {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![key]));
    let values = to_proto(&DataType::Int64, &keys)?;
    Ok(GetFeaturesRequest {
        service: SERVICE.into(),
        features: Vec::new(),
        keys: vec![Column {
            name: "user_id".into(),
            values: Some(values),
        }],
        request: Vec::new(),
    })
}

/// A row of a key.
fn probe(opened: &Opened, key: i64) -> Result<Bytes> {
    let mut row = serde_json::Map::new();
    for (column, data_type) in schema(opened)? {
        let value = match data_type {
            _ if column == "user_id" => key.into(),
            DataType::Timestamp => "2024-03-30T00:00:00Z".into(),
            DataType::Float64 => 0.5.into(),
            _ => 1.into(),
        };
        row.insert(column.clone(), value);
    }
    Ok(serde_json::to_vec(&row)?.into())
}

fn schema(opened: &Opened) -> Result<&[(String, DataType)]> {
    let source = opened.version.definitions.sources.values().next();
    match source.map(|source| &source.location) {
        Some(Location::Managed { schema, .. }) => Ok(schema),
        _ => bail!("there is no managed source"),
    }
}

/// Messages with the rows of a file, a JSON object each.
///
/// # Errors
///
/// A file that cannot be read, or has other columns.
pub fn messages(opened: &Opened, file: &Path) -> Result<Vec<Bytes>> {
    let schema = schema(opened)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
    let mut messages = Vec::new();
    for batch in reader.with_batch_size(1_000).build()? {
        let batch = batch?;
        let columns = schema.iter().map(|(column, data_type)| {
            let array = batch.column_by_name(column);
            let array = array.with_context(|| format!("{} has no column {column:?}", file.display()))?;
            Ok((column.as_str(), cast(array, &data_type.to_arrow())?))
        });
        let batch = RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>>>()?)?;
        let mut lines = Vec::new();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut lines);
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        messages.extend(lines.map(Bytes::copy_from_slice));
        if messages.len() >= MESSAGES {
            break;
        }
    }
    ensure!(!messages.is_empty(), "{} has no rows", file.display());
    Ok(messages)
}

/// How many messages a second a server reads of those that wait for it, after the first fifth.
///
/// # Errors
///
/// A server that does not read all of them, or takes one for a dead letter.
pub async fn drained(address: SocketAddr) -> Result<f64> {
    let began = Instant::now();
    let (mut first, mut last) = (None, (Instant::now(), 0.0));
    loop {
        ensure!(
            began.elapsed() < LONGEST,
            "messages are not read: {} were",
            last.1
        );
        sleep(Duration::from_millis(20)).await;
        let told = reqwest::get(format!("http://{address}/metrics"))
            .await?
            .text()
            .await?;
        let now = Instant::now();
        let sum = |name: &str| {
            let lines = told.lines().filter_map(|line| line.strip_prefix(name));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
        };
        ensure!(
            sum("asof_stream_dead_letters_total{").unwrap_or(0.0) == 0.0,
            "there are dead letters"
        );
        let Some(read) = sum("asof_stream_messages_total{").filter(|read| *read > 0.0) else {
            continue;
        };
        if first.is_none() {
            first = Some((now, read));
        }
        if read > last.1 {
            last = (now, read);
        } else if now - last.0 > Duration::from_secs(1) {
            let (start, from) = first.unwrap_or(last);
            ensure!(last.0 > start, "too few messages to tell a rate");
            return Ok((last.1 - from) / (last.0 - start).as_secs_f64());
        }
    }
}
