//! Rows on their way to the store: encoded, and of several for one key only the newest that is due.

use std::collections::HashMap;

use asof_core::definition::BoundView;
use asof_core::key::EntityKey;
use asof_core::online::{GenerationState, OnlineRow, row_schema};
use asof_core::row::{RowEncoder, RowSchema};
use asof_core::time::Timestamp;
use asof_offline::SourceRows;

use super::MaterializeError;

/// How many rows are written at once.
const FULL: usize = 8_192;

/// Rows that wait to be written.
pub(super) struct Chunk {
    schema: RowSchema,
    version: u32,
    due: HashMap<EntityKey, OnlineRow>,
    pending: Vec<OnlineRow>,
}

impl Chunk {
    pub(super) fn new(bound: &BoundView, state: &GenerationState) -> Self {
        let version = u32::try_from(state.schemas.len().saturating_sub(1)).unwrap_or(u32::MAX);
        Self {
            schema: row_schema(bound),
            version,
            due: HashMap::new(),
            pending: Vec::new(),
        }
    }

    /// Adds the rows of a batch that stand at the given places; returns how many.
    pub(super) fn add(
        &mut self,
        rows: &SourceRows,
        places: impl Iterator<Item = usize>,
        as_of: Timestamp,
    ) -> Result<u64, MaterializeError> {
        let encoder = RowEncoder::try_new(&self.schema, self.version, &rows.features)?;
        let mut added = 0;
        for place in places {
            let Some(head) = rows.heads.get(place) else {
                continue;
            };
            let Some(key) = rows.keys.key(head.row) else {
                continue;
            };
            added += 1;
            let due = head.order.due() <= as_of;
            if due
                && self
                    .due
                    .get(&key)
                    .is_some_and(|newest| newest.order >= head.order)
            {
                continue;
            }
            let mut bytes = Vec::new();
            encoder.encode(head.row, head.order, head.deleted, &mut bytes);
            let row = OnlineRow {
                key: key.clone(),
                order: head.order,
                bytes,
            };
            if due {
                self.due.insert(key, row);
            } else {
                self.pending.push(row);
            }
        }
        Ok(added)
    }

    pub(super) fn is_full(&self) -> bool {
        self.due.len() + self.pending.len() >= FULL
    }

    /// The rows, in order of their keys; the chunk is empty afterwards.
    pub(super) fn take(&mut self) -> Vec<OnlineRow> {
        let mut rows: Vec<OnlineRow> = self
            .due
            .drain()
            .map(|(_, row)| row)
            .chain(self.pending.drain(..))
            .collect();
        rows.sort_by(|a, b| (&a.key, a.order).cmp(&(&b.key, b.order)));
        rows
    }
}
