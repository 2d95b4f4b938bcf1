//! Random histories and spines, in all the shapes in which files hold them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType as ArrowType, Float32Type, Int32Type};
use asof_core::data_type::{DataType, KeyType};
use asof_core::duration::Duration;
use asof_core::key::KeyValue;
use asof_core::reference::HistoryRow;
use asof_core::time::Timestamp;
use chrono::{DateTime, FixedOffset, SecondsFormat};

use crate::project::{batch, same};
use crate::random::Random;

/// The distance between two instants that are not neighbours, in microseconds.
const UNIT: i64 = 1_000;

/// A tuple of key values, a null where there is none.
pub(crate) type Key = Vec<Option<KeyValue>>;

/// What the histories and spines of one case share: they ask about the same few keys and instants.
pub(crate) struct World {
    /// The types of the key columns, which are named `k0`, `k1`, …
    pub(crate) key_types: Vec<KeyType>,
    keys: Vec<Key>,
    base: i64,
}

impl World {
    pub(crate) fn new(random: &mut Random) -> Self {
        let kinds: [&[&str]; 9] = [
            &["string"],
            &["string", "string"],
            &["int64"],
            &["int32", "string"],
            &["bool", "date"],
            &["timestamp"],
            &["decimal(10,2)", "bytes"],
            &["string", "int64", "string"],
            &["int64", "int64"],
        ];
        let key_types: Vec<KeyType> = random
            .pick(&kinds)
            .iter()
            .map(|text| KeyType::parse(text).unwrap())
            .collect();
        let keys = (0..1 + random.below(5))
            .map(|_| {
                key_types
                    .iter()
                    .map(|key_type| (!random.chance(8)).then(|| key_value(key_type, random)))
                    .collect()
            })
            .collect();
        // The epoch, 1900, 2013 and 2200: before and after it, within what nanoseconds hold.
        let base = random.pick(&[
            0,
            -2_208_988_800_000_000,
            1_370_000_000_000_000,
            7_258_118_400_000_000,
        ]);
        Self {
            key_types,
            keys,
            base,
        }
    }

    /// One of few instants, some of which are a microsecond apart.
    fn instant(&self, random: &mut Random) -> i64 {
        self.base + UNIT * random.below(5) as i64 + random.below(3) as i64 - 1
    }

    pub(crate) fn ttl(&self, random: &mut Random) -> Option<Duration> {
        let micros = random.pick(&[0, 0, 1, 2, UNIT, 2 * UNIT, 2 * UNIT - 1]);
        Duration::from_micros(micros).ok()
    }

    /// Whether CSV files can hold the keys.
    pub(crate) fn fits_csv(&self) -> bool {
        self.key_types
            .iter()
            .all(|key_type| *key_type.data_type() != DataType::Bytes)
    }
}

fn key_value(key_type: &KeyType, random: &mut Random) -> KeyValue {
    match key_type.data_type() {
        DataType::Bool => KeyValue::Bool(random.chance(50)),
        DataType::Int32 => KeyValue::Int32(random.pick(&[0, 1, 11, -1, i32::MAX])),
        DataType::Int64 => KeyValue::Int64(random.pick(&[0, 1, 11, 111, -1])),
        DataType::String => KeyValue::String(random.pick(&["", "1", "11", "111", "a\0", "é, \"x\""]).into()),
        DataType::Bytes => {
            KeyValue::Bytes(random.pick(&[vec![], vec![0], vec![0, 0], vec![255], b"1".to_vec()]))
        }
        DataType::Date => KeyValue::Date(random.pick(&[0, -1, 15_000])),
        DataType::Timestamp => {
            KeyValue::Timestamp(Timestamp::from_micros(random.pick(&[0, 1, -1, 1_000_000])))
        }
        DataType::Decimal { .. } => KeyValue::Decimal(random.pick(&[0, 111, 1_100, -5])),
        other => panic!("{other} is no key"),
    }
}

