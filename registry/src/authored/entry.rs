//! The entries of a service: `"view:feature"`, `"view:*"`, or a table with keys and a prefix.

use std::collections::BTreeMap;

use asof_core::definition::{Select, ServiceEntry};
use asof_core::name::{FeatureName, Prefix, ViewName};

use super::field;
use crate::document::{Table, Text, Value};
use crate::problem::{Place, Problem, Problems, shown};

/// An entry and where it is.
pub(super) type Placed = (ServiceEntry, Place);

/// Reads one item of a service's `features`.
pub(super) fn parse(item: &Value<'_>, service: &str, problems: &mut Problems) -> Option<Placed> {
    let entry = if item.is_string() {
        short(&item.string(problems, "an entry")?, problems)?
    } else if item.is_table() {
        long(item.table(problems, format!("an entry of {service}"))?, problems)?
    } else {
        let name = format!("an entry of {service}");
        return item.mismatch(problems, &name, "\"view:feature\", \"view:*\" or a table");
    };
    Some((entry, item.place()))
}

fn short(text: &Text<'_>, problems: &mut Problems) -> Option<ServiceEntry> {
    let (view, select) = text.parse(problems, |text| {
        let (view, feature) = text.split_once(':').ok_or_else(|| {
            (
                format!("{} is not a feature", shown(text)),
                "write \"view:feature\" or \"view:*\"".to_owned(),
            )
        })?;
        let view = field::name("view", ViewName::parse)(view)?;
        let select = match feature {
            "*" => Select::All,
            name => Select::Named(vec![field::name("feature", FeatureName::parse)(name)?]),
        };
        Ok((view, select))
    })?;
    Some(ServiceEntry {
        view,
        select,
        keys: BTreeMap::new(),
        prefix: None,
    })
}

fn long(mut table: Table<'_>, problems: &mut Problems) -> Option<ServiceEntry> {
    table.only(problems, &["view", "features", "keys", "prefix"]);
    let view = field::required_name(&table, problems, "view", "view", ViewName::parse);
    let select = select(&table, problems);
    let keys = keys(&table, problems);
    let prefix = match table.string(problems, "prefix") {
        Some(text) => Some(text.parse(problems, field::name("prefix", Prefix::parse))?),
        None => None,
    };
    Some(ServiceEntry {
        view: view?.0,
        select: select?,
        keys,
        prefix,
    })
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

/// `keys = { key_column = "caller_column" }`.
fn keys(table: &Table<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let label = format!("\"keys\" of {}", table.label());
    let Some(keys) = table.table(problems, "keys", label) else {
        return BTreeMap::new();
    };
    keys.entries()
        .into_iter()
        .filter_map(|(key, value)| {
            let name = format!("the column for key {}", shown(key.text));
            let column = value.string(problems, &name)?.parse(problems, field::column)?;
            Some((key.text.to_owned(), column))
        })
        .collect()
}
