//! Plans with on-demand features.

use std::collections::BTreeMap;

use super::*;
use crate::definition::{
    Entity, KeyColumn, Location, Notes, OnDemand, OnDemandInput, Source, View, ViewKind,
};
use crate::name::{EntityName, ProjectName, SourceName};

/// A feature with the names that its expression uses: `name`, or `view.feature`.
fn computed(name: &str, inputs: &[&str]) -> OnDemandFeature {
    let input = |text: &&str| match text.split_once('.') {
        None => OnDemandInput::Request((*text).to_owned()),
        Some((view, feature)) => OnDemandInput::Feature {
            view: ViewName::parse(view).unwrap(),
            feature: FeatureName::parse(feature).unwrap(),
        },
    };
    OnDemandFeature {
        name: FeatureName::parse(name).unwrap(),
        data_type: DataType::Float64,
        expression: inputs.join(" + "),
        inputs: inputs.iter().map(input).collect(),
        description: None,
    }
}

fn definitions() -> Definitions {
    let mut definitions = Definitions::empty(ProjectName::parse("p").unwrap());
    for (entity, key, key_type) in [("airport", "origin", "string"), ("carrier", "carrier", "int64")] {
        let name = EntityName::parse(entity).unwrap();
        let keys = vec![KeyColumn {
            name: key.into(),
            key_type: KeyType::parse(key_type).unwrap(),
        }];
        let notes = Notes::default();
        definitions
            .entities
            .insert(name.clone(), Entity { name, keys, notes });
    }
    let source = SourceName::parse("s").unwrap();
    definitions.sources.insert(
        source.clone(),
        Source {
            name: source.clone(),
            location: Location::InPlace { path: "s".into() },
            event_time: "t".into(),
            created_time: None,
            timezone: None,
            dates: None,
            deleted: None,
            sql: None,
            notes: Notes::default(),
        },
    );
    for (view, entity, features) in [
        ("weather", "airport", &["temp", "wind", "gust"][..]),
        ("delays", "carrier", &["mean"]),
    ] {
        let name = ViewName::parse(view).unwrap();
        let feature = |name: &&str| Feature {
            name: FeatureName::parse(name).unwrap(),
            data_type: DataType::Float64,
            column: None,
            description: None,
        };
        let view = View {
            name: name.clone(),
            entity: EntityName::parse(entity).unwrap(),
            source: source.clone(),
            ttl: None,
            kind: ViewKind::Features(features.iter().map(feature).collect()),
            notes: Notes::default(),
        };
        definitions.views.insert(name, view);
    }
    let column = |(name, data_type): (&str, &str)| RequestColumn {
        name: name.into(),
        data_type: DataType::parse(data_type).unwrap(),
    };
    let sets = [
        (
            "context",
            &[("bearing", "float64"), ("carrier", "int64")][..],
            vec![
                computed("head", &["weather.wind", "bearing"]),
                computed("twice", &["context.head", "weather.gust", "context.head"]),
                computed("late", &["delays.mean", "carrier"]),
                computed("constant", &[]),
            ],
        ),
        (
            "other",
            &[("bearing", "int64")],
            vec![computed("turn", &["bearing"])],
        ),
        (
            "round",
            &[],
            vec![
                computed("a", &["round.b"]),
                computed("b", &["context.constant", "round.a"]),
            ],
        ),
        (
            "deep",
            &[],
            (0..20)
                .map(|depth| match depth {
                    0 => computed("f0", &[]),
                    // Each by two of those before: to go through all paths would take for ever.
                    1 => computed("f1", &["deep.f0"]),
                    _ => computed(
                        &format!("f{depth}"),
                        &[&format!("deep.f{}", depth - 2), &format!("deep.f{}", depth - 1)],
                    ),
                })
                .collect(),
        ),
    ];
    for (name, request, features) in sets {
        let name = ViewName::parse(name).unwrap();
        let on_demand = OnDemand {
            name: name.clone(),
            request: request.iter().copied().map(column).collect(),
            features,
            notes: Notes::default(),
        };
        definitions.on_demand.insert(name, on_demand);
    }
    definitions
}

fn entry(view: &str, features: &[&str], keys: &[(&str, &str)], prefix: Option<&str>) -> FrozenEntry {
    let pair = |(key, column): &(&str, &str)| ((*key).to_owned(), (*column).to_owned());
    let features: Vec<FeatureName> = features
        .iter()
        .map(|name| FeatureName::parse(name).unwrap())
        .collect();
    FrozenEntry {
        entry: ServiceEntry {
            view: ViewName::parse(view).unwrap(),
            select: Select::Named(features.clone()),
            keys: keys.iter().map(pair).collect::<BTreeMap<_, _>>(),
            prefix: prefix.map(|prefix| Prefix::parse(prefix).unwrap()),
        },
        features,
    }
}

