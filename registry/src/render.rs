//! Definitions as a file would write them.

mod aggregates;
mod on_demand;
mod stream;

use asof_core::definition::{
    Aggregates, Entity, Feature, Location, Notes, Select, Service, ServiceEntry, Source, View, ViewKind,
};
use asof_core::time::DateInstant;

use crate::object::Object;

/// One key of a definition, and its value as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// The table below the definition's own in which it stands.
    section: Option<&'static str>,
    key: String,
    pub(crate) value: String,
}

impl Field {
    fn new(key: &str, value: String) -> Self {
        Self {
            section: None,
            key: key.into(),
            value,
        }
    }

    /// What a diff calls it, such as `ttl` or `features.temp`.
    pub(crate) fn path(&self) -> String {
        match self.section {
            Some(section) => format!("{section}.{}", self.key),
            None => self.key.clone(),
        }
    }
}

/// A definition as a file writes it; a feature as its line in `[view.features]`.
pub fn to_toml(object: &Object<'_>) -> String {
    let kind = object.kind();
    let (mut text, fields) = match object {
        Object::Feature { view, feature } => {
            let line = format!("{} = {}\n", key(feature.name.as_str()), feature_value(feature));
            let aggregates = view.aggregates();
            return match aggregates.and_then(|aggregates| aggregates.aggregate_of(feature.name.as_str())) {
                Some(aggregate) => format!("# {line}{}", aggregates::block(aggregate)),
                None => line,
            };
        }
        Object::Computed { feature, .. } => return on_demand::line(feature),
        other => (format!("[[{kind}]]\n"), fields(other)),
    };
    let mut section = None;
    for field in &fields {
        let name = field.section.filter(|name| *name != aggregates::SECTION);
        if let (Some(name), true) = (name, field.section != section) {
            text.push_str(&format!("[{kind}.{name}]\n"));
            section = field.section;
        }
        if field.section != Some(aggregates::SECTION) {
            text.push_str(&format!("{} = {}\n", field.key, field.value));
        }
    }
    if let Object::View(view) = object {
        let list = view.aggregates().map_or(&[][..], Aggregates::list);
        list.iter()
            .for_each(|aggregate| text.push_str(&aggregates::block(aggregate)));
    }
    text
}

/// The fields of a definition, in the order in which a file writes them.
pub(crate) fn fields(object: &Object<'_>) -> Vec<Field> {
    match object {
        Object::Entity(entity) => of_entity(entity),
        Object::Source(source) => of_source(source),
        Object::View(view) => of_view(view),
        Object::OnDemand(on_demand) => on_demand::fields(on_demand),
        Object::Computed { feature, .. } => on_demand::of_feature(feature),
        Object::Feature { feature, .. } => of_feature(feature),
        Object::Service(service) => of_service(service),
    }
}

fn of_entity(entity: &Entity) -> Vec<Field> {
    let Entity { name, keys, notes } = entity;
    let keys = inline(
        keys.iter()
            .map(|column| (column.name.as_str(), string(&column.key_type.to_string()))),
    );
    let mut fields = vec![
        Field::new("name", string(name.as_str())),
        Field::new("keys", keys),
    ];
    fields.extend(of_notes(notes));
    fields
}

fn of_source(source: &Source) -> Vec<Field> {
    let Source {
        name,
        location,
        event_time,
        created_time,
        timezone,
        dates,
        deleted,
        sql,
        notes,
    } = source;
    let mut fields = vec![Field::new("name", string(name.as_str()))];
    let mut optional = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            fields.push(Field::new(key, string(value)));
        }
    };
    let (path, schema, event_id) = match location {
        Location::InPlace { path } => (Some(path.as_str()), None, None),
        Location::Managed { schema, event_id, .. } => (None, Some(schema), event_id.as_deref()),
    };
    let dates = dates.map(|dates| match dates {
        DateInstant::Start => "start",
        DateInstant::End => "end",
    });
    optional("path", path);
    optional("event_time", Some(event_time));
    optional("created_time", created_time.as_deref());
    optional("event_id", event_id);
    optional("timezone", timezone.map(|zone| zone.name()));
    optional("dates", dates);
    optional("deleted", deleted.as_deref());
    optional("sql", sql.as_deref());
    if let Some(schema) = schema {
        let columns = schema
            .iter()
            .map(|(name, data_type)| (name.as_str(), string(&data_type.to_string())));
        fields.insert(1, Field::new("schema", inline(columns)));
    }
    let stream = source
        .stream()
        .map(|stream| Field::new("stream", stream::value(stream)));
    fields.extend(stream);
    fields.extend(of_notes(notes));
    fields
}

