//! Event ids: of the rows of a managed source with one id the one with the lowest seq counts, wherever it
//! stands.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::StreamExt;

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
        let column = |name: &str| {
            let lost = || OfflineError::Internal(format!("column {name:?} was not read"));
            batch.column_by_name(name).ok_or_else(lost)
        };
        self.rows(column(&self.id.name)?, column(SEQ)?)
    }
}

fn seqs_of(array: &ArrayRef) -> Result<Vec<u64>> {
    let lost = || OfflineError::Data("a row of a managed table has no place in the order of rows".into());
    let seqs = array
        .as_primitive_opt::<Int64Type>()
        .filter(|seqs| seqs.null_count() == 0);
    let seqs = seqs.ok_or_else(lost)?.values().iter();
    seqs.map(|seq| u64::try_from(*seq).map_err(|_| lost())).collect()
}
