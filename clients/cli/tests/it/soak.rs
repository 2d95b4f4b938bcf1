//! A soak: under 70 % of the load that the machine bears, for as long as is asked for, no call fails, what was pushed
//! is served, and memory stays flat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use asof_client::{Client, Selection};
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::abuse::memory;
use crate::project::Project;
use crate::pushing;
use crate::server::Server;

/// How long it lasts, in seconds, without `ASOF_SOAK_SECONDS`.
const USUAL: u64 = 20;
/// Who call at the same time, each for customers of its own.
const CALLERS: i64 = 8;
/// How many customers there are.
const CUSTOMERS: i64 = 8_000;
/// Of so many calls one is a push, the others ask for features.
const PUSHES: u64 = 10;
/// How many customers a call asks for.
const ASKED: i64 = 10;
/// What the configuration gives to caches and to what is not in files yet, in MiB: the least.
const MEMORY: u64 = 16;
/// Of the load that is borne, in per cent.
const LOAD: f64 = 70.0;
/// How long it lasts at the least, in seconds, for memory and times to be compared: beside other tests, and before caches
/// are full, they say nothing.
const LONG: u64 = 300;
/// How long one call in a hundred may take from when it was due: beside it runs are made on the same cores.
const PATIENCE: Duration = Duration::from_secs(5);
/// By how much memory may grow from the first third behind the warm-up to the last: a part in so many, or bytes.
const GROWTH: (u64, u64) = (10, 32 << 20);

/// Somebody who pushes and asks.
struct Caller {
    number: i64,
    /// Tells pushes of a phase from others.
    phase: &'static str,
    features: Client,
    ingest: IngestServiceClient<Channel>,
    calls: u64,
    pushes: u64,
    /// What each of its customers was pushed last.
    pushed: Vec<Option<f64>>,
}

impl Caller {
    async fn new(url: String, number: i64) -> Self {
        Self {
            number,
            phase: "",
            features: Client::connect(&url).await.unwrap(),
            ingest: IngestServiceClient::connect(url).await.unwrap(),
            calls: 0,
            pushes: 0,
            pushed: vec![None; (CUSTOMERS / CALLERS) as usize],
        }
    }

    /// The customer at a place among its own, from which on it counts around.
    fn customer(&self, place: u64) -> i64 {
        let own = place.wrapping_mul(7_919) % self.pushed.len() as u64;
        self.number + CALLERS * own as i64
    }

    /// Makes the next call; whether it was a push.
    async fn call(&mut self) -> bool {
        self.calls += 1;
        let is_push = self.calls.is_multiple_of(PUSHES);
        match is_push {
            true => self.push().await,
            false => self.ask().await,
        }
        is_push
    }

    async fn push(&mut self) {
        self.pushes += 1;
        let (customer, amount) = (self.customer(self.pushes), self.pushes as f64 / 4.0);
        let id = format!("{}-{}-{}", self.phase, self.number, self.pushes);
        let request = pushing::request(&id, customer, amount);
        let answer = self.ingest.push(request).await.unwrap().into_inner();
        assert_eq!(answer.accepted, 1);
        self.pushed[(customer / CALLERS) as usize] = Some(amount);
    }

    async fn ask(&mut self) {
        let customers: Vec<i64> = (0..ASKED)
            .map(|place| self.customer(self.calls + place as u64))
            .collect();
        let expected: Vec<Option<f64>> = customers
            .iter()
            .map(|customer| self.pushed[(customer / CALLERS) as usize])
            .collect();
        let keys: ArrayRef = Arc::new(Int64Array::from(customers));
        let keys = RecordBatch::try_from_iter([("customer_id", keys)]).unwrap();
        let selection = Selection::Features(vec!["last_click:amount".into()]);
        let found = self.features.get_features(&selection, &keys).await.unwrap();
        let amounts = found.values("last_click__amount").unwrap();
        let amounts: Vec<Option<f64>> = amounts.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(amounts, expected);
    }
}

/// How long calls took from when they were due.
#[derive(Default)]
struct Took {
    asking: Vec<Duration>,
    pushing: Vec<Duration>,
}

impl Took {
    fn calls(&self) -> usize {
        self.asking.len() + self.pushing.len()
    }

    /// In words, and how long one call in a hundred took.
    fn told(mut self) -> (String, Duration) {
        let quantiles = |of: &mut Vec<Duration>| {
            of.sort();
            [500, 990, 999].map(|part| of[(of.len() * part / 1_000).min(of.len() - 1)])
        };
        let asking = quantiles(&mut self.asking);
        let pushing = quantiles(&mut self.pushing);
        let told = [("reads", asking), ("pushes", pushing)]
            .map(|(what, [p50, p99, p999])| format!("{what} p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}"));
        self.asking.append(&mut self.pushing);
        (told.join("; "), quantiles(&mut self.asking)[1])
    }
}

