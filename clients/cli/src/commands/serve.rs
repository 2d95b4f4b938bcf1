//! `asof serve`: features over gRPC and HTTP on one port, until told to stop.

use std::sync::Arc;

use asof_server::project::RunningServer;
use asof_server::{Listening, ServeParts, serve};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ServeArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;
use crate::project::clock;

pub(super) async fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let project = global.open()?;
    let clock = clock(args.now.as_deref())?;
    let listen = match &args.listen {
        Some(text) => asof_registry::parse_listen(text)?,
        None => project.config.listen,
    };
    let stop = stop_signal()?;
    let parts = ServeParts {
        brokers: Some(project.brokers()),
        ..ServeParts::of_project(&project, Arc::clone(&clock)).await?
    };
    let listening = Listening::bind(listen).await?;
    let url = format!("http://{}", listening.address());
    project.announce(&RunningServer {
        pid: std::process::id(),
        url: url.clone(),
    })?;
    if global.json {
        output::line(json!({ "url": url, "pid": std::process::id() }).to_string());
    } else {
        output::line(format!(
            "Serving project {} at {url} (gRPC asof.v1 and HTTP JSON); Ctrl-C stops.",
            project.name()
        ));
        if args.now.is_some() {
            output::line(format!("The clock is frozen at {}.", clock.now()));
        }
    }
    let result = serve(parts, listening, stop).await;
    project.withdraw();
    let drained = result?;
    if drained.cut > 0 {
        output::note(&format!(
            "{} connections did not end in time and were cut",
            drained.cut
        ));
    }
    if !global.json {
        output::line("Stopped.");
    }
    Ok(())
}

/// Ready when the process is told to stop, by SIGTERM or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()> + Send, Failure> {
    let listen = |kind: SignalKind| {
        signal(kind).map_err(|error| Failure::unavailable(format!("signals cannot be listened for: {error}")))
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
