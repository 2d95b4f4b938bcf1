//! The authored shape of definitions: what `features/**/*.toml` say, checked as a whole.
//!
//! Files are first read one by one. References between definitions are checked afterwards, those of
//! definitions in which something else is wrong too, and only where every file could be read, so that one
//! typing error does not make each reference to the definitions of its file look wrong.

mod aggregate;
mod avro;
mod check;
mod entity;
mod entry;
mod example;
mod expression;
mod field;
mod on_demand;
mod path;
mod resolve;
mod service;
mod source;
mod stream;
mod view;

use std::collections::BTreeMap;

use asof_core::definition::{Definitions, Entity, Notes, OnDemand, ServiceEntry, Source, View};
use asof_core::name::{ServiceName, ViewName};

use crate::document::{Document, Table, Value};
use crate::problem::{Place, Problem, Problems};
use crate::project::{AuthoredFile, ProjectConfig};

use check::References;
pub(crate) use check::check_entries;
pub use example::{Example, input_name};
use on_demand::AuthoredOnDemand;
use resolve::AggregateView;

/// Where a stream is written.
const STREAMS_ARE_OF_SOURCES: &str = "a stream fills a source: write stream = { … } into its [[source]]";

/// Keys by which a file would say in which form it is written. Files of this version say no such thing.
const NEWER: [&str; 3] = ["version", "format", "format_version"];
/// What to do with a file that says so.
const NO_NEWER: &str = "use that version, or remove the key";

/// What the files of a project define. Its services list what they list: `*` is not worked out yet,
/// which [`crate::plan::plan`] does against what was applied before.
#[derive(Debug, Clone, PartialEq)]
pub struct Authored {
    /// Without services.
    pub(crate) definitions: Definitions,
    pub(crate) services: BTreeMap<ServiceName, AuthoredService>,
    examples: Vec<Example>,
}

/// A service as its file lists it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AuthoredService {
    pub(crate) name: ServiceName,
    pub(crate) entries: Vec<(ServiceEntry, Place)>,
    pub(crate) notes: Notes,
    pub(crate) place: Place,
}

impl Authored {
    /// Reads definition files. Every problem is reported, up to 20 of them.
    pub fn parse(config: &ProjectConfig, files: &[AuthoredFile]) -> Result<Self, Problems> {
        let mut reader = Reader {
            config,
            problems: Problems::default(),
            entities: Register::new("entity"),
            sources: Register::new("source"),
            views: Register::new("view"),
            services: Register::new("service"),
            aggregates: Vec::new(),
            on_demand: Vec::new(),
            sets: BTreeMap::new(),
            examples: Vec::new(),
            references: References::default(),
        };
        let mut readable = true;
        for file in files {
            readable &= reader.file(file).is_some();
        }
        if readable {
            resolve::resolve(&mut reader);
            on_demand::resolve(&mut reader);
            check::references(&mut reader);
        }
        let definitions = reader.read_so_far();
        let Reader {
            problems,
            services,
            examples,
            ..
        } = reader;
        let services = named(services.good, |service| service.name.clone());
        problems.or(Self {
            definitions,
            services,
            examples,
        })
    }

    /// What on-demand features must give for some inputs, in the order of the files.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Whether the files define nothing.
    pub fn is_empty(&self) -> bool {
        let Definitions {
            project: _,
            entities,
            sources,
            views,
            on_demand,
            services,
        } = &self.definitions;
        entities.is_empty()
            && sources.is_empty()
            && views.is_empty()
            && on_demand.is_empty()
            && services.is_empty()
            && self.services.is_empty()
    }
}

fn named<N: Ord, T>(items: impl IntoIterator<Item = T>, name: impl Fn(&T) -> N) -> BTreeMap<N, T> {
    items.into_iter().map(|item| (name(&item), item)).collect()
}

/// Whether a file seems to have definitions of a kind in a place where they are not read.
fn hides(root: &Table<'_>, kind: &str) -> bool {
    root.is_misspelt(kind) || root.get(kind).is_some_and(|value| !value.is_array())
}

/// The definitions of one kind: every name with its place, and those that could be read.
struct Register<T> {
    kind: &'static str,
    places: BTreeMap<String, Place>,
    /// Whether one has no name that could be read: any reference may mean it.
    has_nameless: bool,
    good: Vec<T>,
}

