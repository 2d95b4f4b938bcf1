//! `asof list`, `asof show` and `asof search`.

use asof_core::definition::Definitions;
use asof_core::registry::Version;
use asof_proto::v1;
use asof_registry::{Object, ObjectKind};
use serde_json::{Value, json};

use crate::args::{ListArgs, SearchArgs, ShowArgs};
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;
use crate::project;

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
            let kind = kind.map_or(v1::DefinitionKind::Unspecified, wire_kind);
            let answer = remote.client().list(kind).await?;
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
            let answer = remote.client().search(query.clone()).await?;
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
    let found: Vec<Shown> = match global.remote().await? {
        Some(remote) => {
            let kind = kind.map_or(v1::DefinitionKind::Unspecified, wire_kind);
            let answer = remote.client().definition(kind, name).await?;
            let columns = answer.columns.into_iter();
            let columns = columns
                .map(|column| [column.name, column.feature, column.r#type])
                .collect();
            let shown = answer.summary.map(|summary| Shown {
                entry: Entry::of_wire(summary),
                toml: answer.toml,
                columns,
            });
            shown.into_iter().collect()
        }
        None => {
            let version = head(global).await?;
            let objects = match kind {
                Some(kind) => vec![asof_registry::find(&version.definitions, kind, name)?],
                None => asof_registry::find_any(&version.definitions, name)?,
            };
            objects
                .iter()
                .map(|object| Shown {
                    entry: Entry::of(object),
                    toml: asof_registry::to_toml(object),
                    columns: columns(&version.definitions, object),
                })
                .collect()
        }
    };
    if global.json {
        let list: Vec<Value> = found.iter().map(Shown::json).collect();
        output::json(&json!(list));
        return Ok(());
    }
    for (place, shown) in found.iter().enumerate() {
        if place > 0 {
            output::line("");
        }
        if found.len() > 1 {
            let Entry { kind, name, .. } = &shown.entry;
            output::line(format!("# {} {name}", kind.singular()));
        }
        shown.print();
    }
    Ok(())
}

/// One definition as `show` tells it.
struct Shown {
    entry: Entry,
    toml: String,
    /// Of a service: the name, feature and type of each column.
    columns: Vec<[String; 3]>,
}

impl Shown {
    fn json(&self) -> Value {
        let mut value = self.entry.json();
        if let Some(object) = value.as_object_mut() {
            object.insert("toml".into(), json!(self.toml));
            if self.entry.kind == ObjectKind::Service {
                let column = |[name, feature, data_type]: &[String; 3]| json!({ "name": name, "feature": feature, "type": data_type });
                let columns: Vec<Value> = self.columns.iter().map(column).collect();
                object.insert("columns".into(), json!(columns));
            }
        }
        value
    }

    /// As a definition file, what it cannot say in comments.
    fn print(&self) {
        output::line(self.toml.trim_end());
        if self.columns.is_empty() {
            return;
        }
        output::line("\n# The columns that it is frozen as:");
        let width = |place: usize| {
            let letters = self.columns.iter().filter_map(|column| column.get(place));
            letters.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let (names, types) = (width(0), width(2));
        for [name, feature, data_type] in &self.columns {
            output::line(format!("#   {name:names$}  {data_type:types$}  {feature}"));
        }
    }
}

fn columns(definitions: &Definitions, object: &Object<'_>) -> Vec<[String; 3]> {
    let Object::Service(service) = object else {
        return Vec::new();
    };
    let columns = asof_registry::frozen_columns(definitions, service).into_iter();
    columns
        .map(|column| [column.name, column.feature, column.data_type.to_string()])
        .collect()
}

async fn head(global: &Global) -> Result<Version, Failure> {
    let project = project::open(&global.project)?;
    let registry = project.registry().await?;
    Ok(project.head(&registry).await?)
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
        ObjectKind::OnDemand => v1::DefinitionKind::OnDemand,
        ObjectKind::Feature => v1::DefinitionKind::Feature,
        ObjectKind::Service => v1::DefinitionKind::Service,
    }
}

pub(super) fn kind_of(kind: v1::DefinitionKind) -> ObjectKind {
    match kind {
        v1::DefinitionKind::Entity => ObjectKind::Entity,
        v1::DefinitionKind::Source => ObjectKind::Source,
        v1::DefinitionKind::View => ObjectKind::View,
        v1::DefinitionKind::OnDemand => ObjectKind::OnDemand,
        v1::DefinitionKind::Feature => ObjectKind::Feature,
        v1::DefinitionKind::Service | v1::DefinitionKind::Unspecified => ObjectKind::Service,
    }
}
