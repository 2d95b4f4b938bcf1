//! The online store on Redis or Valkey: rows on servers that others run, one or a cluster.
//!
//! - [`RedisStore`] implements [`OnlineStore`](asof_core::online::OnlineStore).
//! - `names` says what lies where, `pending` and `work` have the bytes of some of it, `catalogue` what the store knows of
//!   its views; `scripts` is what must be decided and changed at once.
//! - `servers` asks, until a deadline, over `tls` or not; `failure` and `reply` are what they say; `promise` is what they must be set to.
//! - `lease` sees to it that one process at a time holds the store; `commit` that what is changed in one place and means
//!   something for others is done whole.
//!
//! Nothing outside this crate knows Redis.

mod catalogue;
mod commit;
mod deadline;
mod failure;
mod lease;
mod names;
mod options;
mod pending;
mod promise;
mod reply;
mod scripts;
mod servers;
mod store;
mod tls;
mod turn;
mod work;
mod writers;

pub use options::{Durability, RedisOptions, TlsFiles, shown};
pub use store::RedisStore;
