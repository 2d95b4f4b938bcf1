//! The rows of a source as the contract sees them: key, place in the total order, features.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use futures::{Stream, StreamExt};

use asof_core::data_type::KeyType;
use asof_core::definition::{BoundView, Location};
use asof_core::key::{EntityKey, KeyColumns};
use asof_core::order::RowOrder;

use crate::column::{self, ColumnError};
use crate::columns::{Selected, Selection, SourceColumns};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::heads::{HeadColumns, Stand, row_of_file};
use crate::parquet_file::RowNumbers;
use crate::places::ViewPlaces;
use crate::snapshot::Snapshot;

/// A batch of a source's rows.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// Which of the snapshot's files they come from.
    pub file: usize,
    /// The entity keys.
    pub keys: KeyColumns,
    /// The rows that count: those with a whole key and an event time.
    pub heads: Vec<RowHead>,
    /// The features of the view, in its order, as their declared types.
    pub features: Vec<ArrayRef>,
    /// How many rows were skipped because their key or event time is null.
    pub skipped: u64,
    /// The event ids of all rows of the file's batch, where the source has event ids.
    pub(crate) events: Option<Events>,
}

/// The event ids of a batch, before `sql` and before rows are skipped: such a row uses up its id, too.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// Per row of the file's batch its id, or `None` where it is null.
    pub(crate) ids: Vec<Option<EntityKey>>,
    /// Per head its row in `ids`.
    pub(crate) rows: Vec<usize>,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead {
    /// Its number in the batch's arrays.
    pub row: usize,
    /// Its place in the total order.
    pub order: RowOrder,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
}

/// Reads the rows of one view out of a snapshot of its source.
#[derive(Debug)]
pub struct RowReader {
    bound: BoundView,
    heads: HeadColumns,
    selection: Selection,
    event_id: Option<EventId>,
}

impl RowReader {
    /// Binds a view to the schema of its source; whatever does not fit is found here.
    pub fn bind(bound: &BoundView, snapshot: &Snapshot) -> Result<Self> {
        let columns = SourceColumns::bind(&bound.source, snapshot)?;
        let places = ViewPlaces::find(bound, snapshot, &columns.schema())?;
        let heads = HeadColumns::of(bound, snapshot);
        let event_id = EventId::of(&bound.source)?;
        let mut wanted = HeadColumns::places(&places);
        wanted.extend(&places.keys);
        wanted.extend(&places.features);
        let mut hidden = heads.hidden();
        hidden.extend(event_id.iter().map(|id| id.name.clone()));
        Ok(Self {
            bound: bound.clone(),
            selection: columns.select(&wanted, &hidden)?,
            heads,
            event_id,
        })
    }

    /// Whether files have to be read one after the other, in order: an event id counts where it stands
    /// first.
    pub fn needs_order(&self) -> bool {
        self.event_id.is_some()
    }

    /// The rows of one file, from its first to its last.
    pub async fn read_file<'a>(
        &'a self,
        engine: &Engine,
        snapshot: &'a Snapshot,
        file: usize,
    ) -> Result<impl Stream<Item = Result<SourceRows>> + Send + 'a> {
        let source_file = snapshot
            .files
            .get(file)
            .ok_or_else(|| OfflineError::Internal(format!("snapshot has no file {file}")))?;
        let place = snapshot.place(source_file);
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
            self.rows(&batch, stand)
        }))
    }

    fn rows(&self, batch: &RecordBatch, stand: Stand<'_>) -> Result<SourceRows> {
        let ids = self
            .event_id
            .as_ref()
            .map(|id| id.read_named(batch))
            .transpose()?;
        let selected = self.selection.evaluate(batch, stand.place)?;
        let heads = self.heads.read(&selected, stand)?;
        let after = |count: usize| selected.columns.get(count..).unwrap_or_default();
        let keys = entity_keys(&self.bound, after(self.heads.len()), &selected, stand)?;
        let features = feature_values(
            &self.bound,
            after(self.heads.len() + self.bound.entity.keys.len()),
            &selected,
            stand,
        )?;
        let nulls = keys.nulls();
        let mut rows = SourceRows {
            file: stand.file,
            keys,
            heads: Vec::new(),
            features,
            skipped: 0,
            events: None,
        };
        let mut event_rows = Vec::new();
        for row in 0..selected.rows {
            let whole = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let Some(order) = heads.order(row, &selected, stand)?.filter(|_| whole) else {
                rows.skipped += 1;
                continue;
            };
            rows.heads.push(RowHead {
                row,
                order,
                deleted: heads.is_deleted(row),
            });
            event_rows.push(selected.input_row(row));
        }
        rows.events = ids.map(|ids| Events {
            ids: (0..ids.rows()).map(|row| ids.key(row)).collect(),
            rows: event_rows,
        });
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

/// The features of a view, selected in their order, as their declared types.
pub(crate) fn feature_values(
    bound: &BoundView,
    columns: &[ArrayRef],
    selected: &Selected,
    stand: Stand<'_>,
) -> Result<Vec<ArrayRef>> {
    columns
        .iter()
        .zip(bound.view.features())
        .map(|(array, feature)| {
            column::convert(array, &feature.data_type)
                .map_err(|error| column_error(stand, feature.source_column(), &error, selected))
        })
        .collect()
}

fn column_error(stand: Stand<'_>, column: &str, error: &ColumnError, selected: &Selected) -> OfflineError {
    OfflineError::Data(format!(
        "{}: column {column:?} {error}{}",
        stand.place,
        row_of_file(error.row(), selected, stand)
    ))
}

/// The column of a managed source that identifies an event.
#[derive(Debug, Clone)]
pub(crate) struct EventId {
    pub(crate) name: String,
    key_type: KeyType,
}

impl EventId {
    /// The one that the source declares.
    pub(crate) fn of(source: &asof_core::definition::Source) -> Result<Option<Self>> {
        let Location::Managed {
            schema,
            event_id: Some(name),
        } = &source.location
        else {
            return Ok(None);
        };
        let declared = schema
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, declared)| declared.clone());
        let wrong = |what: String| {
            OfflineError::Definition(format!("source {}: event_id {name:?} {what}", source.name))
        };
        let declared = declared.ok_or_else(|| wrong("is not a column of its schema".into()))?;
        let key_type = KeyType::try_from(declared).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Self {
            name: name.clone(),
            key_type,
        }))
    }

    /// The ids of a batch that has the column under its name.
    fn read_named(&self, batch: &RecordBatch) -> Result<KeyColumns> {
        let lost = || OfflineError::Internal(format!("column {:?} was not read", self.name));
        self.read(batch.column_by_name(&self.name).ok_or_else(lost)?)
    }

    /// The ids of a column.
    pub(crate) fn read(&self, array: &ArrayRef) -> Result<KeyColumns> {
        let lost = || OfflineError::Internal(format!("column {:?} holds no ids", self.name));
        let array = column::convert(array, self.key_type.data_type()).map_err(|_| lost())?;
        KeyColumns::try_new(std::slice::from_ref(&self.key_type), &[array]).map_err(|_| lost())
    }
}
