//! Deadlines: the caller's `grpc-timeout`, and the server's own where that is sooner.

use std::cell::Cell;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::{Code, Status};

use crate::http::{is_grpc, refusal};

const HEADER: &str = "grpc-timeout";

/// Calls that wait for work of any length, as long as their caller wants to: only its own deadline ends them.
const UNLIMITED: [&str; 3] = [
    "/asof.v1.JobService/Backup",
    "/asof.v1.JobService/GetStatus",
    "/asof.v1.JobService/Materialize",
];

/// Answers with DEADLINE_EXCEEDED, and drops the work, where the time is over.
pub(crate) async fn enforce(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    let grpc = is_grpc(request.headers());
    let asked = asked(request.headers());
    let limit = match UNLIMITED.contains(&request.uri().path()) {
        true => asked,
        false => Some(asked.map_or(longest, |asked| asked.min(longest))),
    };
    let Some(limit) = limit else {
        return next.run(request).await;
    };
    let over = || {
        let message = format!("the request took longer than its deadline of {limit:?}");
        if grpc {
            Status::deadline_exceeded(message).into_http()
        } else {
            refusal(Code::DeadlineExceeded, message).into_response()
        }
    };
    if limit.is_zero() {
        return over();
    }
    let in_time = async {
        let mut running = std::pin::pin!(next.run(request));
        match tokio::time::timeout(limit, running.as_mut()).await {
            Ok(response) => response,
            // The call is dropped behind this, and is told why.
            Err(_) => {
                IS_OVER.with(|is_over| is_over.set(true));
                over()
            }
        }
    };
    IS_OVER.scope(Cell::new(false), in_time).await
}

tokio::task_local! {
    static IS_OVER: Cell<bool>;
}

/// Whether the call that is being dropped was given up because its time was over.
pub(crate) fn is_over() -> bool {
    IS_OVER.try_with(Cell::get).unwrap_or(false)
}

/// The deadline that a caller gives.
pub(crate) fn asked(headers: &http::HeaderMap) -> Option<Duration> {
    parse(headers.get(HEADER)?.as_bytes())
}

/// At most eight digits and a unit, as the gRPC specification has it.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse(b"2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse(b"1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse(b"0n"), Some(Duration::ZERO));
        assert_eq!(parse(b"1H"), Some(Duration::from_secs(3600)));
        for wrong in ["", "S", "123456789S", "-1S", "1", "1s", "1.5S"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
