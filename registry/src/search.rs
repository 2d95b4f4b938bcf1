//! Search over names, descriptions, owners and tags.

use asof_core::definition::Definitions;

use crate::object::{Object, list};

/// One definition that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit<'a> {
    /// What was found.
    pub object: Object<'a>,
    /// Whether its name has every word; else its other texts have some of them.
    pub by_name: bool,
}

/// Every definition in which each word of `query` occurs, in its name, description, owner or tags,
/// upper and lower case alike: those whose name has every word first, then by kind and name.
pub fn search<'a>(definitions: &'a Definitions, query: &str) -> Vec<Hit<'a>> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut hits: Vec<Hit<'a>> = list(definitions, None)
        .into_iter()
        .filter_map(|object| {
            let name = object.name().to_lowercase();
            let by_name = words.iter().all(|word| name.contains(word));
            let text = by_name.then(String::new).unwrap_or_else(|| text_of(&object));
            let found = by_name
                || words
                    .iter()
                    .all(|word| name.contains(word) || text.contains(word));
            found.then_some(Hit { object, by_name })
        })
        .collect();
    hits.sort_by_key(|hit| !hit.by_name);
    hits
}

fn text_of(object: &Object<'_>) -> String {
    let notes = object.notes();
    let tags = notes
        .tags
        .iter()
        .flat_map(|(tag, value)| [tag.as_str(), value.as_str()]);
    let texts = object
        .description()
        .into_iter()
        .chain(notes.owner.as_deref())
        .chain(tags);
    texts.collect::<Vec<_>>().join("\n").to_lowercase()
}
