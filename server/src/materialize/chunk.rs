//! Rows on their way to the store: encoded, until there are enough of them to be written at once.

use std::sync::Arc;

use asof_core::aggregate::tiles::{FoldedEvents, TileLayout};
use asof_core::definition::BoundView;
use asof_core::online::{GenerationState, LoadRows, OnlineRow, row_schema};
use asof_core::row::{RowEncoder, RowSchema, StoredRow};
use asof_core::time::Timestamp;
use asof_offline::SourceRows;

use super::MaterializeError;

/// How many pending rows are written at once.
const PENDING: usize = 8_192;

/// Rows that wait to be written.
pub(super) struct Chunk {
    schema: RowSchema,
    version: u32,
    tiles: Option<Arc<TileLayout>>,
    pub(super) rows: ChunkRows,
    /// The key and the row that are folded.
    key: Vec<u8>,
    row: Vec<u8>,
}

/// Those that are due, and those that will be.
#[derive(Default)]
pub(super) struct ChunkRows {
    pub(super) due: LoadRows,
    /// In the place of rows, where the generation has tiles.
    pub(super) folded: FoldedEvents,
    pub(super) pending: Vec<OnlineRow>,
}

impl Chunk {
    pub(super) fn new(bound: &BoundView, state: &GenerationState) -> Self {
        Self {
            schema: row_schema(bound),
            version: version(state),
            tiles: state.shape.tiles.clone(),
            rows: ChunkRows::default(),
            key: Vec::new(),
            row: Vec::new(),
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
        for head in places.filter_map(|place| rows.heads.get(place)) {
            added += 1;
            if let Some(tiles) = self.tiles.as_ref().filter(|_| head.order.due() <= as_of) {
                self.key.clear();
                self.row.clear();
                rows.keys.write(head.row, &mut self.key);
                encoder.encode(head.row, head.order, head.deleted, &mut self.row);
                let folded = StoredRow::parse_checked(&self.row)
                    .and_then(|row| self.rows.folded.add(tiles, &self.key, &row));
                folded.map_err(|error| MaterializeError::Bug(error.to_string()))?;
            } else if head.order.due() <= as_of {
                self.rows.due.push(
                    head.order,
                    |bytes| {
                        rows.keys.write(head.row, bytes);
                    },
                    |bytes| encoder.encode(head.row, head.order, head.deleted, bytes),
                );
            } else if let Some(key) = rows.keys.key(head.row) {
                let mut bytes = Vec::new();
                encoder.encode(head.row, head.order, head.deleted, &mut bytes);
                self.rows.pending.push(OnlineRow {
                    key,
                    order: head.order,
                    bytes,
                });
            }
        }
        Ok(added)
    }

    /// Whether its rows are to be written now; those that are due take about `size` bytes then.
    pub(super) fn is_full(&self, size: usize) -> bool {
        self.rows.due.size() + self.rows.folded.size() >= size || self.rows.pending.len() >= PENDING
    }

    /// Its rows; it is empty afterwards.
    pub(super) fn take(&mut self) -> ChunkRows {
        std::mem::take(&mut self.rows)
    }
}

/// The schema version of the rows that a run writes into a generation.
pub(super) fn version(state: &GenerationState) -> u32 {
    u32::try_from(state.schemas.len().saturating_sub(1)).unwrap_or(u32::MAX)
}
