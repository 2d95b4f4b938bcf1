//! All figures of a run: every stage on every set, as often as asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::{self, Done, Server};
use crate::compare::{self, Case, Peers};
use crate::generate::{COMPUTED_SERVICE, Spec, Values};
use crate::machine;
use crate::online::feast::Feast;
use crate::online::{self, Comparing, Reads};
use crate::python::{self, Package, Uses};
use crate::report::{Figure, Report, counted, number};
use crate::sets::{self, Set};
use crate::spread::Spread;
use crate::stage::echo::Echo;
use crate::stage::extract::Extracted;
use crate::stage::load::{self, GetFeatures, Load, Loaded};
use crate::stage::materialize::Materialized;
use crate::stage::push::{self, PushRows, ROWS};
use crate::stage::requests::Callers;
use crate::stage::serve::Served;
use crate::stage::{Stage, Task};
use crate::streams::{self, Streamed};
use crate::workload::{Opened, Workload};

/// Positions of a large request.
const MANY: usize = 100;
/// Requests of [`MANY`] positions of which the answers are looked at, rather than only waited for.
const LOOKED_AT: usize = 30;
/// The part of a load's time that the server is asked before it counts.
const WARM_UP: f64 = 0.25;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Where sets and stores go; sets of an earlier run are used again.
    pub data: PathBuf,
    /// The project of the flights example.
    pub flights: PathBuf,
    /// The generated set.
    pub spec: Spec,
    /// The sets.
    pub sets: Vec<Set>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// How often each figure is taken.
    pub runs: usize,
    /// How long each load lasts, in seconds.
    pub seconds: f64,
    /// Clients of the loads with several.
    pub connections: usize,
    /// The cases of reads.
    pub reads: Vec<Reads>,
    /// The cases that are measured beside the peers.
    pub cases: Vec<Case>,
    /// The peers; without them, this engine is measured alone in those cases.
    pub peers: Option<Peers>,
    /// A `redis-server`; without it, reads are not measured beside Redis.
    pub redis: Option<PathBuf>,
    /// Feast, which stores in Redis; without it, reads are not measured beside Feast.
    pub feast: Option<Feast>,
    /// A `nats-server`; without it, streams are not measured.
    pub nats: Option<PathBuf>,
    /// The uses of the Python package.
    pub uses: Vec<Uses>,
    /// The Python package; without it, nothing is measured from Python.
    pub package: Option<Package>,
}

