//! Online reads beside what they are measured by: an echo on the same server, Redis, and Feast on Redis.

pub mod feast;
mod ground;
mod redis;
mod turns;
mod windows;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use asof_proto::v1::job_service_client::JobServiceClient;
use asof_proto::v1::{GetStatusRequest, MaterializeRequest};
use clap::ValueEnum;
use tokio::runtime::Runtime;

use self::feast::{Feast, FeastServer, ReadFeast};
use self::ground::Ground;
use self::redis::{Hmget, ReadHashes, Redis};
use self::turns::{Asked, Contestant, Runs};
use crate::child::Server;
use crate::generate::{KeyKind, Spec};
use crate::report::{Comparison, count, counted};
use crate::spread::Spread;
use crate::stage::Task;
use crate::stage::echo::Echo;
use crate::stage::load::{self, Load};
use crate::stage::serve::Served;
use crate::verdict::Wanted;

/// Views of the wide service, each with ten features over a source of its own.
const VIEWS: u64 = 25;
/// Keys of the sets that are read most; fewer where the generated set has fewer.
const FEW: u64 = 10_000;
/// Positions of a large request.
const MANY: usize = 100;
/// Requests of [`MANY`] positions of which the answers are held against those of the peers.
const LOOKED_AT: usize = 30;
/// How long keys are asked for the first time.
const COLD: Duration = Duration::from_secs(1);
/// How long a bulk load goes on before reads beside it count.
const UNDER_WAY: Duration = Duration::from_millis(500);

const TITLE: &str = "Online, beside an echo, Redis and Feast";
const METHOD: &str = "\
Reads over the loopback, clients on the same cores as the servers, which take turns. The echo is the same call on the same
server, answered with one answer of the same size. Redis answers HMGET of the same values in one pipeline a request, Feast
by its own HTTP server with a process for each core, on the same Redis; over some requests all three had the same share of
values. At half load, requests are sent at set times, half as many a second as were answered before, and latency counts
from then, without the lateness of the client's own timer. Of many keys, up to 20,000 are asked for, over and over. Cold
keys are asked for the first time since the server started, their files in the page cache. Bulk loads ran once each;
beside reads, one after the other. Windows are count, sum and mean over 1 hour, 1 day and 7 days, materialized from eight
days of events, or pushed to with process durability by requests of 100 rows of other keys each. Ratios are of medians and are never rounded towards what is wanted.
";

/// What is wanted.
mod wanted {
    /// Of the requests a second, as a ratio to those of the echo.
    pub(super) const ONE_WIDE: f64 = 0.6;
    pub(super) const ONE_NARROW: f64 = 0.85;
    pub(super) const MANY_WIDE: f64 = 0.25;
    /// The same, to those of Feast.
    pub(super) const ONE_FEAST: f64 = 100.0;
    pub(super) const MANY_FEAST: f64 = 600.0;
    /// Milliseconds at half load.
    pub(super) const ONE_P99: f64 = 2.0;
    pub(super) const MANY_P99: f64 = 8.0;
    /// Of a million keys, to few: a quarter slower.
    pub(super) const MILLION: f64 = 0.8;
    /// Of the p99 beside a bulk load, to that without.
    pub(super) const BESIDE_LOAD: f64 = 3.0;
    /// Of a bulk load.
    pub(super) const ROWS_PER_SECOND: f64 = 400_000.0;
    pub(super) const LOAD_FEAST: f64 = 40.0;
    /// Bytes of a row with ten values of eight bytes.
    pub(super) const BYTES: f64 = 80.0 + 48.0;
    /// Of the requests a second for windows, as a ratio to those of the echo.
    pub(super) const WINDOWS: f64 = 0.3;
    /// Of keys with many events, to keys with few: a quarter slower.
    pub(super) const FLAT: f64 = 0.8;
    /// Of pushes into windows.
    pub(super) const PUSHED: f64 = 60_000.0;
}

