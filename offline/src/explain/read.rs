//! The rows of one key, out of all rows of a source.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt32Array, new_empty_array};
use datafusion::arrow::compute::{concat, take};

use asof_core::definition::View;
use asof_core::key::EntityKey;
use asof_core::service::ViewRead;

use crate::engine::Engine;
use crate::error::Result;
use crate::rows::{RowHead, RowReader, SourceRows};
use crate::scan::Scan;
use crate::snapshot::Snapshot;

/// The rows of a key in the total order.
pub(super) struct KeyRows {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) heads: Vec<RowHead>,
    /// The view with the features that are asked for.
    pub(super) view: View,
    /// Per stored column its values in those rows.
    pub(super) features: Vec<ArrayRef>,
    pub(super) source_rows: u64,
    pub(super) skipped_rows: u64,
    pub(super) repeated_rows: u64,
}

/// Pins the source of a view and reads the rows of a key.
pub(super) async fn rows_of(engine: &Engine, read: &ViewRead, key: Option<&EntityKey>) -> Result<KeyRows> {
    let bound = read.narrowed();
    let snapshot = Arc::new(engine.snapshot(&bound).await?);
    let reader = Arc::new(RowReader::bind(&bound, &snapshot)?);
    let mut scan = Scan::start(engine, &snapshot, &reader, 0..snapshot.files.len());
    let (mut source_rows, mut skipped_rows, mut repeated_rows) = (0, 0, 0);
    let mut heads = Vec::new();
    let mut chunks: Vec<Vec<ArrayRef>> = vec![Vec::new(); bound.view.stored().len()];
    while let Some(rows) = scan.next().await? {
        source_rows += rows.heads.len() as u64;
        skipped_rows += rows.skipped;
        repeated_rows += rows.repeated;
        let own = key.map_or(Vec::new(), |key| own_heads(&rows, key));
        if own.is_empty() {
            continue;
        }
        let places: UInt32Array = own
            .iter()
            .filter_map(|head| u32::try_from(head.row).ok())
            .collect();
        for (chunks, values) in chunks.iter_mut().zip(&rows.features) {
            chunks.push(take(values, &places, None)?);
        }
        heads.extend(own);
    }
    let (heads, order) = sorted(heads);
    let features = bound.view.stored().iter().zip(chunks).map(|(feature, chunks)| {
        let chunks: Vec<_> = chunks.iter().map(AsRef::as_ref).collect();
        if chunks.is_empty() {
            return Ok(new_empty_array(&feature.data_type.to_arrow()));
        }
        Ok(take(&concat(&chunks)?, &order, None)?)
    });
    Ok(KeyRows {
        features: features.collect::<Result<_>>()?,
        view: bound.view,
        heads,
        source_rows,
        skipped_rows,
        repeated_rows,
        snapshot,
    })
}

fn own_heads(rows: &SourceRows, key: &EntityKey) -> Vec<RowHead> {
    let mut bytes = Vec::new();
    let mut is_own = |row: usize| {
        bytes.clear();
        rows.keys.write(row, &mut bytes) && bytes == key.as_bytes()
    };
    rows.heads
        .iter()
        .copied()
        .filter(|head| is_own(head.row))
        .collect()
}

/// Heads in the total order, and per head the place that it had.
fn sorted(heads: Vec<RowHead>) -> (Vec<RowHead>, UInt32Array) {
    let mut placed: Vec<(u32, RowHead)> = (0..).zip(heads).collect();
    placed.sort_unstable_by_key(|(_, head)| head.order);
    let order = placed.iter().map(|(place, _)| *place).collect();
    (placed.into_iter().map(|(_, head)| head).collect(), order)
}
