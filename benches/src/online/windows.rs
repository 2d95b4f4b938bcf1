//! Windows that are read, and pushed to.

use anyhow::{Context, Result, ensure};

use super::ground::Ground;
use super::{FEW, Online, clients, ours, say, serve, wanted};
use crate::child::Server;
use crate::generate::{AGGREGATES, EVEN_DAYS, Values, WINDOWS};
use crate::report::count;
use crate::sets;
use crate::spread::Spread;
use crate::stage::Task;
use crate::stage::load;
use crate::stage::push::{self, PushRows, ROWS};
use crate::stage::requests::Callers;
use crate::stage::serve::Served;
use crate::verdict::Wanted;
use crate::workload::Opened;

/// Positions of a request.
const ENTITIES: usize = 10;
/// Events a day and key of the case that is held against the echo.
const A_DAY: u64 = 100;
/// Of those that are held against each other; the first against the last.
const RATES: [u64; 3] = [1, 100, 10_000];
/// Keys of each of those.
const KEYS: u64 = 100;

impl Online<'_> {
    /// Windows beside an echo, and of keys with many events beside those of keys with few.
    pub(super) fn windows(&mut self) -> Result<()> {
        let features = AGGREGATES.len() * WINDOWS.len();
        let asked = format!("{ENTITIES} entities × {features} windowed features");
        let ground = self.windows_of(FEW, A_DAY)?;
        let keys = count(ground.materialized.keys);
        let server = serve(&ground, true)?;
        for connections in self.connections() {
            let label = format!(
                "{asked}, {A_DAY} events a day of {keys} keys, {}",
                clients(connections)
            );
            let (contestants, _echo) = self.with_echo(&ground, &server, ENTITIES)?;
            let runs = self.turns(&label, &contestants, self.load(connections))?;
            self.beside_echo(&label, &runs, wanted::WINDOWS);
        }
        drop(server);
        ground.remove()?;
        self.flat(&asked)
    }

    fn flat(&mut self, asked: &str) -> Result<()> {
        let grounds = RATES.map(|a_day| self.windows_of(KEYS, a_day));
        let grounds = grounds.into_iter().collect::<Result<Vec<_>>>()?;
        let servers = grounds.iter().map(|ground| serve(ground, true));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let names = ["1 event a day", "100 events a day", "10,000 events a day"];
        let contestants = names.into_iter().zip(grounds.iter().zip(&servers));
        let contestants = contestants
            .map(|(name, (ground, server))| ours(name, server, ground, ENTITIES))
            .collect::<Result<Vec<_>>>()?;
        for connections in self.connections() {
            let label = format!("{asked}, {}", clients(connections));
            let runs = self.turns(&label, &contestants, self.load(connections))?;
            if let [few, .., many] = runs.as_slice() {
                self.found.verdict(
                    &format!("{label}, {}", names[2]),
                    "requests/s",
                    many.per_second.median,
                    vec![(names[0].into(), few.per_second.median)],
                    Wanted::AtLeast(wanted::FLAT),
                );
            }
        }
        drop(servers);
        grounds.into_iter().try_for_each(Ground::remove)
    }

    /// A ground of up to so many keys, with no more events than the generated set has rows.
    fn windows_of(&mut self, most: u64, a_day: u64) -> Result<Ground> {
        let keys = (self.on.spec.rows / (a_day * EVEN_DAYS)).clamp(1, most);
        say(&format!("windows: {a_day} events a day of {} keys", count(keys)));
        let ground = Ground::of_windows(self.on.data, self.on.spec.seed, keys, a_day)?;
        let loaded = Spread::of([ground.materialized.rows_read as f64 / ground.materialized.seconds]);
        let loaded = loaded.context("there was no load")?;
        let label = format!(
            "bulk load of windows, {a_day} events a day of {} keys",
            count(keys)
        );
        self.found.figure(&label, "events/s", loaded);
        Ok(ground)
    }

    /// Pushes into windows, which must have come to them.
    pub(super) fn pushed_windows(&mut self) -> Result<()> {
        let (workload, file) = sets::pushed(self.on.spec, self.on.data, Values::Windows)?;
        let opened = self.runtime.block_on(Opened::open(&workload))?;
        let requests = push::requests(&opened, &file)?;
        let server = Server::start(&Task::Serve(Served::usual(&workload)))?;
        let label = format!(
            "push into {} aggregates × {} windows",
            AGGREGATES.len(),
            WINDOWS.len()
        );
        for connections in self.connections() {
            let label = format!("{label}, {}", clients(connections));
            let mut rates = Vec::new();
            for run in 1..=self.on.runs {
                say(&format!("{label}, run {run} of {}", self.on.runs));
                let load = self.load(connections);
                let done = load::run::<PushRows>(server.address, &requests, load);
                rates.push(self.runtime.block_on(done)?.per_second * ROWS as f64);
            }
            let rates = Spread::of(rates).context("there were no runs")?;
            self.found.figure(&label, "events/s", rates);
            self.found.limit(
                &label,
                "events/s",
                rates.median,
                wanted::PUSHED,
                Wanted::AtLeast(1.0),
            );
        }
        // Who was pushed asks: counts are there of everybody, sums of those alone who have events.
        let callers = Callers::of_file(&workload, &opened.plan, &file)?;
        let asked = callers.requests(ENTITIES)?;
        let share = load::present(server.address, &asked, asked.len());
        let share = self.runtime.block_on(share)?;
        let of_nobody = 1.0 / AGGREGATES.len() as f64;
        ensure!(
            share > of_nobody + 1e-3,
            "nothing that was pushed came to the windows: {share} of the values were there"
        );
        drop(server);
        sets::remove(&workload.scratch)
    }
}
