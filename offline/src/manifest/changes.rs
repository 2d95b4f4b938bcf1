//! What differs between two manifests, as far as it can make datasets differ.

use std::collections::BTreeMap;

use super::{Content, FileRecord, SourceRecord};

/// One thing that two manifests say differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestChange {
    /// What it is about.
    pub what: String,
    /// What the first says.
    pub a: String,
    /// What the second says.
    pub b: String,
}

/// What two manifests say differently, in the order in which a manifest says it.
pub(crate) fn changes(a: &Content, b: &Content) -> Vec<ManifestChange> {
    let mut changes: Vec<ManifestChange> = scalars(a)
        .into_iter()
        .zip(scalars(b))
        .filter(|((_, a), (_, b))| a != b)
        .map(|((what, a), (_, b))| ManifestChange {
            what: what.to_owned(),
            a,
            b,
        })
        .collect();
    let by_name = |content: &Content| -> BTreeMap<String, SourceRecord> {
        let sources = content.sources.iter();
        sources
            .map(|source| (source.source.clone(), source.clone()))
            .collect()
    };
    let (of_a, of_b) = (by_name(a), by_name(b));
    let mut names: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    names.sort();
    names.dedup();
    changes.extend(
        names
            .into_iter()
            .filter_map(|name| source(name, of_a.get(name), of_b.get(name))),
    );
    changes
}

fn scalars(content: &Content) -> Vec<(&'static str, String)> {
    let rules = &content.rules;
    let service = match &content.service {
        Some(service) => format!("service {service}"),
        None => "single features".to_owned(),
    };
    let spine = match &content.spine.grid {
        Some(grid) => grid.told(),
        None => content.spine.digest.clone(),
    };
    vec![
        ("engine", format!("asof {}", content.engine)),
        ("project", content.project.clone()),
        (
            "definitions",
            format!("v{} {}", content.registry_version, content.definitions_digest),
        ),
        ("asked for", service),
        (
            "known",
            if rules.as_corrected {
                "as corrected"
            } else {
                "as known"
            }
            .to_owned(),
        ),
        ("time column", rules.time_column.clone()),
        (
            "timezone",
            rules.timezone.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        (
            "status columns",
            if rules.status_columns { "yes" } else { "no" }.to_owned(),
        ),
        ("spine", spine),
    ]
}

fn source(name: &str, a: Option<&SourceRecord>, b: Option<&SourceRecord>) -> Option<ManifestChange> {
    if a.is_some_and(|a| b.is_some_and(|b| a.table == b.table && a.files == b.files)) {
        return None;
    }
    let mut told = told(b);
    if let (Some(a), Some(b)) = (a, b) {
        told.push_str(&compared(&a.files, &b.files));
    }
    Some(ManifestChange {
        what: format!("source {name}"),
        a: self::told(a),
        b: told,
    })
}

fn told(source: Option<&SourceRecord>) -> String {
    let Some(source) = source else {
        return "not read".to_owned();
    };
    let files = match source.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    match &source.table {
        Some(table) => format!("version {} of table {}, {files}", table.version, table.id),
        None => files,
    }
}

/// How many files of the second are new, other ones of the same name, or missing.
fn compared(a: &[FileRecord], b: &[FileRecord]) -> String {
    let before: BTreeMap<&str, &FileRecord> = a.iter().map(|file| (file.path.as_str(), file)).collect();
    let kept = b.iter().filter(|file| before.contains_key(file.path.as_str()));
    let kept = kept.count();
    let changed = b
        .iter()
        .filter(|file| before.get(file.path.as_str()).is_some_and(|old| old != file))
        .count();
    let counts = [
        (b.len() - kept, "new"),
        (changed, "changed"),
        (a.len() - kept, "not there any more"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(" ({})", told.join(", ")),
    }
}
