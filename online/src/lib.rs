//! The online store on RocksDB: the current row of every key of every view, read in one place.
//!
//! - [`RocksStore`] implements [`OnlineStore`](asof_core::online::OnlineStore).
//! - `keys` and `intake_keys` say which bytes stand for what, `catalogue` what the store knows of its views.
//! - `key_rows` is what a read finds of a key, `key_cache` keeps it for the next read, with what its windows gave, `answers`.
//! - `expiry` gives the room of rows back that expired long ago.
//! - `backup` copies a store, and reads a copy back.
//! - `directory`, `mark` and `lost` keep the files beside RocksDB's own, `manifest` looks at one of RocksDB's; `failure` names what went wrong.
//!
//! Nothing outside this crate knows RocksDB.

mod answers;
mod backup;
mod catalogue;
mod directory;
mod expiry;
mod failure;
#[cfg(test)]
mod fuzz;
mod in_doubt;
mod intake_keys;
mod key_cache;
mod key_rows;
mod keys;
mod lost;
mod manifest;
mod mark;
mod merge;
mod options;
mod sealed;
mod store;
mod tiles;

pub use backup::{ReadBack, read_back};
pub use directory::{Locked, lock};
pub use lost::{LostWrites, accept_lost_writes, lost_writes};
pub use options::{Durability, RocksOptions};
pub use store::{Recovery, RocksStore, has_intake};
