//! The intake log: what was pushed, until it is in its table.

use std::fs::{self, File};
use std::path::Path;
use std::sync::PoisonError;

use asof_core::key::EntityKey;
use asof_core::online::intake::{Entry, Intake, IntakeLog, SourceAddress, StreamMark};
use asof_core::online::{Generation, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use rocksdb::{ColumnFamily, WriteBatch};

use super::RocksStore;
use crate::failure;
use crate::intake_keys::{self, EventKey, IntakeKey};
use crate::keys::{self, Due, Family, NoteKey};
use crate::options;

/// The file that is there as long as the log may have entries: it is there before the first one, and goes
/// after the last.
const NOTE: &str = "asof.intake";
/// How many answers are forgotten in one step.
const STEP: usize = 1_000;

/// Whether the store in a directory may hold pushed rows that are not in their tables yet; told without
/// opening it.
pub fn has_intake(path: &Path) -> bool {
    path.join(NOTE).exists()
}

/// Makes the note that there may be entries in the store in a directory.
pub(crate) fn note_intake(path: &Path) -> Result<(), StoreError> {
    let note = path.join(NOTE);
    let made = File::create(&note).and_then(|file| file.sync_all());
    let made = made.and_then(|()| File::open(path)?.sync_all());
    made.map_err(|error| failure::of_io(&note, &error))
}

impl IntakeLog for RocksStore {
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError> {
        let family = self.family(Family::Intake)?;
        let mut batch = WriteBatch::default();
        if let Some(entry) = intake.entry {
            put_entry(&mut batch, family, source, entry);
        }
        if let Some(entry) = intake.dead_letters {
            put_entry(&mut batch, family, &source.dead_letters(), entry);
        }
        for mark in intake.marks {
            batch.put_cf(
                family,
                IntakeKey::Mark(source, &mark.lane).to_bytes(),
                &mark.bytes,
            );
        }
        for answer in intake.answers {
            let (id, at) = (&answer.id, intake.at);
            batch.put_cf(family, IntakeKey::Answer(source, id).to_bytes(), &answer.bytes);
            batch.put_cf(family, IntakeKey::Given(at, source, id).to_bytes(), []);
        }
        if let Some(events) = intake.events {
            self.put_events(&mut batch, source, events.ids, Some(events.indexed))?;
        }
        let mut starts = Vec::new();
        for rows in intake.rows {
            let (slot, generation) = (rows.slot, rows.generation);
            self.put_rows(&mut batch, slot, generation, intake.at, &Due::BOTH, &rows.rows)?;
            if let Some(note) = &rows.note {
                let key = NoteKey { slot, generation }.to_bytes();
                batch.put_cf(self.family(Family::Rows)?, key, note);
            }
            let entity = rows.slot.entity;
            starts.extend(
                rows.rows
                    .iter()
                    .map(|row| keys::key_start(entity, row.key.as_bytes())),
            );
        }
        let _held = self.cache.hold(starts);
        let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        for rows in intake.rows {
            self.catalogue().live(rows.slot, rows.generation)?;
        }
        if intake.entry.is_none() && intake.dead_letters.is_none() {
            return self.commit(batch);
        }
        let noted = self.noted.read().unwrap_or_else(PoisonError::into_inner);
        if *noted {
            return self.commit(batch);
        }
        drop(noted);
        let mut noted = self.noted.write().unwrap_or_else(PoisonError::into_inner);
        self.note()?;
        *noted = true;
        self.commit(batch)
    }

    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.catalogue().live(slot, generation)?;
        let key = NoteKey { slot, generation }.to_bytes();
        let value = self.db.get_cf(self.family(Family::Rows)?, key);
        value.map_err(|error| failure::of(&self.path, error))
    }

    fn apply_pushed(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.merge_due(slot, generation, Due::Pushed, now)
    }

    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError> {
        let (start, end) = IntakeKey::marks_of(source);
        let before = start.len();
        let range = options::scan((start, end));
        let mut found = self.db.raw_iterator_cf_opt(self.family(Family::Intake)?, range);
        found.seek_to_first();
        let mut marks = Vec::new();
        while let Some((key, bytes)) = found.item() {
            let lane = key.get(before..).and_then(|lane| std::str::from_utf8(lane).ok());
            marks.push(StreamMark {
                lane: lane.ok_or_else(|| self.damaged_key(key))?.to_owned(),
                bytes: bytes.to_vec(),
            });
            found.next();
        }
        found.status().map_err(|error| failure::of(&self.path, error))?;
        Ok(marks)
    }

    fn settle(&self) -> Result<(), StoreError> {
        let settled = self.db.flush_wal(true);
        settled.map_err(|error| failure::of(&self.path, error))
    }

    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.intake(&IntakeKey::Answer(source, id).to_bytes())
    }

    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        let key = IntakeKey::Accepted(source).to_bytes();
        let count = self
            .intake(&key)?
            .map(|value| value.try_into().map(u64::from_be_bytes));
        let count = count.transpose().map_err(|_| self.damaged_key(&key))?;
        Ok(count.unwrap_or(0))
    }

    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut taken = 0;
        let mut entries = Vec::new();
        self.scan_entries(IntakeKey::entries_of(source), |_, number, entry| {
            if taken >= bytes && !entries.is_empty() {
                return false;
            }
            taken += entry.len();
            entries.push((number, entry.to_vec()));
            true
        })?;
        Ok(entries)
    }

    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError> {
        let family = self.family(Family::Intake)?;
        let range = IntakeKey::entries_of(source);
        let mut entries = self.db.raw_iterator_cf_opt(family, options::scan(range));
        entries.seek_to_last();
        let last = entries.key().map(|key| {
            let entry = intake_keys::entry_of(key).ok_or_else(|| self.damaged_key(key))?;
            Ok(entry.1)
        });
        let last = last.transpose()?;
        entries.status().map_err(|error| failure::of(&self.path, error))?;
        Ok(last)
    }

    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        let mut bytes = 0;
        self.scan_entries(IntakeKey::entries_of(source), |_, _, entry| {
            bytes += entry.len() as u64;
            true
        })?;
        Ok(bytes)
    }

    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError> {
        let mut sources = Vec::new();
        let (mut start, end) = IntakeKey::entries();
        loop {
            let mut found = None;
            self.scan_entries((start, end.clone()), |source, _, _| {
                found = Some(source);
                false
            })?;
            let Some(source) = found else {
                return Ok(sources);
            };
            start = IntakeKey::entries_of(&source).1;
            sources.push(source);
        }
    }

    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError> {
        let (start, _) = IntakeKey::entries_of(source);
        let end = keys::successor(IntakeKey::Entry(source, through).to_bytes());
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.family(Family::Intake)?, start, end);
        self.commit(batch)?;
        let mut noted = self.noted.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_empty = true;
        self.scan_entries(IntakeKey::entries(), |_, _, _| {
            is_empty = false;
            false
        })?;
        if *noted && is_empty {
            let note = self.path.join(NOTE);
            fs::remove_file(&note).map_err(|error| failure::of_io(&note, &error))?;
            *noted = false;
        }
        Ok(())
    }

    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError> {
        let family = self.family(Family::Intake)?;
        let mut forgotten = 0;
        loop {
            let mut batch = WriteBatch::default();
            let mut step = 0;
            let range = IntakeKey::given_before(before);
            let mut given = self.db.raw_iterator_cf_opt(family, options::scan(range));
            given.seek_to_first();
            while let Some(key) = given.key().filter(|_| step < STEP) {
                let answer = intake_keys::answer_of(key).ok_or_else(|| self.damaged_key(key))?;
                batch.delete_cf(family, key);
                batch.delete_cf(family, answer);
                step += 1;
                given.next();
            }
            given.status().map_err(|error| failure::of(&self.path, error))?;
            if step == 0 {
                return Ok(forgotten);
            }
            forgotten += step as u64;
            self.commit(batch)?;
        }
    }

    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError> {
        let family = self.family(Family::Events)?;
        let keys = ids.iter().map(|id| EventKey::Event(source, id).to_bytes());
        let mut keys: Vec<(usize, Vec<u8>)> = keys.enumerate().collect();
        keys.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        let sorted: Vec<&[u8]> = keys.iter().map(|(_, key)| key.as_slice()).collect();
        let mut known = vec![false; ids.len()];
        let found = self.db.batched_multi_get_cf(family, &sorted, true);
        for ((place, _), found) in keys.iter().zip(found) {
            let found = found.map_err(|error| failure::of(&self.path, error))?;
            if let Some(known) = known.get_mut(*place) {
                *known = found.is_some();
            }
        }
        Ok(known)
    }

    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.put_events(&mut batch, source, ids, indexed)?;
        self.commit(batch)
    }

    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError> {
        let key = EventKey::Indexed(source).to_bytes();
        let value = self.db.get_cf(self.family(Family::Events)?, key);
        value.map_err(|error| failure::of(&self.path, error))
    }

    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError> {
        let family = self.family(Family::Events)?;
        let (start, end) = EventKey::events_of(source);
        let mut batch = WriteBatch::default();
        batch.delete_cf(family, EventKey::Indexed(source).to_bytes());
        batch.delete_range_cf(family, start, end);
        self.commit(batch)
    }
}

