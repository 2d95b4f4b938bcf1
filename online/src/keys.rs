//! The keys under which things are stored, family by family.
//!
//! Numbers are big-endian, so that keys sort as their parts do; times have their sign flipped for the same
//! reason. The column families' names, the tags and the layouts are stable: what is retired stays reserved.

use asof_catalogue::Removal;
use asof_core::aggregate::tiles::ChunkId;
use asof_core::online::{Generation, ViewSlot};
use asof_core::order::{ORDER_LEN, RowOrder};
use asof_core::time::Timestamp;

/// The column families, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// [`RowKey`]: rows and pending rows; before them [`LoadKey`].
    Rows,
    /// [`DueKey`]: pending rows by the instant at which they are due.
    Due,
    /// [`CatalogueKey`]: what the store knows of its views.
    Catalogue,
    /// [`IntakeKey`](crate::intake_keys::IntakeKey): what was pushed and is not in its table yet.
    Intake,
    /// [`EventKey`](crate::intake_keys::EventKey): the events of sources that have ids.
    Events,
}

impl Family {
    pub(crate) const ALL: [Self; 5] = [Self::Rows, Self::Due, Self::Catalogue, Self::Intake, Self::Events];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Due => "due",
            Self::Catalogue => "catalogue",
            Self::Intake => "intake",
            Self::Events => "events",
        }
    }
}

/// A key of [`Family::Rows`].
///
/// All that there is of one entity key has one start, `entity` and `key`, which is not the start of
/// anything else: entity keys of one entity are of the same types. The last byte tells the kinds apart,
/// so that a key can be taken apart from its end without knowing the types of the entity key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKey<'a> {
    /// The row that won.
    ///
    /// | bytes | 4 | … | 4 | 4 | 1 |
    /// |---|---|---|---|---|---|
    /// | key | entity | entity key | view | generation | `00` |
    ///
    /// Value: a stored row; written as merge operands, of which the newest row stays.
    Row(Cell<'a>),
    /// A row that was not due when it was written.
    ///
    /// | bytes | 4 | … | 4 | 4 | 1 | 24 | 1 |
    /// |---|---|---|---|---|---|---|---|
    /// | key | entity | entity key | view | generation | `01` | order | `01` |
    ///
    /// Value: a stored row. The order begins with the event time, so that a read may stop at the first one
    /// that has not happened.
    Pending(Cell<'a>, RowOrder),
    /// Tiles of a generation of aggregates.
    ///
    /// | bytes | 4 | … | 4 | 4 | 1 | 1 | 8 | 1 |
    /// |---|---|---|---|---|---|---|---|---|
    /// | key | entity | entity key | view | generation | `02` | level | chunk | `02` |
    ///
    /// Value: a chunk; written as merge operands, which are added up.
    Tiles(Cell<'a>, ChunkId),
}

/// Where the rows of one entity key in one generation of one view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell<'a> {
    pub(crate) entity: u32,
    /// The bytes of the entity key.
    pub(crate) key: &'a [u8],
    pub(crate) view: u32,
    pub(crate) generation: Generation,
}

/// A key of [`Family::Rows`] before those of all rows, whose entities are counted from 1: how far a generation
/// was loaded.
///
/// | bytes | 4 | 4 | 4 | 4 |
/// |---|---|---|---|---|
/// | key | 0 | entity | view | generation |
///
/// Value: the loader's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoadKey {
    pub(crate) slot: ViewSlot,
    pub(crate) generation: Generation,
}

/// A key of [`Family::Rows`] before those of all rows: what was noted of a generation with the rows that were pushed to it.
///
/// | bytes | 4 | 4 | 4 | 4 | 1 |
/// |---|---|---|---|---|---|
/// | key | 0 | entity | view | generation | `01` |
///
/// Value: the caller's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoteKey {
    pub(crate) slot: ViewSlot,
    pub(crate) generation: Generation,
}

/// A key of [`Family::Rows`] before those of all rows: that a layer has rows of an entity key.
///
/// | bytes | 4 | 4 | 4 | 4 | 1 | … |
/// |---|---|---|---|---|---|---|
/// | key | 0 | entity | view | layer | `02` | entity key |
///
/// Value: empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerKey<'a> {
    pub(crate) slot: ViewSlot,
    pub(crate) layer: Generation,
    /// The bytes of the entity key.
    pub(crate) key: &'a [u8],
}

