//! A plan as people read it, and as programs do.

use std::fmt;

use serde::Serialize;

use super::{Action, Breaking, FieldChange, Plan};

/// What a line of a plan is about; a terminal may colour by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Something is added.
    Add,
    /// Something changes.
    Change,
    /// Something is removed.
    Remove,
    /// Something breaks.
    Breaking,
    /// Something to know.
    Note,
    /// The line that sums up.
    Summary,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub sign: Sign,
    /// 0 for definitions, 1 for their fields.
    pub level: u8,
    /// The text, without sign and indentation.
    pub text: String,
}

impl Line {
    fn new(sign: Sign, level: u8, text: String) -> Self {
        Self { sign, level, text }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.level {
            f.write_str("    ")?;
        }
        f.write_str(match self.sign {
            Sign::Add => "+ ",
            Sign::Change => "~ ",
            Sign::Remove => "- ",
            Sign::Breaking => "! ",
            Sign::Note => "note: ",
            Sign::Summary => "",
        })?;
        f.write_str(&self.text)
    }
}

impl fmt::Display for Plan {
    /// The lines of [`Plan::lines`], without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines().iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{line}")?;
        }
        Ok(())
    }
}

impl Plan {
    /// The plan line by line: changes, what breaks, what else is worth knowing, and the sum.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for change in self.changes() {
            let (sign, fields) = match &change.action {
                Action::Create => (Sign::Add, &[][..]),
                Action::Change(fields) => (Sign::Change, fields.as_slice()),
                Action::Remove => (Sign::Remove, &[][..]),
            };
            lines.push(Line::new(sign, 0, change.label()));
            lines.extend(fields.iter().map(field));
        }
        if !self.breaking().is_empty() {
            lines.push(Line::new(Sign::Breaking, 0, describe(self.breaking())));
        }
        for view in self.new_generations() {
            let text = format!(
                "view {view} starts a new generation; until that is materialized, what is stored serves the features that did \
                 not change, and takes no pushed rows"
            );
            lines.push(Line::new(Sign::Note, 0, text));
        }
        let notes = self.notes().iter();
        lines.extend(notes.map(|note| Line::new(Sign::Note, 0, note.clone())));
        lines.push(Line::new(Sign::Summary, 0, self.summary()));
        lines
    }

    /// `Plan: 3 to add, 1 to change, 0 to remove.`, or that there are no changes.
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return format!(
                "No changes: the registry is at v{} and matches the definitions.",
                self.base()
            );
        }
        format!(
            "Plan: {} to add, {} to change, {} to remove.",
            self.count(|action| *action == Action::Create),
            self.count(|action| matches!(action, Action::Change(_))),
            self.count(|action| *action == Action::Remove),
        )
    }

    /// The plan for programs.
    pub fn report(&self) -> PlanReport {
        PlanReport::of(self)
    }
}

fn field(change: &FieldChange) -> Line {
    let FieldChange { field, old, new } = change;
    match (old, new) {
        (Some(old), Some(new)) => Line::new(Sign::Change, 1, format!("{field}: {old} -> {new}")),
        (Some(old), None) => Line::new(Sign::Remove, 1, format!("{field}: {old}")),
        (None, new) => Line::new(
            Sign::Add,
            1,
            format!("{field}: {}", new.as_deref().unwrap_or_default()),
        ),
    }
}

/// What breaks, and what to do about it, in one line.
pub(crate) fn describe(breaking: &[Breaking]) -> String {
    let parts: Vec<String> = breaking.iter().map(ToString::to_string).collect();
    let plural = if parts.len() == 1 { "" } else { "s" };
    format!(
        "{} breaking change{plural}: {}; apply with --allow-breaking",
        parts.len(),
        parts.join("; ")
    )
}

/// A plan in a form that is written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The version on which it was made.
    pub base_version: u64,
    /// How many definitions are added.
    pub add: usize,
    /// How many change.
    pub change: usize,
    /// How many are removed.
    pub remove: usize,
    /// Each of them.
    pub changes: Vec<ReportedChange>,
    /// What would break.
    pub breaking: Vec<ReportedBreaking>,
    /// Views whose stored rows are built anew.
    pub new_generations: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One change of a [`PlanReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedChange {
    /// `create`, `change` or `remove`.
    pub action: String,
    /// `entity`, `source`, `view` or `service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The fields that differ, where it changes.
    pub fields: Vec<ReportedField>,
}

/// One field of a [`ReportedChange`], with values as a file writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedField {
    /// Such as `ttl` or `features.temp`.
    pub field: String,
    /// What it was.
    pub old: Option<String>,
    /// What it will be.
    pub new: Option<String>,
}

/// One breaking change of a [`PlanReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedBreaking {
    /// What changes.
    pub object: String,
    /// The service that breaks.
    pub service: String,
    /// Its columns, each with what becomes of it.
    pub columns: Vec<(String, String)>,
}

impl PlanReport {
    fn of(plan: &Plan) -> Self {
        Self {
            base_version: plan.base(),
            add: plan.count(|action| *action == Action::Create),
            change: plan.count(|action| matches!(action, Action::Change(_))),
            remove: plan.count(|action| *action == Action::Remove),
            changes: plan.changes().iter().map(ReportedChange::of).collect(),
            breaking: plan.breaking().iter().map(ReportedBreaking::of).collect(),
            new_generations: plan.new_generations().iter().map(ToString::to_string).collect(),
            notes: plan.notes().to_vec(),
        }
    }
}

impl ReportedChange {
    fn of(change: &super::Change) -> Self {
        let (action, fields) = match &change.action {
            Action::Create => ("create", &[][..]),
            Action::Change(fields) => ("change", fields.as_slice()),
            Action::Remove => ("remove", &[][..]),
        };
        let field = |change: &FieldChange| ReportedField {
            field: change.field.clone(),
            old: change.old.clone(),
            new: change.new.clone(),
        };
        Self {
            action: action.to_owned(),
            kind: change.kind.singular().to_owned(),
            name: change.name.clone(),
            fields: fields.iter().map(field).collect(),
        }
    }
}

impl ReportedBreaking {
    fn of(breaking: &Breaking) -> Self {
        let columns = breaking.columns.iter();
        Self {
            object: breaking.object.clone(),
            service: breaking.service.clone(),
            columns: columns
                .map(|broken| (broken.column.clone(), broken.reason.clone()))
                .collect(),
        }
    }
}
