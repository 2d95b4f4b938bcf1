//! Generates sets to measure on, and measures.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use asof_benches::generate::{KeyKind, Spec, generate};
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
}

#[derive(Args)]
struct GenerateArgs {
    /// The project directory: new, empty, or with the same set in it already
    #[arg(long)]
    dir: PathBuf,
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

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Generate(args) => run_generate(args),
    }
}

fn run_generate(args: GenerateArgs) -> Result<()> {
    let GenerateArgs {
        dir,
        rows,
        keys,
        spine_rows,
        files,
        seed,
        key,
    } = args;
    let spec = Spec {
        rows,
        keys,
        spine_rows,
        files,
        seed,
        key,
    };
    let start = Instant::now();
    let generated = generate(&dir, &spec)?;
    let mut out = io::stdout().lock();
    if generated.reused {
        writeln!(out, "generated set in {}: already there", dir.display())?;
    } else {
        let seconds = start.elapsed().as_secs_f64();
        writeln!(
            out,
            "generated {rows} rows in {files} files and {spine_rows} spine rows in {seconds:.1} s: {}",
            dir.display()
        )?;
    }
    Ok(())
}