/// Whether a key of [`Family::Rows`] is a [`LoadKey`], a [`NoteKey`] or a [`LayerKey`].
pub(crate) fn is_loader_key(bytes: &[u8]) -> bool {
    let Some((start, rest)) = bytes.split_first_chunk::<16>() else {
        return false;
    };
    start.starts_with(&[0; 4]) && matches!(rest, [] | [NOTE] | [LAYER, ..])
}

/// A key of [`Family::Due`], for every [`RowKey::Pending`].
///
/// | bytes | 4 | 4 | 8 | 24 | 4 | … |
/// |---|---|---|---|---|---|---|
/// | key | view | generation | due | order | entity | entity key |
///
/// Value: empty. Those of rows that were pushed are there once more, behind all others: with the bytes `ff ff ff ff` before
/// them, which is no view's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueKey<'a> {
    pub(crate) cell: Cell<'a>,
    pub(crate) order: RowOrder,
}

/// The pending rows that [`DueKey`]s tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// All.
    All,
    /// Those that were pushed.
    Pushed,
}

/// A key of [`Family::Catalogue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CatalogueKey {
    /// `00`. Value: the counters.
    Counters,
    /// `01`, entity (4 bytes). Value: whose number it is.
    Entity(u32),
    /// `02`, view (4 bytes). Value: whose number it is, and its generations.
    View(u32),
    /// `03`, entity, view, generation (4 bytes each): a generation whose rows are to be removed.
    /// Value: empty.
    Removal(Removal),
}

impl Cell<'_> {
    pub(crate) fn slot(&self) -> ViewSlot {
        ViewSlot {
            entity: self.entity,
            view: self.view,
        }
    }
}

const ROW: u8 = 0;
const PENDING: u8 = 1;
const TILES: u8 = 2;

const NOTE: u8 = 1;
const LAYER: u8 = 2;

const PUSHED: [u8; 4] = [0xff; 4];

const COUNTERS: u8 = 0;
const ENTITY: u8 = 1;
const VIEW: u8 = 2;
const REMOVAL: u8 = 3;

impl<'a> RowKey<'a> {
    pub(crate) fn cell(&self) -> &Cell<'a> {
        match self {
            Self::Row(cell) | Self::Pending(cell, _) | Self::Tiles(cell, _) => cell,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        // Room for the longest kind.
        let mut bytes = Vec::with_capacity(4 + self.cell().key.len() + 8 + 2 + ORDER_LEN);
        self.write(&mut bytes);
        bytes
    }

    /// Appends the key to `bytes`.
    pub(crate) fn write(self, bytes: &mut Vec<u8>) {
        self.cell().write(bytes);
        match self {
            Self::Row(_) => bytes.push(ROW),
            Self::Pending(_, order) => {
                bytes.push(PENDING);
                bytes.extend_from_slice(&order.to_bytes());
                bytes.push(PENDING);
            }
            Self::Tiles(_, ChunkId { level, number }) => {
                bytes.extend_from_slice(&[TILES, level]);
                bytes.extend_from_slice(&flip_number(number));
                bytes.push(TILES);
            }
        }
    }

    /// Whether what is stored under a key are tiles.
    pub(crate) fn is_of_tiles(bytes: &[u8]) -> bool {
        bytes.last() == Some(&TILES)
    }

    /// `None` where the bytes are not such a key.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_last()?;
        match *kind {
            ROW => Some(Self::Row(Cell::parse(rest)?)),
            PENDING => {
                let (rest, order) = rest.split_last_chunk::<ORDER_LEN>()?;
                let (tag, rest) = rest.split_last()?;
                let order = RowOrder::from_bytes(*order);
                (*tag == PENDING).then_some(Self::Pending(Cell::parse(rest)?, order))
            }
            TILES => {
                let (rest, number) = rest.split_last_chunk::<8>()?;
                let (rest, [tag, level]) = rest.split_last_chunk::<2>()?;
                let number = (u64::from_be_bytes(*number) ^ (1 << 63)).cast_signed();
                let chunk = ChunkId {
                    level: *level,
                    number,
                };
                (*tag == TILES).then_some(Self::Tiles(Cell::parse(rest)?, chunk))
            }
            _ => None,
        }
    }
}

