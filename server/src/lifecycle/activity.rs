//! What goes on on connections: the calls under way, and for how long nothing has happened.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

/// An answer is given in pieces of so many bytes: what is given at once is buffered at once, and is not seen any more.
const PIECE: usize = 64 * 1024;
/// A connection that may be closed to make room must have been idle for so long: one that was just opened is about to be used.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// What goes on on one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    calls: Mutex<Calls>,
    /// Cancelled when its place is needed.
    close: CancellationToken,
}

#[derive(Debug)]
struct Calls {
    next: u64,
    /// Since when a part of the answer lies there that the client has not taken, of each call under way.
    open: HashMap<u64, Option<Instant>>,
    idle_since: Instant,
}

impl Activity {
    fn new() -> Self {
        Self {
            calls: Mutex::new(Calls {
                next: 0,
                open: HashMap::new(),
                idle_since: Instant::now(),
            }),
            close: CancellationToken::new(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call, under way until it is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let mut calls = self.calls();
        let number = calls.next;
        calls.next += 1;
        calls.open.insert(number, None);
        Call {
            activity: Arc::clone(self),
            number,
        }
    }

    /// How long there has been no call; nothing while there is one.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let calls = self.calls();
        calls.open.is_empty().then(|| calls.idle_since.elapsed())
    }

    /// How long the client has not taken what lies there for it.
    pub(crate) fn untaken_for(&self) -> Option<Duration> {
        let calls = self.calls();
        calls.open.values().flatten().map(Instant::elapsed).max()
    }

    /// Its place is needed.
    pub(crate) async fn closed(&self) {
        self.close.cancelled().await;
    }
}

/// A call on a connection.
#[derive(Debug)]
pub(crate) struct Call {
    activity: Arc<Activity>,
    number: u64,
}

impl Call {
    fn is_untaken_since(&self, since: Option<Instant>) {
        if let Some(call) = self.activity.calls().open.get_mut(&self.number) {
            *call = since;
        }
    }

    /// Watches the answer, with which the call ends; a stream may lie there for as long as the client likes.
    pub(crate) fn watch(self, answer: Body, is_stream: bool) -> Body {
        Body::new(Watched {
            answer,
            call: self,
            is_stream,
            rest: Bytes::new(),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.activity.calls();
        calls.open.remove(&self.number);
        calls.idle_since = Instant::now();
    }
}

/// An answer of which is known when it was asked for more: who takes it asks for a part when the last one is gone.
#[derive(Debug)]
struct Watched {
    answer: Body,
    call: Call,
    is_stream: bool,
    /// What was not given yet of the last part.
    rest: Bytes,
}

impl Watched {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.answer).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = self.poll_piece(context);
        let is_given = !self.is_stream && matches!(polled, Poll::Ready(Some(Ok(_))));
        self.call.is_untaken_since(is_given.then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

/// The connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Vec<Weak<Activity>>>);

impl Connections {
    /// One more, known until it is dropped.
    pub(crate) fn open(&self) -> Arc<Activity> {
        let activity = Arc::new(Activity::new());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| connection.strong_count() > 0);
        all.push(Arc::downgrade(&activity));
        activity
    }

    /// Asks the one that has been idle for longest to close, where one is.
    pub(crate) fn close_idlest(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|connection| !connection.close.is_cancelled());
        let idle = open.filter_map(|connection| Some((connection.idle_for()?, connection)));
        let idlest = idle
            .filter(|(idle, _)| *idle >= LEAST_IDLE)
            .max_by_key(|(idle, _)| *idle);
        if let Some((_, connection)) = idlest {
            connection.close.cancel();
        }
    }
}
