//! Calls that may be made again, under one deadline.

use std::future::Future;
use std::time::{Duration, Instant};

use asof_proto::upload::HEADER;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use asof_proto::v1::job_service_client::JobServiceClient;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use asof_proto::v1::registry_service_client::RegistryServiceClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Response, Status};

use crate::{Client, Error, Transport};

/// How long a call may take with all its attempts, where the client has no deadline of its own.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait before the second attempt; twice as long before each further one, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The most bytes of an answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The services of a server.
pub(crate) struct Clients {
    pub(crate) online: OnlineServiceClient<Transport>,
    pub(crate) ingest: IngestServiceClient<Transport>,
    pub(crate) jobs: JobServiceClient<Transport>,
    pub(crate) registry: RegistryServiceClient<Transport>,
}

impl Client {
    /// Makes a call that has the same effect however often it is made, until it is answered, refused, or out of time.
    pub(crate) async fn repeated<M, T, F>(
        &self,
        message: &M,
        call: impl Fn(Clients, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.repeated_for(self.again(), DEADLINE, message, call).await
    }

    /// Makes a call again for so long as it is not answered; an attempt may take `usual`, where the client has no
    /// deadline of its own. With no time to make it again it is made once.
    pub(crate) async fn repeated_for<M, T, F>(
        &self,
        again_for: Duration,
        usual: Duration,
        message: &M,
        call: impl Fn(Clients, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline.unwrap_or(usual);
        let begun = Instant::now();
        let end = begun + deadline;
        let mut wait = FIRST_WAIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            let answer = tokio::time::timeout(left, call(self.clients(), request)).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => return Err(Status::deadline_exceeded(out_of_time(deadline)).into()),
            };
            let pushback = pushback_of(&status);
            let again =
                matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) && pushback.is_some();
            wait = wait.max(pushback.unwrap_or_default());
            if !again || Instant::now() + wait >= end.min(begun + again_for) {
                return Err(status.into());
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    /// A request that has as long as the client gives it.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        request
    }

    /// A request whose rows say where they end.
    pub(crate) fn request_with_end<T>(&self, messages: T) -> Request<T> {
        let mut request = self.request(messages);
        let promised = AsciiMetadataValue::from_static("1");
        request.metadata_mut().insert(HEADER, promised);
        request
    }

    /// How long calls are made again.
    pub(crate) fn again(&self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }

    /// When a call is over that begins now.
    pub(crate) fn end(&self) -> End {
        End(self
            .deadline
            .map(|deadline| (Instant::now() + deadline, deadline)))
    }

    pub(crate) fn clients(&self) -> Clients {
        Clients {
            online: OnlineServiceClient::new(self.transport()).max_decoding_message_size(MAX_ANSWER_BYTES),
            ingest: IngestServiceClient::new(self.transport()).max_decoding_message_size(MAX_ANSWER_BYTES),
            jobs: JobServiceClient::new(self.transport()).max_decoding_message_size(MAX_ANSWER_BYTES),
            registry: RegistryServiceClient::new(self.transport())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
        }
    }
}

/// When a call is over, its answer included, and how long it had; nothing where its client gives it all the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End(Option<(Instant, Duration)>);

impl End {
    /// What comes by then.
    pub(crate) async fn in_time<T>(self, what: impl Future<Output = T>) -> Result<T, Error> {
        match self.0 {
            None => Ok(what.await),
            Some((at, deadline)) => tokio::time::timeout_at(at.into(), what)
                .await
                .map_err(|_| Status::deadline_exceeded(out_of_time(deadline)).into()),
        }
    }
}

/// How long a server asks to wait before the call is made again; nothing where that is of no use, as where its disk is full.
fn pushback_of(status: &Status) -> Option<Duration> {
    let Some(wait) = status.metadata().get("grpc-retry-pushback-ms") else {
        return Some(Duration::ZERO);
    };
    let millis = wait.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

fn out_of_time(deadline: Duration) -> String {
    format!("the server did not answer within {deadline:?}")
}