impl<'a> Cell<'a> {
    /// The first key behind the pending rows of this place.
    pub(crate) fn behind_pending(&self) -> Vec<u8> {
        let mut start = self.start();
        start.push(PENDING + 1);
        start
    }

    /// The first key behind all rows of this place.
    pub(crate) fn end(&self) -> Vec<u8> {
        successor(self.start())
    }

    /// The range of all rows of this place.
    pub(crate) fn range(&self) -> (Vec<u8>, Vec<u8>) {
        range_of(self.start())
    }

    fn start(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.key.len() + 8);
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.entity.to_be_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(&self.view.to_be_bytes());
        bytes.extend_from_slice(&self.generation.0.to_be_bytes());
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (entity, rest) = bytes.split_first_chunk::<4>()?;
        let (rest, generation) = rest.split_last_chunk::<4>()?;
        let (key, view) = rest.split_last_chunk::<4>()?;
        Some(Self {
            entity: u32::from_be_bytes(*entity),
            key,
            view: u32::from_be_bytes(*view),
            generation: Generation(u32::from_be_bytes(*generation)),
        })
    }
}

impl LoadKey {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [0, self.slot.entity, self.slot.view, self.generation.0];
        numbers.map(u32::to_be_bytes).concat()
    }
}

impl NoteKey {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { slot, generation } = self;
        let mut bytes = LoadKey { slot, generation }.to_bytes();
        bytes.push(NOTE);
        bytes
    }
}

impl<'a> LayerKey<'a> {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Self::start(self.slot, self.layer);
        bytes.extend_from_slice(self.key);
        bytes
    }

    /// The entity key of one of a layer's keys.
    pub(crate) fn key_of(bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.split_at_checked(17).map(|(_, key)| key)
    }

    /// The range of a layer's keys.
    pub(crate) fn range(slot: ViewSlot, layer: Generation) -> (Vec<u8>, Vec<u8>) {
        range_of(Self::start(slot, layer))
    }

    fn start(slot: ViewSlot, layer: Generation) -> Vec<u8> {
        let generation = layer;
        let mut bytes = LoadKey { slot, generation }.to_bytes();
        bytes.push(LAYER);
        bytes
    }
}

impl<'a> DueKey<'a> {
    pub(crate) fn to_bytes(self, due: Due) -> Vec<u8> {
        let cell = self.cell;
        let mut bytes = due.generation(cell.view, cell.generation);
        bytes.extend_from_slice(&flip(self.order.due()));
        bytes.extend_from_slice(&self.order.to_bytes());
        bytes.extend_from_slice(&cell.entity.to_be_bytes());
        bytes.extend_from_slice(cell.key);
        bytes
    }

    /// `None` where the bytes are not such a key.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&PUSHED).unwrap_or(bytes);
        let (view, rest) = bytes.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (due, rest) = rest.split_first_chunk::<8>()?;
        let (order, rest) = rest.split_first_chunk::<ORDER_LEN>()?;
        let (entity, key) = rest.split_first_chunk::<4>()?;
        let order = RowOrder::from_bytes(*order);
        let cell = Cell {
            entity: u32::from_be_bytes(*entity),
            key,
            view: u32::from_be_bytes(*view),
            generation: Generation(u32::from_be_bytes(*generation)),
        };
        (*due == flip(order.due())).then_some(Self { cell, order })
    }
}

impl Due {
    pub(crate) const BOTH: [Self; 2] = [Self::All, Self::Pushed];

    /// The first key of a generation, and the first one behind those that are due at `now`.
    pub(crate) fn range(self, view: u32, generation: Generation, now: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let start = self.generation(view, generation);
        let mut last_due = start.clone();
        last_due.extend_from_slice(&flip(now));
        (start, successor(last_due))
    }

    /// The first key of a generation, and the first one behind it.
    pub(crate) fn generation_range(self, view: u32, generation: Generation) -> (Vec<u8>, Vec<u8>) {
        range_of(self.generation(view, generation))
    }

    fn generation(self, view: u32, generation: Generation) -> Vec<u8> {
        let pushed: &[u8] = match self {
            Self::All => &[],
            Self::Pushed => &PUSHED,
        };
        [pushed, &view.to_be_bytes(), &generation.0.to_be_bytes()].concat()
    }
}

