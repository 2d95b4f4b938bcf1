//! The rows of a source as the contract sees them: key, place in the total order, features.

use std::ops::Range;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use futures::{Stream, StreamExt};

use asof_core::data_type::KeyType;
use asof_core::definition::BoundView;
use asof_core::key::KeyColumns;
use asof_core::order::RowOrder;

use crate::column::{self, ColumnError};
use crate::columns::{Selected, Selection, SourceColumns};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::{EventId, Repeats};
use crate::heads::{HeadColumns, Heads, Stand, row_of_file};
use crate::inputs::ViewValues;
use crate::parquet_file::RowNumbers;
use crate::places::ViewPlaces;
use crate::snapshot::Snapshot;

/// What errors name where rows were pushed.
pub(crate) const PUSHED: &str = "the push";

/// A batch of a source's rows, as one view has them.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// Which of the snapshot's files they come from.
    pub file: usize,
    /// The entity keys.
    pub keys: KeyColumns,
    /// The rows that count: those with a whole key and an event time, of an event the first accepted.
    pub heads: Vec<RowHead>,
    /// What the view stores of them, in its order, as the declared types: its features, or the inputs of its
    /// aggregates.
    pub features: Vec<ArrayRef>,
    /// How many rows were skipped because their key or event time is null.
    pub skipped: u64,
    /// How many rows were ignored because an earlier one has the same event id.
    pub repeated: u64,
    /// How many of the file's rows come before and with this batch.
    pub read: u64,
    /// Whether it is the last batch of its file.
    pub is_last: bool,
}

impl SourceRows {
    /// Leaves out the rows among the first `behind` of the file.
    pub(crate) fn pass_over(&mut self, behind: u64) {
        self.heads.retain(|head| head.number >= behind);
        if self.read <= behind {
            (self.skipped, self.repeated) = (0, 0);
        }
    }
}

/// One row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead {
    /// Its number in the batch's arrays.
    pub row: usize,
    /// Its number in the file.
    pub number: u64,
    /// Its place in the total order.
    pub order: RowOrder,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
}

/// Reads the rows of views out of a snapshot of the source that they share.
#[derive(Debug)]
pub struct RowReader {
    views: Vec<ViewColumns>,
    heads: HeadColumns,
    selection: Selection,
    event_id: Option<EventId>,
}

/// Where the columns of a view stand among the selected ones.
#[derive(Debug)]
struct ViewColumns {
    bound: BoundView,
    keys: Range<usize>,
    features: Range<usize>,
    values: ViewValues,
}

impl RowReader {
    /// Binds a view to the schema of its source; whatever does not fit is found here.
    pub fn bind(bound: &BoundView, snapshot: &Snapshot) -> Result<Self> {
        Self::bind_all(&[bound], snapshot)
    }

    /// The same for views of one source, at least one.
    pub(crate) fn bind_all(views: &[&BoundView], snapshot: &Snapshot) -> Result<Self> {
        let none = || OfflineError::Internal("no view to read".into());
        let first = views.first().ok_or_else(none)?;
        let columns = SourceColumns::bind(&first.source, snapshot)?;
        let heads = HeadColumns::of(first, snapshot);
        let event_id = EventId::of(&first.source)?;
        let mut hidden = heads.hidden();
        hidden.extend(event_id.iter().map(|id| id.name.clone()));
        let mut wanted = Vec::new();
        let mut bound = Vec::with_capacity(views.len());
        for view in views {
            let places = ViewPlaces::find(view, snapshot, &columns.schema())?;
            if wanted.is_empty() {
                wanted = HeadColumns::places(&places);
            }
            let mut select = |places: &[usize]| {
                let start = wanted.len();
                wanted.extend(places);
                start..wanted.len()
            };
            bound.push(ViewColumns {
                bound: (*view).clone(),
                keys: select(&places.keys),
                features: select(places.values.places()),
                values: places.values,
            });
        }
        Ok(Self {
            views: bound,
            selection: columns.select(&wanted, &hidden)?,
            heads,
            event_id,
        })
    }

    /// Finds the rows that repeat an event, where the source has event ids.
    pub(crate) async fn repeats(&self, engine: &Engine, snapshot: &Snapshot) -> Result<Option<Repeats>> {
        match &self.event_id {
            Some(id) => Repeats::find(engine, snapshot, id).await.map(Some),
            None => Ok(None),
        }
    }