/// What to measure.
pub struct Comparing<'a> {
    /// Where sets and stores go.
    pub data: &'a Path,
    /// The generated set.
    pub spec: &'a Spec,
    /// How often each figure is taken.
    pub runs: usize,
    /// Clients of the loads with several.
    pub connections: usize,
    /// How the servers are asked.
    pub load: Load,
    /// A `redis-server`.
    pub redis: Option<&'a Path>,
    /// Feast, which needs Redis.
    pub feast: Option<&'a Feast>,
    /// The cases.
    pub cases: &'a [Reads],
}

/// A case that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// Many views of few keys, beside all peers.
    FewKeys,
    /// Many views of as many keys as the generated set has, beside few.
    ManyKeys,
    /// One view, beside an echo.
    OneView,
    /// One view, beside a bulk load.
    BesideLoad,
    /// Windows, beside an echo, of keys with few events and with many.
    Windows,
    /// Pushes into windows.
    PushedWindows,
}

impl Reads {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FewKeys,
        Self::ManyKeys,
        Self::OneView,
        Self::BesideLoad,
        Self::Windows,
        Self::PushedWindows,
    ];
}

/// Measures.
///
/// # Errors
///
/// A server that does not start or answer, and answers that differ.
pub fn run(on: Comparing<'_>) -> Result<Comparison> {
    let mut online = Online {
        on,
        runtime: Runtime::new()?,
        found: Comparison::new(TITLE, METHOD),
    };
    for case in online.on.cases {
        match case {
            Reads::FewKeys => online.few_keys()?,
            Reads::ManyKeys => online.many_keys()?,
            Reads::OneView => online.one_view()?,
            Reads::BesideLoad => online.beside_a_load()?,
            Reads::Windows => online.windows()?,
            Reads::PushedWindows => online.pushed_windows()?,
        }
    }
    Ok(online.found)
}

struct Online<'a> {
    on: Comparing<'a>,
    runtime: Runtime,
    found: Comparison,
}

/// The peers that there are, filled with a ground's values.
struct Peers {
    redis: Option<Redis>,
    feast: Option<FeastServer>,
}