fn of_view(view: &View) -> Vec<Field> {
    let View {
        name,
        entity,
        source,
        ttl,
        kind,
        notes,
    } = view;
    let mut fields = vec![
        Field::new("name", string(name.as_str())),
        Field::new("entity", string(entity.as_str())),
        Field::new("source", string(source.as_str())),
    ];
    if let Some(ttl) = ttl {
        fields.push(Field::new("ttl", string(&ttl.to_string())));
    }
    match kind {
        ViewKind::Features(features) => {
            fields.extend(of_notes(notes));
            fields.extend(features.iter().map(|feature| Field {
                section: Some("features"),
                key: key(feature.name.as_str()),
                value: feature_value(feature),
            }));
        }
        ViewKind::Aggregates(aggregates) => {
            let hop = aggregates.hop();
            fields.extend(hop.map(|hop| Field::new("hop", string(&hop.to_string()))));
            fields.extend(of_notes(notes));
            fields.extend(aggregates::fields(aggregates));
        }
    }
    fields
}

fn of_feature(feature: &Feature) -> Vec<Field> {
    let Feature {
        name: _,
        data_type,
        column,
        description,
    } = feature;
    let mut fields = vec![Field::new("type", string(&data_type.to_string()))];
    if let Some(column) = column {
        fields.push(Field::new("column", string(column)));
    }
    if let Some(description) = description {
        fields.push(Field::new("description", string(description)));
    }
    fields
}

/// `"float64"`, or a table where there is more to say than the type.
fn feature_value(feature: &Feature) -> String {
    let mut fields = of_feature(feature);
    if fields.len() == 1 {
        return fields.remove(0).value;
    }
    inline(
        fields
            .iter()
            .map(|field| (field.key.as_str(), field.value.clone())),
    )
}

fn of_service(service: &Service) -> Vec<Field> {
    let Service { name, entries, notes } = service;
    let lines: String = entries
        .iter()
        .map(|frozen| format!("  {},\n", entry(&frozen.entry)))
        .collect();
    let mut fields = vec![
        Field::new("name", string(name.as_str())),
        Field::new("features", format!("[\n{lines}]")),
    ];
    fields.extend(of_notes(notes));
    fields
}

/// One entry of a service's features.
pub(crate) fn entry(entry: &ServiceEntry) -> String {
    let ServiceEntry {
        view,
        select,
        keys,
        prefix,
    } = entry;
    let short = keys.is_empty() && prefix.is_none();
    let features = match select {
        Select::All if short => return string(&format!("{view}:*")),
        Select::All => string("*"),
        Select::Named(names) => match names.as_slice() {
            [name] if short => return string(&format!("{view}:{name}")),
            names => names
                .iter()
                .map(|name| string(name.as_str()))
                .collect::<Vec<_>>()
                .join(", "),
        },
    };
    let mut fields = vec![
        ("view", string(view.as_str())),
        ("features", format!("[{features}]")),
    ];
    if !keys.is_empty() {
        let keys = keys
            .iter()
            .map(|(column, caller)| (column.as_str(), string(caller)));
        fields.push(("keys", inline(keys)));
    }
    if let Some(prefix) = prefix {
        fields.push(("prefix", string(prefix.as_str())));
    }
    inline(fields)
}

fn of_notes(notes: &Notes) -> Vec<Field> {
    let Notes {
        description,
        owner,
        tags,
    } = notes;
    let mut fields = Vec::new();
    if let Some(description) = description {
        fields.push(Field::new("description", string(description)));
    }
    if let Some(owner) = owner {
        fields.push(Field::new("owner", string(owner)));
    }
    if !tags.is_empty() {
        let tags = tags.iter().map(|(tag, value)| (tag.as_str(), string(value)));
        fields.push(Field::new("tags", inline(tags)));
    }
    fields
}

/// `{ a = "x", b = "y" }`
fn inline<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("{} = {value}", key(name)))
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

/// A key, bare where it can be.
fn key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(is_bare) {
        text.to_owned()
    } else {
        string(text)
    }
}

/// A basic string on one line. What a terminal might obey is escaped: control characters, and those
/// that turn the direction of writing.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
