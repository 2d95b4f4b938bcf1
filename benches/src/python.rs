//! The Python package beside what it stands on: the command, the Rust client, an echo; and beside Feast.

mod project;
mod script;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use arrow::ipc::writer::FileWriter;
use asof_client::{Client, Dataset, Extract};
use clap::ValueEnum;
use futures::{StreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;

use self::project::{Project, Served};
use self::script::Scripts;
use crate::child::{self, Done, Server};
use crate::compare::digest;
use crate::generate::{END_MICROS, SERVICE, Spec};
use crate::report::{Comparison, count, number};
use crate::spread::Spread;
use crate::stage::Task;
use crate::stage::calls::{Called, Calls, Place};
use crate::stage::flight_echo::FlightEcho;
use crate::verdict::Wanted;

/// Keys that one caller asks for, over and over.
const KEYS: usize = 1_000;
/// Rows of a batch of the spine that is sent.
const BATCH: usize = 65_536;
/// The name of a dataset that the server keeps.
const KEPT: &str = "kept";

const TITLE: &str = "From Python";
const METHOD: &str = "\
The package as its wheel installs it, beside pandas and pyarrow, each run in a process of its own, in turns with what it is
held against; clients on the same cores as the server. Extracts are of one view with ten features and a ttl of 7 days: into
pandas from a spine in pandas, from before the connection to the data frame; by the command as a whole process, from Parquet
to Parquet with its manifest; by Feast from the same data frame to its own, with its DuckDB store over the same files. The
datasets of all of them were equal in every column (NaN and null apart, which are one in pandas). A download, by the Rust
client, is of a dataset that the server kept, whose Parquet it decodes; the echo encodes the same batches from memory, on
another thread than it sends them, as the server does. Calls are of one entity whose row is cached, one after the other, and
both sides had the same values; times are medians, of the call alone where nothing else is said. Import is timed in a fresh
interpreter, and its memory is what that holds more afterwards.
";

/// What is wanted.
mod wanted {
    /// Seconds, and megabytes.
    pub(super) const IMPORT: f64 = 0.15;
    pub(super) const IMPORT_MEMORY: f64 = 30.0;
    /// Of the time of an extract, as a ratio to the command's.
    pub(super) const EXTRACT: f64 = 1.25;
    /// Of its rows a second, to those of Feast.
    pub(super) const FEAST: f64 = 5.0;
    /// Of the rows a second of a download, to those of the echo.
    pub(super) const DOWNLOAD: f64 = 0.5;
    /// Microseconds over the Rust call.
    pub(super) const IN_PROCESS: f64 = 15.0;
    pub(super) const REMOTE: f64 = 60.0;
}

/// A case that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Uses {
    /// `import asof`.
    Import,
    /// A dataset into pandas, beside the command and Feast.
    Extract,
    /// A dataset that was kept, beside an echo.
    Download,
    /// Features of one entity, beside the Rust calls.
    Features,
}

impl Uses {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Import, Self::Extract, Self::Download, Self::Features];
}

/// Where the package is.
#[derive(Debug, Clone)]
pub struct Package {
    /// A Python that has it, with pandas and pyarrow.
    pub python: PathBuf,
    /// The wheel that it was installed from.
    pub wheel: Option<PathBuf>,
    /// A Python with Feast and its DuckDB store.
    pub feast: Option<PathBuf>,
    /// The folder of the scripts.
    pub scripts: PathBuf,
}

/// What to measure.
pub struct Comparing<'a> {
    /// Where sets and stores go.
    pub data: &'a Path,
    /// The generated set.
    pub spec: &'a Spec,
    /// How often each figure is taken.
    pub runs: usize,
    /// How long calls are made for one figure.
    pub seconds: f64,
    /// The package.
    pub package: &'a Package,
    /// The cases.
    pub cases: &'a [Uses],
}

/// Measures.
///
/// # Errors
///
/// A package that does not work, and datasets that differ.
pub fn run(on: Comparing<'_>) -> Result<Comparison> {
    let mut found = Comparison::new(TITLE, METHOD);
    if let Some(wheel) = &on.package.wheel {
        let bytes = fs::metadata(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
        found.fact(
            "wheel",
            &format!("{} MB, stripped", number(bytes.len() as f64 / 1e6)),
        );
    }
    let mut python = Python {
        runtime: Runtime::new()?,
        scripts: Scripts::of(on.package),
        found,
        on,
    };
    let mut project = None;
    for case in python.on.cases {
        if *case == Uses::Import {
            python.import()?;
            continue;
        }
        let project = match &mut project {
            Some(project) => project,
            none => none.insert(Project::make(python.on.data, python.on.spec)?),
        };
        match case {
            Uses::Import => {}
            Uses::Extract => python.extract(project)?,
            Uses::Download => python.download(project)?,
            Uses::Features => python.features(project)?,
        }
    }
    if let Some(project) = project {
        project.remove()?;
    }
    Ok(python.found)
}

struct Python<'a> {
    on: Comparing<'a>,
    runtime: Runtime,
    scripts: Scripts,
    found: Comparison,
}

