//! The `asof` binary: parse, run one command, tell how it ended.

mod args;
mod commands;
mod exit;
mod ledger;
mod output;
mod progress;
mod project;
mod remote;

use std::time::Duration;

use tikv_jemallocator::Jemalloc;

use args::{Args, Command, LogFormat};
use exit::{DONE, Failure, leave};

/// Of the system's own allocator each thread has a heap of its own, which keeps what other threads have given back: the
/// memory of a server with many threads grows for days.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How long work on other threads is waited for when the command has ended.
const AFTER_INTERRUPT: Duration = Duration::from_secs(2);
/// What is not logged unless it is asked for: a client of brokers whose errors the server tells itself.
const QUIET: &str = "async_nats=off";
/// Nor what is for who operates a server, by another command.
const QUIET_COMMAND: &str = "asof_redis::promise=error";

fn main() -> ! {
    let args = Args::read();
    start_logging(&args);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            end(
                Err(Failure::unavailable(format!(
                    "threads cannot be started: {error}"
                ))),
                false,
            );
        }
    };
    let json = args.json;
    let result = runtime.block_on(async {
        match args.command.handles_interrupts() {
            true => commands::run(args).await,
            false => interruptible(commands::run(args)).await,
        }
    });
    // Work that an interrupt left behind on other threads has a moment to take its temporary files away.
    runtime.shutdown_timeout(AFTER_INTERRUPT);
    end(result, json)
}

fn end(result: Result<(), Failure>, json: bool) -> ! {
    let Err(failure) = result else { leave(DONE) };
    failure.report(json);
    leave(failure.exit() as i32)
}

/// Runs until the end or until Ctrl-C, which drops the work: it leaves nothing half done behind.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        biased;
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

fn start_logging(args: &Args) {
    use tracing_subscriber::EnvFilter;
    let quiet = match &args.command {
        Command::Serve(_) => QUIET.to_owned(),
        _ => format!("{QUIET},{QUIET_COMMAND}"),
    };
    let filter =
        EnvFilter::try_new(format!("{quiet},{}", args.log)).unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Only the first call in a process counts, and this is it.
    let _ = match args.log_format {
        LogFormat::Text => builder.with_ansi(output::color_of_stderr()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