/// Lets each caller call until `end`, one call after the other, at the most one every `pace`.
async fn load(callers: Vec<Caller>, end: Instant, pace: Duration) -> (Vec<Caller>, Took) {
    let mut running = JoinSet::new();
    for mut caller in callers {
        running.spawn(async move {
            let mut took = Took::default();
            let mut due = Instant::now() + pace * caller.number as u32 / CALLERS as u32;
            while due < end {
                tokio::time::sleep_until(due.into()).await;
                match caller.call().await {
                    true => took.pushing.push(due.elapsed()),
                    false => took.asking.push(due.elapsed()),
                }
                // Those who are not paced are due when they are done.
                due = (due + pace).max(if pace.is_zero() { Instant::now() } else { due });
            }
            (caller, took)
        });
    }
    let (mut callers, mut all) = (Vec::new(), Took::default());
    for (caller, took) in running.join_all().await {
        callers.push(caller);
        all.asking.extend(took.asking);
        all.pushing.extend(took.pushing);
    }
    callers.sort_by_key(|caller| caller.number);
    (callers, all)
}

/// What an operator has done all the time: runs, and looks at how it is, three times as often at the latter. Gives how
/// much memory the server has.
fn operate(project: &Project, server: &Server, end: Instant, every: Duration) -> Vec<u64> {
    let mut memories = Vec::new();
    while Instant::now() < end {
        if memories.len().is_multiple_of(3) {
            project.done(&["materialize"]);
            let status = project.done(&["status", "--json"]).json();
            assert!(
                status["views"].as_array().is_some_and(|views| !views.is_empty()),
                "{status}"
            );
        }
        memories.push(memory(server));
        std::thread::sleep(every);
    }
    memories
}

fn middle(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn the_load_of_a_day_is_borne() {
    let seconds = std::env::var("ASOF_SOAK_SECONDS").map_or(USUAL, |text| text.parse().unwrap());
    let lasts = Duration::from_secs(seconds);
    let project = pushing::project_in(&std::env::temp_dir(), "process");
    // So that what is bounded by it is full soon, and replaced many times.
    let config = project.read("asof.toml");
    project.write("asof.toml", &format!("{config}memory = \"{MEMORY} MiB\"\n"));
    let mut server = Server::start(&project, &[]);
    let runtime = pushing::runtime();

    let mut callers = runtime.block_on(async {
        let callers = (0..CALLERS).map(|number| Caller::new(server.url.clone(), number));
        futures::future::join_all(callers).await
    });
    // The first push makes the view serve.
    for caller in &mut callers {
        caller.phase = "first";
        runtime.block_on(caller.push());
        caller.phase = "flat-out";
    }
    let (measured, every) = (lasts / 10, (lasts / 60).max(Duration::from_secs(1)));
    let end = Instant::now() + measured;
    let loading = runtime.spawn(load(callers, end, Duration::ZERO));
    operate(&project, &server, end, every);
    let (mut callers, took) = runtime.block_on(loading).unwrap();
    let capacity = took.calls() as f64 / measured.as_secs_f64();

    callers.iter_mut().for_each(|caller| caller.phase = "soak");
    let pace = Duration::from_secs_f64(CALLERS as f64 / (capacity * LOAD / 100.0));
    let end = Instant::now() + lasts;
    let loading = runtime.spawn(load(callers, end, pace));
    let memories = operate(&project, &server, end, every);
    // Callers that do not keep up are not waited for.
    let loading = runtime.block_on(async { tokio::time::timeout(12 * PATIENCE, loading).await });
    let (_, took) = loading.expect("the load is not borne").unwrap();

    let calls = took.calls();
    let (told, p99) = took.told();
    // The first quarter is the warm-up.
    let warm = &memories[memories.len() / 4..];
    let third = warm.len().div_ceil(3);
    let (first, last) = (middle(&warm[..third]), middle(&warm[warm.len() - third..]));
    eprintln!(
        "figure: {capacity:.0} calls a second flat out, one in {PUSHES} a push; {seconds} s of {LOAD} % of that: {calls} calls, \
         none failed; {told}; memory {} MiB after the warm-up, {} MiB at the end",
        first >> 20,
        last >> 20
    );
    if seconds < LONG {
        server.signal("-TERM");
        assert!(server.wait().success());
        return;
    }
    let borne = calls as f64 / (seconds as f64 * capacity * LOAD / 100.0);
    assert!(borne > 0.95, "{borne} of the load was borne");
    assert!(p99 < PATIENCE, "p99 is {p99:?}");
    let most = first + (first / GROWTH.0).max(GROWTH.1);
    assert!(last <= most, "memory grows: {memories:?}");
    server.signal("-TERM");
    assert!(server.wait().success());
}
