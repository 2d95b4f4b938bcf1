//! A stage in a process of its own: what it takes of memory is its own, and nothing is warm from before.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine;
use crate::stage::{Task, calls, echo, extract, flight_echo, floor, ingest, materialize, serve};

/// The subcommand that [`main`] stands behind.
pub const COMMAND: &str = "child";

/// What a child says when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done<T> {
    /// What it did.
    pub result: T,
    /// The most memory that it held at a time, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
}

/// Does what the parent asked for, in the child; the answer goes to the standard output.
///
/// # Errors
///
/// Whatever the stage meets.
pub fn main(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task).context("this command is for the bench itself")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = task.threads() {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build()?.block_on(async {
        match task {
            Task::Extract(workload) => say(&Done::now(extract::run(&workload).await?)),
            Task::Ingest(workload) => say(&Done::now(ingest::run(&workload).await?)),
            Task::Floor(floor) => say(&Done::now(floor::run(&floor)?)),
            Task::Materialize(workload) => say(&Done::now(materialize::run(&workload).await?)),
            Task::Calls(calls) => say(&Done::now(calls::run(&calls).await?)),
            Task::FlightEcho(echo) => flight_echo::run(&echo, |address| say(&address), parent_gone()).await,
            Task::Echo(echo) => echo::run(&echo, |address| say(&address), parent_gone()).await,
            Task::Serve(served) => serve::run(&served, |address| say(&address), parent_gone()).await,
        }
    })
}

impl<T> Done<T> {
    fn now(result: T) -> Self {
        Self {
            result,
            peak_bytes: machine::peak_bytes(),
        }
    }
}

fn say<T: Serialize>(answer: &T) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

/// Ready when the standard input ends, as it does when the parent is done or gone.
async fn parent_gone() {
    let (sender, gone) = tokio::sync::oneshot::channel::<()>();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(sender);
    });
    let _ = gone.await;
}

/// Runs a task that ends by itself, and returns what it said.
///
/// # Errors
///
/// A child that failed; its own message is on the standard error already.
pub fn run<T: DeserializeOwned>(task: &Task) -> Result<Done<T>> {
    run_command(&mut command(task)?)
}

/// Runs a process that ends by itself, and returns what it said.
///
/// # Errors
///
/// As [`run`].
pub fn run_command<T: DeserializeOwned>(command: &mut Command) -> Result<Done<T>> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "the measured process ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn command(task: &Task) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND).arg(serde_json::to_string(task)?);
    Ok(command)
}

/// A server in a child; it ends when this is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    ///
    /// A server that does not start.
    pub fn start(task: &Task) -> Result<Self> {
        let mut command = command(task)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match serde_json::from_str(&line) {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                let _ = child.kill();
                anyhow::bail!("the server did not start: it ended with {}", child.wait()?)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