/// Key values as an array of their declared type.
pub(crate) fn key_array(key_type: &KeyType, values: &[Option<KeyValue>]) -> ArrayRef {
    macro_rules! collect {
        ($variant:ident, $array:ty) => {{
            values
                .iter()
                .map(|value| match value {
                    Some(KeyValue::$variant(value)) => Some(value.clone()),
                    None => None,
                    other => panic!("{other:?}"),
                })
                .collect::<$array>()
        }};
    }
    match key_type.data_type() {
        DataType::Bool => Arc::new(collect!(Bool, BooleanArray)),
        DataType::Int32 => Arc::new(collect!(Int32, Int32Array)),
        DataType::Int64 => Arc::new(collect!(Int64, Int64Array)),
        DataType::String => Arc::new(collect!(String, StringArray)),
        DataType::Bytes => Arc::new(collect!(Bytes, BinaryArray)),
        DataType::Date => Arc::new(collect!(Date, Date32Array)),
        DataType::Timestamp => {
            let micros: TimestampMicrosecondArray = values
                .iter()
                .map(|value| match value {
                    Some(KeyValue::Timestamp(at)) => Some(at.micros()),
                    _ => None,
                })
                .collect();
            Arc::new(micros.with_timezone("UTC"))
        }
        DataType::Decimal { precision, scale } => Arc::new(
            collect!(Decimal, Decimal128Array)
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        other => panic!("{other} is no key"),
    }
}

/// In which file format rows are to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Parquet,
    Csv,
}

/// The shape of a time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeForm {
    Micros,
    Nanos,
    NaiveMicros,
    Text,
    NaiveText,
}

impl TimeForm {
    pub(crate) fn any(held: Held, random: &mut Random) -> Self {
        match held {
            Held::Parquet => random.pick(&[
                Self::Micros,
                Self::Micros,
                Self::Nanos,
                Self::NaiveMicros,
                Self::Text,
                Self::NaiveText,
            ]),
            Held::Csv => random.pick(&[Self::Text, Self::NaiveText]),
        }
    }

    /// Whether the zone has to be named by other means.
    pub(crate) fn is_naive(self) -> bool {
        matches!(self, Self::NaiveMicros | Self::NaiveText)
    }

    /// The instants as a column; a nanosecond form holds times between microseconds, which round to
    /// them: up in a source, down in a spine.
    fn column(self, micros: &[Option<i64>], up: bool, random: &mut Random) -> ArrayRef {
        let mut nanos = |micros: i64| {
            let beside = random.below(1_000) as i64;
            micros * 1_000 + if up { -beside } else { beside }
        };
        let text = |nanos: i64, naive: bool| {
            let utc = DateTime::from_timestamp_nanos(nanos);
            if naive {
                return utc.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
            }
            let zone =
                FixedOffset::east_opt(((nanos / 7) % 24).unsigned_abs() as i32 * 1_800 - 21_600).unwrap();
            utc.with_timezone(&zone)
                .to_rfc3339_opts(SecondsFormat::Nanos, true)
        };
        match self {
            Self::Micros => {
                Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("+00:00"))
            }
            Self::NaiveMicros => Arc::new(TimestampMicrosecondArray::from(micros.to_vec())),
            Self::Nanos => {
                let nanos: TimestampNanosecondArray = micros.iter().map(|at| at.map(&mut nanos)).collect();
                Arc::new(nanos.with_timezone("Asia/Tokyo"))
            }
            Self::Text | Self::NaiveText => Arc::new(
                micros
                    .iter()
                    .map(|at| at.map(|at| text(nanos(at), self == Self::NaiveText)))
                    .collect::<StringArray>(),
            ),
        }
    }
}

/// The features of every view: name and type. CSV files hold the first three.
pub(crate) const FEATURES: [(&str, &str); 5] = [
    ("stamp", "int64"),
    ("text", "string"),
    ("amount", "float64"),
    ("pair", "embedding(2)"),
    ("tags", "list<string>"),
];

/// How many of [`FEATURES`] a format holds.
pub(crate) fn features_in(held: Held) -> usize {
    match held {
        Held::Parquet => 5,
        Held::Csv => 3,
    }
}

/// A source's rows: as the contract sees them, in the order of acceptance, and as arrays.
pub(crate) struct History {
    /// The rows; `values` is the row's number in `features`.
    pub(crate) rows: Vec<HistoryRow<usize>>,
    pub(crate) features: Vec<ArrayRef>,
    pub(crate) has_created: bool,
    pub(crate) has_deleted: bool,
    pub(crate) event_form: TimeForm,
    pub(crate) created_form: TimeForm,
    arrays: RecordBatch,
}