impl<T> Register<T> {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            places: BTreeMap::new(),
            has_nameless: false,
            good: Vec::new(),
        }
    }

    /// Enters a name. One that is there already is a problem, and `false`.
    fn enter(&mut self, problems: &mut Problems, name: &str, place: &Place) -> bool {
        if let Some(first) = self.places.get(name) {
            let what = format!("{} {name:?} is defined twice", self.kind);
            let help = format!("the first is at {first}: rename or remove one of them");
            problems.push(Problem::new(place.clone(), what, help));
            return false;
        }
        self.places.insert(name.to_owned(), place.clone());
        true
    }
}

/// What has been read so far.
struct Reader<'a> {
    config: &'a ProjectConfig,
    problems: Problems,
    entities: Register<Entity>,
    sources: Register<Source>,
    views: Register<View>,
    services: Register<AuthoredService>,
    aggregates: Vec<AggregateView>,
    on_demand: Vec<AuthoredOnDemand>,
    /// The sets of on-demand features in which nothing is wrong.
    sets: BTreeMap<ViewName, OnDemand>,
    examples: Vec<Example>,
    references: References,
}

impl Reader<'_> {
    /// Reads one file; `None` where it is not TOML, or of a newer version.
    fn file(&mut self, file: &AuthoredFile) -> Option<()> {
        let document = Document::read(&file.path, &file.bytes, &mut self.problems)?;
        let table = document.parse(&mut self.problems)?;
        let mut root = Table::root(&document, &table);
        for (key, value) in root.entries() {
            if NEWER.contains(&key.text) && !value.is_array() {
                let what = format!(
                    "the file is for a newer version of asof: it has a {:?}, which this version does not know",
                    key.text
                );
                self.problems.push(Problem::new(key.place, what, NO_NEWER));
                return None;
            }
        }
        root.only(
            &mut self.problems,
            &["entity", "source", "view", "service", "on_demand", "stream"],
        );
        self.entities.has_nameless |= hides(&root, "entity");
        self.sources.has_nameless |= hides(&root, "source");
        self.views.has_nameless |= hides(&root, "view") || hides(&root, "on_demand");
        for table in self.tables(&root, "entity") {
            self.entity(table);
        }
        for table in self.tables(&root, "source") {
            self.source(table);
        }
        for table in self.tables(&root, "view") {
            self.view(table);
        }
        for table in self.tables(&root, "service") {
            self.service(table);
        }
        for table in self.tables(&root, "on_demand") {
            self.on_demand(table);
        }
        for table in self.tables(&root, "stream") {
            let what = format!("{} stands alone", table.label());
            self.problems
                .push(Problem::new(table.place().clone(), what, STREAMS_ARE_OF_SOURCES));
        }
        Some(())
    }

    /// The tables `[[kind]]` of a file, each labelled with its kind and name.
    fn tables<'t>(&mut self, root: &Table<'t>, kind: &str) -> Vec<Table<'t>> {
        let Some(value) = root.get(kind) else {
            return Vec::new();
        };
        if !value.is_array() {
            let what = format!("{kind} is not a list of definitions");
            let help = format!("write [[{kind}]]");
            self.problems.push(Problem::new(value.place(), what, help));
            return Vec::new();
        }
        let items = value.array(&mut self.problems, kind).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| self.definition(item, kind))
            .collect()
    }

    fn definition<'t>(&mut self, item: &Value<'t>, kind: &str) -> Option<Table<'t>> {
        let mut table = item.table(&mut self.problems, format!("[[{kind}]]"))?;
        let name = table.get("name").filter(Value::is_string);
        if let Some(name) = name.and_then(|name| name.string(&mut self.problems, "\"name\"")) {
            table.set_label(format!("[[{kind}]] {}", crate::problem::shown(name.text)));
        }
        Some(table)
    }

    /// What is right of all that was read, without services.
    fn read_so_far(&self) -> Definitions {
        let mut definitions = Definitions::empty(self.config.project.clone());
        definitions.entities = named(self.entities.good.iter().cloned(), |entity| entity.name.clone());
        definitions.sources = named(self.sources.good.iter().cloned(), |source| source.name.clone());
        definitions.views = named(self.views.good.iter().cloned(), |view| view.name.clone());
        definitions.on_demand = self.sets.clone();
        definitions
    }
}
