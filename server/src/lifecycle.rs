//! The life of the port: bind, accept with limits, drain.

pub(crate) mod activity;
pub(crate) mod connection;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::activity::Connections;
use crate::access::{self, Access};
use crate::metrics::Metrics;
use crate::overload::CallLimits;

/// How much callers may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; more wait to be accepted.
    pub connections: usize,
    /// Calls at once on one connection.
    pub streams: u32,
    /// How long a new connection may say nothing, or an HTTP/1 request may take to send its head.
    pub first_byte: Duration,
    /// How long a connection may have no call under way.
    pub idle: Duration,
    /// How long an answer may lie there that the client does not take.
    pub untaken: Duration,
    /// The longest that a call may take.
    pub deadline: Duration,
    /// How much is worked on at a time.
    pub calls: CallLimits,
    /// How long open connections have to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 256,
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            untaken: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
            calls: CallLimits::default(),
            drain: Duration::from_secs(9),
        }
    }
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that did not end in time and were cut.
    pub cut: usize,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Other machines could come, and not all is there that this asks for.
    #[error(
        "{address} can be reached from other machines, and {missing} missing: set token, tls_cert and tls_key in [serve] of \
         asof.toml, or listen on 127.0.0.1; in a network that is safe, `insecure = true` in [serve] lets everybody in"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
        /// What is not there.
        missing: &'static str,
    },
    /// Somebody listens there already.
    #[error(
        "{address} is in use by another process: stop it, or listen elsewhere with --listen 127.0.0.1:PORT"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused otherwise.
    #[error("cannot listen on {address}: {reason}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
}

impl Listening {
    /// Listens on a loopback address, where everybody on this machine may come; port 0 takes any that is free.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        Self::protected(address, Access::default()).await
    }

    /// Listens on any address, with what those who come must bring.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn protected(address: SocketAddr, access: Access) -> Result<Self, BindError> {
        if let Some(missing) = access.missing(address) {
            return Err(BindError::Unprotected { address, missing });
        }
        let refused = |reason: io::Error| match reason.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Refused { address, reason },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            access,
        })
    }

    /// Where, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(
        self,
        router: axum::Router,
        limits: Limits,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Drained {
        let router = match self.access.token {
            Some(token) => router.layer(axum::middleware::from_fn_with_state(token, access::require)),
            None => router,
        };
        let tls = self.access.tls;
        let stop = CancellationToken::new();
        let slots = Arc::new(Semaphore::new(limits.connections));
        let connections = Connections::default();
        let mut open = JoinSet::new();
        {
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                let (stream, slot) = tokio::select! {
                    () = &mut shutdown => break,
                    accepted = accept(&self.listener, &slots, &connections) => accepted,
                };
                while open.try_join_next().is_some() {}
                let (router, stop, counted) = (router.clone(), stop.clone(), metrics.connection());
                let (activity, tls) = (connections.open(), tls.clone());
                open.spawn(async move {
                    connection::serve(stream, tls.as_ref(), router, limits, stop, activity).await;
                    drop((slot, counted));
                });
            }
        }
        drop(self.listener);
        stop.cancel();
        drain(open, limits.drain).await
    }
}

/// The next connection, once there is room for it: where there is none, the one that has been idle for longest gives way.
/// Failures to accept are of that connection, or of the moment: neither ends the server.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    connections: &Connections,
) -> (TcpStream, OwnedSemaphorePermit) {
    let stream = loop {
        match listener.accept().await {
            Ok((stream, _)) => break stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    loop {
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            return (stream, slot);
        }
        connections.close_idlest();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn drain(mut open: JoinSet<()>, limit: Duration) -> Drained {
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_ok() {
        return Drained::default();
    }
    let cut = open.len();
    tracing::warn!(cut, "connections did not end in time and are cut");
    open.shutdown().await;
    Drained { cut }
}
