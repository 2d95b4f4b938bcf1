//! Chunks of tiles, folded, merged and read in random ways, against the events of each window one by one.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, StringArray};
use asof_core::aggregate::tiles::{ChunkId, FoldedEvents, TileLayout, TiledFeature, merge_chunks};
use asof_core::aggregate::{Aggregation, Function};
use asof_core::data_type::DataType;
use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::row::{RowEncoder, RowField, RowSchema, StoredRow, fields_of};
use asof_core::time::Timestamp;
use asof_core::window::Window;
use proptest::prelude::*;

const FUNCTIONS: [Function; 8] = [
    Function::Count,
    Function::Sum,
    Function::Mean,
    Function::Stddev,
    Function::Max,
    Function::LastN(3),
    Function::CountDistinct,
    Function::ApproxQuantile(500_000),
];

fn schema() -> RowSchema {
    let field = |name: &str, data_type| RowField {
        name: name.into(),
        data_type,
    };
    RowSchema {
        fields: vec![field("x", DataType::Float64), field("t", DataType::String)],
    }
}

fn layout(lengths: &[&str], hop: Option<&str>) -> TileLayout {
    let duration = |text: &str| Duration::parse(text).unwrap();
    let mut windows: Vec<Window> = lengths
        .iter()
        .map(|length| match *length {
            "all" => Window::All,
            length => Window::last(duration(length), hop.map(duration)).unwrap(),
        })
        .collect();
    windows.dedup();
    let feature = |input: usize, function: Function, window: &Window| TiledFeature {
        name: format!("{function}_{window}"),
        input,
        aggregation: Aggregation::new(function, schema().fields[input].data_type.clone()).unwrap(),
        window: *window,
    };
    let features = windows.iter().flat_map(|window| {
        let numbers = FUNCTIONS.iter().map(|function| feature(0, *function, window));
        let texts = [Function::First, Function::Min].map(|function| feature(1, function, window));
        numbers.chain(texts).collect::<Vec<_>>()
    });
    TileLayout::new(schema(), features.collect())
}

#[derive(Debug, Clone)]
struct Event {
    order: RowOrder,
    deleted: bool,
    x: Option<f64>,
    t: Option<String>,
}

impl Event {
    fn bytes(&self) -> Vec<u8> {
        let columns: [ArrayRef; 2] = [
            Arc::new(Float64Array::from(vec![self.x])),
            Arc::new(StringArray::from(vec![self.t.clone()])),
        ];
        let mut bytes = Vec::new();
        let encoder = RowEncoder::try_new(&schema(), 0, &columns).unwrap();
        encoder.encode(0, self.order, self.deleted, &mut bytes);
        bytes
    }
}