    /// The rows of one file, from its first to its last, without those that repeat an event: of each batch those
    /// of every view.
    pub(crate) async fn read_file<'a>(
        &'a self,
        engine: &Engine,
        snapshot: &'a Snapshot,
        file: usize,
        repeats: Option<&'a Repeats>,
    ) -> Result<impl Stream<Item = Result<Vec<SourceRows>>> + Send + 'a> {
        let source_file = snapshot
            .files
            .get(file)
            .ok_or_else(|| OfflineError::Internal(format!("snapshot has no file {file}")))?;
        let place = snapshot.place(source_file);
        snapshot.check_whole(engine, source_file).await?;
        let stream = engine
            .open_file(snapshot, source_file, self.selection.read())
            .await?;
        let mut next_row: u64 = 0;
        Ok(stream.map(move |batch| {
            let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
            let stand = Stand {
                place: &place,
                file,
                rows: &RowNumbers::From(next_row),
            };
            next_row += u64::try_from(batch.num_rows()).unwrap_or(0);
            let mut views = self.rows(&batch, stand, repeats)?;
            views.iter_mut().for_each(|rows| rows.read = next_row);
            Ok(views)
        }))
    }

    /// The rows of a batch of the columns of a managed table that is in no file yet, as each of the views has them.
    pub(crate) fn read_pushed(&self, batch: &RecordBatch) -> Result<Vec<SourceRows>> {
        let wanted = self.selection.read().iter().map(|name| {
            let lost =
                || OfflineError::Definition(format!("column {name:?} is not in the schema of the source"));
            batch.schema().index_of(name).map_err(|_| lost())
        });
        let batch = batch.project(&wanted.collect::<Result<Vec<_>>>()?)?;
        let stand = Stand {
            place: PUSHED,
            file: 0,
            rows: &RowNumbers::From(0),
        };
        self.rows(&batch, stand, None)
    }

    fn rows(
        &self,
        batch: &RecordBatch,
        stand: Stand<'_>,
        repeats: Option<&Repeats>,
    ) -> Result<Vec<SourceRows>> {
        let repeated = repeats.map(|repeats| repeats.rows_of(batch)).transpose()?;
        let selected = self.selection.evaluate(batch, stand.place)?;
        let heads = self.heads.read(&selected, stand)?;
        let views = self.views.iter();
        views
            .map(|view| view.rows(&selected, &heads, stand, repeated.as_deref()))
            .collect()
    }
}

impl ViewColumns {
    fn rows(
        &self,
        selected: &Selected,
        heads: &Heads,
        stand: Stand<'_>,
        repeated: Option<&[bool]>,
    ) -> Result<SourceRows> {
        let is_repeated = |row: usize| repeated.and_then(|rows| rows.get(row)) == Some(&true);
        let columns = |range: &Range<usize>| selected.columns.get(range.clone()).unwrap_or_default();
        let keys = entity_keys(&self.bound, columns(&self.keys), selected, stand)?;
        let features = self.values.read(columns(&self.features), selected, stand)?;
        let nulls = keys.nulls();
        let mut rows = SourceRows {
            file: stand.file,
            keys,
            heads: Vec::new(),
            features,
            skipped: 0,
            repeated: 0,
            read: 0,
            is_last: false,
        };
        for row in 0..selected.rows {
            let whole = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let Some(order) = heads.order(row, selected, stand).filter(|_| whole) else {
                rows.skipped += 1;
                continue;
            };
            let input = selected.input_row(row);
            if is_repeated(input) {
                rows.repeated += 1;
                continue;
            }
            rows.heads.push(RowHead {
                row,
                number: stand.rows.get(input),
                order,
                deleted: heads.is_deleted(row),
            });
        }
        Ok(rows)
    }
}

/// The key columns of a view, selected in their order, as their declared types.
pub(crate) fn entity_keys(
    bound: &BoundView,
    columns: &[ArrayRef],
    selected: &Selected,
    stand: Stand<'_>,
) -> Result<KeyColumns> {
    let keys = &bound.entity.keys;
    let arrays = columns
        .iter()
        .zip(keys)
        .map(|(array, key)| {
            column::convert(array, key.key_type.data_type())
                .map_err(|error| column_error(stand, &key.name, &error, selected))
        })
        .collect::<Result<Vec<_>>>()?;
    let types: Vec<KeyType> = keys.iter().map(|key| key.key_type.clone()).collect();
    KeyColumns::try_new(&types, &arrays).map_err(|error| OfflineError::Internal(error.to_string()))
}

/// A column whose values are none of their type.
pub(crate) fn column_error(
    stand: Stand<'_>,
    column: &str,
    error: &ColumnError,
    selected: &Selected,
) -> OfflineError {
    OfflineError::Data(format!(
        "{}: column {column:?} {error}{}",
        stand.place,
        row_of_file(error.row(), selected, stand)
    ))
}