fn put_entry(batch: &mut WriteBatch, family: &ColumnFamily, source: &SourceAddress, entry: Entry<'_>) {
    batch.put_cf(
        family,
        IntakeKey::Entry(source, entry.number).to_bytes(),
        entry.bytes,
    );
    let accepted = entry.accepted.to_be_bytes();
    batch.put_cf(family, IntakeKey::Accepted(source).to_bytes(), accepted);
}

impl RocksStore {
    fn put_events(
        &self,
        batch: &mut WriteBatch,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let family = self.family(Family::Events)?;
        for id in ids {
            batch.put_cf(family, EventKey::Event(source, id).to_bytes(), []);
        }
        if let Some(indexed) = indexed {
            batch.put_cf(family, EventKey::Indexed(source).to_bytes(), indexed);
        }
        Ok(())
    }

    fn intake(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get_cf(self.family(Family::Intake)?, key);
        value.map_err(|error| failure::of(&self.path, error))
    }

    /// Visits entries, until it is told that those are enough.
    fn scan_entries(
        &self,
        range: (Vec<u8>, Vec<u8>),
        mut visit: impl FnMut(SourceAddress, u64, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let family = self.family(Family::Intake)?;
        let mut entries = self.db.raw_iterator_cf_opt(family, options::scan(range));
        entries.seek_to_first();
        while let Some((key, entry)) = entries.item() {
            let (source, number) = intake_keys::entry_of(key).ok_or_else(|| self.damaged_key(key))?;
            if !visit(source, number, entry) {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(|error| failure::of(&self.path, error))
    }

    /// Makes the note that there may be entries, so that it outlives what the entries do.
    fn note(&self) -> Result<(), StoreError> {
        note_intake(&self.path)
    }
}
