//! The server: the online store, the registry and the jobs behind gRPC and HTTP on one port.
//!
//! ```text
//! serve(parts, listening, shutdown)
//!   lifecycle   accepts, limits, drains
//!   grpc, http  check arguments, one call, convert
//!   features    the read path
//!   intake      the push path
//! ```

pub mod access;
pub mod app;
pub mod backup;
pub mod cancel;
pub mod clock;
pub mod embedded;
pub mod error;
pub mod features;
pub mod intake;
pub mod jobs;
pub mod lifecycle;
pub mod materialize;
pub mod metrics;
pub mod places;
pub mod project;
pub mod registry_watch;
pub mod runs;
pub mod status;
pub mod streams;

mod background;
mod deadline;
mod flight;
mod grpc;
mod http;
mod json;
mod overload;
mod process;

pub use access::{Access, AccessError, Tls, Token};
pub use app::{ServeParts, serve, serve_routes};
pub use http::{column_of_json, get_features_json, keys_of_text, value_json};
pub use lifecycle::{BindError, Drained, Limits, Listening};
pub use overload::CallLimits;
