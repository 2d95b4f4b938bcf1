//! The entries of a service: `"view:feature"`, `"view:*"`, or a table with keys and a prefix.

use std::collections::BTreeMap;

use asof_core::definition::{Select, ServiceEntry};
use asof_core::name::{FeatureName, Prefix, ViewName};

use super::check::ServiceReferences;
use super::field;
use crate::document::{Table, Text, Value};
use crate::problem::{Place, Problem, Problems, shown};

/// An entry and where it is.
pub(super) type Placed = (ServiceEntry, Place);

/// Reads one item of a service's `features`, and notes what it says of views.
pub(super) fn parse(
    item: &Value<'_>,
    service: &str,
    problems: &mut Problems,
    references: &mut ServiceReferences,
) -> Option<Placed> {
    let (view, entry) = if item.is_string() {
        short(&item.string(problems, "an entry")?, problems)
    } else if item.is_table() {
        long(item.table(problems, format!("an entry of {service}"))?, problems)
    } else {
        let name = format!("an entry of {service}");
        return item.mismatch(problems, &name, "\"view:feature\", \"view:*\" or a table");
    };
    references.views.extend(view.map(|view| (view, item.place())));
    let placed = (entry?, item.place());
    references.entries.push(placed.clone());
    Some(placed)
}

/// The view, and the whole entry where nothing is wrong with it.
type Parts = (Option<ViewName>, Option<ServiceEntry>);

fn short(text: &Text<'_>, problems: &mut Problems) -> Parts {
    let Some((view, feature)) = text.text.split_once(':') else {
        let what = format!("{} is not a feature", shown(text.text));
        let help = "write \"view:feature\" or \"view:*\"";
        problems.push(Problem::new(text.place.clone(), what, help));
        return (None, None);
    };
    let view = text.parse(problems, |_| field::name("view", ViewName::parse)(view));
    let select = match feature {
        "*" => Some(Select::All),
        name => text
            .parse(problems, |_| field::name("feature", FeatureName::parse)(name))
            .map(|name| Select::Named(vec![name])),
    };
    let entry = view.clone().zip(select).map(|(view, select)| ServiceEntry {
        view,
        select,
        keys: BTreeMap::new(),
        prefix: None,
    });
    (view, entry)
}

fn long(mut table: Table<'_>, problems: &mut Problems) -> Parts {
    table.only(problems, &["view", "features", "keys", "prefix"]);
    let view = field::required_name(&table, problems, "view", "view", ViewName::parse).map(|(view, _)| view);
    let select = select(&table, problems);
    let keys = keys(&table, problems);
    let prefix = prefix(&table, problems);
    let entry = || {
        Some(ServiceEntry {
            view: view.clone()?,
            select: select?,
            keys: keys?,
            prefix: prefix?,
        })
    };
    let entry = entry();
    (view, entry)
}

/// The prefix, which need not be there; `None` where it is wrong.
fn prefix(table: &Table<'_>, problems: &mut Problems) -> Option<Option<Prefix>> {
    match table.get("prefix") {
        None => Some(None),
        Some(value) => value
            .string(problems, "\"prefix\"")?
            .parse(problems, field::name("prefix", Prefix::parse))
            .map(Some),
    }
}

/// `features = ["a", "b"]`, or `["*"]` for all.
fn select(table: &Table<'_>, problems: &mut Problems) -> Option<Select> {
    const EXAMPLE: &str = "features = [\"a_feature\"], or [\"*\"] for all";
    let Some(value) = table.get("features") else {
        table.missing(problems, "features", EXAMPLE);
        return None;
    };
    let items = value.array(problems, &format!("\"features\" of {}", table.label()))?;
    let mut texts = Vec::with_capacity(items.len());
    for item in &items {
        texts.push(item.string(problems, "a feature")?);
    }
    let all = texts.iter().find(|text| text.text == "*");
    match (texts.len(), all) {
        (0, _) => {
            let what = format!("{} lists no features", table.label());
            problems.push(Problem::new(value.place(), what, format!("expected {EXAMPLE}")));
            None
        }
        (1, Some(_)) => Some(Select::All),
        (_, Some(all)) => {
            problems.push(Problem::new(
                all.place.clone(),
                "\"*\" stands beside other features",
                "expected \"*\" alone, or the features by name",
            ));
            None
        }
        (_, None) => {
            let names: Vec<Option<FeatureName>> = texts
                .iter()
                .map(|text| text.parse(problems, field::name("feature", FeatureName::parse)))
                .collect();
            names.into_iter().collect::<Option<_>>().map(Select::Named)
        }
    }
}

/// `keys = { key_column = "caller_column" }`, which need not be there; `None` where something is wrong with it.
fn keys(table: &Table<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let Some(keys) = table.get("keys") else {
        return Some(BTreeMap::new());
    };
    let keys = keys.table(problems, format!("\"keys\" of {}", table.label()))?;
    let columns: Vec<Option<(String, String)>> = keys
        .entries()
        .into_iter()
        .map(|(key, value)| {
            let name = format!("the column for key {}", shown(key.text));
            let column = value.string(problems, &name)?.parse(problems, field::column)?;
            Some((key.text.to_owned(), column))
        })
        .collect();
    columns.into_iter().collect()
}
