//! Extracts without a spine: every key that is known, at one time or at each time of a grid.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;

use asof_core::data_type::{DataType, KeyType};
use asof_core::duration::Duration;
use asof_core::key::{EntityKey, to_arrays};
use asof_core::service::ReadPlan;
use asof_core::time::Timestamp;

use crate::asof::{KeyIndex, Memory};
use crate::engine::Engine;
use crate::error::{OfflineError, Result, first_line};
use crate::rows::{RowReader, SourceRows};
use crate::scan::Scan;
use crate::snapshot::Snapshot;
use crate::spine::BATCH;

/// The name of the time column of a spine that is made.
pub(crate) const TIME_COLUMN: &str = "event_timestamp";

/// The most times that a grid may have: each is asked about every key.
const MAX_TIMES: i128 = 10_000_000;

/// The times of an extract without a spine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    from: Timestamp,
    to: Timestamp,
    every: Option<Duration>,
}

impl Grid {
    /// One time.
    pub fn at(at: Timestamp) -> Self {
        Self {
            from: at,
            to: at,
            every: None,
        }
    }

    /// The times from `from` on, each `every` later than the one before, up to `to`.
    pub fn every(from: Timestamp, to: Timestamp, every: Duration) -> Result<Self> {
        if from > to {
            return Err(OfflineError::Data(format!(
                "the grid ends at {to}, before it begins at {from}: --from must not be after --to"
            )));
        }
        if every.micros() <= 0 {
            return Err(OfflineError::Data(format!(
                "the step of the grid is {every}: --every must be longer than nothing"
            )));
        }
        let steps = i128::from(to.micros()) - i128::from(from.micros());
        let times = steps / i128::from(every.micros()) + 1;
        if times > MAX_TIMES {
            return Err(OfflineError::Data(format!(
                "the grid has {times} times, one every {every} from {from} to {to}, and at most {MAX_TIMES} are taken: \
                 give a longer --every, or extract a shorter range at a time"
            )));
        }
        Ok(Self {
            from,
            to,
            every: Some(every),
        })
    }

    /// The first time, the last that may be, and the step.
    pub fn parts(&self) -> (Timestamp, Timestamp, Option<Duration>) {
        (self.from, self.to, self.every)
    }

    /// Its times, ascending.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        let Self { to, every, .. } = *self;
        std::iter::successors(Some(self.from), move |last| {
            let next = last.checked_add(every?)?;
            (next <= to).then_some(next)
        })
    }
}

/// The keys that views know, each with the time from which it has a candidate under rules 1 and 2.
#[derive(Default)]
struct Known {
    index: KeyIndex,
    /// Per key of the index; `None` where no row of it counts.
    since: Vec<Option<Timestamp>>,
}

impl Known {
    fn add(&mut self, rows: &SourceRows, source: &KeySource, as_corrected: bool) {
        let mut groups = Vec::with_capacity(rows.keys.rows());
        self.index.insert(&rows.keys, &mut groups);
        self.since.resize(self.index.len(), None);
        let counting = rows
            .heads
            .iter()
            .filter(|head| !head.deleted || !source.of_events);
        for head in counting {
            let since = if as_corrected {
                head.order.event_time
            } else {
                head.order.due()
            };
            let Some(group) = groups.get(head.row).map(|group| *group as usize) else {
                continue;
            };
            if let Some(earliest) = self.since.get_mut(group) {
                *earliest = Some(earliest.map_or(since, |earliest| earliest.min(since)));
            }
        }
    }
}

/// A source whose keys are asked about.
pub(crate) struct KeySource {
    pub(crate) reader: Arc<RowReader>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// Whether its view is one of aggregates, for which rows that are marked as deleted are no events.
    pub(crate) of_events: bool,
}

