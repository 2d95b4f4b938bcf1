//! Windows in one pass over a key's history, against the reference, which looks at every event for every question.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use asof_core::aggregate::{Aggregation, Corrupt, Events, Function, Partial, Place, Sweep, Value, Wanted};
use asof_core::data_type::DataType;
use asof_core::duration::Duration;
use asof_core::key::KeyValue;
use asof_core::order::RowOrder;
use asof_core::reference::{HistoryRow, in_window};
use asof_core::time::Timestamp;
use asof_core::window::Window;
use proptest::prelude::*;

const FUNCTIONS: [Function; 12] = [
    Function::Count,
    Function::Sum,
    Function::Mean,
    Function::Min,
    Function::Max,
    Function::Variance,
    Function::Stddev,
    Function::First,
    Function::Last,
    Function::LastN(3),
    Function::CountDistinct,
    Function::ApproxQuantile(950_000),
];

type Row = HistoryRow<Option<f64>>;

struct History {
    rows: Vec<Row>,
    orders: Vec<RowOrder>,
    /// The values as stored rows write them.
    bytes: Vec<[u8; 8]>,
    aggregations: Vec<Aggregation>,
}

fn order_of(row: &Row) -> RowOrder {
    let event_time = row.event_time.unwrap();
    RowOrder {
        event_time,
        created_time: row.created_time.unwrap_or(event_time),
        seq: row.seq,
    }
}

impl History {
    fn of(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(order_of);
        let aggregations = FUNCTIONS.map(|function| Aggregation::new(function, DataType::Float64).unwrap());
        Self {
            orders: rows.iter().map(order_of).collect(),
            bytes: rows
                .iter()
                .map(|row| row.values.unwrap_or_default().to_le_bytes())
                .collect(),
            rows,
            aggregations: aggregations.into(),
        }
    }

    fn value_of<'a>(&self, aggregation: usize, value: f64, bytes: &'a [u8]) -> Value<'a> {
        match self.aggregations[aggregation].function() {
            Function::First | Function::Last | Function::LastN(_) => Value::Bytes(bytes),
            _ => Value::Float(value),
        }
    }

    fn finished(&self, aggregation: usize, partial: &Partial) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let present = self.aggregations[aggregation]
            .finish(partial, &mut bytes)
            .unwrap();
        present.then_some(bytes)
    }

    /// By the reference.
    fn expected(
        &self,
        aggregation: usize,
        window: Window,
        at: Timestamp,
        as_corrected: bool,
    ) -> Option<Vec<u8>> {
        let mut partial = self.aggregations[aggregation].state().init();
        for (order, row) in in_window(&self.rows, &key(), at, window, as_corrected) {
            if let Some(value) = row.values {
                partial.add(self.value_of(aggregation, value, &value.to_le_bytes()), order);
            }
        }
        self.finished(aggregation, &partial)
    }
}

impl Events for History {
    fn orders(&self) -> &[RowOrder] {
        &self.orders
    }

    fn value(&self, wanted: usize, event: usize) -> Option<Value<'_>> {
        Some(self.value_of(wanted, self.rows[event].values?, &self.bytes[event]))
    }
}

fn key() -> Vec<Option<KeyValue>> {
    vec![Some(KeyValue::Int64(1))]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![
        6 => (-1e3..1e3).prop_map(Some),
        2 => prop_oneof![Just(1.0), Just(0.1), Just(-0.0), Just(1e300), Just(-1e300)].prop_map(Some),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY)].prop_map(Some),
        2 => Just(None),
    ];
    let row = (0..4_000_i64, prop::option::weighted(0.3, 0..2_000_i64), value);
    prop::collection::vec(row, 0..120).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        let row = |(seq, (event, later, values)): (usize, (i64, Option<i64>, _))| HistoryRow {
            keys: key(),
            event_time: Some(Timestamp::from_micros(event)),
            created_time: later.map(|later| Timestamp::from_micros(event - 300 + later)),
            seq: seq as u64,
            deleted: false,
            values,
        };
        rows.map(row).collect()
    })
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let last = (1..3_000_i64, 1..400_i64).prop_map(|(length, hop)| {
        let micros = |micros| Duration::from_micros(micros).unwrap();
        Window::last(micros(length), Some(micros(hop.min(length)))).unwrap()
    });
    prop::collection::vec(prop_oneof![4 => last, 1 => Just(Window::All)], 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn one_pass_gives_what_the_reference_gives(
        rows in rows(),
        windows in windows(),
        instants in prop::collection::vec(0..7_000_i64, 1..25),
        as_corrected in any::<bool>(),
    ) {
        let history = History::of(rows);
        let mut instants: Vec<Timestamp> = instants.into_iter().map(Timestamp::from_micros).collect();
        instants.sort();
        let wanted: Vec<Wanted> = history
            .aggregations
            .iter()
            .map(|aggregation| Wanted { state: aggregation.state(), windows: windows.clone() })
            .collect();
        let mut found = Vec::new();
        Sweep::new(&wanted).over(&history, as_corrected, &instants, |place, partial| {
            found.push((place, history.finished(place.wanted, partial)));
            Ok::<_, Corrupt>(())
        })
        .unwrap();
        prop_assert_eq!(found.len(), instants.len() * wanted.len() * windows.len());
        for (Place { instant, wanted, window }, found) in found {
            let (at, function) = (instants[instant], FUNCTIONS[wanted]);
            let expected = history.expected(wanted, windows[window], at, as_corrected);
            prop_assert_eq!(found, expected, "{} over {:?} at {:?}", function, windows[window], at);
        }
    }
}

/// How many histories are tried: `ASOF_CASES` per cent of 2,000.
#[allow(
    clippy::disallowed_methods,
    reason = "tests take their length from the environment"
)]
fn cases() -> u32 {
    let percent: u32 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    20 * percent
}
