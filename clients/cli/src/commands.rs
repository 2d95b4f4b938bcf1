//! The commands, each in a file of its own.

mod apply;
mod backup;
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
mod push;
mod replay;
mod restore;
mod rollback;
mod runs;
mod serve;
mod status;
mod test;
mod verify;

use asof_core::definition::{Definitions, Location};
use asof_core::name::SourceName;
use asof_core::service::ReadPlan;
use asof_core::time::Clock;
use asof_server::clock::SystemClock;
use asof_server::project::Project;

use crate::args::{Args, Command};
use crate::exit::Failure;
use crate::project;
use crate::remote::{Remote, url_of};

/// Runs the command.
pub async fn run(args: Args) -> Result<(), Failure> {
    let global = Global {
        project: args.project,
        server: args.server,
        // A variable that is set to nothing is not set.
        ca: args.ca.filter(|ca| !ca.as_os_str().is_empty()),
        json: args.json,
    };
    if let (Some(command), true) = (args.local, global.server.is_some()) {
        return Err(Failure::usage(format!(
            "`asof {command}` works on the project's directory, not yet through a server: run it there, without --server"
        )));
    }
    match args.command {
        Command::Init(args) => init::run(&global, &args),
        Command::Plan => apply::plan(&global).await,
        Command::Test => test::run(&global).await,
        Command::Apply(args) => apply::apply(&global, &args).await,
        Command::List(args) => browse::list(&global, &args).await,
        Command::Show(args) => browse::show(&global, &args).await,
        Command::Search(args) => browse::search(&global, &args).await,
        Command::Ingest(args) => ingest::run(&global, &args).await,
        Command::Push(args) => push::run(&global, &args).await,
        Command::Compact(args) => compact::run(&global, &args).await,
        Command::Extract(args) => extract::run(&global, &args).await,
        Command::Explain(args) => explain::run(&global, &args).await,
        Command::Lint(args) => lint::run(&global, &args).await,
        Command::Replay(args) => replay::run(&global, &args).await,
        Command::Diff(args) => diff::run(&global, args).await,
        Command::Materialize(args) => materialize::run(&global, &args).await,
        Command::Rollback(args) => rollback::run(&global, &args).await,
        Command::Get(args) => get::run(&global, &args).await,
        Command::Serve(args) => serve::run(&global, &args).await,
        Command::Status => status::run(&global).await,
        Command::Backup(args) => backup::run(&global, &args).await,
        Command::Restore(args) => restore::run(&global, &args).await,
        Command::Verify(args) => verify::run(&global, &args).await,
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
    /// The authority that signed its certificate.
    pub ca: Option<std::path::PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Global {
    /// The server that the user named.
    pub async fn remote(&self) -> Result<Option<Remote>, Failure> {
        let Some(server) = &self.server else {
            return Ok(None);
        };
        let url = url_of(server);
        let own = project::open(&self.project).ok();
        let own = own.and_then(|project| project.running_server().map(|server| (project, server)));
        let own = own.filter(|(_, server)| server.url == url);
        let access = match &own {
            Some((project, _)) => project::access_of(project, self.ca.as_deref())?,
            None => project::access(self.ca.as_deref())?,
        };
        let reached = Remote::connect(&url, &access).await?;
        let pid = own.map(|(_, server)| server.pid);
        reached
            .map(Some)
            .map_err(|unreached| unreached.failure(&url, pid))
    }

    /// The server that the user named, or the one that holds the project's online store.
    pub async fn remote_or_running(&self) -> Result<Option<Remote>, Failure> {
        if self.server.is_some() {
            return self.remote().await;
        }
        let project = project::open(&self.project)?;
        let Some(server) = project.running_server() else {
            return Ok(None);
        };
        let access = project::access_of(&project, self.ca.as_deref())?;
        let reached = Remote::connect(&server.url, &access).await?;
        reached
            .map(Some)
            .map_err(|unreached| unreached.failure_of_holder(&server))
    }

    /// Sees to it that all rows that were pushed before to the sources of a plan are in their tables: by the server
    /// that holds the online store, or here where a process that held it was killed.
    pub async fn flush_pushed(
        &self,
        project: &Project,
        definitions: &Definitions,
        plan: &ReadPlan,
    ) -> Result<(), Failure> {
        let sources = plan.reads.iter().map(|read| &read.bound.source);
        let managed = sources.filter(|source| matches!(source.location, Location::Managed { .. }));
        let sources: Vec<SourceName> = managed.map(|source| source.name.clone()).collect();
        if sources.is_empty() || !project.has_pushed() {
            return Ok(());
        }
        match self.remote_or_running().await? {
            Some(server) => {
                let sources = sources.iter().map(ToString::to_string).collect();
                server.client().flush(sources).await?;
            }
            None => {
                let intake = project.intake()?;
                intake.flush(definitions, &sources, SystemClock.now()).await?;
            }
        }
        Ok(())
    }

    /// The project of this directory.
    pub fn open(&self) -> Result<Project, Failure> {
        project::open(&self.project)
    }
}
