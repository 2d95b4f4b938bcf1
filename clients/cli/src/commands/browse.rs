//! `asof list`, `asof show` and `asof search`.

use asof_core::registry::Version;
use asof_proto::v1;
use asof_registry::{Object, ObjectKind};
use serde_json::{Value, json};

use crate::args::{ListArgs, SearchArgs, ShowArgs};
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;
use crate::project::Project;

/// One line of a listing.
struct Entry {
    kind: ObjectKind,
    name: String,
    description: String,
    owner: String,
    tags: Vec<(String, String)>,
}

impl Entry {
    fn of(object: &Object<'_>) -> Self {
        let notes = object.notes();
        Self {
            kind: object.kind(),
            name: object.name(),
            description: object.description().unwrap_or_default().to_owned(),
            owner: notes.owner.clone().unwrap_or_default(),
            tags: notes.tags.clone().into_iter().collect(),
        }
    }

    fn of_wire(summary: v1::DefinitionSummary) -> Self {
        let mut tags: Vec<(String, String)> = summary.tags.into_iter().collect();
        tags.sort();
        let kind = kind_of(v1::DefinitionKind::try_from(summary.kind).unwrap_or_default());
        Self {
            kind,
            name: summary.name,
            description: summary.description,
            owner: summary.owner,
            tags,
        }
    }

    fn json(&self) -> Value {
        let tags: serde_json::Map<String, Value> = self
            .tags
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        json!({
            "kind": self.kind.singular(), "name": self.name, "description": self.description, "owner": self.owner,
            "tags": tags,
        })
    }
}

pub(super) async fn list(global: &Global, args: &ListArgs) -> Result<(), Failure> {
    let kind = args.kind.as_deref().map(parse_kind).transpose()?;
    let (version, entries) = match global.remote().await? {
        Some(remote) => {
            let request = v1::ListRequest {
                kind: kind.map_or(0, |kind| wire_kind(kind).into()),
            };
            let answer = remote.registry().list(request).await?.into_inner();
            (
                answer.version,
                answer.definitions.into_iter().map(Entry::of_wire).collect(),
            )
        }
        None => {
            let version = head(global).await?;
            let objects = asof_registry::list(&version.definitions, kind);
            (version.number, objects.iter().map(Entry::of).collect::<Vec<_>>())
        }
    };
    print(global, version, &entries, "Nothing of that kind is registered.");
    Ok(())
}

pub(super) async fn search(global: &Global, args: &SearchArgs) -> Result<(), Failure> {
    let query = args.words.join(" ");
    let (version, entries) = match global.remote().await? {
        Some(remote) => {
            let answer = remote
                .registry()
                .search(v1::SearchRequest { query: query.clone() })
                .await?
                .into_inner();
            (
                answer.version,
                answer.definitions.into_iter().map(Entry::of_wire).collect(),
            )
        }
        None => {
            let version = head(global).await?;
            let hits = asof_registry::search(&version.definitions, &query);
            (
                version.number,
                hits.iter().map(|hit| Entry::of(&hit.object)).collect::<Vec<_>>(),
            )
        }
    };
    print(global, version, &entries, &format!("Nothing matches {query:?}."));
    Ok(())
}

pub(super) async fn show(global: &Global, args: &ShowArgs) -> Result<(), Failure> {
    let (kind, name) = match args.what.as_slice() {
        [kind, name] => (Some(parse_kind(kind)?), name.as_str()),
        [name] => (None, name.as_str()),
        _ => return Err(Failure::usage("give a name, or a kind and a name")),
    };
    let found: Vec<(Entry, String)> = match global.remote().await? {
        Some(remote) => {
            let request = v1::GetRequest {
                kind: kind.map_or(0, |kind| wire_kind(kind).into()),
                name: name.to_owned(),
            };
            let answer = remote.registry().get(request).await?.into_inner();
            answer
                .summary
                .map(|summary| (Entry::of_wire(summary), answer.toml))
                .into_iter()
                .collect()
        }
        None => {
            let version = head(global).await?;
            let objects = match kind {
                Some(kind) => vec![asof_registry::find(&version.definitions, kind, name)?],
                None => asof_registry::find_any(&version.definitions, name)?,
            };
            objects
                .iter()
                .map(|object| (Entry::of(object), asof_registry::to_toml(object)))
                .collect()
        }
    };
    if global.json {
        let list: Vec<Value> = found
            .iter()
            .map(|(entry, toml)| {
                let mut value = entry.json();
                if let Some(object) = value.as_object_mut() {
                    object.insert("toml".into(), json!(toml));
                }
                value
            })
            .collect();
        output::json(&json!(list));
        return Ok(());
    }
    for (place, (entry, toml)) in found.iter().enumerate() {
        if place > 0 {
            output::line("");
        }
        if found.len() > 1 {
            output::line(format!("# {} {}", entry.kind.singular(), entry.name));
        }
        output::line(toml.trim_end());
    }
    Ok(())
}

async fn head(global: &Global) -> Result<Version, Failure> {
    let project = Project::open(&global.project)?;
    let registry = project.registry().await?;
    project.head(&registry).await
}

fn print(global: &Global, version: u64, entries: &[Entry], nothing: &str) {
    if global.json {
        let list: Vec<Value> = entries.iter().map(Entry::json).collect();
        output::json(&json!({ "version": version, "definitions": list }));
    } else if entries.is_empty() {
        output::line(nothing);
    } else {
        let row = |entry: &Entry| {
            vec![
                entry.kind.singular().to_owned(),
                entry.name.clone(),
                entry.owner.clone(),
                entry.description.clone(),
            ]
        };
        output::table(
            &["kind", "name", "owner", "description"],
            entries.iter().map(row).collect(),
        );
    }
}

fn parse_kind(text: &str) -> Result<ObjectKind, Failure> {
    ObjectKind::parse(text).ok_or_else(|| {
        Failure::usage(format!(
            "unknown kind {text:?}: the kinds are entities, sources, views, features and services"
        ))
    })
}

fn wire_kind(kind: ObjectKind) -> v1::DefinitionKind {
    match kind {
        ObjectKind::Entity => v1::DefinitionKind::Entity,
        ObjectKind::Source => v1::DefinitionKind::Source,
        ObjectKind::View => v1::DefinitionKind::View,
        ObjectKind::Feature => v1::DefinitionKind::Feature,
        ObjectKind::Service => v1::DefinitionKind::Service,
    }
}

fn kind_of(kind: v1::DefinitionKind) -> ObjectKind {
    match kind {
        v1::DefinitionKind::Entity => ObjectKind::Entity,
        v1::DefinitionKind::Source => ObjectKind::Source,
        v1::DefinitionKind::View => ObjectKind::View,
        v1::DefinitionKind::Feature => ObjectKind::Feature,
        v1::DefinitionKind::Service | v1::DefinitionKind::Unspecified => ObjectKind::Service,
    }
}
