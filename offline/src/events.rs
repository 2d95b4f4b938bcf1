//! Event ids: of the rows of a managed source with one id the one with the lowest seq counts, wherever it
//! stands.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, lit};
use futures::{Stream, StreamExt};

use asof_core::data_type::KeyType;
use asof_core::definition::{Location, Source};
use asof_core::key::{EntityKey, KeyColumns};

use crate::column;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::managed::SEQ;
use crate::snapshot::Snapshot;

/// The column of a managed source that identifies an event.
#[derive(Debug, Clone)]
pub(crate) struct EventId {
    pub(crate) name: String,
    key_type: KeyType,
}

impl EventId {
    /// The one that the source declares.
    pub(crate) fn of(source: &Source) -> Result<Option<Self>> {
        let Location::Managed {
            schema,
            event_id: Some(name),
            ..
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

    /// The column and its type: ids under one are none under another.
    pub(crate) fn description(&self) -> String {
        format!("{} {}", self.name, self.key_type)
    }

    /// Per row of a batch its id, where it has one.
    pub(crate) fn of_rows(&self, batch: &RecordBatch) -> Result<Vec<Option<EntityKey>>> {
        let ids = self.read(named(batch, &self.name)?)?;
        Ok((0..batch.num_rows()).map(|row| ids.key(row)).collect())
    }

    /// The ids of a column.
    fn read(&self, array: &ArrayRef) -> Result<KeyColumns> {
        let lost = || OfflineError::Internal(format!("column {:?} holds no ids", self.name));
        let array = column::convert(array, self.key_type.data_type()).map_err(|_| lost())?;
        KeyColumns::try_new(std::slice::from_ref(&self.key_type), &[array]).map_err(|_| lost())
    }
}

/// Which rows of a snapshot repeat an event.
#[derive(Debug)]
pub(crate) struct Repeats {
    id: EventId,
    /// Of each id that came more than once, the seq of the row that counts.
    counting: HashMap<EntityKey, u64>,
}

impl Repeats {
    /// Reads the ids of all rows: those whose key or event time is null, and those that `sql` leaves out, use
    /// up their id, too.
    pub(crate) async fn find(engine: &Engine, snapshot: &Snapshot, id: &EventId) -> Result<Self> {
        let columns = [id.name.clone(), SEQ.to_owned()];
        let mut lowest: HashMap<EntityKey, (u64, bool)> = HashMap::new();
        for file in &snapshot.files {
            let place = snapshot.place(file);
            snapshot.check_whole(engine, file).await?;
            let mut stream = engine.open_file(snapshot, file, &columns).await?;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
                let [ids, seqs] = batch.columns() else {
                    return Err(OfflineError::Internal(format!(
                        "column {:?} was not read",
                        id.name
                    )));
                };
                let ids = id.read(ids)?;
                for (row, seq) in seqs_of(seqs)?.into_iter().enumerate() {
                    let Some(id) = ids.key(row) else { continue };
                    match lowest.entry(id) {
                        Entry::Vacant(entry) => drop(entry.insert((seq, false))),
                        Entry::Occupied(mut entry) => {
                            let (lowest, repeated) = entry.get_mut();
                            *lowest = seq.min(*lowest);
                            *repeated = true;
                        }
                    }
                }
            }
        }
        let repeated = lowest.into_iter().filter(|(_, (_, repeated))| *repeated);
        Ok(Self {
            id: id.clone(),
            counting: repeated.map(|(id, (seq, _))| (id, seq)).collect(),
        })
    }

    /// Per row, given its id and its seq, whether an earlier one has the same id.
    pub(crate) fn rows(&self, ids: &ArrayRef, seqs: &ArrayRef) -> Result<Vec<bool>> {
        let ids = self.id.read(ids)?;
        let repeats = |(row, seq)| {
            let counting = ids.key(row).and_then(|id| self.counting.get(&id).copied());
            counting.is_some_and(|counting| counting != seq)
        };
        Ok(seqs_of(seqs)?.into_iter().enumerate().map(repeats).collect())
    }

    /// The same for a batch that has both columns under their names.
    pub(crate) fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        self.rows(named(batch, &self.id.name)?, named(batch, SEQ)?)
    }
}

impl Engine {
    /// The ids of the events in one file of a snapshot of a managed source, batch by batch: of the rows whose seq is at
    /// least `from`. A source without ids has none.
    pub async fn event_ids<'a>(
        &self,
        source: &Source,
        snapshot: &'a Snapshot,
        file: usize,
        from: u64,
    ) -> Result<impl Stream<Item = Result<Vec<EntityKey>>> + Send + use<'a>> {
        let lost = |what: &str| OfflineError::Internal(format!("{what} of source {}", source.name));
        let id = EventId::of(source)?.ok_or_else(|| lost("no event ids"))?;
        let file = snapshot.files.get(file).ok_or_else(|| lost("no such file"))?;
        let columns = [id.name.clone(), SEQ.to_owned()];
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let late = Expr::Column(Column::from_name(SEQ)).gt_eq(lit(from));
        let stream = self.open_filtered(snapshot, file, &columns, Some(late)).await?;
        let place = snapshot.place(file);
        Ok(stream.map(move |batch| {
            let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
            Ok(id.of_rows(&batch)?.into_iter().flatten().collect())
        }))
    }
}

/// A column that was read.
fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let lost = || OfflineError::Internal(format!("column {name:?} was not read"));
    batch.column_by_name(name).ok_or_else(lost)
}

fn seqs_of(array: &ArrayRef) -> Result<Vec<u64>> {
    let lost = || OfflineError::Data("a row of a managed table has no place in the order of rows".into());
    let seqs = array
        .as_primitive_opt::<Int64Type>()
        .filter(|seqs| seqs.null_count() == 0);
    let seqs = seqs.ok_or_else(lost)?.values().iter();
    seqs.map(|seq| u64::try_from(*seq).map_err(|_| lost())).collect()
}