impl CatalogueKey {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Counters => vec![COUNTERS],
            Self::Entity(entity) => [&[ENTITY], &entity.to_be_bytes()[..]].concat(),
            Self::View(view) => [&[VIEW], &view.to_be_bytes()[..]].concat(),
            Self::Removal(removal) => [
                &[REMOVAL],
                &removal.entity.to_be_bytes()[..],
                &removal.view.to_be_bytes()[..],
                &removal.generation.0.to_be_bytes()[..],
            ]
            .concat(),
        }
    }

    /// `None` where the bytes are not such a key.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let (words, odd) = rest.as_chunks::<4>();
        let words: Vec<_> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
        match (*tag, words.as_slice(), odd) {
            (COUNTERS, [], []) => Some(Self::Counters),
            (ENTITY, [entity], []) => Some(Self::Entity(*entity)),
            (VIEW, [view], []) => Some(Self::View(*view)),
            (REMOVAL, [entity, view, generation], []) => Some(Self::Removal(Removal {
                entity: *entity,
                view: *view,
                generation: Generation(*generation),
            })),
            _ => None,
        }
    }
}

/// The start of all that there is of one entity key, and of nothing else.
pub(crate) fn key_start(entity: u32, key: &[u8]) -> Vec<u8> {
    [&entity.to_be_bytes()[..], key].concat()
}

/// The range of all that has one start.
pub(crate) fn range_of(start: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    (start.clone(), successor(start))
}

/// The range of all that there is of one entity.
pub(crate) fn entity_range(entity: u32) -> (Vec<u8>, Vec<u8>) {
    range_of(entity.to_be_bytes().to_vec())
}

/// The first key behind all that start with `start`. Numbers are given from 0 up, so that a start is
/// never all `ff`.
pub(crate) fn successor(mut start: Vec<u8>) -> Vec<u8> {
    while let Some(last) = start.pop() {
        if last < u8::MAX {
            start.push(last + 1);
            break;
        }
    }
    start
}

/// A time such that it sorts as bytes.
pub(crate) fn flip(time: Timestamp) -> [u8; 8] {
    flip_number(time.micros())
}

