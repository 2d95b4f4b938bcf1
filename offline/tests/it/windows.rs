//! Views of aggregates: extracts of random histories against the reference, which looks at every event of a window.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use asof_core::aggregate::{Function, Values};
use asof_core::definition::{Aggregate, Aggregates, Input, InputText, Location};
use asof_core::reference::in_window;
use asof_core::row::ColumnBuilder;
use asof_core::time::{Timestamp, Zone};
use asof_offline::{EngineOptions, OfflineError, Strategy};

use crate::contract::{key_names, write_source};
use crate::history::{FEATURES, Held, History, Key, Questions, World, features_in};
use crate::project::{Ask, Entry, Project, aggregate, column, extract, read, same, write_parquet_groups};
use crate::random::{Random, cases, each_seed};

/// How many plans each case is extracted by.
const PLANS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_plan_gives_what_looking_at_every_event_gives() {
    let found = each_seed(cases(160), check_case).await;
    let compared: usize = found.iter().map(|found| found.compared).sum();
    if found.len() > 50 {
        let sum = |of: fn(&Found) -> u64| found.iter().map(of).sum::<u64>();
        // Cases that never come to something prove nothing about it.
        assert!(compared > found.len() * PLANS / 2, "{compared}");
        assert!(sum(|found| found.present) > 1_000 && sum(|found| found.null) > 1_000);
        assert!(sum(|found| found.held_back) > 100 && sum(|found| found.corrected) > 50);
    }
}

/// What came of a case.
#[derive(Default)]
struct Found {
    compared: usize,
    present: u64,
    null: u64,
    held_back: u64,
    corrected: u64,
}

async fn check_case(mut random: Random) -> Found {
    let random = &mut random;
    let world = World::new(random);
    let held = match world.fits_csv() && random.chance(20) {
        true => Held::Csv,
        false => Held::Parquet,
    };
    let history = History::new(&world, held, random);
    let mut project = Project::new();
    let types: Vec<String> = world.key_types.iter().map(ToString::to_string).collect();
    let names = key_names(&world, "k");
    let keys: Vec<(&str, &str)> = names
        .iter()
        .zip(&types)
        .map(|(name, key_type)| (name.as_str(), key_type.as_str()))
        .collect();
    let source = write_source(&project, "s", &history, held, random);
    let other = write_source(&project, "cut", &history, held, random);
    let Location::InPlace { path: other } = other.location else {
        panic!("read in place");
    };
    let aggregates = random_aggregates(held, random);
    let hop = random.pick(&[None, None, Some("1us"), Some("7us")]);
    project
        .entity("thing", &keys)
        .source(source)
        .view(
            "v",
            "thing",
            "s",
            world.ttl(random),
            &FEATURES[..features_in(held)],
        )
        .aggregates("w", "thing", "s", hop, aggregates);
    let questions = Questions::new(&world, Held::Parquet, random);
    let spine = project.path("spine.parquet");
    write_parquet_groups(&spine, &questions.batch, 7);
    let ask = Ask {
        time_column: "when".into(),
        timezone: questions.form.is_naive().then_some(Zone::UTC),
        as_corrected: random.chance(25),
        status: true,
        overwrite: true,
    };
    let mut found = Found::default();
    let view = project.definitions.views["w"].clone();
    let mut expected: Option<Expected> = None;
    let mut bytes: Option<Vec<u8>> = None;
    for number in 0..PLANS {
        if number == PLANS / 2 {
            let path = other.clone();
            project.change_source("s", |source| source.location = Location::InPlace { path });
        }
        let options = match number {
            0 => options(None, 1, 8_192, Strategy::Indexed),
            1 => options(None, 3, 2, Strategy::Sorted),
            _ => options(
                random.pick(&[None, Some(32 << 20), Some(32 << 20), Some(2_000)]),
                1 + random.below(8),
                random.pick(&[1, 2, 3, 16, 8_192]),
                random.pick(&[Strategy::Auto, Strategy::Indexed, Strategy::Sorted]),
            ),
        };
        // Alone, or beside a view of features of the same source.
        let plan = match random.chance(50) || number < 2 {
            true => project.plan_of(&[Entry {
                view: "w",
                ..Entry::default()
            }]),
            false => project.plan(&["w:*", "v:*"]),
        };
        let out = project.path("out.arrow");
        let summary = match extract(&project.engine_with(options), &plan, &spine, &out, &ask).await {
            Ok(summary) => summary,
            Err(OfflineError::Memory(message)) => {
                assert!(
                    options.memory_limit.is_some_and(|limit| limit < 32 << 20),
                    "{message}"
                );
                assert!(
                    message.starts_with("the memory limit is too small to hold "),
                    "{message}"
                );
                continue;
            }
            Err(other) => panic!("{options:?}: {other}"),
        };
        let aggregates = view.aggregates().unwrap();
        let expected =
            expected.get_or_insert_with(|| Expected::of(aggregates, &history, &questions, ask.as_corrected));
        let got = read(&out);
        for (place, feature) in aggregates.features().iter().enumerate() {
            let name = format!("w__{}", feature.name);
            let (wanted, got) = (&expected.features[place], column(&got, &name));
            assert!(
                same(wanted, &got),
                "{name} by {options:?}: {wanted:?}, not {got:?}"
            );
            let counts = summary
                .features
                .iter()
                .find(|counted| counted.column == name)
                .unwrap();
            found.present += counts.counts.get(asof_core::status::Status::Present);
            found.null += counts.counts.get(asof_core::status::Status::Null);
        }
        let null_keys = questions.keys.iter().filter(|key| key.contains(&None)).count() as u64;
        let first = format!("w__{}", aggregates.features()[0].name);
        let counted = summary
            .features
            .iter()
            .find(|counted| counted.column == first)
            .unwrap();
        assert_eq!(counted.counts.get(asof_core::status::Status::NotFound), null_keys);
        let times = column(&got, "w__event_time");
        assert_eq!(times.null_count(), times.len());
        let summed = summary.views.iter().find(|view| view.label == "w").unwrap();
        assert_eq!(summed.held_back_winners, expected.held_back, "{options:?}");
        assert_eq!(summed.corrected_rows, expected.corrected, "{options:?}");
        found.held_back += expected.held_back;
        found.corrected += expected.corrected;
        if plan.reads.len() == 1 {
            let written = std::fs::read(&out).unwrap();
            let first = bytes.get_or_insert_with(|| written.clone());
            assert!(*first == written, "other bytes by {options:?}");
        }
        found.compared += 1;
    }
    found
}