impl History {
    pub(crate) fn new(world: &World, held: Held, random: &mut Random) -> Self {
        let count = if random.chance(10) {
            0
        } else {
            1 + random.below(24)
        };
        let has_created = random.chance(60);
        let has_deleted = random.chance(40);
        let mut rows: Vec<HistoryRow<usize>> = Vec::new();
        let mut created_times = Vec::new();
        let mut deletions = Vec::new();
        for seq in 0..count {
            if seq > 0 && random.chance(15) {
                // The same row once more: another delivery of the same key and times.
                let earlier = rows[random.below(rows.len())].clone();
                created_times.push(earlier.created_time.map(Timestamp::micros));
                deletions.push(Some(earlier.deleted));
                rows.push(HistoryRow {
                    seq: seq as u64,
                    values: seq,
                    ..earlier
                });
                continue;
            }
            let keys = random.pick(&world.keys);
            let event = (!random.chance(8)).then(|| world.instant(random));
            let created = (!random.chance(20)).then(|| world.instant(random));
            let deleted = random.pick(&[Some(true), Some(false), Some(false), None]);
            created_times.push(created);
            deletions.push(deleted);
            rows.push(HistoryRow {
                keys: keys.into_iter().map(|value| held.value(value)).collect(),
                event_time: event.map(Timestamp::from_micros),
                created_time: created.filter(|_| has_created).map(Timestamp::from_micros),
                seq: seq as u64,
                deleted: has_deleted && deleted == Some(true),
                values: seq,
            });
        }
        // A source that has no event time at all is refused.
        if let Some(first) = rows.first_mut().filter(|row| row.event_time.is_none()) {
            first.event_time = Some(Timestamp::from_micros(world.instant(random)));
        }
        let features = feature_arrays(count, held, random);
        let event_form = TimeForm::any(held, random);
        let created_form = match held {
            // A time that is none of the row's is not rounded.
            Held::Parquet if !has_created => TimeForm::Micros,
            _ => TimeForm::any(held, random),
        };
        let events: Vec<_> = rows
            .iter()
            .map(|row| row.event_time.map(Timestamp::micros))
            .collect();
        let mut columns = key_columns(
            world,
            &rows.iter().map(|row| row.keys.clone()).collect::<Vec<_>>(),
            "k",
        );
        columns.push(("at".into(), event_form.column(&events, true, random)));
        // A column that is there and not declared has no say.
        columns.push(("made".into(), created_form.column(&created_times, true, random)));
        columns.push(("gone".into(), Arc::new(BooleanArray::from(deletions))));
        for ((name, _), array) in FEATURES.iter().zip(&features) {
            columns.push(((*name).into(), physical(array, held, random)));
        }
        random.shuffle(&mut columns);
        let arrays = batch(
            columns
                .iter()
                .map(|(name, array)| (name.as_str(), Arc::clone(array)))
                .collect(),
        );
        Self {
            rows,
            features,
            has_created,
            has_deleted,
            event_form,
            created_form,
            arrays,
        }
    }

