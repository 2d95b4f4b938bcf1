//! The commands, each in a file of its own.

mod apply;
mod browse;
mod compact;
mod demo;
mod diff;
mod explain;
mod extract;
mod get;
mod ingest;
mod init;
mod lint;
mod materialize;
mod replay;
mod runs;
mod serve;
mod status;

use crate::args::{Args, Command};
use crate::exit::Failure;
use crate::project::Project;
use crate::remote::Remote;

/// Runs the command.
pub async fn run(args: Args) -> Result<(), Failure> {
    let global = Global {
        project: args.project,
        server: args.server,
        json: args.json,
    };
    match args.command {
        Command::Init(args) => init::run(&global, &args),
        Command::Plan => apply::plan(&global).await,
        Command::Apply(args) => apply::apply(&global, &args).await,
        Command::List(args) => browse::list(&global, &args).await,
        Command::Show(args) => browse::show(&global, &args).await,
        Command::Search(args) => browse::search(&global, &args).await,
        Command::Ingest(args) => ingest::run(&global, &args).await,
        Command::Compact(args) => compact::run(&global, &args).await,
        Command::Extract(args) => extract::run(&global, &args).await,
        Command::Explain(args) => explain::run(&global, &args).await,
        Command::Lint(args) => lint::run(&global, &args).await,
        Command::Replay(args) => replay::run(&global, &args).await,
        Command::Diff(args) => diff::run(&global, args).await,
        Command::Materialize(args) => materialize::run(&global, &args).await,
        Command::Get(args) => get::run(&global, &args).await,
        Command::Serve(args) => serve::run(&global, &args).await,
        Command::Status => status::run(&global).await,
        Command::Runs(args) => runs::run(&global, &args).await,
        Command::Demo => demo::run(&global).await,
    }
}

/// What every command is given.
pub struct Global {
    /// The project's directory.
    pub project: std::path::PathBuf,
    /// The server to work through.
    pub server: Option<String>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Global {
    /// The server that the user named.
    pub async fn remote(&self) -> Result<Option<Remote>, Failure> {
        match &self.server {
            Some(url) => Remote::connect(url).await.map(Some),
            None => Ok(None),
        }
    }

    /// The server that the user named, or the one that holds the project's online store.
    pub async fn remote_or_running(&self) -> Result<Option<Remote>, Failure> {
        if self.server.is_some() {
            return self.remote().await;
        }
        let Some(server) = Project::open(&self.project)?.running_server() else {
            return Ok(None);
        };
        match Remote::connect(&server.url).await {
            Ok(remote) => Ok(Some(remote)),
            Err(_) => Err(Failure::unavailable(format!(
                "process {} holds the online store as a server, and does not answer at {}: wait for it to start or stop, or end it with `kill {}`",
                server.pid, server.url, server.pid
            ))),
        }
    }

    /// Refuses a server where a command works on the project's directory only.
    pub fn local_only(&self, command: &str) -> Result<Project, Failure> {
        if self.server.is_some() {
            return Err(Failure::usage(format!(
                "`asof {command}` works on the project's directory, not yet through a server: run it there, without --server"
            )));
        }
        Project::open(&self.project)
    }
}
