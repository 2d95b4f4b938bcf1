//! What the store knows of its views: their numbers and their generations.
//!
//! All of it is in memory, as it was last written. On the server it is a hash, of which each field is one thing.
//! A change writes the fields that differ, if the version is still the one that was changed.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use asof_catalogue::Removal;
use asof_catalogue::{Counters, Entity, View};
use asof_core::online::{Generation, StoreError, ViewAddress, ViewSlot, ViewState};

/// Everything that there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// How often it was changed.
    pub(crate) version: u64,
    pub(crate) counters: Counters,
    pub(crate) entities: BTreeMap<u32, Entity>,
    pub(crate) views: BTreeMap<u32, View>,
    /// Generations whose rows are to be removed.
    pub(crate) removals: BTreeSet<Removal>,
}

/// An entry that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue's entry {entry} cannot be read: {reason}")]
pub(crate) struct Unreadable {
    entry: String,
    reason: String,
}

/// The names of fields: one for what there is once, else a letter and numbers.
const VERSION: &[u8] = b"version";
const COUNTERS: &[u8] = b"counters";

/// A field of the hash, which is set or removed.
pub(crate) type Field = (Vec<u8>, Option<Vec<u8>>);

impl Catalogue {
    /// The view of that address.
    pub(crate) fn find(&self, address: &ViewAddress) -> Option<&View> {
        self.views.values().find(|view| view.address == *address)
    }

    /// The view of that address, with a number of its own from now on where there is none.
    pub(crate) fn open(&mut self, address: &ViewAddress) -> ViewSlot {
        if let Some(view) = self.find(address) {
            return view.slot;
        }
        let entity = Entity::of(address);
        let known = self.entities.iter().find(|(_, known)| **known == entity);
        let number = match known {
            Some((number, _)) => *number,
            None => {
                let number = self.counters.next_entity;
                self.counters.next_entity += 1;
                self.entities.insert(number, entity);
                number
            }
        };
        let slot = ViewSlot {
            entity: number,
            view: self.counters.next_view,
        };
        self.counters.next_view += 1;
        let view = View {
            address: address.clone(),
            slot,
            begun: 0,
            state: ViewState::default(),
        };
        self.views.insert(slot.view, view);
        slot
    }

    pub(crate) fn view(&self, slot: ViewSlot) -> Result<&View, StoreError> {
        self.views
            .get(&slot.view)
            .filter(|view| view.slot == slot)
            .ok_or(StoreError::NoGeneration { generation: 0 })
    }

    pub(crate) fn view_mut(&mut self, slot: ViewSlot) -> Result<&mut View, StoreError> {
        self.views
            .get_mut(&slot.view)
            .filter(|view| view.slot == slot)
            .ok_or(StoreError::NoGeneration { generation: 0 })
    }

    /// The view, provided that it has the generation.
    pub(crate) fn live(&self, slot: ViewSlot, generation: Generation) -> Result<&View, StoreError> {
        self.view(slot)
            .ok()
            .filter(|view| view.state.generation(generation).is_some())
            .ok_or(StoreError::NoGeneration {
                generation: generation.0,
            })
    }

    /// The fields in which it differs from what it was.
    pub(crate) fn fields_since(&self, before: &Self) -> Result<Vec<Field>, StoreError> {
        let mut fields = Vec::new();
        if self.counters != before.counters {
            fields.push((COUNTERS.to_vec(), Some(self.counters.to_bytes()?)));
        }
        for (number, entity) in &self.entities {
            if before.entities.get(number) != Some(entity) {
                fields.push((numbered('e', *number), Some(entity.to_bytes()?)));
            }
        }
        for (number, view) in &self.views {
            if before.views.get(number) != Some(view) {
                fields.push((numbered('v', *number), Some(view.to_bytes()?)));
            }
        }
        let gone = before
            .views
            .keys()
            .filter(|number| !self.views.contains_key(number));
        fields.extend(gone.map(|number| (numbered('v', *number), None)));
        let new = self.removals.difference(&before.removals);
        fields.extend(new.map(|removal| (removal_field(removal), Some(Vec::new()))));
        let done = before.removals.difference(&self.removals);
        fields.extend(done.map(|removal| (removal_field(removal), None)));
        Ok(fields)
    }