fn options(
    memory_limit: Option<usize>,
    readers: usize,
    batch_size: usize,
    strategy: Strategy,
) -> EngineOptions {
    EngineOptions {
        memory_limit,
        readers,
        batch_size,
        strategy,
    }
}

/// Aggregates of what a history holds, over windows about as long as it.
fn random_aggregates(held: Held, random: &mut Random) -> Vec<Aggregate> {
    use Function::{
        ApproxQuantile, Count, CountDistinct, First, Last, LastN, Max, Mean, Min, Stddev, Sum, Variance,
    };
    let numbers = [
        Count,
        Sum,
        Mean,
        Min,
        Max,
        Variance,
        Stddev,
        CountDistinct,
        First,
        Last,
        LastN(3),
    ];
    let quantiles = [ApproxQuantile(500_000), ApproxQuantile(950_000)];
    let texts = [Count, Min, Max, CountDistinct, First, Last, LastN(2)];
    let any = [Count, First, Last, LastN(2)];
    (0..1 + random.below(5))
        .map(|number| {
            let mut windows = vec!["7us", "1ms", "1001us", "2ms", "3999us", "all"];
            random.shuffle(&mut windows);
            windows.truncate(1 + random.below(3));
            let kinds = if held == Held::Csv { 5 } else { 7 };
            let mut made = match random.below(kinds) {
                0 => aggregate(None, &[Count], &windows),
                1 => aggregate(Some(("stamp", "int64")), &[random.pick(&numbers)], &windows),
                2 => aggregate(Some(("amount", "float64")), &[random.pick(&numbers)], &windows),
                3 => aggregate(Some(("amount", "float64")), &quantiles, &windows),
                4 => aggregate(Some(("text", "string")), &[random.pick(&texts)], &windows),
                5 => aggregate(Some(("pair", "embedding(2)")), &[random.pick(&any)], &windows),
                _ => aggregate(Some(("tags", "list<string>")), &[random.pick(&any)], &windows),
            };
            if held == Held::Parquet {
                if made.input == Some(InputText::Column("stamp".into())) && random.chance(40) {
                    made.input = Some(InputText::Expression(DOUBLED.into()));
                }
                made.filter = random.pick(&[None, None, Some(EVEN.to_owned()), Some(NO_TEXT.to_owned())]);
            }
            made.name = Some(format!("a{number}"));
            made
        })
        .collect()
}