/// Writes a spine to `path`: for each key that a view of the plan knows by a time of the grid that key and
/// that time, sorted by key, then time.
pub(crate) async fn write_spine(
    engine: &Engine,
    plan: &ReadPlan,
    grid: &Grid,
    as_corrected: bool,
    sources: &[KeySource],
    path: &Path,
) -> Result<()> {
    if !plan.request_columns.is_empty() {
        let names = plan.request_columns.iter();
        let names: Vec<String> = names
            .map(|column| format!("{:?} ({})", column.name, column.data_type))
            .collect();
        return Err(OfflineError::Data(format!(
            "without a spine there is nothing that has the request columns {}: give a spine that has them",
            names.join(", ")
        )));
    }
    let first = plan.reads.first();
    let one_key = plan
        .reads
        .iter()
        .all(|read| Some(&read.key_columns) == first.map(|read| &read.key_columns));
    if !one_key {
        let mut sets: Vec<String> = plan
            .reads
            .iter()
            .map(|read| read.key_columns.join(", "))
            .collect();
        sets.dedup();
        return Err(OfflineError::Data(format!(
            "without a spine all views must be asked by the same keys, and these are asked by ({}): give a spine",
            sets.join("), (")
        )));
    }
    let known = known(engine, as_corrected, sources).await?;
    let types: Vec<KeyType> = plan
        .caller_columns
        .iter()
        .map(|column| column.key_type.clone())
        .collect();
    let fields = plan
        .caller_columns
        .iter()
        .map(|column| Field::new(&column.name, column.key_type.data_type().to_arrow(), false))
        .chain([Field::new(TIME_COLUMN, DataType::Timestamp.to_arrow(), false)]);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let file = std::fs::File::create(path).map_err(|error| OfflineError::io(path, &error))?;
    let unwritable = |error: parquet::errors::ParquetError| OfflineError::Unavailable {
        place: path.display().to_string(),
        reason: first_line(&error.to_string()),
    };
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None).map_err(unwritable)?;
    let mut rows = known.iter().flat_map(|(key, since)| {
        let times = grid.times().filter(move |at| at >= since);
        times.map(move |at| (key, at))
    });
    loop {
        let (keys, times): (Vec<&EntityKey>, Vec<i64>) = rows
            .by_ref()
            .take(BATCH)
            .map(|(key, at)| (key, at.micros()))
            .unzip();
        if keys.is_empty() {
            break;
        }
        let corrupt = |error: asof_core::key::KeyCorrupt| OfflineError::Internal(error.to_string());
        let mut columns: Vec<ArrayRef> = to_arrays(&types, keys).map_err(corrupt)?;
        columns.push(Arc::new(
            TimestampMicrosecondArray::from(times).with_timezone("UTC"),
        ));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        writer.write(&batch).map_err(unwritable)?;
        // Lets whoever waits for an interrupt have its turn.
        tokio::task::yield_now().await;
    }
    writer.close().map_err(unwritable)?;
    Ok(())
}

/// All keys, ascending.
async fn known(
    engine: &Engine,
    as_corrected: bool,
    sources: &[KeySource],
) -> Result<Vec<(EntityKey, Timestamp)>> {
    let mut memory = Memory::new(&engine.context.runtime_env().memory_pool);
    let mut known = Known::default();
    for source in sources {
        let KeySource { reader, snapshot, .. } = source;
        let mut scan = Scan::start(engine, snapshot, reader, 0..snapshot.files.len());
        while let Some(rows) = scan.next().await? {
            known.add(&rows, source, as_corrected);
            memory.hold("the keys of the sources", known.index.bytes())?;
        }
    }
    let since = |group: u32| known.since.get(group as usize).copied().flatten();
    let keys = known.index.key_bytes();
    let keys = keys.filter_map(|(group, key)| Some((EntityKey::from_encoded(&key), since(group)?)));
    let mut keys: Vec<(EntityKey, Timestamp)> = keys.collect();
    keys.sort_unstable();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_ends_where_it_is_told() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let times = |to: i64| -> Vec<Timestamp> {
            let grid = Grid::every(at(0), at(to), Duration::parse("2s").unwrap()).unwrap();
            grid.times().collect()
        };
        assert_eq!(times(4), [at(0), at(2), at(4)]);
        assert_eq!(times(5), [at(0), at(2), at(4)]);
        assert_eq!(times(0), [at(0)]);
        assert_eq!(Grid::at(at(3)).times().collect::<Vec<_>>(), [at(3)]);
        let day = 86_400;
        let many = |step: &str| Grid::every(at(0), at(day), Duration::parse(step).unwrap());
        assert_eq!(
            many("1us").unwrap_err().to_string(),
            "the grid has 86400000001 times, one every 1us from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z, and at \
             most 10000000 are taken: give a longer --every, or extract a shorter range at a time"
        );
        // 86,400 s in steps of 8.64 ms are 10,000,000 steps, with one time more.
        assert!(many("8640us").is_err());
        assert!(many("8641us").is_ok());
        assert!(Grid::every(Timestamp::MIN, Timestamp::MAX, Duration::parse("1s").unwrap()).is_err());
        let back = Grid::every(at(1), at(0), Duration::parse("1s").unwrap()).unwrap_err();
        assert_eq!(
            back.to_string(),
            "the grid ends at 1970-01-01T00:00:00Z, before it begins at 1970-01-01T00:00:01Z: --from must not be after --to"
        );
    }
}
