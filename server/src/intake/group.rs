//! What waits for a source is written together.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Noted;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use asof_core::definition::Source;
use asof_core::online::intake::{Answer, Entry, Events, Intake, IntakeRows, SourceAddress, StreamMark};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_offline::{PushedRows, Reserved, entry_of};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::{PushAnswer, Remembered};
use super::messages::{DeadLetters, Moved};
use super::targets::Targets;
use super::{Folded, Inner, IntakeError, Known, Lane, LaneState, Numbers, Read, Reader, Waiting};

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
    /// The same of the dead letters.
    dead_letters: Vec<(PushedRows, u64)>,
    dead_rows: u64,
    /// What is known of the lanes of streams with it.
    lanes: HashMap<Arc<str>, LaneState>,
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
        let mut waiting = take(lane);
        let Some(reader) = waiting.first().map(|first| Arc::clone(&first.read.reader)) else {
            return;
        };
        let rows = waiting.iter().map(|waiting| waiting.read.rows.len() as u64).sum();
        let dead = waiting.iter().map(|waiting| waiting.read.dead_letters()).sum();
        if dead > 0
            && let Err(error) = self.number_dead_letters(lane, &mut numbers, &reader, dead).await
        {
            // Who has none of them does not wait for their table.
            let with = waiting.extract_if(.., |waiting| waiting.read.dead_letters() > 0);
            refuse(with.map(|waiting| waiting.answer), &error);
        }
        let ready = async {
            let at = waiting.iter().map(|waiting| waiting.read.at).max();
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
        let before = numbers.reserved.as_ref().map(|reserved| reserved.seqs.end);
        self.reserve(&mut numbers.reserved, &reader.source, &lane.address, rows)
            .await?;
        let Some(reserved) = numbers
            .reserved
            .as_ref()
            .filter(|reserved| Some(reserved.seqs.end) != before)
        else {
            return Ok(());
        };
        if reserved.seqs.start != numbers.end {
            // Others accepted rows in between.
            numbers.index = None;
        }
        numbers.end = reserved.seqs.end;
        Ok(())
    }

    async fn number_dead_letters(
        &self,
        lane: &Lane,
        numbers: &mut Numbers,
        reader: &Reader,
        rows: u64,
    ) -> Result<(), IntakeError> {
        let address = lane.address.dead_letters();
        let reserved = &mut numbers.dead_letters;
        self.reserve(reserved, &reader.source.dead_letters(), &address, rows)
            .await
    }

    /// Sees to it that so many seqs of a table are reserved, and still the last ones that anybody has.
    async fn reserve(
        &self,
        reserved: &mut Option<Reserved>,
        source: &Source,
        address: &SourceAddress,
        rows: u64,
    ) -> Result<(), IntakeError> {
        if let Some(reserved) = reserved
            && reserved.seqs.end - reserved.seqs.start >= rows
            && self.engine.holds_seqs(source, reserved).await?
        {
            return Ok(());
        }
        *reserved = None;
        // Behind those of the log, too, should its table have been made anew.
        let last = self.store.last_entry(address)?;
        let from = last.map_or(0, |last| last + 1);
        *reserved = Some(self.engine.reserve_seqs(source, from, BLOCK.max(rows)).await?);
        Ok(())
    }

    fn write_group(&self, lane: &Lane, reader: &Arc<Reader>, waiting: Vec<Waiting>, numbers: &mut Numbers) {
        let mut group = Group::default();
        let mut brought = HashMap::new();
        for Waiting { read, answer: caller } in waiting {
            let followed = self.follow(lane, &mut group, read.moved.as_ref());
            match followed.and_then(|()| self.recall(lane, &brought, read.remembered.as_ref())) {
                Ok(Some(answer)) => group.replies.push((caller, answer)),
                Ok(None) => group.add(read, caller, &mut brought),
                Err(error) => refuse([caller], &error),
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

    /// Notes how far a stream is read with messages, which follow what is known of it.
    fn follow(&self, lane: &Lane, group: &mut Group, moved: Option<&Moved>) -> Result<(), IntakeError> {
        let Some(moved) = moved else {
            return Ok(());
        };
        let kept = match group.lanes.get(&moved.lane) {
            Some(_) => None,
            None => {
                let kept = self.store.marks(&lane.address)?.into_iter();
                let mut kept = kept.filter(|kept| *kept.lane == *moved.lane);
                kept.next().map(|kept| LaneState::parse(&kept)).transpose()?
            }
        };
        let state = moved.follow(group.lanes.get(&moved.lane).or(kept.as_ref()))?;
        group.lanes.insert(Arc::clone(&moved.lane), state);
        Ok(())
    }

    /// What was answered to a push that was brought before, or comes twice in a group.
    fn recall(
        &self,
        lane: &Lane,
        brought: &HashMap<String, Vec<u8>>,
        remembered: Option<&Remembered>,
    ) -> Result<Option<PushAnswer>, IntakeError> {
        let Some(remembered) = remembered else {
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
        let bytes = entry(&group.pushes, first)?;
        let dead = self.dead_letters(lane, group, numbers)?;
        let marks = group.lanes.iter().map(|(lane, state)| StreamMark {
            lane: lane.to_string(),
            bytes: state.to_bytes(),
        });
        let marks: Vec<StreamMark> = marks.collect();
        for attempt in 1.. {
            let rows = match &bytes {
                None => Vec::new(),
                Some(_) => {
                    let targets = self.targets(reader, numbers, was_empty && known == 0)?;
                    let mut rows = targeted(&targets, group, first)?;
                    self.note_folded(numbers, &targets, &mut rows, first..first + group.rows)?;
                    rows
                }
            };
            let intake = Intake {
                at,
                entry: bytes.as_ref().map(|bytes| Entry {
                    number: first,
                    bytes,
                    accepted,
                }),
                answers: &group.remembered,
                rows: &rows,
                events: events.as_ref().map(|new| Events {
                    ids: &new.ids,
                    indexed: &new.indexed,
                }),
                marks: &marks,
                dead_letters: dead.as_ref().map(DeadEntry::entry),
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
        let bytes = bytes.map_or(0, |bytes| bytes.len() as u64);
        lane.waiting.fetch_add(bytes, Ordering::Relaxed);
        if let Some(dead) = dead {
            dead.lane
                .waiting
                .fetch_add(dead.bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What of a group goes to the table of dead letters.
    fn dead_letters(
        &self,
        lane: &Lane,
        group: &Group,
        numbers: &mut Numbers,
    ) -> Result<Option<DeadEntry>, IntakeError> {
        if group.dead_rows == 0 {
            return Ok(None);
        }
        let reserved = numbers.dead_letters.as_mut();
        let reserved = reserved.ok_or_else(|| IntakeError::Bug("dead letters without seqs".into()))?;
        let number = reserved.seqs.start;
        // Used up, whether they are stored or not.
        reserved.seqs.start += group.dead_rows;
        let lane = self.lane(&lane.address.source.dead_letters())?;
        Ok(Some(DeadEntry {
            number,
            bytes: entry(&group.dead_letters, number)?.unwrap_or_default(),
            accepted: self.store.accepted(&lane.address)? + group.dead_rows,
            lane,
        }))
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

/// An entry of dead letters.
struct DeadEntry {
    lane: Arc<Lane>,
    number: u64,
    bytes: Vec<u8>,
    accepted: u64,
}

impl DeadEntry {
    fn entry(&self) -> Entry<'_> {
        Entry {
            number: self.number,
            bytes: &self.bytes,
            accepted: self.accepted,
        }
    }
}

/// The entry of rows whose seqs begin at `first`, where there are any.
fn entry(rows: &[(PushedRows, u64)], first: u64) -> Result<Option<Vec<u8>>, IntakeError> {
    let batches = rows.iter().map(|(rows, offset)| rows.numbered(first + offset));
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    match batches.is_empty() {
        true => Ok(None),
        false => Ok(Some(entry_of(&batches)?)),
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
    fn add(&mut self, read: Read, caller: Caller, brought: &mut HashMap<String, Vec<u8>>) {
        let Read {
            mut rows,
            at,
            remembered,
            moved,
            room,
            lane: _,
            reader: _,
        } = read;
        self.rooms.extend(room);
        if let Some(dead) = moved.and_then(|moved| moved.dead_letters) {
            let first = self.dead_rows;
            self.dead_rows += dead.len();
            self.dead_letters.push((dead.rows, first));
        }
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

impl Read {
    /// How many rows of it go to the table of dead letters.
    pub(super) fn dead_letters(&self) -> u64 {
        let moved = self.moved.as_ref();
        moved.map_or(0, |moved| moved.dead_letters.as_ref().map_or(0, DeadLetters::len))
    }
}

/// The pushes that wait first and are read alike.
fn take(lane: &Lane) -> Vec<Waiting> {
    let mut queue = lane.lock_queue();
    let Some(reader) = queue.first().map(|first| Arc::clone(&first.read.reader)) else {
        return Vec::new();
    };
    let alike = queue
        .iter()
        .take_while(|waiting| Arc::ptr_eq(&waiting.read.reader, &reader))
        .count();
    queue.drain(..alike).collect()
}

fn refuse(callers: impl IntoIterator<Item = Caller>, error: &IntakeError) {
    for caller in callers {
        let _ = caller.send(Err(error.clone()));
    }
}