    /// Takes in one field of the hash. Those of the store itself are no entries of the catalogue.
    pub(crate) fn load(&mut self, field: &[u8], value: &[u8]) -> Result<(), Unreadable> {
        let unreadable = |reason: String| Unreadable {
            entry: field.escape_ascii().to_string(),
            reason,
        };
        let text = std::str::from_utf8(field).map_err(|_| unreadable("an unknown field".into()))?;
        if field == VERSION {
            let version = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.version = version.ok_or_else(|| unreadable("no number".into()))?;
        } else if field == COUNTERS {
            self.counters = Counters::parse(value).map_err(unreadable)?;
        } else if let Some(number) = number(text, 'e') {
            let entity = Entity::parse(value).map_err(unreadable)?;
            self.entities.insert(number, entity);
        } else if let Some(number) = number(text, 'v') {
            let view = View::parse(number, value).map_err(unreadable)?;
            self.views.insert(number, view);
        } else if let Some(removal) = removal_of(text) {
            self.removals.insert(removal);
        } else if !OWN.contains(&text) {
            return Err(unreadable("an unknown field".into()));
        }
        Ok(())
    }
}

/// The fields that are of the store itself, which the scripts read and write.
const OWN: [&str; 7] = ["id", "format", "state", "epoch", "fence", "last", "by"];

fn numbered(letter: char, number: u32) -> Vec<u8> {
    format!("{letter}:{number}").into_bytes()
}

fn number(field: &str, letter: char) -> Option<u32> {
    field.strip_prefix(letter)?.strip_prefix(':')?.parse().ok()
}

fn removal_field(removal: &Removal) -> Vec<u8> {
    let Removal {
        entity,
        view,
        generation,
    } = removal;
    format!("x:{entity}:{view}:{}", generation.0).into_bytes()
}

fn removal_of(field: &str) -> Option<Removal> {
    let mut numbers = field.strip_prefix("x:")?.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let removal = Removal {
        entity: next()?,
        view: next()?,
        generation: Generation(next()?),
    };
    numbers.next().is_none().then_some(removal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_core::online::conformance::address;

    #[test]
    fn what_changed_makes_the_same_catalogue_again() {
        let before = Catalogue::default();
        let mut after = before.clone();
        let slot = after.open(&address("a", "string", "v"));
        let other = after.open(&address("a", "string", "w"));
        assert_eq!((slot.entity, other.entity), (1, 1));
        after.removals.insert(Removal::of(slot, Generation(3)));
        let load = |into: &mut Catalogue, fields: Vec<Field>| {
            for (field, value) in fields {
                into.load(&field, &value.unwrap()).unwrap();
            }
        };
        let mut loaded = Catalogue::default();
        load(&mut loaded, after.fields_since(&before).unwrap());
        assert_eq!(loaded, after);
        assert_eq!(after.fields_since(&after).unwrap(), []);

        let mut last = after.clone();
        last.views.remove(&slot.view);
        last.removals.clear();
        let fields = last.fields_since(&after).unwrap();
        assert_eq!(fields, [(b"v:1".to_vec(), None), (b"x:1:1:3".to_vec(), None)]);
        loaded.load(b"id", b"x").unwrap();
        loaded.load(b"version", b"7").unwrap();
        assert_eq!(loaded.version, 7);
        for (field, value) in [
            (&b"odd"[..], &b""[..]),
            (b"v:1", b"{}"),
            (b"version", b"x"),
            (b"x:1", b""),
        ] {
            assert!(loaded.load(field, value).is_err());
        }
    }
}
