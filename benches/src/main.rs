//! Generates sets to measure on, and measures.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use asof_benches::child;
use asof_benches::compare::{Case, Peers};
use asof_benches::generate::{KeyKind, Spec, generate};
use asof_benches::online::Reads;
use asof_benches::online::feast::Feast;
use asof_benches::python::{Package, Uses};
use asof_benches::sets::Set;
use asof_benches::stage::Stage;
use asof_benches::suite::Suite;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a project with generated data: feature rows, a spine, definitions
    Generate(GenerateArgs),
    /// Measure extract, materialization and serving, and print the figures
    Run(Box<RunArgs>),
    /// One stage in a process of its own
    #[command(name = child::COMMAND, hide = true)]
    Child {
        /// What to do, as the bench itself writes it
        task: String,
    },
}

#[derive(Args)]
struct GenerateArgs {
    /// The project directory: new, empty, or with the same set in it already
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    spec: SpecArgs,
}

#[derive(Args)]
struct SpecArgs {
    /// Feature rows
    #[arg(long, default_value_t = Spec::default().rows)]
    rows: u64,
    /// Keys, a multiple of 100
    #[arg(long, default_value_t = Spec::default().keys)]
    keys: u64,
    /// Rows of the spine
    #[arg(long, default_value_t = Spec::default().spine_rows)]
    spine_rows: u64,
    /// Files that the feature rows are cut into
    #[arg(long, default_value_t = Spec::default().files)]
    files: u64,
    /// Which set of this size
    #[arg(long, default_value_t = Spec::default().seed)]
    seed: u64,
    /// The type of the keys
    #[arg(long, value_enum, default_value_t = KeyKind::Int64)]
    key: KeyKind,
}

#[derive(Args)]
struct RunArgs {
    /// Where sets and stores go; sets of an earlier run are used again
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// The project of the flights example
    #[arg(long, default_value = "examples/flights")]
    flights: PathBuf,
    /// Measure on this set only; may be given again
    #[arg(long, value_enum)]
    set: Vec<Set>,
    /// Measure this stage only; may be given again
    #[arg(long, value_enum)]
    only: Vec<Stage>,
    /// Measure this case of the comparison only; may be given again
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// Measure this case of reads only; may be given again
    #[arg(long, value_enum)]
    reads: Vec<Reads>,
    /// Measure this use of the Python package only; may be given again
    #[arg(long, value_enum)]
    uses: Vec<Uses>,
    /// A Python with DuckDB and Polars; without it the comparison is of this engine alone
    #[arg(long)]
    python: Option<PathBuf>,
    /// A Python with Feast, beside which reads are measured with --redis, and datasets with --package
    #[arg(long)]
    feast: Option<PathBuf>,
    /// A Python with the asof package, pandas and pyarrow; without it nothing is measured from Python
    #[arg(long)]
    package: Option<PathBuf>,
    /// The wheel that the package was installed from
    #[arg(long, requires = "package")]
    wheel: Option<PathBuf>,
    /// A redis-server; without it nothing is measured beside Redis
    #[arg(long)]
    redis: Option<PathBuf>,
    /// A nats-server; without it streams are not measured
    #[arg(long)]
    nats: Option<PathBuf>,
    /// The folder of the Python scripts
    #[arg(long, default_value = "benches/python")]
    scripts: PathBuf,
    /// How often each figure is taken
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long each load on the server lasts
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Clients of the loads with several, a connection each
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Write the figures to this file as well
    #[arg(long)]
    results: Option<PathBuf>,
    /// What else the figures belong to, such as a commit; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = fact)]
    fact: Vec<(String, String)>,
    #[command(flatten)]
    spec: SpecArgs,
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Generate(args) => run_generate(args),
        Command::Run(args) => run_suite(*args),
        Command::Child { task } => child::main(&task),
    }
}

impl From<SpecArgs> for Spec {
    fn from(args: SpecArgs) -> Self {
        let SpecArgs {
            rows,
            keys,
            spine_rows,
            files,
            seed,
            key,
        } = args;
        Self {
            rows,
            keys,
            spine_rows,
            files,
            seed,
            key,
            once: false,
        }
    }
}

fn run_generate(args: GenerateArgs) -> Result<()> {
    let GenerateArgs { dir, spec } = args;
    let spec = Spec::from(spec);
    let start = Instant::now();
    let generated = generate(&dir, &spec)?;
    let mut out = io::stdout().lock();
    if generated.reused {
        writeln!(out, "generated set in {}: already there", dir.display())?;
    } else {
        let seconds = start.elapsed().as_secs_f64();
        writeln!(
            out,
            "generated {} rows in {} files and {} spine rows in {seconds:.1} s: {}",
            spec.rows,
            spec.files,
            spec.spine_rows,
            dir.display()
        )?;
    }
    Ok(())
}

fn run_suite(args: RunArgs) -> Result<()> {
    let RunArgs {
        data,
        flights,
        set,
        only,
        case,
        reads,
        uses,
        python,
        feast,
        package,
        wheel,
        redis,
        nats,
        scripts,
        runs,
        seconds,
        connections,
        results,
        fact,
        spec,
    } = args;
    let suite = Suite {
        data,
        flights,
        spec: spec.into(),
        sets: all_if_none(set, &Set::ALL),
        stages: all_if_none(only, &Stage::ALL),
        runs,
        seconds,
        connections,
        reads: all_if_none(reads, &Reads::ALL),
        cases: all_if_none(case, &Case::ALL),
        redis,
        nats,
        uses: all_if_none(uses, &Uses::ALL),
        package: package.map(|python| Package {
            python,
            wheel,
            feast: feast.clone(),
            scripts: scripts.clone(),
        }),
        feast: feast.map(|python| Feast {
            python,
            scripts: scripts.clone(),
        }),
        peers: python.map(|python| Peers { python, scripts }),
    };
    let mut report = suite.run()?;
    report.facts.splice(0..0, fact);
    let page = report.to_string();
    if let Some(results) = results {
        fs::write(&results, &page).with_context(|| format!("cannot write {}", results.display()))?;
    }
    io::stdout().lock().write_all(page.as_bytes())?;
    Ok(())
}

fn all_if_none<T: Copy>(named: Vec<T>, all: &[T]) -> Vec<T> {
    if named.is_empty() { all.to_vec() } else { named }
}
