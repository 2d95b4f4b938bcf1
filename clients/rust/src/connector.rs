//! How connections are made.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tower::Service;

/// So many connections are made in [`WINDOW`] at most. A channel connects anew for as long as connections are taken
/// and closed at once, as some servers of other protocols do, and a call on it would never end.
const CONNECTIONS: usize = 4;
const WINDOW: Duration = Duration::from_secs(2);

/// Makes the connections of one channel, and gives up on who closes them as soon as they are made.
pub fn connector()
-> impl Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future: Send> + Send + 'static {
    let recent = Arc::new(Mutex::new(VecDeque::new()));
    tower::service_fn(move |uri: Uri| {
        let recent = Arc::clone(&recent);
        async move {
            let recent = || recent.lock().unwrap_or_else(PoisonError::into_inner);
            if !may_connect(&mut recent(), Instant::now()) {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "connections are closed as soon as they are made",
                ));
            }
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
            recent().push_back(Instant::now());
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
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
