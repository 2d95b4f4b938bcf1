//! Windows and what is computed of them: the scripts in `windows/` against the reference and the aggregates.
//!
//! A script is its input, a line `---`, and the answers worked out by hand. Lines that start with `#` tell why it exists
//! and draw its history. Input lines, in any order but `row` in the order of acceptance:
//!
//! ```text
//! window 1h                         or `window all`, or `window 1h hop 5m`
//! as-corrected                      rule 2 of the contract is off
//! compute count sum last_n:2 …      of the values, which are of type float64; quantiles as p50
//! row KEY EVENT CREATED VALUE       a VALUE of `null` is one
//! ask KEY AT
//! ```
//!
//! Times are of one day, or of another with its number before them (`2T00:00:00`). An answer is the key and time as asked,
//! and each function with its value.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod script;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use asof_core::aggregate::{Aggregation, Function, Partial, Value};
use asof_core::data_type::DataType;
use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::reference::{HistoryRow, in_window};
use asof_core::time::Rounding;
use asof_core::window::{Window, tile_of};
use script::{key, lines, time};

struct Script {
    window: Window,
    as_corrected: bool,
    functions: Vec<String>,
    rows: Vec<HistoryRow<Option<f64>>>,
    questions: Vec<(String, String)>,
}

#[test]
fn windows_are_as_they_are_drawn() {
    // Cargo runs tests in the folder of their crate.
    let scripts = Path::new("tests/windows").read_dir().unwrap();
    let mut scripts: Vec<_> = scripts.map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert_eq!(scripts.len(), 5);
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once("\n---\n").unwrap();
        let mut script = parse(input);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(answers(&script), lines(expected), "{name}");
        script.rows.reverse();
        assert_eq!(
            answers(&script),
            lines(expected),
            "{name}, from the last row to the first"
        );
    }
}

fn parse(input: &str) -> Script {
    let mut script = Script {
        window: Window::All,
        as_corrected: false,
        functions: Vec::new(),
        rows: Vec::new(),
        questions: Vec::new(),
    };
    let duration = |text: &str| Duration::parse(text).unwrap();
    for line in lines(input) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["window", "all"] => script.window = Window::All,
            ["window", length] => script.window = Window::last(duration(length), None).unwrap(),
            ["window", length, "hop", hop] => {
                script.window = Window::last(duration(length), Some(duration(hop))).unwrap();
            }
            ["as-corrected"] => script.as_corrected = true,
            ["compute", functions @ ..] => {
                script.functions = functions.iter().map(|name| (*name).to_owned()).collect();
            }
            ["ask", keys, at] => script.questions.push(((*keys).to_owned(), (*at).to_owned())),
            ["row", keys, event, created, value] => script.rows.push(HistoryRow {
                keys: key(keys),
                event_time: time(event, Rounding::Up),
                created_time: time(created, Rounding::Up),
                seq: script.rows.len() as u64,
                deleted: false,
                values: (*value != "null").then(|| value.parse().unwrap()),
            }),
            other => panic!("{other:?}"),
        }
    }
    script
}

fn function(name: &str) -> Aggregation {
    let function = match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "min" => Function::Min,
        "max" => Function::Max,
        "variance" => Function::Variance,
        "stddev" => Function::Stddev,
        "first" => Function::First,
        "last" => Function::Last,
        "last_n:2" => Function::LastN(2),
        "count_distinct" => Function::CountDistinct,
        "p50" => Function::ApproxQuantile(500_000),
        other => panic!("{other}"),
    };
    Aggregation::new(function, DataType::Float64).unwrap()
}

fn answers(script: &Script) -> Vec<String> {
    let answer = |(keys, at): &(String, String)| {
        let mut line = format!("{keys} {at}");
        let instant = time(at, Rounding::Down).unwrap();
        let events = in_window(
            &script.rows,
            &key(keys),
            instant,
            script.window,
            script.as_corrected,
        );
        for name in &script.functions {
            let aggregation = function(name);
            let found = text_of(&aggregation, &one_by_one(&aggregation, &events));
            assert_eq!(
                found,
                text_of(&aggregation, &by_tiles(&aggregation, &events, script.window))
            );
            write!(line, " {name} {found}").unwrap();
        }
        line
    };
    script.questions.iter().map(answer).collect()
}

type Event<'a> = (RowOrder, &'a HistoryRow<Option<f64>>);

fn add(aggregation: &Aggregation, partial: &mut Partial, (order, row): &Event<'_>) {
    let Some(value) = row.values else { return };
    let bytes = value.to_le_bytes();
    let is_edge = matches!(
        aggregation.function(),
        Function::First | Function::Last | Function::LastN(_)
    );
    partial.add(
        if is_edge {
            Value::Bytes(&bytes)
        } else {
            Value::Float(value)
        },
        *order,
    );
}

fn one_by_one(aggregation: &Aggregation, events: &[Event<'_>]) -> Partial {
    let mut partial = aggregation.state().init();
    events
        .iter()
        .for_each(|event| add(aggregation, &mut partial, event));
    partial
}

/// The same of tiles that were written down, the last first.
fn by_tiles(aggregation: &Aggregation, events: &[Event<'_>], window: Window) -> Partial {
    let hop = match window {
        Window::Last { hop, .. } => hop,
        Window::All => Duration::parse("1m").unwrap(),
    };
    let state = aggregation.state();
    let mut tiles: BTreeMap<i64, Partial> = BTreeMap::new();
    for event in events {
        let tile = tiles
            .entry(tile_of(event.0.event_time, hop))
            .or_insert_with(|| state.init());
        add(aggregation, tile, event);
    }
    let mut whole = state.init();
    for tile in tiles.values().rev() {
        let mut bytes = Vec::new();
        tile.encode(&mut bytes);
        whole
            .merge(&state.decode(&mut bytes.as_slice()).unwrap())
            .unwrap();
    }
    whole
}

fn text_of(aggregation: &Aggregation, partial: &Partial) -> String {
    let mut bytes = Vec::new();
    if !aggregation.finish(partial, &mut bytes).unwrap() {
        assert!(bytes.is_empty());
        return "NULL".into();
    }
    let float = |bytes: &[u8]| {
        let text = format!("{:?}", f64::from_le_bytes(bytes.try_into().unwrap()));
        text.strip_suffix(".0").unwrap_or(&text).to_owned()
    };
    match aggregation.output() {
        DataType::Float64 => float(&bytes),
        DataType::Int64 => i64::from_le_bytes(bytes.try_into().unwrap()).to_string(),
        DataType::List(_) => {
            let count = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
            let values = &bytes[4 + count.div_ceil(8)..];
            values.chunks(8).map(float).collect::<Vec<_>>().join(",")
        }
        other => panic!("{other}"),
    }
}