impl Online<'_> {
    fn few_keys(&mut self) -> Result<()> {
        let few = self.ground("few keys", FEW, VIEWS)?;
        let peers = self.peers(&few)?;
        let server = serve(&few, true)?;
        self.same_values(&few, &server, &peers)?;
        let one = format!("1 entity × {} features", few.features().len());
        let many = format!("{MANY} entities × {} features", few.features().len());
        let wide = [wanted::ONE_WIDE, wanted::ONE_FEAST, wanted::ONE_P99];
        self.beside_peers(&few, &server, &peers, 1, (&one, wide))?;
        let wide = [wanted::MANY_WIDE, wanted::MANY_FEAST, wanted::MANY_P99];
        self.beside_peers(&few, &server, &peers, MANY, (&many, wide))?;
        drop(peers);
        drop(server);
        self.caches(&few, &one, 1)?;
        self.caches(&few, &many, MANY)?;
        few.remove()
    }

    fn many_keys(&mut self) -> Result<()> {
        let few = self.ground("few keys", FEW, VIEWS)?;
        let one = format!("1 entity × {} features", few.features().len());
        let million = self.ground("many keys", self.on.spec.keys, VIEWS)?;
        self.cold(&million, &one)?;
        let (server, other) = (serve(&few, true)?, serve(&million, true)?);
        // Each key once, so that the loads find them cached.
        for (ground, server) in [(&few, &server), (&million, &other)] {
            let requests = ground.callers.requests(1)?;
            self.runtime
                .block_on(load::present(server.address, &requests, requests.len()))?;
        }
        let keys = [&few, &million].map(|ground| count(ground.materialized.keys / VIEWS));
        let both = [
            ours("few keys", &server, &few, 1)?,
            ours("many keys", &other, &million, 1)?,
        ];
        for connections in self.connections() {
            let label = format!("{one} of {} keys, {}", keys[1], clients(connections));
            let runs = self.turns(&label, &both, self.load(connections))?;
            let rates = runs.iter().map(|runs| runs.per_second.median).collect::<Vec<_>>();
            if let [few, million] = rates[..] {
                let against = vec![(format!("{} keys", keys[0]), few)];
                self.found.verdict(
                    &label,
                    "requests/s",
                    million,
                    against,
                    Wanted::AtLeast(wanted::MILLION),
                );
            }
        }
        drop((server, other));
        self.caches(&million, &format!("{one} of {} keys", keys[1]), 1)?;
        few.remove()?;
        million.remove()
    }

    /// One view alone.
    fn one_view(&mut self) -> Result<()> {
        let ground = self.ground("one view", 10 * FEW, 1)?;
        if let (Some(program), Some(feast)) = (self.on.redis, self.on.feast) {
            let redis = self.runtime.block_on(Redis::start(program))?;
            self.beside_feast(&ground, feast, &redis)?;
        }
        let server = serve(&ground, true)?;
        for connections in self.connections() {
            let label = format!(
                "1 entity × {} features, {}",
                ground.features().len(),
                clients(connections)
            );
            let contestants = self.with_echo(&ground, &server, 1)?;
            let runs = self.turns(&label, &contestants.0, self.load(connections))?;
            self.beside_echo(&label, &runs, wanted::ONE_NARROW);
        }
        drop(server);
        ground.remove()
    }

    /// A bulk load alone, what its rows take, and reads beside it.
    fn beside_a_load(&mut self) -> Result<()> {
        say("bulk load: ground");
        let spec = self.on.spec.clone();
        let ground = Ground::make(self.on.data, "load", &spec, 1)?;
        let label = format!("bulk load of {} rows", count(ground.materialized.rows_read));
        let rate = ground.materialized.rows_read as f64 / ground.materialized.seconds;
        self.found.limit(
            &label,
            "rows/s",
            rate,
            wanted::ROWS_PER_SECOND,
            Wanted::AtLeast(1.0),
        );
        let server = serve(&ground, true)?;
        let bytes = self.runtime.block_on(bytes_per_row(server.address))?;
        self.found.limit(
            "a row of 10 features of 8 bytes, with its key",
            "bytes, uncompressed",
            bytes,
            wanted::BYTES,
            Wanted::AtMost(1.0),
        );
        let reads = ours("asof", &server, &ground, 1)?;
        let full = self.load(self.on.connections);
        let busy = self.runtime.block_on(reads.run(full))?;
        let half = Load {
            pace: Some(busy.per_second / 2.0),
            ..full
        };
        let (mut quiet, mut beside, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
        for run in 1..=self.on.runs {
            say(&format!(
                "reads beside a bulk load, run {run} of {}",
                self.on.runs
            ));
            quiet.push(self.runtime.block_on(reads.run(half))?);
            let (read, rows) = self.runtime.block_on(while_loading(&reads, half))?;
            beside.push(read);
            loaded.push(rows);
        }
        let label = "1 entity × 10 features at half load";
        let (quiet, beside) = (Runs::of(&quiet), Runs::of(&beside));
        let (quiet, beside) = quiet.zip(beside).context("there were no runs")?;
        self.figures(&format!("{label}: quiet"), &quiet);
        self.figures(&format!("{label}: beside a bulk load"), &beside);
        if let Some(loaded) = Spread::of(loaded) {
            self.found
                .figure(&format!("{label}: the bulk load beside it"), "rows/s", loaded);
        }
        self.found.verdict(
            &format!("{label}, beside a bulk load"),
            "p99, ms",
            beside.p99.median,
            vec![("quiet".into(), quiet.p99.median)],
            Wanted::AtMost(wanted::BESIDE_LOAD),
        );
        drop(server);
        ground.remove()
    }

    /// A ground with a row of each view for each key.
    fn ground(&self, name: &str, keys: u64, views: u64) -> Result<Ground> {
        let keys = keys.min(self.on.spec.keys);
        say(&format!("{name}: ground of {views} views, {} keys", count(keys)));
        let spec = Spec {
            rows: keys,
            keys,
            spine_rows: keys,
            files: 1,
            seed: self.on.spec.seed,
            key: KeyKind::Int64,
            once: true,
        };
        Ground::make(self.on.data, &name.replace(' ', "-"), &spec, views)
    }

    /// Fills the peers with the values of a ground, and holds our bulk load against Feast's.
    fn peers(&mut self, ground: &Ground) -> Result<Peers> {
        let Some(program) = self.on.redis else {
            self.found
                .fact("peers", "not measured: no redis-server was named");
            return Ok(Peers {
                redis: None,
                feast: None,
            });
        };
        say("Redis: filling");
        let redis = self.runtime.block_on(Redis::start(program))?;
        self.runtime.block_on(redis.fill(ground))?;
        self.found.fact("redis", &self.runtime.block_on(redis.version())?);
        let feast = match self.on.feast {
            None => {
                self.found
                    .fact("feast", "not measured: no Python with Feast was named");
                None
            }
            Some(feast) => {
                self.beside_feast(ground, feast, &redis)?;
                Some(self.runtime.block_on(feast.serve(ground))?)
            }
        };
        Ok(Peers {
            redis: Some(redis),
            feast,
        })
    }

    /// Our bulk load of a ground beside Feast's into Redis.
    fn beside_feast(&mut self, ground: &Ground, feast: &Feast, redis: &Redis) -> Result<()> {
        say("Feast: materializing");
        let theirs = feast.materialize(ground, redis)?;
        self.found.fact("feast", &theirs.version);
        let rows = ground.materialized.rows_read;
        let views = ground.materialized.views;
        self.found.verdict(
            &format!(
                "bulk load of {} rows in {}",
                count(rows),
                counted(views, "view", "views")
            ),
            "rows/s",
            rows as f64 / ground.materialized.seconds,
            vec![("feast".into(), rows as f64 / theirs.seconds)],
            Wanted::AtLeast(wanted::LOAD_FEAST),
        );
        Ok(())
    }

    /// That the peers answer with as many values as we do.
    fn same_values(&mut self, ground: &Ground, server: &Server, peers: &Peers) -> Result<()> {
        let numbers = ground.callers.numbers(MANY)?;
        let some = numbers.get(..LOOKED_AT.min(numbers.len())).unwrap_or_default();
        let requests = ground.callers.requests(MANY)?;
        let ours = self
            .runtime
            .block_on(load::present(server.address, &requests, LOOKED_AT))?;
        let mut shares = Vec::new();
        if let Some(redis) = &peers.redis {
            let requests = Hmget::requests(&ground.features(), some);
            shares.push(
                self.runtime
                    .block_on(ReadHashes::present(redis.address, &requests))?,
            );
        }
        if let Some(feast) = &peers.feast {
            let requests = feast::requests(some);
            shares.push(
                self.runtime
                    .block_on(ReadFeast::present(feast.address, &requests))?,
            );
        }
        ensure!(
            shares.iter().all(|share| (share - ours).abs() < 1e-9),
            "of the values {ours} were there, and of the peers' {shares:?}"
        );
        self.found.fact(
            "few keys",
            &format!(
                "{} keys, {:.1} % of the values there",
                count(ground.materialized.keys / VIEWS),
                ours * 100.0
            ),
        );
        Ok(())
    }

    /// Requests for so many entities beside all peers, with what is wanted to the echo, to Feast, and of the p99.
    fn beside_peers(
        &mut self,
        ground: &Ground,
        server: &Server,
        peers: &Peers,
        entities: usize,
        (label, [echo, feast, p99]): (&str, [f64; 3]),
    ) -> Result<()> {
        let (mut contestants, _echo) = self.with_echo(ground, server, entities)?;
        let numbers = ground.callers.numbers(entities)?;
        if let Some(redis) = &peers.redis {
            contestants.push(Contestant {
                name: "redis",
                address: redis.address,
                asked: Asked::Redis(Hmget::requests(&ground.features(), &numbers)),
            });
        }
        if let Some(feast) = &peers.feast {
            contestants.push(Contestant {
                name: "feast",
                address: feast.address,
                asked: Asked::Feast(feast::requests(&numbers)),
            });
        }
        let mut rate = 0.0;
        for connections in self.connections() {
            let label = format!("{label}, {}", clients(connections));
            let runs = self.turns(&label, &contestants, self.load(connections))?;
            self.beside_echo(&label, &runs, echo);
            let (ours, theirs) = (runs.first(), runs.get(3));
            rate = ours.context("there were no runs")?.per_second.median;
            if let Some(theirs) = theirs {
                let against = vec![("feast".into(), theirs.per_second.median)];
                self.found
                    .verdict(&label, "requests/s", rate, against, Wanted::AtLeast(feast));
            }
        }
        let half = Load {
            pace: Some(rate / 2.0),
            ..self.load(self.on.connections)
        };
        contestants.truncate(2);
        let label = format!("{label} at half load");
        let runs = self.turns(&label, &contestants, half)?;
        let ours = runs.first().context("there were no runs")?;
        self.found
            .limit(&label, "p99, ms", ours.p99.median, p99, Wanted::AtMost(1.0));
        Ok(())
    }

    /// Our server and an echo of its first answer; the echo ends with what is returned.
    fn with_echo(
        &self,
        ground: &Ground,
        server: &Server,
        entities: usize,
    ) -> Result<(Vec<Contestant>, Server)> {
        let requests = ground.callers.requests(entities)?;
        let answer = self.runtime.block_on(load::first(server.address, &requests))?;
        let echo = Echo::keep(&answer, &ground.workload.scratch.join("answer.pb"))?;
        let echo = Server::start(&Task::Echo(echo))?;
        let contestants =
            [("asof", server.address), ("echo", echo.address)].map(|(name, address)| Contestant {
                name,
                address,
                asked: Asked::Grpc(Arc::clone(&requests)),
            });
        Ok((contestants.into(), echo))
    }

    fn beside_echo(&mut self, label: &str, runs: &[Runs], least: f64) {
        if let [ours, echo, ..] = runs {
            let against = vec![("echo".into(), echo.per_second.median)];
            self.found.verdict(
                label,
                "requests/s",
                ours.per_second.median,
                against,
                Wanted::AtLeast(least),
            );
        }
    }

    /// RocksDB's blocks alone, and with the rows that were read lately, in the same memory.
    fn caches(&mut self, ground: &Ground, label: &str, entities: usize) -> Result<()> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let load = self.load(self.on.connections);
        for run in 1..=self.on.runs {
            say(&format!("{label}: caches, run {run} of {}", self.on.runs));
            for (row_cache, runs) in [(true, &mut with), (false, &mut without)] {
                let server = serve(ground, row_cache)?;
                let reads = ours("asof", &server, ground, entities)?;
                runs.push(self.runtime.block_on(reads.run(load))?);
            }
        }
        for (name, runs) in [("rows and blocks cached", with), ("blocks cached", without)] {
            let runs = Runs::of(&runs).context("there were no runs")?;
            self.figures(&format!("{label}, {}: {name}", clients(load.connections)), &runs);
        }
        Ok(())
    }

    /// Keys that are asked for the first time since the server started.
    fn cold(&mut self, ground: &Ground, label: &str) -> Result<()> {
        let mut runs = Vec::new();
        for run in 1..=self.on.runs {
            say(&format!("{label}: cold, run {run} of {}", self.on.runs));
            let server = serve(ground, true)?;
            let load = Load {
                warm_up: Duration::ZERO,
                measured: COLD.min(self.on.load.measured),
                ..self.load(self.on.connections)
            };
            let reads = ours("asof", &server, ground, 1)?;
            runs.push(self.runtime.block_on(reads.run(load))?);
        }
        let runs = Runs::of(&runs).context("there were no runs")?;
        let keys = count(ground.materialized.keys / VIEWS);
        self.figures(
            &format!("{label} of {keys} keys, {}, cold", clients(self.on.connections)),
            &runs,
        );
        Ok(())
    }

    /// Lets contestants run one after the other, as often as asked for, and notes their figures.
    fn turns(&mut self, label: &str, all: &[Contestant], load: Load) -> Result<Vec<Runs>> {
        let mut loaded = vec![Vec::new(); all.len()];
        for run in 1..=self.on.runs {
            say(&format!("{label}, run {run} of {}", self.on.runs));
            for (contestant, loaded) in all.iter().zip(&mut loaded) {
                let run = self.runtime.block_on(contestant.run(load));
                loaded.push(run.with_context(|| format!("{label}: {}", contestant.name))?);
            }
        }
        let mut found = Vec::new();
        for (contestant, loaded) in all.iter().zip(&loaded) {
            let runs = Runs::of(loaded).context("there were no runs")?;
            self.figures(&format!("{label}: {}", contestant.name), &runs);
            found.push(runs);
        }
        Ok(found)
    }

    fn connections(&self) -> Vec<usize> {
        let mut connections = vec![1, self.on.connections];
        connections.dedup();
        connections
    }

    fn load(&self, connections: usize) -> Load {
        Load {
            connections,
            ..self.on.load
        }
    }

    fn figures(&mut self, measure: &str, runs: &Runs) {
        for (what, unit, spread) in [
            ("", "requests/s", runs.per_second),
            (", p50", "ms", runs.p50),
            (", p99", "ms", runs.p99),
        ] {
            self.found.figure(&format!("{measure}{what}"), unit, spread);
        }
    }
}

