//! A client of an asof server.
//!
//! - [`Client::get_features`] reads features of a few entities, as a prediction service asks for them.
//! - [`Client::push`] brings rows, which are served when it returns; [`Client::push_table`] and [`Client::ingest`] bring
//!   tables.
//! - [`Client::extract`] sends a spine and gives its dataset back, [`Client::read`] the features of every key that is
//!   known; both as batches, in memory that does not grow with the rows.
//! - [`Client::plan`] and [`Client::apply`] change what is defined, [`Client::materialize`] what is served.
//!
//! A prediction service, which is `examples/serve.rs`, and works with a server (`asof serve`) of a project whose
//! definitions (`asof apply`) are `examples/payments.toml`:
//!
//! ```no_run
#![doc = include_str!("../examples/serve.rs")]
//! ```
//!
//! A training pipeline, which is `examples/train.rs`, and works with the same:
//!
//! ```no_run
#![doc = include_str!("../examples/train.rs")]
//! ```

mod access;
mod call;
mod connector;
mod dataset;
mod error;
mod extract;
mod features;
mod jobs;
mod push;
mod put;
mod registry;
mod upload;

use std::time::Duration;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

pub use access::{Access, Bearer};
pub use dataset::{Dataset, Told};
pub use error::Error;
pub use extract::{Extract, Read};
pub use features::{Features, Selection};
pub use push::Pushed;
pub use put::{Ingested, PushedPart, RejectedRow};
pub use upload::batches;

pub use asof_core::status::Status;
pub use asof_core::time::Timestamp;
pub use asof_proto::v1;
pub use tonic::Code;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a server that works on a call is asked whether it is still there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest deadline: what is longer cannot be counted everywhere.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// What calls go over: a channel, and the token that each of them brings.
pub type Transport = InterceptedService<Channel, Bearer>;

/// A connection to a server; clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    deadline: Option<Duration>,
}

impl Client {
    /// Connects to a URL such as `grpc://127.0.0.1:2763`, or `http://…`; with TLS to `grpcs://…` or `https://…`, where the
    /// server's certificate must be of an authority that this machine trusts. Whether who listens there is a server of
    /// ours is seen by the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], [`Error::Unreachable`] where nobody listens there, and [`Error::Tls`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, &Access::default()).await
    }

    /// The same with what the server asks of those who call it.
    ///
    /// # Errors
    ///
    /// Those of [`Client::connect`], and [`Error::Access`] where TLS cannot be set up.
    pub async fn connect_with(url: &str, access: &Access) -> Result<Self, Error> {
        let with_tls = ["grpcs://", "https://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        let plain = ["grpc://", "http://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        let (url, tls) = match (with_tls, plain) {
            (Some(place), _) => (format!("https://{place}"), Some(access.tls()?)),
            (None, Some(place)) => (format!("http://{place}"), None),
            (None, None) => {
                return Err(Error::Url(format!(
                    "{url:?} does not begin with grpc://, grpcs://, http:// or https://"
                )));
            }
        };
        let endpoint = Endpoint::from_shared(url).map_err(|error| Error::Url(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let channel = endpoint.connect_with_connector(connector::connector(tls)).await;
        let channel = channel.map_err(|error| Error::unconnected(&error))?;
        Ok(Self {
            transport: InterceptedService::new(channel, access.bearer()),
            deadline: None,
        })
    }

    /// Over a connection that there is.
    pub fn over(channel: Channel) -> Self {
        Self {
            transport: InterceptedService::new(channel, Bearer::default()),
            deadline: None,
        }
    }

    /// What its calls go over, for calls that this client has no method for.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// The same with a time that each call may take, its answer with all rows included; 366 days at most.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline.min(LONGEST)),
            ..self
        }
    }
}