impl Python<'_> {
    fn import(&mut self) -> Result<()> {
        let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
        for run in self.rounds("import asof") {
            run.say();
            let imported = self.scripts.import()?;
            self.found.fact("asof", &imported.version);
            seconds.push(imported.seconds);
            megabytes.push(imported.bytes as f64 / 1e6);
        }
        let seconds = self.figure("import asof", "s", seconds)?;
        self.found.limit(
            "import asof",
            "time, s",
            seconds,
            wanted::IMPORT,
            Wanted::AtMost(1.0),
        );
        let megabytes = self.figure("import asof, memory", "MB", megabytes)?;
        self.found.limit(
            "import asof",
            "memory, MB",
            megabytes,
            wanted::IMPORT_MEMORY,
            Wanted::AtMost(1.0),
        );
        Ok(())
    }

    fn extract(&mut self, project: &Project) -> Result<()> {
        let rows = self.on.spec.spine_rows;
        let label = format!("{} spine rows into pandas, over the loopback", count(rows));
        let server = project.serve()?;
        let (mut ours, mut peaks, mut streamed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut command, mut feast) = (Vec::new(), Vec::new());
        for run in self.rounds(&label) {
            run.say();
            let out = project.out("command");
            command.push(project.extract(&out)?);
            let expected = digest::columns(&out)?;
            let done = self.scripts.extract(project, &server.url)?;
            digest::same(
                "the command",
                &expected,
                "pandas",
                &digest::columns(&project.out("pandas"))?,
            )?;
            self.found.fact("pandas", &done.result.version);
            ours.push(done.result.seconds);
            peaks.extend(done.peak_bytes.map(|bytes| bytes as f64 / 1e6));
            let batches = self.scripts.batches(project, &server.url)?;
            ensure!(
                batches.result.rows == rows,
                "batches had {} rows",
                batches.result.rows
            );
            streamed.extend(batches.peak_bytes.map(|bytes| bytes as f64 / 1e6));
            if let Some(done) = self.scripts.feast(project)? {
                digest::same(
                    "the command",
                    &expected,
                    "Feast",
                    &digest::columns(&project.out("feast"))?,
                )?;
                self.found.fact("feast", &done.result.version);
                feast.push(done.result.seconds);
            }
        }
        drop(server);
        let ours = self.figure(&format!("{label}: asof"), "s", ours)?;
        let command = self.figure(
            &format!("{} spine rows by the command", count(rows)),
            "s",
            command,
        )?;
        if !peaks.is_empty() {
            self.figure(&format!("{label}: asof, peak memory"), "MB", peaks)?;
            self.figure(
                &format!(
                    "{} spine rows batch by batch, over the loopback: asof, peak memory",
                    count(rows)
                ),
                "MB",
                streamed,
            )?;
        }
        let against = vec![("the command".into(), command)];
        self.found
            .verdict(&label, "time, s", ours, against, Wanted::AtMost(wanted::EXTRACT));
        if feast.is_empty() {
            self.found
                .fact("feast", "not measured: no Python with Feast was named");
            return Ok(());
        }
        let feast = self.figure(
            &format!("{} spine rows into pandas: Feast", count(rows)),
            "s",
            feast,
        )?;
        let per_second = |seconds: f64| rows as f64 / seconds;
        let against = vec![("Feast".into(), per_second(feast))];
        let wanted = Wanted::AtLeast(wanted::FEAST);
        self.found
            .verdict(&label, "rows/s", per_second(ours), against, wanted);
        Ok(())
    }

    fn download(&mut self, project: &Project) -> Result<()> {
        let label = format!("download of {} rows", count(self.on.spec.spine_rows));
        let server = project.serve()?;
        self.runtime
            .block_on(keep(&server, &project.input.workload.spine))?;
        let batches = project.out("batches").with_extension("arrow");
        self.runtime.block_on(taken(&server.url, &batches))?;
        let echo = Server::start(&Task::FlightEcho(FlightEcho { batches }))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in self.rounds(&label) {
            run.say();
            ours.push(self.rows_per_second(&server.url)?);
            theirs.push(self.rows_per_second(&url(echo.address))?);
        }
        let ours = self.figure(&format!("{label}: asof"), "rows/s", ours)?;
        let echo = self.figure(&format!("{label}: echo"), "rows/s", theirs)?;
        let wanted = Wanted::AtLeast(wanted::DOWNLOAD);
        self.found
            .verdict(&label, "rows/s", ours, vec![("echo".into(), echo)], wanted);
        Ok(())
    }

    /// Downloads the dataset that is kept there, all of it.
    fn rows_per_second(&self, url: &str) -> Result<f64> {
        let start = Instant::now();
        let rows = self.runtime.block_on(rows(url))?;
        let seconds = start.elapsed().as_secs_f64();
        let expected = self.on.spec.spine_rows;
        ensure!(rows == expected, "{url} sent {rows} rows of {expected}");
        Ok(rows as f64 / seconds)
    }

    fn features(&mut self, project: &Project) -> Result<()> {
        let keys = project.keys(KEYS)?;
        let label = "get_features, 1 entity × 10 features, in this process";
        let place = Place::Project(project.directory().to_owned(), END_MICROS);
        self.calls(label, project, place, &keys, wanted::IN_PROCESS)?;
        let server = project.serve()?;
        let label = "get_features, 1 entity × 10 features, remote";
        self.calls(
            label,
            project,
            Place::Server(server.url.clone()),
            &keys,
            wanted::REMOTE,
        )
    }

    fn calls(&mut self, label: &str, project: &Project, place: Place, keys: &[i64], most: f64) -> Result<()> {
        let calls = Calls {
            place,
            service: SERVICE.into(),
            key: project.key().into(),
            keys: keys.to_vec(),
            seconds: self.on.seconds,
        };
        let (mut rust, mut ours, mut dicts) = (Vec::new(), Vec::new(), Vec::new());
        for run in self.rounds(label) {
            run.say();
            let done: Done<Called> = child::run(&Task::Calls(calls.clone()))?;
            rust.push(done.result.call_micros);
            let expected = done.result.answers;
            let found = expected.iter().filter(|row| row.iter().flatten().count() > 1);
            let found = found.count();
            ensure!(
                2 * found > expected.len(),
                "{found} of {} keys have features",
                expected.len()
            );
            let done = self.scripts.features(&calls)?;
            ensure!(
                done.answers == expected,
                "{label}: Python and Rust have other values"
            );
            ours.push(done.call_micros);
            dicts.push(done.dicts_micros);
        }
        let rust = self.figure(&format!("{label}: Rust"), "µs", rust)?;
        let ours = self.figure(&format!("{label}: Python"), "µs", ours)?;
        self.figure(&format!("{label}: Python, with to_dicts()"), "µs", dicts)?;
        self.found.limit(
            label,
            "µs over the Rust call",
            ours - rust,
            most,
            Wanted::AtMost(1.0),
        );
        Ok(())
    }

    fn rounds(&self, label: &str) -> impl Iterator<Item = Round> + use<> {
        let (label, runs) = (label.to_owned(), self.on.runs);
        (1..=runs).map(move |run| Round(format!("{label}, run {run} of {runs}")))
    }

    /// Notes a figure, and gives its median.
    fn figure(&mut self, measure: &str, unit: &'static str, runs: Vec<f64>) -> Result<f64> {
        let spread = Spread::of(runs).context("there were no runs")?;
        self.found.figure(measure, unit, spread);
        Ok(spread.median)
    }
}