    /// The rows cut into files, in the order of acceptance; some are empty.
    pub(crate) fn cut(&self, files: usize, random: &mut Random) -> Vec<RecordBatch> {
        let mut cuts: Vec<usize> = (1..files).map(|_| random.below(self.rows.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.insert(0, 0);
        cuts.push(self.rows.len());
        cuts.windows(2)
            .map(|cut| self.arrays.slice(cut[0], cut[1] - cut[0]))
            .collect()
    }

    /// How many rows no question can find.
    pub(crate) fn unfindable(&self) -> u64 {
        let unfindable = |row: &&HistoryRow<usize>| row.event_time.is_none() || row.keys.contains(&None);
        self.rows.iter().filter(unfindable).count() as u64
    }
}

impl Held {
    /// The value as it comes back: in CSV files empty text is no text.
    fn value(self, value: Option<KeyValue>) -> Option<KeyValue> {
        match (self, value) {
            (Self::Csv, Some(KeyValue::String(text))) if text.is_empty() => None,
            (_, value) => value,
        }
    }
}

fn key_columns(world: &World, keys: &[Key], prefix: &str) -> Vec<(String, ArrayRef)> {
    world
        .key_types
        .iter()
        .enumerate()
        .map(|(place, key_type)| {
            let values: Vec<_> = keys.iter().map(|key| key[place].clone()).collect();
            (format!("{prefix}{place}"), key_array(key_type, &values))
        })
        .collect()
}

/// A feature's values as some type from which they come back exactly.
fn physical(array: &ArrayRef, held: Held, random: &mut Random) -> ArrayRef {
    let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
    let to = match (held, array.data_type()) {
        (Held::Parquet, ArrowType::Int64) => {
            random.pick(&[ArrowType::Int64, ArrowType::Int32, ArrowType::Float64])
        }
        (Held::Parquet, ArrowType::Utf8) => random.pick(&[ArrowType::Utf8, ArrowType::LargeUtf8, dictionary]),
        (_, same) => same.clone(),
    };
    cast(array, &to).unwrap()
}

fn feature_arrays(count: usize, held: Held, random: &mut Random) -> Vec<ArrayRef> {
    let stamps: Int64Array = (0..count as i64)
        .map(|row| (!random.chance(20)).then_some(row))
        .collect();
    let texts: StringArray = (0..count)
        .map(|row| (!random.chance(30)).then(|| format!("t{row},\"\n")))
        .collect();
    let amounts: Float64Array = (0..count)
        .map(|row| {
            random.pick(&[
                None,
                Some(f64::NAN),
                Some(-0.0),
                Some(0.0),
                Some(row as f64 + 0.1),
            ])
        })
        .collect();
    let mut features: Vec<ArrayRef> = vec![Arc::new(stamps), Arc::new(texts), Arc::new(amounts)];
    if held == Held::Parquet {
        let pairs = (0..count)
            .map(|row| (!random.chance(30)).then(|| vec![Some(row as f32), Some(f32::MIN_POSITIVE)]));
        features.push(Arc::new(arrow::array::FixedSizeListArray::from_iter_primitive::<
            Float32Type,
            _,
            _,
        >(pairs.collect::<Vec<_>>(), 2)));
        let mut tags = ListBuilder::new(StringBuilder::new());
        for row in 0..count {
            match random.below(4) {
                0 => tags.append_null(),
                1 => tags.append(true),
                2 => tags.append_value([Some(""), None]),
                _ => tags.append_value([Some(format!("tag{row}"))]),
            }
        }
        features.push(Arc::new(tags.finish()));
    }
    // Some rows say what another one says: a correction that changes nothing.
    let mut rows: Vec<u32> = (0..).take(count).collect();
    for row in 1..count {
        if random.chance(20) {
            rows[row] = rows[random.below(row)];
        }
    }
    let rows = UInt32Array::from(rows);
    let said = features.iter().map(|feature| take(feature, &rows, None).unwrap());
    said.collect()
}

/// A spine: its questions and its columns.
pub(crate) struct Questions {
    /// The keys in the columns `k0`, `k1`, …
    pub(crate) keys: Vec<Key>,
    /// Other keys, in the columns `other0`, `other1`, …
    pub(crate) others: Vec<Key>,
    pub(crate) times: Vec<Timestamp>,
    pub(crate) form: TimeForm,
    pub(crate) batch: RecordBatch,
    held: Held,
}

impl Questions {
    /// Whether a column came back untouched: bit for bit, or, from a CSV file, in what is written there.
    pub(crate) fn is_kept(&self, own: &ArrayRef, found: &ArrayRef) -> bool {
        if self.held == Held::Parquet {
            return same(own, found);
        }
        let written = |column: &ArrayRef| -> Vec<String> {
            let texts = cast(column, &ArrowType::Utf8).unwrap();
            let texts = texts.as_string::<i32>().iter();
            texts.map(|text| text.unwrap_or_default().to_owned()).collect()
        };
        written(own) == written(found)
    }

    /// The time column is named `when`.
    pub(crate) fn new(world: &World, held: Held, random: &mut Random) -> Self {
        let count = if random.chance(5) { 0 } else { 1 + random.below(24) };
        let mut keys: Vec<Key> = Vec::new();
        let mut others: Vec<Key> = Vec::new();
        let mut micros: Vec<i64> = Vec::new();
        for row in 0..count {
            if row > 0 && random.chance(10) {
                let earlier = random.below(row);
                keys.push(keys[earlier].clone());
                others.push(others[earlier].clone());
                micros.push(micros[earlier]);
                continue;
            }
            let mut key = || -> Key {
                let key = random.pick(&world.keys);
                key.into_iter().map(|value| held.value(value)).collect()
            };
            keys.push(key());
            others.push(key());
            micros.push(world.instant(random));
        }
        let form = TimeForm::any(held, random);
        let asked: Vec<_> = micros.iter().copied().map(Some).collect();
        let mut columns = vec![("when".to_owned(), form.column(&asked, false, random))];
        for (name, array) in [
            key_columns(world, &keys, "k"),
            key_columns(world, &others, "other"),
        ]
        .concat()
        {
            columns.push((name, spine_key(&array, held, random)));
        }
        columns.extend(own_columns(count, held, random));
        random.shuffle(&mut columns);
        Self {
            keys,
            others,
            times: micros.into_iter().map(Timestamp::from_micros).collect(),
            form,
            held,
            batch: batch(
                columns
                    .iter()
                    .map(|(name, array)| (name.as_str(), Arc::clone(array)))
                    .collect(),
            ),
        }
    }
}

/// A key column as some type from which its values come back exactly.
fn spine_key(array: &ArrayRef, held: Held, random: &mut Random) -> ArrayRef {
    let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int8), Box::new(ArrowType::Utf8));
    let to = match (held, array.data_type()) {
        (Held::Parquet, ArrowType::Int64) => {
            random.pick(&[ArrowType::Int64, ArrowType::Int16, ArrowType::Float64])
        }
        (Held::Parquet, ArrowType::Int32) => {
            random.pick(&[ArrowType::Int32, ArrowType::Int64, ArrowType::Float64])
        }
        (Held::Parquet, ArrowType::Utf8) => random.pick(&[
            ArrowType::Utf8,
            ArrowType::LargeUtf8,
            ArrowType::Utf8View,
            dictionary,
        ]),
        (_, same) => same.clone(),
    };
    cast(array, &to).unwrap()
}

