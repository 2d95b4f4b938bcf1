//! Times in every form that a column can have, in zones of every kind, against a table of its own: `zones.tsv` is
//! what Python's `zoneinfo` says (`zones.py` wrote it), and the rest here is arithmetic of seconds and days.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Date32Array, Int64Array, StringArray};
use arrow::datatypes::DataType as ArrowType;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use super::*;

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const DAY: i128 = 86_400 * SECOND;

/// From 1900-01-01 to the last whole second that nanoseconds in 64 bits can count, in 2262.
const YEARS: Range<i128> = -2_208_988_800 * SECOND..9_223_372_036 * SECOND;

/// How many values a column has.
const ROWS: usize = 100;

/// What the table says of a zone.
struct Told {
    name: &'static str,
    pieces: Vec<Piece>,
}

/// A time in which the clocks of a zone stay `ahead` of UTC; all in nanoseconds.
struct Piece {
    instants: Range<i128>,
    ahead: i128,
}

static TOLD: LazyLock<Vec<Told>> = LazyLock::new(|| {
    let table = include_str!("zones.tsv").lines();
    table
        .filter(|line| !line.starts_with('#'))
        .map(Told::read)
        .collect()
});

impl Told {
    /// Reads a line: the zone, the offset it starts with, and after how many seconds which other follows.
    fn read(line: &'static str) -> Self {
        const FIRST: i128 = -2_209_161_600 * SECOND;
        const LAST: i128 = 9_223_545_600 * SECOND;
        let nanos = |text: &str| text.parse::<i128>().unwrap() * SECOND;
        let mut fields = line.split('\t');
        let name = fields.next().unwrap();
        let mut pieces = vec![Piece {
            instants: FIRST..LAST,
            ahead: nanos(fields.next().unwrap()),
        }];
        for change in fields {
            let (after, ahead) = change.split_once(':').unwrap();
            let before = pieces.last_mut().unwrap();
            let at = before.instants.start + nanos(after);
            before.instants.end = at;
            pieces.push(Piece {
                instants: at..LAST,
                ahead: nanos(ahead),
            });
        }
        Self { name, pieces }
    }

    /// The pieces that can have to do with a local time.
    fn near(&self, local: i128) -> impl Iterator<Item = &Piece> {
        let from = self
            .pieces
            .partition_point(|piece| piece.instants.end < local - 2 * DAY);
        let pieces = self.pieces.iter().skip(from);
        pieces.take_while(move |piece| piece.instants.start < local + 3 * DAY)
    }

    /// When the clocks show `local`.
    fn instants(&self, local: i128) -> Vec<i128> {
        self.near(local)
            .filter(|piece| piece.instants.contains(&(local - piece.ahead)))
            .map(|piece| local - piece.ahead)
            .collect()
    }

    /// The stretches of time in which the clocks show day number `day`.
    fn day(&self, day: i128) -> Vec<Range<i128>> {
        self.near(day * DAY)
            .map(|Piece { instants, ahead }| {
                let start = (day * DAY - ahead).max(instants.start);
                start..((day + 1) * DAY - ahead).min(instants.end)
            })
            .filter(|stretch| !stretch.is_empty())
            .collect()
    }
}

/// How times are written in a column.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A count of units, UTC or as the clocks show it.
    Count(TimeUnit, Option<&'static str>),
    /// Text as the clocks show it, with so many digits after the seconds, or without seconds.
    Text(Option<usize>),
    /// Text with the minutes that its clock is ahead of UTC.
    Offset(usize, i32),
    /// A day.
    Date,
    /// A day in milliseconds.
    DateMillis,
    /// A day as text.
    DateText,
}

/// A local time to try, in nanoseconds.
#[derive(Debug, Clone)]
enum Moment {
    Anywhere(i128),
    /// So far from what the clocks show at a change, before or after it.
    Near(Index, bool, i128),
    Null,
}

#[derive(Debug, Clone)]
struct Column {
    zone: usize,
    form: Form,
    container: ArrowType,
    side: Side,
    dates: DateInstant,
    moments: Vec<Moment>,
}