/// What is being measured.
struct Round(String);

impl Round {
    #[allow(clippy::print_stderr, reason = "the page alone goes to the standard output")]
    fn say(&self) {
        eprintln!("python: {}", self.0);
    }
}

fn url(address: SocketAddr) -> String {
    format!("grpc://{address}")
}

/// Lets the server keep the dataset of a spine.
async fn keep(server: &Served, spine: &Path) -> Result<()> {
    let file = File::open(spine).with_context(|| format!("cannot read {}", spine.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(BATCH)
        .build()?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let rows = stream::iter(reader).map(|batch| batch.map_err(|error| error.to_string()));
    let client = Client::connect(&server.url).await?;
    let extract = Extract::of_service(SERVICE).save(KEPT);
    let mut dataset = client.extract(&extract, schema, rows).await?;
    while dataset.next().await?.is_some() {}
    Ok(())
}

/// Writes the batches of the dataset that a server keeps, as they come, into an Arrow file.
async fn taken(url: &str, path: &Path) -> Result<()> {
    let mut dataset = kept(url).await?;
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = FileWriter::try_new(file, dataset.schema())?;
    while let Some(batch) = dataset.next().await? {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

/// How many rows the dataset has that is kept there.
async fn rows(url: &str) -> Result<u64> {
    let mut dataset = kept(url).await?;
    let mut rows = 0;
    while let Some(batch) = dataset.next().await? {
        rows += RecordBatch::num_rows(&batch) as u64;
    }
    Ok(rows)
}

async fn kept(url: &str) -> Result<Dataset> {
    Ok(Client::connect(url).await?.saved(KEPT).await?)
}
