//! The events of sources that have ids: which of them are known, so that a row that repeats one is never served.
//!
//! Of the rows with one id the one with the lowest seq counts, wherever it came from. A pushed row has a greater seq
//! than all rows that the table and the log have by then: it counts where no row before it has its id. The store keeps
//! an index of these, which a push goes on with in the write that accepts it. What others put into the table meanwhile
//! is read from there first: rows of seqs that the index does not cover yet.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use asof_core::key::EntityKey;
use asof_core::online::OnlineStore;
use asof_core::time::Timestamp;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::flush::blocking;
use super::group::Group;
use super::{Inner, IntakeError, Lane, Numbers, Reader};

/// The version of the form below.
const FORMAT: u32 = 1;

/// What the index of a source's events covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Indexed {
    format: u32,
    /// The id of the source's table: one that was made anew has other rows.
    table: Option<String>,
    /// The column of the ids, and its type.
    event_id: String,
    /// The rows with lower seqs.
    through: u64,
}

/// The index of a source as it is known to be, for those who read it alike.
pub(super) struct Index {
    reader: Arc<Reader>,
    covers: Indexed,
}

/// Events that a group of pushes makes known.
pub(super) struct NewEvents {
    pub(super) ids: Vec<EntityKey>,
    /// What the index covers with them.
    pub(super) indexed: Vec<u8>,
}

impl Indexed {
    fn to_bytes(&self) -> Vec<u8> {
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was kept, where it is of the same ids of the same table; another form is made anew.
    fn recall(&self, kept: &[u8]) -> Option<u64> {
        let kept: Self = serde_json::from_slice(kept).ok()?;
        let through = kept.through;
        let same = Self {
            through: self.through,
            ..kept
        };
        (same == *self).then_some(through)
    }
}

impl<S: OnlineStore + 'static> Inner<S> {
    /// Sees to it that the index covers all rows of a source that were accepted by now, where it has ids and views.
    pub(super) async fn index_events(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        reader: &Arc<Reader>,
        numbers: &mut Numbers,
        at: Timestamp,
    ) -> Result<bool, IntakeError> {
        let (Some(event_id), Some(view)) = (reader.reader.event_id(), reader.views.first()) else {
            numbers.index = None;
            return Ok(false);
        };
        if numbers
            .index
            .as_ref()
            .is_some_and(|index| Arc::ptr_eq(&index.reader, reader))
        {
            return Ok(false);
        }
        // What others accepted, and what came before the source had ids, is read from the table.
        self.flush_lane(lane, &reader.source, at).await?;
        let snapshot = self.engine.snapshot(view).await?;
        let covers = Indexed {
            format: FORMAT,
            table: snapshot.table_id.clone(),
            event_id,
            through: snapshot.next_seq().unwrap_or(0),
        };
        let (inner, of, wanted) = (Arc::clone(self), Arc::clone(lane), covers.clone());
        let from = blocking(move || {
            let kept = inner.store.indexed_events(&of.address)?;
            let through = kept.and_then(|kept| wanted.recall(&kept));
            if through.is_none() {
                inner.store.forget_events(&of.address)?;
            }
            Ok::<_, IntakeError>(through.unwrap_or(0))
        });
        let from = from.await?;
        for file in 0..snapshot.files.len() {
            let ids = self.engine.event_ids(&reader.source, &snapshot, file, from);
            let mut ids = pin!(ids.await?);
            while let Some(ids) = ids.next().await {
                let (ids, inner, of) = (ids?, Arc::clone(self), Arc::clone(lane));
                blocking(move || inner.store.note_events(&of.address, &ids, None)).await?;
            }
        }
        let (inner, of, bytes) = (Arc::clone(self), Arc::clone(lane), covers.to_bytes());
        blocking(move || inner.store.note_events(&of.address, &[], Some(&bytes))).await?;
        numbers.index = Some(Index {
            reader: Arc::clone(reader),
            covers,
        });
        Ok(true)
    }

    /// Keeps those rows of a group from the views that repeat an event, of an earlier row or among themselves; returns
    /// the events that are new, where the source is indexed. The group's rows end before the seq `end`.
    pub(super) fn new_events(
        &self,
        lane: &Lane,
        numbers: &mut Numbers,
        group: &mut Group,
        end: u64,
    ) -> Result<Option<NewEvents>, IntakeError> {
        let Some(index) = &mut numbers.index else {
            return Ok(None);
        };
        let of_rows = group.pushes.iter().flat_map(|(rows, _)| &rows.events);
        let ids: Vec<EntityKey> = of_rows.flatten().cloned().collect();
        let known = self.store.known_events(&lane.address, &ids)?;
        let mut known: HashSet<EntityKey> = ids
            .into_iter()
            .zip(known)
            .filter_map(|(id, known)| known.then_some(id))
            .collect();
        let mut new = Vec::new();
        for (rows, _) in &mut group.pushes {
            let repeats = rows.events.iter().map(|id| {
                let Some(id) = id else { return false };
                let is_new = known.insert(id.clone());
                if is_new {
                    new.push(id.clone());
                }
                !is_new
            });
            let repeats: Vec<bool> = repeats.collect();
            rows.leave_out(&repeats);
        }
        index.covers.through = end;
        Ok(Some(NewEvents {
            ids: new,
            indexed: index.covers.to_bytes(),
        }))
    }
}