const DOUBLED: &str = "stamp * 2 + 1";
const EVEN: &str = "stamp % 2 = 0";
const NO_TEXT: &str = "text is null";

/// What an extract must give.
struct Expected {
    features: Vec<ArrayRef>,
    held_back: u64,
    corrected: u64,
}

impl Expected {
    fn of(aggregates: &Aggregates, history: &History, questions: &Questions, as_corrected: bool) -> Self {
        let inputs: Vec<(Input, Vec<bool>, ArrayRef)> = aggregates
            .inputs()
            .iter()
            .map(|input| values_of(input, history))
            .collect();
        let mut columns: Vec<ColumnBuilder> = aggregates
            .features()
            .iter()
            .map(|feature| ColumnBuilder::new(&feature.data_type))
            .collect();
        let (mut held_back, mut corrected) = (0, 0);
        for (key, at) in questions.keys.iter().zip(&questions.times) {
            let (mut left_out, mut differs) = (false, false);
            for (place, builder) in columns.iter_mut().enumerate() {
                let window = aggregates.windowed()[place].window;
                let covered = |as_corrected| in_window(&history.rows, key, *at, window, as_corrected).len();
                left_out |= covered(as_corrected) != covered(true);
                let value = |as_corrected| {
                    let inputs = &inputs;
                    one(aggregates, place, inputs, history, key, *at, as_corrected)
                };
                let now = value(as_corrected);
                differs |= now != value(true);
                match now {
                    Some(bytes) => builder.push(&mut bytes.as_slice()).unwrap(),
                    None => builder.push_null(),
                }
            }
            held_back += u64::from(left_out);
            corrected += u64::from(differs);
        }
        Self {
            features: columns
                .into_iter()
                .map(|column| column.finish().unwrap())
                .collect(),
            held_back,
            corrected,
        }
    }
}

/// The values of an input, and in which rows there is one.
fn values_of(input: &Input, history: &History) -> (Input, Vec<bool>, ArrayRef) {
    let rows = history.rows.len();
    let named = |name: &str| {
        let place = FEATURES.iter().position(|(feature, _)| *feature == name).unwrap();
        ArrayRef::clone(&history.features[place])
    };
    let stamps = named("stamp").as_primitive::<Int64Type>().clone();
    let stamp = |row: usize| (!stamps.is_null(row)).then(|| stamps.value(row));
    let texts = named("text");
    let array: ArrayRef = match &input.of {
        None => std::sync::Arc::new(arrow::array::BooleanArray::from(vec![true; rows])),
        Some(InputText::Column(name)) => named(name),
        Some(InputText::Expression(text)) => {
            assert_eq!(text, DOUBLED);
            let doubled: arrow::array::Int64Array = (0..rows)
                .map(|row| stamp(row).map(|stamp| stamp * 2 + 1))
                .collect();
            std::sync::Arc::new(doubled)
        }
    };
    let there = (0..rows).map(|row| {
        let passes = match input.filter.as_deref() {
            None => true,
            Some(EVEN) => stamp(row).is_some_and(|stamp| stamp % 2 == 0),
            Some(NO_TEXT) => texts.is_null(row),
            Some(other) => panic!("{other}"),
        };
        passes && !array.is_null(row)
    });
    let there: Vec<bool> = there.collect();
    let array = match input.is_counted {
        true => std::sync::Arc::new(arrow::array::BooleanArray::from(vec![true; rows])),
        false => array,
    };
    (input.clone(), there, array)
}

/// A feature, of the events of its window one by one.
fn one(
    aggregates: &Aggregates,
    place: usize,
    inputs: &[(Input, Vec<bool>, ArrayRef)],
    history: &History,
    key: &Key,
    at: Timestamp,
    as_corrected: bool,
) -> Option<Vec<u8>> {
    if key.contains(&None) {
        return None;
    }
    let windowed = &aggregates.windowed()[place];
    let (input, state) = aggregates.states()[windowed.state];
    let (input, there, array) = &inputs[input];
    let values = Values::of(&input.data_type, array).unwrap();
    let mut partial = state.init();
    for (order, row) in in_window(&history.rows, key, at, windowed.window, as_corrected) {
        if there[row.values] {
            partial.add(values.get(state, row.values, &mut Vec::new()), order);
        }
    }
    let mut bytes = Vec::new();
    windowed
        .aggregation
        .finish(&partial, &mut bytes)
        .unwrap()
        .then_some(bytes)
}