fn flip_number(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use asof_core::key::{EntityKey, KeyValue, encode};
    use proptest::prelude::*;

    use super::*;

    fn entity_key() -> impl Strategy<Value = EntityKey> {
        prop_oneof![
            prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..6),
            Just(vec![0, 1]),
        ]
        .prop_map(|bytes| encode(&[Some(KeyValue::Bytes(bytes))]).unwrap())
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..3_u32, Just(255), Just(256), Just(u32::MAX - 1)]
    }

    fn order() -> impl Strategy<Value = RowOrder> {
        let time = || prop_oneof![-2..3_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()];
        (time(), time(), any::<u64>()).prop_map(|(event, created, seq)| RowOrder {
            event_time: Timestamp::from_micros(event),
            created_time: Timestamp::from_micros(created),
            seq,
        })
    }

    fn within(key: &[u8], (start, end): &(Vec<u8>, Vec<u8>)) -> bool {
        start.as_slice() <= key && key < end.as_slice()
    }

    proptest! {
        #[test]
        fn keys_round_trip(
            key in entity_key(), entity in number(), view in number(), generation in number(), order in order(),
            level in any::<u8>(),
        ) {
            let generation = Generation(generation);
            let cell = Cell { entity, key: key.as_bytes(), view, generation };
            let chunk = ChunkId { level, number: order.event_time.micros() };
            for row_key in [RowKey::Row(cell), RowKey::Pending(cell, order), RowKey::Tiles(cell, chunk)] {
                let bytes = row_key.to_bytes();
                prop_assert_eq!(RowKey::parse(&bytes), Some(row_key));
            }
            let due_key = DueKey { cell, order };
            for due in Due::BOTH {
                let bytes = due_key.to_bytes(due);
                prop_assert_eq!(DueKey::parse(&bytes), Some(due_key));
            }
            for catalogue_key in [
                CatalogueKey::Counters,
                CatalogueKey::Entity(entity),
                CatalogueKey::View(view),
                CatalogueKey::Removal(Removal { entity, view, generation }),
            ] {
                prop_assert_eq!(CatalogueKey::parse(&catalogue_key.to_bytes()), Some(catalogue_key));
            }
        }

        #[test]
        fn ranges_hold_their_own_keys_and_no_others(
            a in (number(), entity_key(), number(), number(), order()),
            b in (number(), entity_key(), number(), number(), order()),
            now in -3..3_i64,
        ) {
            let (entity, key, view, generation, order) = &a;
            let generation = Generation(*generation);
            let cell = Cell { entity: *entity, key: key.as_bytes(), view: *view, generation };
            let chunk = ChunkId { level: 1, number: now };
            for row_key in [RowKey::Row(cell), RowKey::Pending(cell, *order), RowKey::Tiles(cell, chunk)] {
                let bytes = row_key.to_bytes();
                prop_assert_eq!(bytes < cell.behind_pending(), !matches!(row_key, RowKey::Tiles(..)));
                prop_assert_eq!(within(&bytes, &entity_range(b.0)), *entity == b.0);
                let start = key_start(b.0, b.1.as_bytes());
                prop_assert_eq!(within(&bytes, &range_of(start)), *entity == b.0 && *key == b.1);
                let at = |other: (u32, &EntityKey, u32, u32)| (other.0, other.1.as_bytes().to_vec(), other.2, other.3);
                let other = Cell { entity: b.0, key: b.1.as_bytes(), view: b.2, generation: Generation(b.3) };
                let before = at((*entity, key, *view, generation.0)) <= at((b.0, &b.1, b.2, b.3));
                prop_assert_eq!(bytes < other.end(), before);
            }
            let same = (*view, generation) == (b.2, Generation(b.3));
            let now = Timestamp::from_micros(now);
            let in_time = order.due() <= now;
            for (due, other) in [(Due::All, Due::Pushed), (Due::Pushed, Due::All)] {
                let key = DueKey { cell, order: *order }.to_bytes(due);
                prop_assert_eq!(within(&key, &due.generation_range(b.2, Generation(b.3))), same);
                prop_assert!(!within(&key, &other.generation_range(b.2, Generation(b.3))));
                prop_assert_eq!(within(&key, &due.range(b.2, Generation(b.3), now)), same && in_time);
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(key) = RowKey::parse(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes.clone());
            }
            if let Some(key) = DueKey::parse(&bytes) {
                let due = if bytes.starts_with(&PUSHED) { Due::Pushed } else { Due::All };
                prop_assert_eq!(key.to_bytes(due), bytes.clone());
            }
            if let Some(key) = CatalogueKey::parse(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_are_these_for_ever() {
        let cell = Cell {
            entity: 1,
            key: b"k",
            view: 2,
            generation: Generation(3),
        };
        let order = RowOrder {
            event_time: Timestamp::from_micros(4),
            created_time: Timestamp::from_micros(5),
            seq: 6,
        };
        assert_eq!(RowKey::Row(cell).to_bytes(), b"\0\0\0\x01k\0\0\0\x02\0\0\0\x03\0");
        let (slot, generation) = (ViewSlot { entity: 1, view: 2 }, Generation(3));
        assert_eq!(
            LoadKey { slot, generation }.to_bytes(),
            b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03"
        );
        assert_eq!(
            NoteKey { slot, generation }.to_bytes(),
            b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\x01"
        );
        let chunk = ChunkId { level: 4, number: -1 };
        assert_eq!(
            RowKey::Tiles(cell, chunk).to_bytes(),
            b"\0\0\0\x01k\0\0\0\x02\0\0\0\x03\x02\x04\x7f\xff\xff\xff\xff\xff\xff\xff\x02"
        );
        assert_eq!(
            RowKey::Pending(cell, order).to_bytes(),
            b"\0\0\0\x01k\0\0\0\x02\0\0\0\x03\x01\
              \x80\0\0\0\0\0\0\x04\x80\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\x01"
        );
        let due = b"\0\0\0\x02\0\0\0\x03\x80\0\0\0\0\0\0\x05\
              \x80\0\0\0\0\0\0\x04\x80\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\x01k";
        let key = DueKey { cell, order };
        assert_eq!(key.to_bytes(Due::All), due);
        assert_eq!(
            key.to_bytes(Due::Pushed),
            [b"\xff\xff\xff\xff", due.as_slice()].concat()
        );
    }
}
