//! The intake log in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::MemoryStore;
use crate::key::EntityKey;
use crate::online::intake::{Entry, Intake, IntakeLog, SourceAddress, StreamMark};
use crate::online::{Generation, StoreError, ViewSlot};
use crate::time::Timestamp;

/// What was pushed to the sources of all projects.
#[derive(Debug, Default)]
pub(super) struct Intakes {
    entries: BTreeMap<(SourceAddress, u64), Vec<u8>>,
    answers: BTreeMap<(SourceAddress, String), (Timestamp, Vec<u8>)>,
    accepted: BTreeMap<SourceAddress, u64>,
    events: BTreeSet<(SourceAddress, EntityKey)>,
    indexed: BTreeMap<SourceAddress, Vec<u8>>,
    marks: BTreeMap<(SourceAddress, String), Vec<u8>>,
}

impl IntakeLog for MemoryStore {
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError> {
        let mut views = self.lock();
        for rows in intake.rows {
            views.live(rows.slot, rows.generation)?;
        }
        for rows in intake.rows {
            let view = views.live(rows.slot, rows.generation)?;
            view.enter(rows.generation, intake.at, true, &rows.rows)?;
            if let Some(note) = &rows.note {
                view.noted.insert(rows.generation, note.clone());
            }
        }
        let intakes = &mut views.intakes;
        if let Some(entry) = intake.entry {
            intakes.enter(source.clone(), entry);
        }
        if let Some(entry) = intake.dead_letters {
            intakes.enter(source.dead_letters(), entry);
        }
        for mark in intake.marks {
            let key = (source.clone(), mark.lane.clone());
            intakes.marks.insert(key, mark.bytes.clone());
        }
        for answer in intake.answers {
            let key = (source.clone(), answer.id.clone());
            intakes.answers.insert(key, (intake.at, answer.bytes.clone()));
        }
        if let Some(events) = intake.events {
            intakes.note(source, events.ids, Some(events.indexed));
        }
        Ok(())
    }

    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .lock()
            .live(slot, generation)?
            .noted
            .get(&generation)
            .cloned())
    }

    fn apply_pushed(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.lock()
            .live(slot, generation)?
            .merge_due(generation, now, |pending| pending.was_pushed)
    }

    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError> {
        let views = self.lock();
        let marks = views.intakes.marks.iter().filter(|((of, _), _)| of == source);
        let marks = marks.map(|((_, lane), bytes)| StreamMark {
            lane: lane.clone(),
            bytes: bytes.clone(),
        });
        Ok(marks.collect())
    }

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let views = self.lock();
        let answer = views.intakes.answers.get(&(source.clone(), id.to_owned()));
        Ok(answer.map(|(_, bytes)| bytes.clone()))
    }

    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        Ok(self.lock().intakes.accepted.get(source).copied().unwrap_or(0))
    }

    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let views = self.lock();
        let mut taken = 0;
        let mut entries = Vec::new();
        for (number, entry) in views.intakes.of(source) {
            if taken >= bytes && !entries.is_empty() {
                break;
            }
            taken += entry.len();
            entries.push((number, entry.clone()));
        }
        Ok(entries)
    }

    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().intakes.of(source).map(|(number, _)| number).last())
    }

    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        let views = self.lock();
        Ok(views
            .intakes
            .of(source)
            .map(|(_, entry)| entry.len() as u64)
            .sum())
    }

    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError> {
        let views = self.lock();
        let mut sources: Vec<_> = views
            .intakes
            .entries
            .keys()
            .map(|(source, _)| source.clone())
            .collect();
        sources.dedup();
        Ok(sources)
    }

    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError> {
        let mut views = self.lock();
        let trimmed = |of: &SourceAddress, number: u64| of == source && number <= through;
        views
            .intakes
            .entries
            .retain(|(of, number), _| !trimmed(of, *number));
        Ok(())
    }

    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut views = self.lock();
        let answers = &mut views.intakes.answers;
        let known = answers.len();
        answers.retain(|_, (at, _)| *at >= before);
        Ok((known - answers.len()) as u64)
    }

    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError> {
        let views = self.lock();
        let known = |id: &EntityKey| views.intakes.events.contains(&(source.clone(), id.clone()));
        Ok(ids.iter().map(known).collect())
    }

    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.lock().intakes.note(source, ids, indexed);
        Ok(())
    }

    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().intakes.indexed.get(source).cloned())
    }

    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError> {
        let mut views = self.lock();
        views.intakes.events.retain(|(of, _)| of != source);
        views.intakes.indexed.remove(source);
        Ok(())
    }
}

impl Intakes {
    fn enter(&mut self, source: SourceAddress, entry: Entry<'_>) {
        self.accepted.insert(source.clone(), entry.accepted);
        self.entries.insert((source, entry.number), entry.bytes.to_vec());
    }

    fn note(&mut self, source: &SourceAddress, ids: &[EntityKey], indexed: Option<&[u8]>) {
        let known = ids.iter().map(|id| (source.clone(), id.clone()));
        self.events.extend(known);
        if let Some(indexed) = indexed {
            self.indexed.insert(source.clone(), indexed.to_vec());
        }
    }

    /// The entries of a source, with their numbers.
    fn of(&self, source: &SourceAddress) -> impl Iterator<Item = (u64, &Vec<u8>)> {
        let entries = self
            .entries
            .range((source.clone(), 0)..=(source.clone(), u64::MAX));
        entries.map(|((_, number), entry)| (*number, entry))
    }
}
