//! What a commit means for buckets: rows for generations, and ids of events.
//!
//! It is written with the commit, as a *redo record*, and removed once it is applied; so what a kill left is applied when
//! the store is opened next. Applying it twice changes nothing: rows compete, and the tiles of a key know the number of
//! the commit.

use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Generation, OnlineRow, ViewSlot};
use asof_core::order::{ORDER_LEN, RowOrder};
use asof_core::time::Timestamp;

/// Rows for a generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) slot: ViewSlot,
    pub(crate) generation: Generation,
    /// Whether they were pushed.
    pub(crate) pushed: bool,
    pub(crate) rows: &'a [OnlineRow],
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Work<'a> {
    /// The instant by which rows are due or pending.
    pub(crate) at: Timestamp,
    pub(crate) groups: Vec<Group<'a>>,
    /// Events that are known from now on.
    pub(crate) events: Option<(&'a SourceAddress, &'a [EntityKey])>,
}

/// The same, read from a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    at: Timestamp,
    groups: Vec<(ViewSlot, Generation, bool, Vec<OnlineRow>)>,
    events: Option<(SourceAddress, Vec<EntityKey>)>,
}

/// The shape of records: the first byte.
const SHAPE: u8 = 1;

impl Work<'_> {
    /// Whether there is nothing to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.rows.is_empty())
            && self.events.is_none_or(|(_, ids)| ids.is_empty())
    }

    /// Whether it has rows of some keys of an entity.
    pub(crate) fn has_any(&self, entity: u32, keys: &[&[u8]]) -> bool {
        let groups = self.groups.iter().filter(|group| group.slot.entity == entity);
        let mut rows = groups.flat_map(|group| group.rows);
        rows.any(|row| keys.contains(&row.key.as_bytes()))
    }

    /// The record: all of it, numbers big-endian, and a checksum.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![SHAPE];
        bytes.extend_from_slice(&self.at.micros().to_be_bytes());
        put_count(&mut bytes, self.groups.len());
        for group in &self.groups {
            for number in [group.slot.entity, group.slot.view, group.generation.0] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.push(u8::from(group.pushed));
            put_count(&mut bytes, group.rows.len());
            for row in group.rows {
                put(&mut bytes, row.key.as_bytes());
                bytes.extend_from_slice(&row.order.to_bytes());
                put(&mut bytes, &row.bytes);
            }
        }
        if let Some((source, ids)) = self.events {
            put(&mut bytes, source.project.as_str().as_bytes());
            put(&mut bytes, source.source.as_str().as_bytes());
            put_count(&mut bytes, ids.len());
            ids.iter().for_each(|id| put(&mut bytes, id.as_bytes()));
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes
    }
}

impl Record {
    /// `None` for bytes that are no whole record.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk::<4>()?;
        let mut rest = Rest(bytes);
        if crc32c::crc32c(bytes).to_be_bytes() != *sum || rest.array::<1>()? != [SHAPE] {
            return None;
        }
        let at = Timestamp::from_micros(i64::from_be_bytes(rest.array()?));
        let mut groups = Vec::new();
        for _ in 0..rest.count()? {
            let slot = ViewSlot {
                entity: rest.count()?,
                view: rest.count()?,
            };
            let generation = Generation(rest.count()?);
            let [pushed] = rest.array()?;
            let mut rows = Vec::new();
            for _ in 0..rest.count()? {
                rows.push(OnlineRow {
                    key: EntityKey::from_encoded(rest.bytes()?),
                    order: RowOrder::from_bytes(rest.array::<ORDER_LEN>()?),
                    bytes: rest.bytes()?.to_vec(),
                });
            }
            groups.push((slot, generation, pushed != 0, rows));
        }
        let mut events = None;
        if !rest.0.is_empty() {
            let mut name = || std::str::from_utf8(rest.bytes()?).ok();
            let source = SourceAddress {
                project: ProjectName::parse(name()?).ok()?,
                source: SourceName::parse_stored(name()?).ok()?,
            };
            let count = rest.count()?;
            let ids = (0..count).map(|_| rest.bytes().map(EntityKey::from_encoded));
            events = Some((source, ids.collect::<Option<_>>()?));
        }
        rest.0.is_empty().then_some(Self { at, groups, events })
    }

    pub(crate) fn work(&self) -> Work<'_> {
        let groups = self.groups.iter();
        Work {
            at: self.at,
            groups: groups
                .map(|(slot, generation, pushed, rows)| Group {
                    slot: *slot,
                    generation: *generation,
                    pushed: *pushed,
                    rows,
                })
                .collect(),
            events: self.events.as_ref().map(|(source, ids)| (source, ids.as_slice())),
        }
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put(bytes: &mut Vec<u8>, item: &[u8]) {
    put_count(bytes, item.len());
    bytes.extend_from_slice(item);
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn count(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_core::online::conformance::{key, order, row};

    #[test]
    fn records_are_read_as_they_were_written() {
        let rows = [
            row(&key("k"), order(1, 2, 3), 4),
            row(&key(""), order(-1, 2, 3), 4),
        ];
        let source = SourceAddress {
            project: ProjectName::parse("p").unwrap(),
            source: SourceName::parse("s").unwrap(),
        };
        let ids = [key("id")];
        let group = Group {
            slot: ViewSlot { entity: 1, view: 2 },
            generation: Generation(3),
            pushed: true,
            rows: &rows,
        };
        let mut work = Work {
            at: Timestamp::from_micros(-5),
            groups: vec![group],
            events: Some((&source, &ids)),
        };
        let bytes = work.to_bytes();
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.work().to_bytes(), bytes);
        assert_eq!(record.groups[0].3, rows);
        for cut in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..cut]), None);
        }
        work.events = None;
        assert_eq!(Record::parse(&work.to_bytes()).unwrap().events, None);
        assert!(!work.is_empty());
        work.groups.clear();
        assert!(work.is_empty());
    }
}