/// Columns that are only the caller's, to be returned bit for bit.
fn own_columns(count: usize, held: Held, random: &mut Random) -> Vec<(String, ArrayRef)> {
    let notes: StringArray = (0..count)
        .map(|row| (!random.chance(20)).then(|| format!("n{}", row % 3)))
        .collect();
    let label: Int64Array = (0..count as i64)
        .map(|row| (!random.chance(20)).then_some(row * row))
        .collect();
    let mut columns: Vec<(String, ArrayRef)> = vec![("note".into(), Arc::new(notes))];
    if held == Held::Csv {
        if label.null_count() < count {
            columns.push(("label".into(), Arc::new(label)));
        }
        return columns;
    }
    let dictionary: arrow::array::DictionaryArray<Int32Type> = (0..count)
        .map(|row| (row % 4 != 0).then_some(["x", "y"][row % 2]))
        .collect();
    let nanos = (0..count as i64).map(|row| (row % 5 != 0).then_some(row * 1_000_000_007 - 1));
    let odd_floats = (0..count as u32).map(|row| (row % 3 != 0).then(|| f32::from_bits(0x7fc0_0001 + row)));
    let fixed = (0..count).map(|row| (row % 2 == 0).then_some([row as u8, 0, 255]));
    columns.push(("label".into(), Arc::new(label)));
    columns.push(("dictionary".into(), Arc::new(dictionary)));
    columns.push((
        "nanos".into(),
        Arc::new(TimestampNanosecondArray::from_iter(nanos).with_timezone("Europe/Berlin")),
    ));
    columns.push((
        "local".into(),
        Arc::new((0..count as i64).map(Some).collect::<TimestampMillisecondArray>()),
    ));
    columns.push(("odd".into(), Arc::new(odd_floats.collect::<Float32Array>())));
    columns.push((
        "fixed".into(),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 3).unwrap()),
    ));
    columns
}
