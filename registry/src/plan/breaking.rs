//! Which columns of which services a plan would take away or redefine.

use std::fmt;

use asof_core::definition::{Definitions, Service};
use asof_core::service::ReadPlan;

use crate::columns::{ServedColumn, served};

/// What becomes of the columns of a service that is removed.
const WITH_SERVICE: &str = "is removed with its service";

/// One definition that breaks one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaking {
    /// What changes, such as `view airport_weather`.
    pub object: String,
    /// The service whose columns break.
    pub service: String,
    /// The columns, in the service's order.
    pub columns: Vec<BrokenColumn>,
}

/// What becomes of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenColumn {
    /// Its name.
    pub column: String,
    /// What becomes of it, such as `is retyped float64 -> int64`.
    pub reason: String,
}

impl fmt::Display for Breaking {
    /// `view a breaks service b (column a__x is removed)`, or `service b is removed (column a__x)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let of_itself = self.object == format!("service {}", self.service);
        let removed = of_itself && self.columns.iter().all(|broken| broken.reason == WITH_SERVICE);
        let column = |broken: &BrokenColumn| match removed {
            true => format!("column {}", broken.column),
            false => format!("column {} {}", broken.column, broken.reason),
        };
        let columns: Vec<String> = self.columns.iter().take(SHOWN).map(column).collect();
        match (of_itself, removed) {
            (_, true) => write!(f, "{} is removed (", self.object),
            (true, false) => write!(f, "{} is changed (", self.object),
            (false, _) => write!(f, "{} breaks service {} (", self.object, self.service),
        }?;
        f.write_str(&columns.join(", "))?;
        match self.columns.len().saturating_sub(SHOWN) {
            0 => f.write_str(")"),
            more => write!(f, ", and {more} more)"),
        }
    }
}

/// Everything that would break, by service; within one in the order of its columns.
pub(super) fn breaking(old: &Definitions, new: &Definitions) -> Vec<Breaking> {
    let services = old.services.values();
    services
        .flat_map(|service| of_service(old, new, service))
        .collect()
}

fn of_service(old: &Definitions, new: &Definitions, service: &Service) -> Vec<Breaking> {
    let before = served(old, service);
    let mut found = Found {
        service: service.name.as_str(),
        breaking: Vec::new(),
    };
    let Some(kept) = new.services.get(&service.name) else {
        let object = format!("service {}", service.name);
        for column in &before {
            found.add(&object, &column.name, WITH_SERVICE);
        }
        return found.breaking;
    };
    let after = served(new, kept);
    for column in &before {
        match after.iter().find(|other| other.name == column.name) {
            None => {
                let object = cause_of_removal(new, service, column);
                found.add(&object, &column.name, "is removed");
            }
            Some(other) => {
                if let Some(redefinition) = column.redefinition(other, found.service) {
                    found.add(&redefinition.object, &column.name, &redefinition.reason);
                }
            }
        }
    }
    let object = format!("service {}", service.name);
    for name in moved(&before, &after) {
        found.add(&object, &name, "changes its place");
    }
    found.breaking
}

/// What took a column away: its view, where the feature is gone, or else the service's own list.
fn cause_of_removal(new: &Definitions, service: &Service, column: &ServedColumn) -> String {
    let feature = column.name.rsplit("__").next().unwrap_or_default();
    let names = new.feature_names(&column.view);
    if names.is_some_and(|names| names.iter().all(|name| name.as_str() != feature)) {
        column.object()
    } else {
        format!("service {}", service.name)
    }
}

/// The columns that stay and come to stand before one that they followed.
fn moved(before: &[ServedColumn], after: &[ServedColumn]) -> Vec<String> {
    let place = |name: &str| after.iter().position(|column| column.name == name);
    let mut last = None;
    let mut moved = Vec::new();
    for (name, at) in before
        .iter()
        .filter_map(|column| Some((&column.name, place(&column.name)?)))
    {
        match last {
            Some(last) if at < last => moved.push(name.clone()),
            _ => last = Some(at),
        }
    }
    moved
}

struct Found<'a> {
    service: &'a str,
    breaking: Vec<Breaking>,
}

impl Found<'_> {
    fn add(&mut self, object: &str, column: &str, reason: &str) {
        let column = BrokenColumn {
            column: column.into(),
            reason: reason.into(),
        };
        match self
            .breaking
            .iter_mut()
            .find(|breaking| breaking.object == object)
        {
            Some(breaking) => breaking.columns.push(column),
            None => self.breaking.push(Breaking {
                object: object.into(),
                service: self.service.into(),
                columns: vec![column],
            }),
        }
    }
}

/// Notes on services that ask their callers for more than before.
pub(super) fn new_caller_columns(old: &Definitions, new: &Definitions) -> Vec<String> {
    let callers = |definitions: &Definitions, service: &Service| -> Vec<String> {
        ReadPlan::of_entries(definitions, &service.entries).map_or_else(
            |_| Vec::new(),
            |plan| {
                let keys = plan.caller_columns.into_iter();
                let keys = keys.map(|key| format!("key column {:?} ({})", key.name, key.key_type));
                let request = plan.request_columns.into_iter();
                let request =
                    request.map(|column| format!("request column {:?} ({})", column.name, column.data_type));
                keys.chain(request).collect()
            },
        )
    };
    let mut notes = Vec::new();
    for service in new.services.values() {
        let Some(before) = old.services.get(&service.name) else {
            continue;
        };
        let before = callers(old, before);
        for column in callers(new, service)
            .into_iter()
            .filter(|column| !before.contains(column))
        {
            notes.push(format!(
                "service {} will need the {column} from its callers",
                service.name
            ));
        }
    }
    notes
}