fn columns() -> impl Strategy<Value = Column> {
    let unit = || {
        select(vec![
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ])
    };
    let fraction = || select(vec![0, 1, 3, 6, 7, 9]);
    let form = prop_oneof![
        3 => unit().prop_map(|unit| Form::Count(unit, None)),
        1 => (unit(), select(vec!["UTC", "+05:30", "America/New_York"]))
            .prop_map(|(unit, zone)| Form::Count(unit, Some(zone))),
        3 => proptest::option::weighted(0.9, fraction()).prop_map(Form::Text),
        1 => (fraction(), -1_439..1_440).prop_map(|(digits, minutes)| Form::Offset(digits, minutes)),
        1 => Just(Form::Date),
        1 => Just(Form::DateMillis),
        1 => Just(Form::DateText),
    ];
    let small = select(vec![
        0,
        1,
        999,
        1_000,
        1_001,
        1_000_000,
        SECOND,
        MINUTE,
        DAY - 1,
        DAY,
    ]);
    let away = prop_oneof![
        small.clone(),
        small.prop_map(|away| -away),
        -2 * DAY..2 * DAY,
        (-7_200_i128..7_200).prop_map(|seconds| seconds * SECOND),
    ];
    let moment = prop_oneof![
        30 => YEARS.prop_map(Moment::Anywhere),
        70 => (any::<Index>(), any::<bool>(), away).prop_map(|(change, before, away)| Moment::Near(change, before, away)),
        2 => Just(Moment::Null),
    ];
    let text = vec![
        ArrowType::Utf8,
        ArrowType::LargeUtf8,
        ArrowType::Utf8View,
        ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8)),
    ];
    (
        0..TOLD.len(),
        form,
        select(text),
        select(vec![Side::Source, Side::Spine]),
        select(vec![DateInstant::Start, DateInstant::End]),
        vec(moment, ROWS),
    )
        .prop_map(|(zone, form, container, side, dates, moments)| Column {
            zone,
            form,
            container,
            side,
            dates,
            moments,
        })
}

impl Column {
    fn told(&self) -> &'static Told {
        &TOLD[self.zone]
    }

    /// The local times to try, as far as the form can tell them.
    fn locals(&self) -> Vec<Option<i128>> {
        let pieces = &self.told().pieces;
        let step = self.form.step();
        let local = |moment: &Moment| match moment {
            Moment::Null => None,
            Moment::Anywhere(local) => Some(*local),
            Moment::Near(change, before, away) => {
                let after = change.index(pieces.len());
                let shown = if *before { after.saturating_sub(1) } else { after };
                Some(pieces[after].instants.start + pieces[shown].ahead + away)
            }
        };
        self.moments
            .iter()
            .map(|moment| Some(local(moment)?.clamp(YEARS.start, YEARS.end - 1).div_euclid(step) * step))
            .collect()
    }

    fn array(&self, locals: &[Option<i128>]) -> ArrayRef {
        let counts = |step: i128| -> Int64Array {
            let counts = locals
                .iter()
                .map(|local| Some(i64::try_from((*local)? / step).unwrap()));
            counts.collect()
        };
        let days = || -> Date32Array {
            let days = locals
                .iter()
                .map(|local| Some(i32::try_from((*local)? / DAY).unwrap()));
            days.collect()
        };
        let texts = |text: &dyn Fn(i128) -> String| -> ArrayRef {
            let texts = locals.iter().map(|local| Some(text((*local)?)));
            cast(&texts.collect::<StringArray>(), &self.container).unwrap()
        };
        match self.form {
            Form::Count(unit, zone) => {
                let target = ArrowType::Timestamp(unit, zone.map(Into::into));
                cast(&counts(self.form.step()), &target).unwrap()
            }
            Form::Date => Arc::new(days()),
            Form::DateMillis => cast(&days(), &ArrowType::Date64).unwrap(),
            Form::DateText => texts(&date_text),
            Form::Text(digits) => texts(&|local| {
                let between = if local % 2 == 0 { " " } else { "T" };
                date_text(local) + between + &clock_text(local, digits)
            }),
            Form::Offset(digits, minutes) => texts(&|local| {
                let sign = if minutes < 0 { '-' } else { '+' };
                let ahead = minutes.abs();
                let clock = clock_text(local, Some(digits));
                format!(
                    "{}T{clock}{sign}{:02}:{:02}",
                    date_text(local),
                    ahead / 60,
                    ahead % 60
                )
            }),
        }
    }

    /// The instant in microseconds that a local time means, if there is one.
    fn expected(&self, local: i128) -> Option<i64> {
        let nanos = match self.form {
            Form::Count(_, Some(_)) => local,
            Form::Offset(_, minutes) => local - i128::from(minutes) * MINUTE,
            Form::Count(_, None) | Form::Text(_) => self.chosen(self.told().instants(local))?,
            Form::Date | Form::DateMillis | Form::DateText => self.of_day(local / DAY)?,
        };
        let micros = match self.side {
            Side::Source => (nanos + 999).div_euclid(1_000),
            Side::Spine => nanos.div_euclid(1_000),
        };
        Some(i64::try_from(micros).unwrap())
    }

    fn chosen(&self, instants: Vec<i128>) -> Option<i128> {
        match self.side {
            Side::Source => instants.into_iter().max(),
            Side::Spine => instants.into_iter().min(),
        }
    }

    fn of_day(&self, day: i128) -> Option<i128> {
        let stretches = self.told().day(day);
        let (local, outermost) = match self.dates {
            DateInstant::Start => (day * DAY, stretches.first()?.start),
            DateInstant::End => ((day + 1) * DAY - 1_000, stretches.last()?.end - 1_000),
        };
        Some(self.chosen(self.told().instants(local)).unwrap_or(outermost))
    }
}

