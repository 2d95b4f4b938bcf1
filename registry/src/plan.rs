//! The plan: what applying the files of a project would change, and whom it would break.

mod breaking;
mod diff;
mod freeze;
mod report;

use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::name::ViewName;
use asof_core::registry::Version;

use crate::authored::Authored;
use crate::object::ObjectKind;
use crate::problem::{Place, Problem, Problems};

pub use breaking::{Breaking, BrokenColumn};
pub use diff::{Action, Change, FieldChange};
pub(crate) use report::describe;
pub use report::{Line, PlanReport, ReportedBreaking, ReportedChange, ReportedField, Sign};

/// What applying would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    base: u64,
    definitions: Arc<Definitions>,
    changes: Vec<Change>,
    breaking: Vec<Breaking>,
    new_generations: Vec<ViewName>,
    notes: Vec<String>,
}

impl Plan {
    /// The version on which it was made; 0 where nothing was applied yet.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// What will be defined.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// Whether applying would change nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is created, changed and removed, by kind and name.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What would take a column from a service, or give it another meaning.
    pub fn breaking(&self) -> &[Breaking] {
        &self.breaking
    }

    /// The views whose stored rows must be built anew.
    pub fn new_generations(&self) -> &[ViewName] {
        &self.new_generations
    }

    /// What else is worth knowing, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn count(&self, action: impl Fn(&Action) -> bool) -> usize {
        self.changes
            .iter()
            .filter(|change| action(&change.action))
            .count()
    }
}

/// Plans the way from `current` to what the files say.
///
/// Services are frozen here: an entry that was applied before, and is written as it was, keeps the
/// features that it stood for then.
pub fn plan(current: Option<&Version>, authored: Authored) -> Result<Plan, Problems> {
    if authored.is_empty() {
        return Err(Problem::new(
            Place::file("features"),
            "no definitions were found",
            "write some in features/*.toml, such as an [[entity]], a [[source]] and a [[view]]",
        )
        .into());
    }
    let empty = Definitions::empty(authored.definitions.project.clone());
    let old = current.map_or(&empty, |version| &version.definitions);
    let new = freeze::freeze(old, authored)?;
    let changes = diff::diff(old, &new);
    let new_generations = new_generations(old, &new);
    let mut notes = freeze::notes(&new);
    notes.extend(breaking::new_caller_columns(old, &new));
    let breaking = breaking::breaking(old, &new);
    Ok(Plan {
        base: current.map_or(0, |version| version.number),
        definitions: Arc::new(new),
        changes,
        breaking,
        new_generations,
        notes,
    })
}

fn new_generations(old: &Definitions, new: &Definitions) -> Vec<ViewName> {
    let starts_anew = |name: &&ViewName| {
        let (Some(old), Some(new)) = (old.bound_view(name.as_str()), new.bound_view(name.as_str())) else {
            return false;
        };
        !old.stored_shape().takes(&new.stored_shape())
    };
    new.views.keys().filter(starts_anew).cloned().collect()
}

/// The name of a changed object in messages: `view airport_weather`.
fn label(kind: ObjectKind, name: &str) -> String {
    format!("{kind} {name}")
}
