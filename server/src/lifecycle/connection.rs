//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::Limits;
use super::activity::Activity;
use crate::access::Tls;

/// What an HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client of TLS says first: a record of the handshake.
const HELLO: [u8; 1] = [0x16];
/// The most bytes of the headers of one HTTP/2 request.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// The most bytes of the head of one HTTP/1 request.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How often an idle HTTP/2 client is asked whether it is still there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls whose answers go on for as long as the client takes them.
const STREAMS: [&str; 2] = [
    "/arrow.flight.protocol.FlightService/",
    "/asof.v1.IngestService/PushStream",
];
/// How long an idle client has to take its leave.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a preface that came in part is looked at again.
const PREFACE_INTERVAL: Duration = Duration::from_millis(20);

/// Serves one connection until it ends; asks it to end when `stop` is cancelled.
pub(crate) async fn serve(
    stream: TcpStream,
    tls: Option<&Tls>,
    router: axum::Router,
    limits: Limits,
    stop: CancellationToken,
    activity: Arc<Activity>,
) {
    let first: &[u8] = if tls.is_some() { &HELLO } else { PREFACE };
    let begun = tokio::select! {
        begun = has_begun(&stream, first, limits.first_byte) => begun,
        () = stop.cancelled() => None,
    };
    let Some(begun) = begun else {
        return;
    };
    // Small answers must not wait for more to send; where the system refuses, they are late and right.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return carry(stream, router, limits, stop, activity).await;
    };
    if begun == Begun::Otherwise {
        refuse_plain(stream).await;
        return;
    }
    let agreed = async {
        let agreed = timeout(limits.first_byte, tls.acceptor().accept(stream)).await?;
        // Beneath TLS it has to say something, too.
        let mut stream = BufReader::new(agreed?);
        timeout(limits.first_byte, stream.fill_buf()).await??;
        Ok::<_, io::Error>(stream)
    };
    let agreed = tokio::select! {
        agreed = agreed => agreed,
        () = stop.cancelled() => return,
    };
    match agreed {
        Ok(stream) => carry(stream, router, limits, stop, activity).await,
        Err(error) => tracing::debug!(%error, "a client did not agree on TLS, or said nothing then"),
    }
}

/// Tells a client of HTTP/1 that this is the port of TLS; others see that it is closed.
async fn refuse_plain(mut stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
                            this port speaks TLS: use https\n";
    // What is not read when a connection is closed takes the answer with it; who is gone is not told.
    let _ = timeout(PREFACE_INTERVAL, stream.read(&mut [0; 4096])).await;
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
}

/// Serves whoever is at the other end, which has spoken or is known, until the connection ends.
pub(crate) async fn carry<I>(
    stream: I,
    router: axum::Router,
    limits: Limits,
    stop: CancellationToken,
    activity: Arc<Activity>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(limits);
    let watched = Arc::clone(&activity);
    let service = tower::service_fn(move |request: hyper::Request<Incoming>| {
        // Datasets and streams of pushes are taken as fast as their clients like, and are few.
        let is_stream = STREAMS.iter().any(|path| request.uri().path().starts_with(path));
        let call = watched.begin();
        let response = router.clone().call(request);
        async move {
            let response = response.await?;
            Ok::<_, Infallible>(response.map(|answer| call.watch(answer, is_stream)))
        }
    });
    let service = TowerToHyperService::new(service);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = is_idle(&activity, &limits) => {
            connection.as_mut().graceful_shutdown();
            // One that does not hear of it is cut.
            timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
        }
        () = is_untaken(&activity, &limits) => {
            tracing::debug!("a connection is cut whose client does not take its answer");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Returns when there has been no call for too long, or the place of the connection is needed.
async fn is_idle(activity: &Activity, limits: &Limits) {
    let too_long = async {
        while activity.idle_for().is_none_or(|idle| idle < limits.idle) {
            sleep(look_every(limits.idle)).await;
        }
    };
    tokio::select! {
        () = too_long => {}
        () = activity.closed() => {}
    }
}

/// Returns when an answer was not taken for too long.
async fn is_untaken(activity: &Activity, limits: &Limits) {
    while activity
        .untaken_for()
        .is_none_or(|untaken| untaken < limits.untaken)
    {
        sleep(look_every(limits.untaken)).await;
    }
}

/// How often to look whether a time is over.
fn look_every(limit: Duration) -> Duration {
    (limit / 10).clamp(Duration::from_millis(10), Duration::from_secs(5))
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.first_byte)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// How a client has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// As was expected.
    Expected,
    /// With something else.
    Otherwise,
}

/// How the client has begun, once that is known: with all that is expected first, or with something else. Nothing where it
/// has not said so in time.
async fn has_begun(stream: &TcpStream, expected: &[u8], limit: Duration) -> Option<Begun> {
    let until = Instant::now() + limit;
    let mut first = [0; PREFACE.len()];
    let first = first.get_mut(..expected.len())?;
    loop {
        let Ok(Ok(length @ 1..)) = timeout_at(until, stream.peek(first)).await else {
            return None;
        };
        let said = first.get(..length).unwrap_or_default();
        if !expected.starts_with(said) {
            return Some(Begun::Otherwise);
        }
        if length == expected.len() {
            return Some(Begun::Expected);
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(PREFACE_INTERVAL).await;
    }
}
