//! `asof serve`: features over gRPC and HTTP on one port, until told to stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    let access = project.access()?;
    let stop = stop_signal()?;
    let parts = ServeParts {
        brokers: Some(project.brokers()),
        ..ServeParts::of_project(&project, Arc::clone(&clock)).await?
    };
    let scheme = if access.tls.is_some() { "https" } else { "http" };
    let asks = match access.token {
        Some(_) => "asks for its token",
        None => "anybody who reaches it may call",
    };
    let listening = Listening::protected(listen, access).await?;
    let url = format!("{scheme}://{}", reachable(listening.address()));
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
        if !listening.address().ip().is_loopback() {
            output::line(format!("It listens on {}, and {asks}.", listening.address()));
        }
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

/// Where a server is reached from this machine that listens on an address.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let here: IpAddr = match listens {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match listens.ip().is_unspecified() {
        true => SocketAddr::new(here, listens.port()),
        false => listens,
    }
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
