//! What waits for a source is written together.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Noted;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use asof_core::online::intake::{Answer, Entry, Events, Intake, IntakeRows};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_offline::{PushedRows, entry_of};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::{PushAnswer, Remembered};
use super::targets::Targets;
use super::{Folded, Inner, IntakeError, Known, Lane, Numbers, Reader, Waiting};

/// How many seqs are taken from a table at a time: a commit for so many rows.
const BLOCK: u64 = 1 << 20;
/// How often a group is written anew because a generation was exchanged under it.
const ATTEMPTS: usize = 5;

type Caller = oneshot::Sender<Result<PushAnswer, IntakeError>>;

/// Pushes that are written together, and what is answered to whom.
#[derive(Default)]
pub(super) struct Group {
    /// Those with rows, each with the first of its seqs, counted from that of the group.
    pub(super) pushes: Vec<(PushedRows, u64)>,
    rows: u64,
    /// The latest instant at which any of them arrived.
    at: Option<Timestamp>,
    remembered: Vec<Answer>,
    replies: Vec<(Caller, PushAnswer)>,
    /// What they take of the room there is, until they are written.
    rooms: Vec<OwnedSemaphorePermit>,
}

impl<S: OnlineStore + 'static> Inner<S> {
    /// Writes what waits first for a source, once nobody else does. It is called once for each push, so that all that
    /// waits is written in the end, and whoever else waits for the numbers has its turn in between.
    pub(super) async fn write(self: &Arc<Self>, lane: &Arc<Lane>) {
        let mut numbers = Arc::clone(&lane.numbers).lock_owned().await;
        let waiting = take(lane);
        let Some(reader) = waiting.first().map(|first| Arc::clone(&first.reader)) else {
            return;
        };
        let rows = waiting.iter().map(|waiting| waiting.rows.len() as u64).sum();
        let ready = async {
            let at = waiting.iter().map(|waiting| waiting.at).max();
            let at = at.unwrap_or(Timestamp::EPOCH);
            loop {
                self.number(lane, &mut numbers, &reader, rows).await?;
                // While ids were read, others may have accepted rows behind our seqs whose ids come first in the index,
                // and last in the table: then there are other seqs.
                if !self.index_events(lane, &reader, &mut numbers, at).await? {
                    return Ok(());
                }
            }
        };
        if let Err(error) = ready.await {
            return refuse(waiting.into_iter().map(|waiting| waiting.answer), &error);
        }
        let (inner, lane) = (Arc::clone(self), Arc::clone(lane));
        let written = tokio::task::spawn_blocking(move || {
            inner.write_group(&lane, &reader, waiting, &mut numbers);
        });
        // One that panicked has let go of all who waited for it.
        let _ = written.await;
    }

    /// Sees to it that there are seqs for so many rows, behind all that anybody has.
    async fn number(
        &self,
        lane: &Lane,
        numbers: &mut Numbers,
        reader: &Reader,
        rows: u64,
    ) -> Result<(), IntakeError> {
        let source = &reader.source;
        if let Some(reserved) = &mut numbers.reserved
            && reserved.seqs.end - reserved.seqs.start >= rows
            && self.engine.holds_seqs(source, reserved).await?
        {
            return Ok(());
        }
        numbers.reserved = None;
        // Behind those of the log, too, should its table have been made anew.
        let last = self.store.last_entry(&lane.address)?;
        let from = last.map_or(0, |last| last + 1);
        let reserved = self.engine.reserve_seqs(source, from, BLOCK.max(rows)).await?;
        if reserved.seqs.start != numbers.end {
            // Others accepted rows in between.
            numbers.index = None;
        }
        numbers.end = reserved.seqs.end;
        numbers.reserved = Some(reserved);
        Ok(())
    }

    fn write_group(&self, lane: &Lane, reader: &Arc<Reader>, waiting: Vec<Waiting>, numbers: &mut Numbers) {
        let mut group = Group::default();
        let mut brought = HashMap::new();
        for waiting in waiting {
            match self.recall(lane, &brought, &waiting) {
                Ok(Some(answer)) => group.replies.push((waiting.answer, answer)),
                Ok(None) => group.add(waiting, &mut brought),
                Err(error) => refuse([waiting.answer], &error),
            }
        }
        match self.write_rows(lane, reader, &mut group, numbers) {
            Ok(()) => {
                for (caller, answer) in group.replies {
                    // Nobody may be there any more to hear it.
                    let _ = caller.send(Ok(answer));
                }
            }
            Err(error) => refuse(group.replies.into_iter().map(|(caller, _)| caller), &error),
        }
    }

    /// What was answered to a push that was brought before, or comes twice in a group.
    fn recall(
        &self,
        lane: &Lane,
        brought: &HashMap<String, Vec<u8>>,
        waiting: &Waiting,
    ) -> Result<Option<PushAnswer>, IntakeError> {
        let Some(remembered) = &waiting.remembered else {
            return Ok(None);
        };
        let record = match brought.get(&remembered.id) {
            Some(record) => Some(record.clone()),
            None => self.store.answered(&lane.address, &remembered.id)?,
        };
        record.map(|record| remembered.recall(&record)).transpose()
    }

    fn write_rows(
        &self,
        lane: &Lane,
        reader: &Arc<Reader>,
        group: &mut Group,
        numbers: &mut Numbers,
    ) -> Result<(), IntakeError> {
        let Some(at) = group.at else {
            return Ok(());
        };
        let bug = |what: &str| IntakeError::Bug(what.into());
        let reserved = numbers
            .reserved
            .as_mut()
            .ok_or_else(|| bug("rows without seqs"))?;
        let first = reserved.seqs.start;
        let was_empty = reserved.was_empty;
        // Used up, whether the rows are stored or not.
        reserved.seqs.start += group.rows;
        let events = self.new_events(lane, numbers, group, first + group.rows)?;
        let known = self.store.accepted(&lane.address)?;
        let accepted = known + group.rows;
        let batches = group
            .pushes
            .iter()
            .map(|(rows, offset)| rows.numbered(first + offset));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let bytes = match batches.is_empty() {
            true => Vec::new(),
            false => entry_of(&batches)?,
        };
        for attempt in 1.. {
            let rows = match batches.is_empty() {
                true => Vec::new(),
                false => {
                    let targets = self.targets(reader, numbers, was_empty && known == 0)?;
                    let mut rows = targeted(&targets, group, first)?;
                    self.note_folded(numbers, &targets, &mut rows, first..first + group.rows)?;
                    rows
                }
            };
            let entry = Entry {
                number: first,
                bytes: &bytes,
                accepted,
            };
            let intake = Intake {
                at,
                entry: (!batches.is_empty()).then_some(entry),
                answers: &group.remembered,
                rows: &rows,
                events: events.as_ref().map(|new| Events {
                    ids: &new.ids,
                    indexed: &new.indexed,
                }),
            };
            match self.store.accept(&lane.address, intake) {
                Ok(()) => break,
                Err(StoreError::NoGeneration { .. }) if attempt < ATTEMPTS => numbers.targets = None,
                Err(error) => {
                    // What was noted is known to the store alone.
                    numbers.targets = None;
                    return Err(error.into());
                }
            }
        }
        lane.waiting.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Where the rows of each view go, looked up again when the store says that something changed.
    fn targets(
        &self,
        reader: &Arc<Reader>,
        numbers: &mut Numbers,
        is_new: bool,
    ) -> Result<Arc<Vec<Targets>>, IntakeError> {
        let changes = self.store.changes();
        if let Some(known) = &numbers.targets
            && changes.is_some_and(|changes| changes == known.changes)
            && Arc::ptr_eq(&known.reader, reader)
        {
            return Ok(Arc::clone(&known.targets));
        }
        numbers.folded.clear();
        let table = reader.reader.table_id();
        let targets = reader.views.iter();
        let targets = targets.map(|bound| Targets::of(&*self.store, &self.project, bound, table, is_new));
        let targets = Arc::new(targets.collect::<Result<Vec<_>, _>>()?);
        // Where something changed meanwhile, these are not kept.
        numbers.targets = changes
            .filter(|_| self.store.changes() == changes)
            .map(|changes| Known {
                changes,
                reader: Arc::clone(reader),
                targets: Arc::clone(&targets),
            });
        Ok(targets)
    }
}