impl Form {
    /// The nanoseconds from one value of the form to the next.
    fn step(self) -> i128 {
        let digits = |digits: usize| 10_i128.pow(9 - u32::try_from(digits).unwrap());
        match self {
            Self::Count(TimeUnit::Second, _) => SECOND,
            Self::Count(TimeUnit::Millisecond, _) => 1_000_000,
            Self::Count(TimeUnit::Microsecond, _) => 1_000,
            Self::Count(TimeUnit::Nanosecond, _) => 1,
            Self::Text(None) => MINUTE,
            Self::Text(Some(fraction)) | Self::Offset(fraction, _) => digits(fraction),
            Self::Date | Self::DateMillis | Self::DateText => DAY,
        }
    }
}

fn is_leap(year: i128) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The date of a local time, counted year by year and month by month.
fn date_text(local: i128) -> String {
    let mut day = local.div_euclid(DAY) + 25_567;
    let mut year = 1900;
    while day < 0 {
        year -= 1;
        day += 365 + i128::from(is_leap(year));
    }
    while day >= 365 + i128::from(is_leap(year)) {
        day -= 365 + i128::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + i128::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", day + 1)
}

/// The time of day with so many digits after the seconds, or without seconds.
fn clock_text(local: i128, digits: Option<usize>) -> String {
    let nanos = local.rem_euclid(DAY);
    let minute = format!("{:02}:{:02}", nanos / (60 * MINUTE), nanos / MINUTE % 60);
    let second = nanos / SECOND % 60;
    match digits {
        None => minute,
        Some(0) => format!("{minute}:{second:02}"),
        Some(digits) => {
            let fraction = format!("{:09}", nanos % SECOND);
            format!("{minute}:{second:02}.{}", &fraction[..digits])
        }
    }
}

/// How many columns to try: `ASOF_CASES` per cent of as many as hold 100,000 times.
#[allow(clippy::disallowed_methods, reason = "a test is tried harder from outside")]
fn cases() -> u32 {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (1_000 * percent / 100).max(1)
}

#[test]
fn times_of_every_form_are_the_instants_that_the_zones_say() {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&columns(), |column| {
            let rules = TimeRules {
                zone: Some(Zone::parse(column.told().name).unwrap()),
                dates: Some(column.dates),
                side: column.side,
            };
            let mut locals = column.locals();
            let mut expected: Vec<Option<Option<i64>>> = Vec::new();
            for local in &locals {
                expected.push(local.map(|local| column.expected(local)));
            }
            if let Some(first) = expected.iter().position(|expected| *expected == Some(None)) {
                let error = instants(&column.array(&locals), rules).unwrap_err();
                prop_assert!(
                    matches!(
                        &error,
                        TimeColumnError::Value { row, error: TimeError::NoSuchLocalTime { .. } } if *row == first
                    ),
                    "row {first} never was: {error:?}"
                );
            }
            for (local, expected) in locals.iter_mut().zip(&expected) {
                *local = local.filter(|_| expected.flatten().is_some());
            }
            let array = column.array(&locals);
            let found = instants(&array, rules).unwrap();
            for (row, expected) in expected.into_iter().enumerate() {
                let found = instant(&found, row).map(Timestamp::micros);
                prop_assert_eq!(found, expected.flatten(), "row {} of {:?} in {}", row, array, column.told().name);
            }
            Ok(())
        })
        .unwrap();
}
