//! A client of an asof server.
//!
//! - [`Client::get_features`] reads features of a few entities, as a prediction service asks for them.
//! - [`Client::push`] brings rows, which are served when it returns; [`Client::push_table`] and [`Client::ingest`] bring
//!   tables.
//! - [`Client::extract`] sends a spine and gives its dataset back, [`Client::read`] the features of every key that is
//!   known; both as batches, in memory that does not grow with the rows.
//! - [`Client::plan`] and [`Client::apply`] change what is defined, [`Client::materialize`] what is served.
//!
//! ```no_run
//! # async fn example() -> Result<(), asof_client::Error> {
//! use std::sync::Arc;
//!
//! use arrow_array::{ArrayRef, RecordBatch, StringArray};
//! use asof_client::{Client, Selection};
//!
//! let client = Client::connect("grpc://127.0.0.1:2763").await?;
//! let origins: ArrayRef = Arc::new(StringArray::from(vec!["JFK", "LGA"]));
//! let keys = RecordBatch::try_from_iter([("origin", origins)]).expect("columns of one length");
//! let weather = Selection::Features(vec!["airport_weather:temp".into()]);
//! let features = client.get_features(&weather, &keys).await?;
//! println!("{:?}", features.statuses("airport_weather__temp"));
//!
//! #[derive(serde::Deserialize)]
//! struct Weather {
//!     origin: String,
//!     #[serde(rename = "airport_weather__temp")]
//!     temp: Option<f64>,
//! }
//! for row in features.rows::<Weather>()? {
//!     println!("{}: {:?}", row.origin, row.temp);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # async fn example(spine: arrow_array::RecordBatch) -> Result<(), asof_client::Error> {
//! use asof_client::{Client, Extract};
//!
//! let client = Client::connect("grpc://127.0.0.1:2763").await?;
//! let extract = Extract::of_service("delay_model_v1");
//! let schema = spine.schema();
//! let mut dataset = client.extract(&extract, schema, futures::stream::iter([Ok(spine)])).await?;
//! while let Some(batch) = dataset.next().await? {
//!     println!("{} rows", batch.num_rows());
//! }
//! # Ok(())
//! # }
//! ```

mod call;
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

use tonic::transport::{Channel, Endpoint};

pub use dataset::{Dataset, Told};
pub use error::Error;
pub use extract::{Extract, Read};
pub use features::{Features, Selection};
pub use push::Pushed;
pub use put::{Ingested, PushedPart, RejectedRow};
pub use upload::batches;

pub use asof_proto::v1;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a server that works on a call is asked whether it is still there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a server; clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    deadline: Option<Duration>,
}

impl Client {
    /// Connects to a URL such as `grpc://127.0.0.1:2763`.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], and [`Error::Unreachable`] where nobody listens there.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let url = url.replacen("grpc://", "http://", 1);
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| Error::Url(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| Error::Unreachable {
            reason: error::deepest(&error),
        })?;
        Ok(Self::over(channel))
    }

    /// Over a connection that there is.
    pub fn over(channel: Channel) -> Self {
        Self {
            channel,
            deadline: None,
        }
    }

    /// The same with a time that each call may take, its answer included.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }
}
