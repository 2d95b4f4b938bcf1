//! Clients of the server: each has a connection of its own and one request under way at a time.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use asof_core::status::Status;
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1::GetFeaturesRequest;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// The longest latency that is told from longer ones, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// How the server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Clients.
    pub connections: usize,
    /// How long latencies are taken.
    pub measured: Duration,
    /// How long the server is asked before that.
    pub warm_up: Duration,
    /// Requests a second that all clients together send at set times, however long answers take; without it, each
    /// sends the next request when it has the answer.
    pub pace: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Requests a second, of all clients together.
    pub per_second: f64,
    /// The median latency in microseconds, as the client sees it.
    pub p50_micros: f64,
    /// The 99th percentile of the latency in microseconds.
    pub p99_micros: f64,
}

/// Asks the server at `address` with `requests`, in their order and from the start again.
///
/// # Errors
///
/// A server that cannot be reached, and any answer that is an error or has not the positions asked for.
pub async fn run<C: Call>(address: SocketAddr, requests: &Arc<[C::Request]>, load: Load) -> Result<Loaded> {
    let mut clients: Vec<Client<C>> = Vec::new();
    for client in 0..load.connections {
        // Each starts elsewhere, so that they do not follow each other.
        let first = requests.len() * client / load.connections.max(1);
        clients.push(Client {
            service: C::connect(address).await?,
            requests: Arc::clone(requests),
            next: first,
            between: load
                .pace
                .map(|pace| Duration::from_secs_f64(load.connections as f64 / pace)),
        });
    }
    let clients = phase(clients, load.warm_up).await?.clients;
    let done = phase(clients, load.measured).await?;
    let micros = |quantile| done.latencies.value_at_quantile(quantile) as f64 / 1e3;
    ensure!(
        !done.latencies.is_empty(),
        "no request was answered in {:?}",
        load.measured
    );
    Ok(Loaded {
        per_second: done.latencies.len() as f64 / done.seconds,
        p50_micros: micros(0.5),
        p99_micros: micros(0.99),
    })
}

/// The share of the values that are there, over one pass of some of the requests, from 0 to 1.
///
/// # Errors
///
/// As [`run`].
pub async fn present(address: SocketAddr, requests: &Arc<[GetFeaturesRequest]>, most: usize) -> Result<f64> {
    let mut service = GetFeatures::connect(address).await?;
    let (mut present, mut all) = (0_u64, 0_u64);
    for request in requests.iter().take(most) {
        for feature in service.answer(request.clone()).await?.features()? {
            all += feature.statuses.len() as u64;
            let there = |status: &&Status| **status == Status::Present;
            present += feature.statuses.iter().filter(there).count() as u64;
        }
    }
    Ok(present as f64 / all.max(1) as f64)
}

/// The answer to the first of the requests.
///
/// # Errors
///
/// As [`run`].
pub async fn first(address: SocketAddr, requests: &Arc<[GetFeaturesRequest]>) -> Result<GetFeaturesResponse> {
    let first = requests.first().context("there are no requests")?;
    GetFeatures::connect(address).await?.answer(first.clone()).await
}

/// A connection for gRPC.
///
/// # Errors
///
/// A server that cannot be reached.
pub async fn channel(address: SocketAddr) -> Result<Channel> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await;
    channel.with_context(|| format!("cannot reach the server at {address}"))
}

/// A kind of call.
pub trait Call: Send + Sized + 'static {
    /// What is sent.
    type Request: Clone + Send + Sync + 'static;

    /// Calls over a connection of its own.
    ///
    /// # Errors
    ///
    /// A server that cannot be reached.
    fn connect(address: SocketAddr) -> impl Future<Output = Result<Self>> + Send;

    /// Makes one call, whose answer must be right.
    ///
    /// # Errors
    ///
    /// A call that failed, or another answer.
    fn ask(&mut self, request: Self::Request) -> impl Future<Output = Result<()>> + Send;
}

/// Reads features.
pub struct GetFeatures(OnlineServiceClient<Channel>);

impl GetFeatures {
    async fn answer(&mut self, request: GetFeaturesRequest) -> Result<GetFeaturesResponse> {
        let column = request.keys.first().and_then(|column| column.values.as_ref());
        let asked = column.map_or(0, |values| values.length);
        let answer = self.0.get_features(request).await?.into_inner();
        ensure!(
            answer.rows == asked,
            "asked for {asked} positions, got {}",
            answer.rows
        );
        Ok(answer)
    }
}

impl Call for GetFeatures {
    type Request = GetFeaturesRequest;

    async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self(OnlineServiceClient::new(channel(address).await?)))
    }

    async fn ask(&mut self, request: GetFeaturesRequest) -> Result<()> {
        self.answer(request).await.map(drop)
    }
}

struct Phase<C: Call> {
    clients: Vec<Client<C>>,
    latencies: Histogram<u64>,
    seconds: f64,
}

/// Lets all clients ask for so long.
async fn phase<C: Call>(clients: Vec<Client<C>>, length: Duration) -> Result<Phase<C>> {
    let start = Instant::now();
    let mut asking = JoinSet::new();
    let count = clients.len();
    for (at, client) in clients.into_iter().enumerate() {
        let offset = client
            .between
            .unwrap_or_default()
            .mul_f64(at as f64 / count as f64);
        asking.spawn(client.ask_until(start + offset, start + length));
    }
    let mut done = Phase {
        clients: Vec::new(),
        latencies: histogram()?,
        seconds: 0.0,
    };
    while let Some(asked) = asking.join_next().await {
        let (client, latencies) = asked??;
        done.latencies.add(&latencies)?;
        done.clients.push(client);
    }
    done.seconds = start.elapsed().as_secs_f64();
    Ok(done)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, DIGITS)?)
}

struct Client<C: Call> {
    service: C,
    requests: Arc<[C::Request]>,
    next: usize,
    /// How long after a request the next one is due, where there is a pace.
    between: Option<Duration>,
}

impl<C: Call> Client<C> {
    async fn ask_until(mut self, from: Instant, end: Instant) -> Result<(Self, Histogram<u64>)> {
        let mut latencies = histogram()?;
        let mut due = from;
        while Instant::now().max(due) < end {
            let start = match self.between {
                None => Instant::now(),
                Some(between) => {
                    let start = at_due(due).await;
                    due += between;
                    start
                }
            };
            let request = self.requests.get(self.next).context("there are no requests")?;
            self.service.ask(request.clone()).await?;
            self.next = (self.next + 1) % self.requests.len();
            let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(LONGEST);
            latencies.saturating_record(nanos);
        }
        Ok((self, latencies))
    }
}

/// When a request that is due at `due` starts: then, also where the client was still busy, so that waiting for it
/// counts; only the timer's own lateness does not.
async fn at_due(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}
