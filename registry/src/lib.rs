//! The registry: definition files, the plan that compares them with what was applied, applying it,
//! stored versions with the ledger of runs, and search.
//!
//! ```text
//! project::load ──> Authored::parse ──> plan ──> apply ──> RegistryStore (sqlite, memory)
//! ```
//!
//! Authored shape (TOML) and disk shape (JSON) are private; what goes in and out are the definitions
//! of `asof-core`.

mod apply;
mod authored;
mod columns;
#[cfg(feature = "test-util")]
pub mod conformance;
mod disk;
mod document;
mod frozen;
mod memory;
mod object;
mod plan;
mod problem;
mod project;
mod render;
mod search;
mod sqlite;
mod version;

pub use apply::{ApplyError, apply};
pub use authored::{Authored, Example, input_name};
pub use frozen::{FrozenColumn, frozen_columns};
pub use memory::MemoryRegistry;
pub use object::{NotFound, Object, ObjectKind, find, find_any, list};
pub use plan::{
    Action, Breaking, BrokenColumn, Change, FieldChange, Line, Plan, PlanReport, ReportedBreaking,
    ReportedChange, ReportedField, Sign, plan,
};
pub use problem::{MAX_PROBLEMS, Place, Problem, Problems, masked};
pub use project::{
    AuthoredFile, CONFIG_FILE, ListenError, LoadError, OnlineDurability, ProjectConfig, TlsFiles, load,
    load_config, parse_listen,
};
pub use render::to_toml;
pub use search::{Hit, search};
pub use sqlite::SqliteRegistry;
