//! How connections are made.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;
use tonic::transport::Uri;
use tower::Service;

/// So many connections are made in [`WINDOW`] at most. A channel connects anew for as long as connections are taken
/// and closed at once, as some servers of other protocols do, and a call on it would never end.
const CONNECTIONS: usize = 4;
const WINDOW: Duration = Duration::from_secs(2);

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconnected {
    /// Nobody took it.
    #[error("{0}")]
    Unreachable(io::Error),
    /// No TLS was agreed on.
    #[error("{0}")]
    Tls(io::Error),
}

/// Makes the connections of one channel, and gives up on who closes them as soon as they are made.
pub(crate) fn connector(
    tls: Option<TlsConnector>,
) -> impl Service<Uri, Response = TokioIo<Stream>, Error = Unconnected, Future: Send> + Send + 'static {
    let recent = Arc::new(Mutex::new(VecDeque::new()));
    tower::service_fn(move |uri: Uri| {
        let (recent, tls) = (Arc::clone(&recent), tls.clone());
        async move {
            let recent = || recent.lock().unwrap_or_else(PoisonError::into_inner);
            if !may_connect(&mut recent(), Instant::now()) {
                return Err(Unconnected::Unreachable(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "connections are closed as soon as they are made",
                )));
            }
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
            let stream = TcpStream::connect((host, port))
                .await
                .map_err(Unconnected::Unreachable)?;
            recent().push_back(Instant::now());
            stream.set_nodelay(true).map_err(Unconnected::Unreachable)?;
            let Some(tls) = tls else {
                return Ok(TokioIo::new(Either::Left(stream)));
            };
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|error| Unconnected::Tls(io::Error::other(error)))?;
            let stream = tls.connect(name, stream).await.map_err(Unconnected::Tls)?;
            Ok(TokioIo::new(Either::Right(Box::new(stream))))
        }
    })
}

/// Whether one more connection may be made at `now`, after those that were.
fn may_connect(recent: &mut VecDeque<Instant>, now: Instant) -> bool {
    while recent
        .front()
        .is_some_and(|made| now.duration_since(*made) >= WINDOW)
    {
        recent.pop_front();
    }
    recent.len() < CONNECTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_follow_at_once_are_given_up() {
        let (mut recent, begin) = (VecDeque::new(), Instant::now());
        let made = [0, 10, 20, 1_000, 1_500, 1_999, 2_000, 2_005, 2_011].map(|millis| {
            let now = begin + Duration::from_millis(millis);
            let may = may_connect(&mut recent, now);
            recent.extend(may.then_some(now));
            may
        });
        assert_eq!(made, [true, true, true, true, false, false, true, false, true]);
    }
}