impl Suite {
    /// Measures.
    ///
    /// # Errors
    ///
    /// Whatever a stage meets, and extracts of one set that differ.
    pub fn run(&self) -> Result<Report> {
        ensure!(
            self.runs > 0 && self.connections > 0,
            "runs and connections must be at least 1"
        );
        ensure!(
            self.seconds > 0.0 && self.seconds <= 3_600.0,
            "seconds must be above 0 and at most 3600"
        );
        fs::create_dir_all(&self.data).with_context(|| format!("cannot create {}", self.data.display()))?;
        let mut report = Report::default();
        report.fact("machine", machine::describe());
        report.fact("method", self.method());
        let alone = self.stages.iter().any(|stage| {
            !matches!(
                stage,
                Stage::Compare | Stage::Online | Stage::Python | Stage::Push | Stage::Stream
            )
        });
        for set in self.sets.iter().filter(|_| alone) {
            let workload = match set {
                Set::Flights => sets::flights(&self.flights, &self.data)?,
                Set::Generated => sets::generated(&self.spec, &self.data)?,
            };
            let mut on = On {
                suite: self,
                workload: &workload,
                report: &mut report,
            };
            on.all()?;
        }
        if self.stages.contains(&Stage::Push) && self.sets.contains(&Set::Generated) {
            for sync in [false, true] {
                let (workload, file) = sets::pushed(&self.spec, &self.data, Values::Newest("90d"))?;
                let mut on = On {
                    suite: self,
                    workload: &workload,
                    report: &mut report,
                };
                on.push(&file, sync)?;
            }
        }
        if let Some(nats) = &self.nats
            && self.stages.contains(&Stage::Stream)
            && self.sets.contains(&Set::Generated)
        {
            let scratch = sets::scratch(&self.data, "nats")?;
            let nats = streams::Nats::start(nats, &scratch)?;
            let definition = nats.definition();
            let made =
                sets::pushed_and_streamed(&self.spec, &self.data, Values::Newest("90d"), Some(&definition));
            let (workload, file) = made?;
            let mut on = On {
                suite: self,
                workload: &workload,
                report: &mut report,
            };
            on.stream(&file, &nats)?;
        }
        if self.stages.contains(&Stage::Online) && self.sets.contains(&Set::Generated) {
            report.comparisons.push(online::run(Comparing {
                data: &self.data,
                spec: &self.spec,
                runs: self.runs,
                connections: self.connections,
                load: self.load(self.connections),
                redis: self.redis.as_deref(),
                feast: self.feast.as_ref(),
                cases: &self.reads,
            })?);
        }
        if let Some(package) = &self.package
            && self.stages.contains(&Stage::Python)
            && self.sets.contains(&Set::Generated)
        {
            report.comparisons.push(python::run(python::Comparing {
                data: &self.data,
                spec: &self.spec,
                runs: self.runs,
                seconds: self.seconds,
                package,
                cases: &self.uses,
            })?);
        }
        if self.stages.contains(&Stage::Compare) && self.sets.contains(&Set::Generated) {
            report.comparisons.push(compare::run(compare::Comparing {
                data: &self.data,
                spec: self.spec.clone(),
                cases: &self.cases,
                runs: self.runs,
                peers: self.peers.as_ref(),
            })?);
        }
        Ok(report)
    }

    fn load(&self, connections: usize) -> Load {
        let measured = Duration::from_secs_f64(self.seconds);
        Load {
            connections,
            measured,
            warm_up: measured.mul_f64(WARM_UP),
            pace: None,
        }
    }

    fn method(&self) -> String {
        let profile = if cfg!(debug_assertions) {
            "dev profile, NOT what is published"
        } else {
            "release profile"
        };
        format!(
            "{profile}; {}, each in a process of its own, with files warm in the page cache; loads of {} s after a \
             quarter of that as warm-up, one request under way on each connection, over the loopback, clients on the \
             same cores as the server",
            counted(self.runs, "run of each figure", "runs of each figure"),
            self.seconds
        )
    }
}

/// One set being measured.
struct On<'a> {
    suite: &'a Suite,
    workload: &'a Workload,
    report: &'a mut Report,
}