impl<S: OnlineStore> Inner<S> {
    /// Notes that generations with tiles have the rows of some seqs, in the write that brings these.
    fn note_folded(
        &self,
        numbers: &mut Numbers,
        targets: &[Targets],
        rows: &mut [IntakeRows],
        seqs: Range<u64>,
    ) -> Result<(), IntakeError> {
        for rows in rows {
            let place = (rows.slot, rows.generation);
            let Some(taken) = targets.iter().find_map(|targets| targets.taken_to_tiles(place)) else {
                continue;
            };
            let folded = match numbers.folded.entry(place) {
                Noted::Occupied(known) => known.into_mut(),
                Noted::Vacant(new) => {
                    let note = self.store.noted(rows.slot, rows.generation)?;
                    let bug =
                        || IntakeError::Bug("what a generation was noted to have cannot be read".into());
                    let mut folded = Folded::parse(note.as_deref()).ok_or_else(bug)?;
                    folded.forget_before(taken);
                    new.insert(folded)
                }
            };
            folded.add(seqs.clone());
            rows.note = Some(folded.to_bytes());
        }
        Ok(())
    }
}

/// The rows of a group for the generations of each view.
fn targeted(targets: &[Targets], group: &Group, first: u64) -> Result<Vec<IntakeRows>, IntakeError> {
    let mut all = Vec::new();
    for (place, targets) in targets.iter().enumerate() {
        let pushes = group.pushes.iter();
        let pushes = pushes.filter_map(|(rows, offset)| Some((rows.views.get(place)?, first + offset)));
        all.extend(targets.rows(pushes)?);
    }
    Ok(all)
}

impl Group {
    fn add(&mut self, waiting: Waiting, brought: &mut HashMap<String, Vec<u8>>) {
        let Waiting {
            mut rows,
            at,
            remembered,
            answer: caller,
            room,
            ..
        } = waiting;
        self.rooms.push(room);
        let answer = PushAnswer {
            accepted: rows.len() as u64,
            rejected: std::mem::take(&mut rows.rejected),
            repeated: false,
        };
        if let Some(remembered) = remembered {
            let bytes = remembered.record(&answer);
            let Remembered { id, .. } = remembered;
            brought.insert(id.clone(), bytes.clone());
            self.remembered.push(Answer { id, bytes });
        }
        self.at = self.at.max(Some(at));
        if !rows.is_empty() {
            let first = self.rows;
            self.rows += rows.len() as u64;
            self.pushes.push((rows, first));
        }
        self.replies.push((caller, answer));
    }
}

/// The pushes that wait first and are read alike.
fn take(lane: &Lane) -> Vec<Waiting> {
    let mut queue = lane.lock_queue();
    let Some(reader) = queue.first().map(|first| Arc::clone(&first.reader)) else {
        return Vec::new();
    };
    let alike = queue
        .iter()
        .take_while(|waiting| Arc::ptr_eq(&waiting.reader, &reader))
        .count();
    queue.drain(..alike).collect()
}

fn refuse(callers: impl IntoIterator<Item = Caller>, error: &IntakeError) {
    for caller in callers {
        let _ = caller.send(Err(error.clone()));
    }
}