fn plan(entries: &[FrozenEntry]) -> Result<ReadPlan, PlanError> {
    ReadPlan::of_entries(&definitions(), entries)
}

/// The reads with their keys and features, the computed features with their inputs, and the columns with their groups.
fn shown(plan: &ReadPlan) -> (Vec<String>, Vec<String>, Vec<String>) {
    let value = |value: Value| match value {
        Value::Stored { .. } => {
            let (read, feature) = plan.stored(value).unwrap();
            format!("{}.{}", read.label(), feature.name)
        }
        Value::Computed(computed) => format!("#{computed}"),
    };
    let reads = plan.reads.iter().map(|read| {
        let features: Vec<_> = read
            .features
            .iter()
            .map(|feature| feature.name.as_str())
            .collect();
        format!(
            "{} by {}: {}",
            read.label(),
            read.key_columns.join(","),
            features.join(",")
        )
    });
    let computed = plan.computed.iter().map(|computed| {
        let inputs = computed.inputs.iter().map(|input| match input {
            Input::Value(of) => value(*of),
            Input::Key(key) => format!("key {}", plan.caller_columns[*key].name),
            Input::Request(column) => format!("request {}", plan.request_columns[*column].name),
        });
        let inputs: Vec<_> = inputs.collect();
        format!(
            "{}.{} of {}",
            computed.on_demand,
            computed.feature.name,
            inputs.join(", ")
        )
    });
    let columns = plan
        .columns
        .iter()
        .map(|column| format!("{} = {} in {}", column.name, value(column.value), column.group));
    (reads.collect(), computed.collect(), columns.collect())
}

#[test]
fn what_is_computed_with_is_read_once_and_behind_what_is_returned() {
    let plan = plan(&[
        entry("context", &["twice", "head"], &[], None),
        entry("delays", &["mean"], &[], None),
        entry("weather", &["temp", "wind"], &[], None),
        entry("context", &["twice"], &[("origin", "dest")], Some("dest")),
    ])
    .unwrap();
    let (reads, computed, columns) = shown(&plan);
    assert_eq!(
        reads,
        [
            "weather by origin: wind,gust,temp",
            "delays by carrier: mean",
            "weather by dest: wind,gust",
        ]
    );
    assert_eq!(plan.returned_reads, 2);
    assert_eq!(
        computed,
        [
            "context.head of weather.wind, request bearing",
            "context.twice of #0, weather.gust, #0",
            "context.head of weather.wind, request bearing",
            "context.twice of #2, weather.gust, #2",
        ]
    );
    assert_eq!(
        columns,
        [
            "context__twice = #1 in 2",
            "context__head = #0 in 2",
            "delays__mean = delays.mean in 1",
            "weather__temp = weather.temp in 0",
            "weather__wind = weather.wind in 0",
            "dest_context__twice = #3 in 3",
        ]
    );
    let names: Vec<_> = plan.groups().map(|(view, prefix)| label(prefix, view)).collect();
    assert_eq!(names, ["weather", "delays", "context", "dest_context"]);
    let reads: Vec<Vec<usize>> = plan
        .computed_groups
        .iter()
        .map(|group| group.reads.iter().copied().collect())
        .collect();
    assert_eq!(reads, [vec![0], vec![2]]);
    let keys: Vec<_> = plan
        .caller_columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(keys, ["origin", "carrier", "dest"]);
    assert!(plan.asks_for("bearing") && plan.asks_for("dest") && !plan.asks_for("temp"));
    let stored: Vec<_> = plan
        .stored_values()
        .into_iter()
        .map(|value| {
            let (read, feature) = plan.stored(value).unwrap();
            format!("{}.{}", read.key_columns[0], feature.name)
        })
        .collect();
    assert_eq!(
        stored,
        [
            "carrier.mean",
            "origin.temp",
            "origin.wind",
            "origin.gust",
            "dest.wind",
            "dest.gust"
        ]
    );
}