impl On<'_> {
    fn all(&mut self) -> Result<()> {
        let wanted = |stage| self.suite.stages.contains(&stage);
        let (extract, materialize, serve) = (
            wanted(Stage::Extract),
            wanted(Stage::Materialize),
            wanted(Stage::Serve),
        );
        if extract {
            self.extract()?;
        }
        if materialize {
            self.materialize()?;
        }
        if wanted(Stage::Computed) && self.workload.service == crate::generate::SERVICE {
            self.computed()?;
        }
        if serve {
            if !materialize {
                self.say("materialize, to be served");
                child::run::<Materialized>(&Task::Materialize(self.workload.clone()))?;
            }
            self.serve()?;
        }
        Ok(())
    }

    fn extract(&mut self) -> Result<()> {
        let task = Task::Extract(self.workload.clone());
        let runs: Vec<Done<Extracted>> = self.repeat("extract", || child::run(&task))?;
        let first = &runs.first().context("there were no runs")?.result;
        ensure!(
            runs.iter().all(|run| run.result.digest == first.digest),
            "extracts of {} differ from run to run: {:?}",
            self.workload.name,
            runs.iter().map(|run| &run.result.digest).collect::<Vec<_>>()
        );
        let fact = format!(
            "{} spine rows, {} source rows read, {} columns out, {} MiB written, digest {}",
            number(first.spine_rows as f64),
            number(first.source_rows as f64),
            first.columns,
            number(mebibytes(first.bytes)),
            first.digest
        );
        self.fact("extract", fact);
        self.figure("extract", "s", runs.iter().map(|run| run.result.seconds));
        let rate = |rows: fn(&Extracted) -> u64| {
            let rates = runs
                .iter()
                .map(|run| rows(&run.result) as f64 / run.result.seconds);
            rates.collect::<Vec<_>>()
        };
        let (spine, source) = (rate(|run| run.spine_rows), rate(|run| run.source_rows));
        self.figure("extract, spine rows", "rows/s", spine);
        self.figure("extract, source rows", "rows/s", source);
        self.memory("extract", &runs);
        Ok(())
    }

    fn materialize(&mut self) -> Result<()> {
        let task = Task::Materialize(self.workload.clone());
        let runs: Vec<Done<Materialized>> = self.repeat("materialize", || child::run(&task))?;
        let first = &runs.first().context("there were no runs")?.result;
        let fact = format!(
            "{} into an empty store, {} rows read, {} written, {} keys held",
            counted(first.views, "view", "views"),
            number(first.rows_read as f64),
            number(first.rows_written as f64),
            number(first.keys as f64)
        );
        self.fact("materialize", fact);
        self.figure("materialize", "s", runs.iter().map(|run| run.result.seconds));
        let rate = runs
            .iter()
            .map(|run| run.result.rows_read as f64 / run.result.seconds);
        self.figure("materialize, source rows", "rows/s", rate);
        self.memory("materialize", &runs);
        Ok(())
    }

    fn serve(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let opened = runtime.block_on(Opened::open(self.workload))?;
        let callers = Callers::read(self.workload, &opened.plan)?;
        let server = Server::start(&Task::Serve(Served::usual(self.workload)))?;
        let many = callers.requests(MANY)?;
        let present = runtime.block_on(load::present(server.address, &many, LOOKED_AT))?;
        let fact = format!(
            "{} features of {}, {:.0} % of the values PRESENT",
            opened.plan.columns.len(),
            counted(opened.plan.reads.len(), "view", "views"),
            present * 100.0
        );
        self.fact("GetFeatures", fact);
        let mut clients = vec![1, self.suite.connections];
        clients.dedup();
        for (entities, requests) in [(1, callers.requests(1)?), (MANY, many)] {
            let answer = runtime.block_on(load::first(server.address, &requests))?;
            let echo = Echo::keep(&answer, &self.workload.scratch.join("answer.pb"))?;
            let echo = Server::start(&Task::Echo(echo))?;
            for connections in &clients {
                let what = format!(
                    "{}, {}",
                    counted(entities, "entity", "entities"),
                    counted(*connections, "connection", "connections")
                );
                // One after the other, so that both meet the machine as it is then.
                let (mut served, mut echoed) = (Vec::new(), Vec::new());
                for run in 1..=self.suite.runs {
                    self.say(&format!(
                        "GetFeatures and echo, {what}, run {run} of {}",
                        self.suite.runs
                    ));
                    let load = self.suite.load(*connections);
                    served.push(runtime.block_on(load::run::<GetFeatures>(
                        server.address,
                        &requests,
                        load,
                    ))?);
                    echoed.push(runtime.block_on(load::run::<GetFeatures>(echo.address, &requests, load))?);
                }
                self.loads(&format!("GetFeatures, {what}"), &served);
                self.loads(&format!("echo of the same size, {what}"), &echoed);
                let pairs = served.iter().zip(&echoed);
                let shares = pairs.map(|(served, echoed)| served.per_second / echoed.per_second);
                self.figure(&format!("GetFeatures / echo, {what}"), "×", shares);
            }
        }
        Ok(())
    }

    /// The same service with and without on-demand features, one after the other.
    fn computed(&mut self) -> Result<()> {
        let more = Workload {
            service: COMPUTED_SERVICE.into(),
            ..self.workload.clone()
        };
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for run in 1..=self.suite.runs {
            self.say(&format!("extract without and with five expressions, run {run}"));
            without.push(child::run::<Extracted>(&Task::Extract(self.workload.clone()))?);
            with.push(child::run::<Extracted>(&Task::Extract(more.clone()))?);
        }
        let seconds =
            |runs: &[Done<Extracted>]| runs.iter().map(|run| run.result.seconds).collect::<Vec<_>>();
        self.figure("extract with five expressions", "s", seconds(&with));
        let pairs = without.iter().zip(&with);
        let ratios = pairs.map(|(without, with)| with.result.seconds / without.result.seconds);
        self.figure("extract with five expressions / without", "×", ratios);

        self.say("materialize, to be served");
        child::run::<Materialized>(&Task::Materialize(self.workload.clone()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let opened = runtime.block_on(Opened::open(self.workload))?;
        let server = Server::start(&Task::Serve(Served::usual(self.workload)))?;
        let plain = Callers::read(self.workload, &opened.plan)?.requests(MANY)?;
        let computed = Callers::read(&more, &opened.plan)?.requests(MANY)?;
        let mut clients = vec![1, self.suite.connections];
        clients.dedup();
        for connections in clients {
            let what = format!(
                "GetFeatures with five expressions, {MANY} entities, {}",
                counted(connections, "connection", "connections")
            );
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for run in 1..=self.suite.runs {
                self.say(&format!("{what}, run {run} of {}", self.suite.runs));
                let load = self.suite.load(connections);
                without.push(runtime.block_on(load::run::<GetFeatures>(server.address, &plain, load))?);
                with.push(runtime.block_on(load::run::<GetFeatures>(server.address, &computed, load))?);
            }
            self.loads(&what, &with);
            let pairs = without.iter().zip(&with);
            let ratios = pairs.map(|(without, with)| without.per_second / with.per_second);
            self.figure(&format!("{what} / without"), "×", ratios);
        }
        Ok(())
    }

    /// Messages of a stream beside requests of many rows, one after the other; then how late messages are at half of that.
    fn stream(&mut self, file: &Path, nats: &streams::Nats) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let opened = runtime.block_on(Opened::open(self.workload))?;
        let requests = push::requests(&opened, file)?;
        let messages = streams::messages(&opened, file)?;
        runtime.block_on(nats.make())?;
        let served = Served {
            streams: true,
            ..Served::usual(self.workload)
        };
        let (mut pushed, mut read) = (Vec::new(), Vec::new());
        for run in 1..=self.suite.runs {
            self.say(&format!(
                "messages of JetStream and pushes, run {run} of {}",
                self.suite.runs
            ));
            let server = Server::start(&Task::Serve(served.clone()))?;
            let load = self.suite.load(self.suite.connections);
            let loaded = runtime.block_on(load::run::<PushRows>(server.address, &requests, load))?;
            pushed.push(loaded.per_second * ROWS as f64);
            drop(server);
            // What waits for it when the server starts.
            let count = (loaded.per_second * ROWS as f64 * self.suite.seconds) as usize;
            runtime.block_on(nats.publish(&messages, count))?;
            let server = Server::start(&Task::Serve(served.clone()))?;
            read.push(runtime.block_on(streams::drained(server.address))?);
        }
        let connections = counted(self.suite.connections, "connection", "connections");
        self.figure("messages of JetStream, JSON, a row each", "rows/s", read.clone());
        let ratios = read.iter().zip(&pushed).map(|(read, pushed)| read / pushed);
        let what = format!("messages of JetStream / push, {ROWS} rows a request, {connections}");
        self.figure(&what, "×", ratios);
        let server = Server::start(&Task::Serve(served))?;
        let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len() as f64;
        let count = (mean(&pushed) * self.suite.seconds) as usize;
        let mut together = Vec::new();
        for run in 1..=self.suite.runs {
            self.say(&format!(
                "messages as they are published, run {run} of {}",
                self.suite.runs
            ));
            let (published, read) = runtime.block_on(async {
                tokio::join!(nats.publish(&messages, count), streams::drained(server.address))
            });
            published?;
            together.push(read?);
        }
        self.figure(
            "messages of JetStream, while they are published on the same cores",
            "rows/s",
            together.clone(),
        );
        let half = mean(&together) / 2.0;
        let mut delays: Vec<Streamed> = Vec::new();
        for run in 1..=self.suite.runs {
            self.say(&format!(
                "delay at {half:.0} messages a second, run {run} of {}",
                self.suite.runs
            ));
            let asked = streams::Asked {
                address: server.address,
                seconds: self.suite.seconds,
                per_second: half,
            };
            delays.push(runtime.block_on(nats.delays(&opened, &messages, asked))?);
        }
        let p = |of: fn(&Streamed) -> f64| delays.iter().map(of).collect::<Vec<_>>();
        self.figure(
            "published to readable, at half of that, p50",
            "ms",
            p(|delays| delays.p50_millis),
        );
        self.figure(
            "published to readable, at half of that, p99",
            "ms",
            p(|delays| delays.p99_millis),
        );
        Ok(())
    }

    fn push(&mut self, file: &Path, sync: bool) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let opened = runtime.block_on(Opened::open(self.workload))?;
        let requests = push::requests(&opened, file)?;
        let served = Served {
            sync,
            ..Served::usual(self.workload)
        };
        let server = Server::start(&Task::Serve(served))?;
        let mut clients = vec![1, self.suite.connections];
        clients.dedup();
        for connections in clients {
            let durability = if sync { "sync" } else { "process" };
            let what = format!(
                "push, {durability}, {ROWS} rows a request, {}",
                counted(connections, "connection", "connections")
            );
            let runs = (1..=self.suite.runs).map(|run| {
                self.say(&format!("{what}, run {run} of {}", self.suite.runs));
                let load = self.suite.load(connections);
                runtime.block_on(load::run::<PushRows>(server.address, &requests, load))
            });
            let runs = runs.collect::<Result<Vec<_>>>()?;
            let rows = runs.iter().map(|run| run.per_second * ROWS as f64);
            self.figure(&what, "rows/s", rows.collect::<Vec<_>>());
            self.latencies(&what, &runs);
        }
        Ok(())
    }

    fn loads(&mut self, what: &str, runs: &[Loaded]) {
        self.figure(what, "requests/s", runs.iter().map(|run| run.per_second));
        self.latencies(what, runs);
    }

    fn latencies(&mut self, what: &str, runs: &[Loaded]) {
        self.figure(
            &format!("{what}, p50"),
            "µs",
            runs.iter().map(|run| run.p50_micros),
        );
        self.figure(
            &format!("{what}, p99"),
            "µs",
            runs.iter().map(|run| run.p99_micros),
        );
    }

    fn repeat<T>(&self, what: &str, run: impl Fn() -> Result<T>) -> Result<Vec<T>> {
        let runs = self.suite.runs;
        let each = (1..=runs).map(|at| {
            self.say(&format!("{what}, run {at} of {runs}"));
            run().with_context(|| format!("{}: {what}", self.workload.name))
        });
        each.collect()
    }

    /// Tells whoever waits.
    #[allow(clippy::print_stderr, reason = "the table alone goes to the standard output")]
    fn say(&self, what: &str) {
        eprintln!("{}: {what}", self.workload.name);
    }

    fn fact(&mut self, stage: &str, value: String) {
        self.report
            .fact(&format!("{}, {stage}", self.workload.name), value);
    }

    fn memory<T>(&mut self, stage: &str, runs: &[Done<T>]) {
        let peaks = runs.iter().filter_map(|run| run.peak_bytes);
        self.figure(&format!("{stage}, peak memory"), "MiB", peaks.map(mebibytes));
    }

    fn figure(&mut self, measure: &str, unit: &'static str, runs: impl IntoIterator<Item = f64>) {
        // Where the system does not tell, there is no figure.
        if let Some(spread) = Spread::of(runs) {
            self.report.figures.push(Figure {
                set: self.workload.name.clone(),
                measure: measure.to_owned(),
                unit,
                spread,
            });
        }
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