/// Every feature by the events themselves.
fn naive(layout: &TileLayout, events: &[Event], at: Timestamp) -> Vec<Option<Vec<u8>>> {
    let value = |feature: &TiledFeature| {
        let state = feature.aggregation.state();
        let mut partial = state.init();
        for event in events
            .iter()
            .filter(|event| !event.deleted && feature.window.covers(event.order.event_time, at))
        {
            let row = event.bytes();
            let row = StoredRow::parse(&row).unwrap();
            let fields = fields_of(&schema(), row.body).unwrap();
            if let Some(stored) = fields[feature.input] {
                let value = state
                    .value(&schema().fields[feature.input].data_type, stored)
                    .unwrap();
                partial.add(value, event.order);
            }
        }
        let mut bytes = Vec::new();
        let present = feature.aggregation.finish(&partial, &mut bytes).unwrap();
        present.then_some(bytes)
    };
    layout.features().iter().map(value).collect()
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let value = prop_oneof![
        6 => (-1e3..1e3).prop_map(Some),
        1 => prop_oneof![Just(0.1), Just(1e300), Just(-1e300), Just(f64::NAN)].prop_map(Some),
        1 => Just(None),
    ];
    // Over some days, many at the edges of hops.
    let seconds = prop_oneof![0..400_000_i64, (0..110_i64).prop_map(|hour| hour * 3_600)];
    let event = (
        seconds,
        -1..2_i64,
        value,
        prop::option::of("[ab]{0,2}"),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(event, 0..80).prop_map(|events| {
        let events = events.into_iter().zip(0..);
        let event = |((seconds, micros, x, t, deleted), seq)| {
            let event_time = Timestamp::from_micros(seconds * 1_000_000 + micros);
            Event {
                order: RowOrder {
                    event_time,
                    created_time: event_time,
                    seq,
                },
                deleted,
                x,
                t,
            }
        };
        events.map(event).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn tiles_give_what_their_events_give(
        events in events(),
        lengths in prop::sample::subsequence(vec!["10s", "1h", "12h", "1d", "7d", "30d", "all"], 1..4),
        hop in prop::option::weighted(0.2, prop::sample::select(vec!["1s", "7s"])),
        parts in prop::collection::vec(0..4_usize, 80),
        ats in prop::collection::vec((0..500_000_i64, 0..2_i64), 1..4),
    ) {
        let layout = Arc::new(layout(&lengths, hop));
        // Some events in tiles, of several folds whose chunks are merged two by two, and some in none yet.
        let mut folds: [FoldedEvents; 3] = Default::default();
        let mut loose = Vec::new();
        for (event, part) in events.iter().zip(&parts) {
            match folds.get_mut(*part) {
                Some(fold) => fold.add(&layout, b"k", &StoredRow::parse(&event.bytes()).unwrap()).unwrap(),
                None => loose.push(event.clone()),
            }
        }
        let mut chunks: BTreeMap<ChunkId, Vec<u8>> = BTreeMap::new();
        for chunk in folds.iter().flat_map(|fold| fold.chunks(&layout)) {
            prop_assert_eq!(&*chunk.key, b"k");
            let merged = match chunks.get(&chunk.id) {
                Some(known) => {
                    let merged = merge_chunks([known.as_slice(), &chunk.bytes]).unwrap();
                    prop_assert_eq!(&merged, &merge_chunks([chunk.bytes.as_slice(), known]).unwrap());
                    merged
                }
                None => chunk.bytes,
            };
            chunks.insert(chunk.id, merged);
        }
        for (seconds, micros) in ats {
            let at = Timestamp::from_micros(seconds * 1_000_000 + micros);
            // As at an instant at which nothing later is known.
            let known = |event: &&Event| event.order.event_time <= at;
            let then = match events.iter().all(|event| known(&event)) {
                true => chunks.clone(),
                false => {
                    let mut fold = FoldedEvents::default();
                    let is_loose = |event: &Event| loose.iter().any(|loose| loose.order == event.order);
                    for event in events.iter().filter(known).filter(|event| !is_loose(event)) {
                        fold.add(&layout, b"k", &StoredRow::parse(&event.bytes()).unwrap()).unwrap();
                    }
                    fold.chunks(&layout).map(|chunk| (chunk.id, chunk.bytes)).collect()
                }
            };
            let reading = layout.at(at);
            let mut sums = reading.begin();
            for range in reading.ranges().iter() {
                for (id, bytes) in &then {
                    if id.level == range.level && (range.first..=range.last).contains(&id.number) {
                        reading.add_chunk(&mut sums, *id, bytes).unwrap();
                        prop_assert!(!layout.is_past(*id, at));
                    }
                }
            }
            for event in loose.iter().filter(known) {
                reading.add_event(&mut sums, &StoredRow::parse(&event.bytes()).unwrap()).unwrap();
            }
            let mut body = Vec::new();
            reading.finish(&sums, &mut body).unwrap();
            let found: Vec<Option<Vec<u8>>> = fields_of(&layout.outputs(), &body)
                .unwrap()
                .into_iter()
                .map(|field| field.map(<[u8]>::to_vec))
                .collect();
            let known: Vec<Event> = events.iter().filter(known).cloned().collect();
            prop_assert_eq!(found, naive(&layout, &known, at), "at {}", at);
        }
    }

    #[test]
    fn bytes_that_are_no_chunk_are_refused(events in events(), flip in any::<(u16, u8)>(), cut in any::<u16>()) {
        let layout = Arc::new(layout(&["1h", "all"], None));
        let mut fold = FoldedEvents::default();
        for event in &events {
            fold.add(&layout, b"k", &StoredRow::parse(&event.bytes()).unwrap()).unwrap();
        }
        let reading = layout.at(Timestamp::from_micros(400_000_000_000));
        for chunk in fold.chunks(&layout).take(3) {
            let mut damaged = chunk.bytes.clone();
            let place = usize::from(flip.0) % damaged.len();
            damaged[place] ^= flip.1 | 1;
            let short = &chunk.bytes[..usize::from(cut) % chunk.bytes.len()];
            for bytes in [damaged.as_slice(), short] {
                prop_assert!(reading.add_chunk(&mut reading.begin(), chunk.id, bytes).is_err());
                prop_assert!(merge_chunks([chunk.bytes.as_slice(), bytes]).is_err());
            }
        }
    }
}

/// Events of one key of text, folded by a layout of one feature for all events: what they were counted to take, and the
/// bytes of the chunks.
fn folded(function: Function, text: impl Fn(i64) -> String, events: i64) -> (usize, usize) {
    let feature = TiledFeature {
        name: "f".into(),
        input: 1,
        aggregation: Aggregation::new(function, DataType::String).unwrap(),
        window: Window::All,
    };
    let layout = TileLayout::new(schema(), vec![feature]);
    let mut folded = FoldedEvents::default();
    for number in 0..events {
        let event = Event {
            order: RowOrder {
                event_time: Timestamp::from_micros(number),
                created_time: Timestamp::from_micros(number),
                seq: number.cast_unsigned(),
            },
            deleted: false,
            x: None,
            t: Some(text(number)),
        };
        let bytes = event.bytes();
        folded
            .add(&layout, b"k", &StoredRow::parse(&bytes).unwrap())
            .unwrap();
    }
    let bytes = folded.chunks(&layout).map(|chunk| chunk.bytes.len()).sum();
    (folded.size(), bytes)
}

#[test]
fn what_lists_sets_and_texts_grow_to_is_counted() {
    let long = |number: i64| format!("{number:0200}");
    for (function, text, events) in [
        (Function::LastN(1_000), &long as &dyn Fn(i64) -> String, 2_000),
        (Function::CountDistinct, &long, 500),
        (Function::Max, &|number| "x".repeat(20_000 + number as usize), 2),
        (Function::Last, &|_| "y".repeat(20_000), 1),
    ] {
        let (counted, bytes) = folded(function, text, events);
        assert!(counted > bytes, "{function}: {bytes} bytes counted as {counted}");
    }
    let (counted, _) = folded(Function::Count, long, 2_000);
    assert!(counted < 1_000, "a count does not grow: {counted}");
}

#[test]
fn more_states_than_a_chunk_can_name_are_refused() {
    let of = |count: u16| {
        let features = (1..=count).map(|most| TiledFeature {
            name: format!("f{most}"),
            input: 1,
            aggregation: Aggregation::new(Function::LastN(most), DataType::String).unwrap(),
            window: Window::All,
        });
        TileLayout::new(schema(), features.collect()).check()
    };
    assert_eq!(of(254), Ok(()));
    assert_eq!(
        of(255).unwrap_err().to_string(),
        "255 different aggregates, whatever their windows, where there can be 254"
    );
    let windows = (1..=300).map(|micros| {
        let length = Duration::parse(&format!("{micros}us")).unwrap();
        Window::last(length, None).unwrap()
    });
    let features = windows.map(|window| TiledFeature {
        name: window.to_string(),
        input: 1,
        aggregation: Aggregation::new(Function::Count, DataType::String).unwrap(),
        window,
    });
    let refused = TileLayout::new(schema(), features.collect()).check().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "windows in 300 different hops, where there can be 254"
    );
}