#[test]
fn a_request_column_that_is_a_key_is_given_once() {
    // The key comes after it.
    let found = plan(&[entry("context", &["late", "head"], &[], None)]).unwrap();
    assert_eq!(shown(&found).1[0], "context.late of delays.mean, key carrier");
    let request: Vec<_> = found
        .request_columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(request, ["bearing"]);
    assert_eq!(
        shown(&found).1[1],
        "context.head of weather.wind, request bearing"
    );
    let conflict = |column: &str, first: &str, second: &str| PlanError::ConflictingType {
        column: column.into(),
        first: first.into(),
        second: second.into(),
    };
    assert_eq!(
        plan(&[
            entry("context", &["late"], &[("carrier", "bearing")], None),
            entry("context", &["head"], &[], None)
        ]),
        Err(conflict("bearing", "int64", "float64"))
    );
    assert_eq!(
        plan(&[
            entry("context", &["head"], &[], None),
            entry("other", &["turn"], &[], None)
        ]),
        Err(conflict("bearing", "float64", "int64"))
    );
}

#[test]
fn what_is_a_key_in_an_expression_is_the_key_that_is_looked_up() {
    let keys = [("carrier", "other"), ("origin", "dest"), ("bearing", "turn")];
    let plan = plan(&[entry("context", &["late", "head"], &keys, Some("p"))]).unwrap();
    assert_eq!(
        shown(&plan).1,
        [
            "context.late of delays.mean, key other",
            "context.head of weather.wind, request turn",
        ]
    );
    let keys: Vec<_> = plan
        .caller_columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(keys, ["other", "dest"]);
}

#[test]
fn nothing_is_computed_of_itself_nor_without_end() {
    let cycle = "round.a -> round.b -> round.a".to_owned();
    assert_eq!(
        plan(&[entry("round", &["a"], &[], None)]),
        Err(PlanError::Cycle(cycle))
    );
    let deep = |name: &str| plan(&[entry("deep", &[name], &[], None)]);
    assert_eq!(deep("f15").unwrap().computed.len(), 16);
    assert_eq!(deep("f16"), Err(PlanError::TooDeep("deep.f16".into())));
}

#[test]
fn what_is_not_there_is_named() {
    let named = |error: PlanError| error.to_string();
    let refused = |entry| named(plan(&[entry]).unwrap_err());
    assert_eq!(
        refused(entry("context", &["heat"], &[], None)),
        "view \"context\" has no feature \"heat\"; did you mean \"head\"?"
    );
    assert_eq!(
        refused(entry("contxt", &["head"], &[], None)),
        "unknown view \"contxt\"; did you mean \"context\"?"
    );
    assert_eq!(
        refused(entry("context", &["head"], &[("carrier", "c")], None)),
        "\"context\" reads no column \"carrier\" of the caller; those that it reads are \"bearing\", \"origin\""
    );
    assert_eq!(
        refused(entry("context", &["constant"], &[("carrier", "c")], None)),
        "\"context\" reads no column \"carrier\" of the caller; those that it reads are none"
    );
    assert_eq!(
        named(
            plan(&[
                entry("context", &["head"], &[], None),
                entry("context", &["head"], &[("origin", "d")], None)
            ])
            .unwrap_err()
        ),
        "two columns would be named \"context__head\": give one of the entries a prefix"
    );
}

#[test]
fn a_part_of_a_plan_has_all_that_it_computes_with() {
    let whole = plan(&[
        entry("weather", &["temp"], &[], None),
        entry("context", &["twice", "late"], &[("origin", "dest")], Some("dest")),
    ])
    .unwrap();
    let part = |features: &[&str]| {
        let wanted = ReadPlan::of_features(&definitions(), features.iter().copied()).unwrap();
        whole.only(&wanted)
    };
    let found = part(&["context:twice"]).unwrap();
    let (reads, computed, columns) = shown(&found);
    assert_eq!(reads, ["weather by dest: wind,gust"]);
    assert_eq!(
        computed,
        [
            "context.head of weather.wind, request bearing",
            "context.twice of #0, weather.gust, #0"
        ]
    );
    assert_eq!(columns, ["dest_context__twice = #1 in 0"]);
    assert!(found.asks_for("dest") && found.asks_for("bearing") && !found.asks_for("carrier"));
    assert_eq!(part(&["weather:temp"]).unwrap().computed, []);
    assert_eq!(part(&["context:constant"]), None);
}

#[test]
fn all_of_a_set_are_its_features() {
    let all = ReadPlan::of_features(&definitions(), ["context:*"]).unwrap();
    let names: Vec<_> = all.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "context__head",
            "context__twice",
            "context__late",
            "context__constant"
        ]
    );
}