fn serve(ground: &Ground, row_cache: bool) -> Result<Server> {
    Server::start(&Task::Serve(Served {
        row_cache,
        ..Served::usual(&ground.workload)
    }))
}

fn ours(name: &'static str, server: &Server, ground: &Ground, entities: usize) -> Result<Contestant> {
    Ok(Contestant {
        name,
        address: server.address,
        asked: Asked::Grpc(ground.callers.requests(entities)?),
    })
}

/// Reads while the view is built anew, over and over; also gives the rows a second of these loads, of which the
/// last one may go on for a while when the reads are done.
async fn while_loading(reads: &Contestant, load: Load) -> Result<(load::Loaded, f64)> {
    let enough = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let loading = tokio::spawn(load_until(reads.address, Arc::clone(&enough)));
    tokio::time::sleep(UNDER_WAY).await;
    let loaded = reads.run(load).await;
    enough.store(true, Ordering::Relaxed);
    let rows = loading.await??;
    Ok((loaded?, rows as f64 / begun.elapsed().as_secs_f64()))
}

async fn load_until(address: SocketAddr, enough: Arc<AtomicBool>) -> Result<u64> {
    let mut rows = 0;
    let mut jobs = JobServiceClient::new(load::channel(address).await?);
    while !enough.load(Ordering::Relaxed) {
        let request = MaterializeRequest {
            full: true,
            wait: true,
            ..MaterializeRequest::default()
        };
        let runs = jobs.materialize(request).await?.into_inner().runs;
        let failed = runs.iter().find(|run| !run.error.is_empty());
        ensure!(failed.is_none(), "a bulk load failed: {failed:?}");
        rows += runs.iter().map(|run| run.rows_read).sum::<u64>();
    }
    Ok(rows)
}

/// What the rows of the view take with their keys, uncompressed, by the server's count.
async fn bytes_per_row(address: SocketAddr) -> Result<f64> {
    let mut jobs = JobServiceClient::new(load::channel(address).await?);
    let status = jobs.get_status(GetStatusRequest::default()).await?.into_inner();
    let view = status.views.first().context("there is no view")?;
    let (bytes, rows) = view.bytes.zip(view.rows).context("the rows were not counted")?;
    Ok(bytes as f64 / rows as f64)
}

fn clients(connections: usize) -> String {
    counted(connections, "connection", "connections")
}

/// Tells whoever waits.
#[allow(clippy::print_stderr, reason = "the page alone goes to the standard output")]
fn say(what: &str) {
    eprintln!("online: {what}");
}
