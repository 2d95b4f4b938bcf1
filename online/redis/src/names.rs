//! Under which names things lie on the servers.
//!
//! All names of a namespace begin with `asof:`, the namespace and `:`, of which no other namespace's are the beginning.
//! Then comes what a cluster puts names that belong together in one slot by, in braces: the namespace itself, for what
//! is there once (*meta*), or the number of a [`Bucket`]. No brace comes before it, so what follows may be any bytes.
//!
//! | name behind the braces | type | what |
//! |---|---|---|
//! | of meta: [`Meta`] | | what the store knows of its views, and what was pushed |
//! | `m` | string | the [mark](crate::servers) of a bucket |
//! | `r`, entity (4 bytes), entity key | hash | the rows of a key in all views; fields: [`RowField`] |
//! | `t`, entity, view, generation (4 bytes each), entity key | hash | the tiles of a key in one generation; fields: [`TileField`] |
//! | `d` or `q`, view, generation (4 bytes each) | sorted set | the pending rows of a generation, all or those that were pushed: [`DueEntry`] |
//! | `l`, view, layer (4 bytes each) | set | the entity keys of a layer that lie in a bucket |
//! | `e`, source | set | the ids of events of a source |
//!
//! Numbers are big-endian; times have their sign flipped, so that they sort as they do. The layouts are stable.

use asof_core::aggregate::tiles::ChunkId;
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Generation, ViewSlot};
use asof_core::order::{ORDER_LEN, RowOrder};
use asof_core::time::Timestamp;

/// How many buckets there are: what a cluster can spread a store over.
pub(crate) const BUCKETS: u16 = 1_024;

/// One of the parts of a store, which lie in slots of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket(u16);

impl Bucket {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    /// The one in which what there is of an entity key lies.
    pub(crate) fn of_key(entity: u32, key: &[u8]) -> Self {
        Self::of(&[&entity.to_be_bytes(), key])
    }

    /// The one of some bytes.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let sum = parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
        Self(u16::try_from(sum % u32::from(BUCKETS)).unwrap_or(0))
    }
}

/// A name, with the slot that a cluster has it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) bytes: Vec<u8>,
    pub(crate) slot: u16,
    /// The bucket; none of meta.
    pub(crate) bucket: Option<Bucket>,
}

/// What is there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta<'a> {
    /// String: who holds the store. The only name that runs out.
    Lease,
    /// Hash: the catalogue, with the numbers of the store itself.
    Catalogue,
    /// Hash: what is to be applied to buckets, by the number of the commit.
    Redo,
    /// Hash: how far generations were loaded, by [`generation_field`].
    Loads,
    /// Hash: what was noted of generations, by [`generation_field`].
    Notes,
    /// Hash: how many bytes wait of a source that has entries, by its name.
    Waiting,
    /// Hash: how many rows of a source were ever accepted, by its name.
    Accepted,
    /// Hash: how far the index of events of a source goes, by its name.
    Indexed,
    /// Sorted set: when answers were given: the instant, the source, the id.
    Given,
    /// Sorted set: the numbers of entries of a source.
    Numbers(&'a SourceAddress),
    /// Hash: the entries of a source, by number.
    Entries(&'a SourceAddress),
    /// Hash: how far lanes are read, by name.
    Marks(&'a SourceAddress),
    /// Hash: the instant and the answer, by id.
    Answers(&'a SourceAddress),
}

/// A namespace, which makes names.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    namespace: String,
}

impl Names {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
        }
    }

    /// What all names begin with.
    fn start(&self) -> String {
        format!("asof:{}:", self.namespace)
    }

    /// The pattern that all names match, and no other namespace's.
    pub(crate) fn pattern(&self) -> String {
        // A namespace has no characters that a pattern gives a meaning.
        format!("{}*", self.start())
    }

    pub(crate) fn meta(&self, meta: Meta<'_>) -> Name {
        let mut bytes = format!("{}{{{}}}:", self.start(), self.namespace).into_bytes();
        let (word, source) = match meta {
            Meta::Lease => ("lease", None),
            Meta::Catalogue => ("catalogue", None),
            Meta::Redo => ("redo", None),
            Meta::Loads => ("loads", None),
            Meta::Notes => ("notes", None),
            Meta::Waiting => ("waiting", None),
            Meta::Accepted => ("accepted", None),
            Meta::Indexed => ("indexed", None),
            Meta::Given => ("given", None),
            Meta::Numbers(source) => ("numbers:", Some(source)),
            Meta::Entries(source) => ("entries:", Some(source)),
            Meta::Marks(source) => ("marks:", Some(source)),
            Meta::Answers(source) => ("answers:", Some(source)),
        };
        bytes.extend_from_slice(word.as_bytes());
        if let Some(source) = source {
            bytes.extend_from_slice(&source_bytes(source));
        }
        Name {
            slot: slot_of(self.namespace.as_bytes()),
            bytes,
            bucket: None,
        }
    }

    fn in_bucket(&self, bucket: Bucket, kind: u8, parts: &[&[u8]]) -> Name {
        let tag = format!("{:03x}", bucket.0);
        let mut bytes = format!("{}{{{tag}}}", self.start()).into_bytes();
        bytes.push(kind);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Name {
            bytes,
            slot: slot_of(tag.as_bytes()),
            bucket: Some(bucket),
        }
    }

    /// The mark of a bucket.
    pub(crate) fn mark(&self, bucket: Bucket) -> Name {
        self.in_bucket(bucket, MARK, &[])
    }

    /// The rows of a key.
    pub(crate) fn rows(&self, entity: u32, key: &[u8]) -> Name {
        let entity = entity.to_be_bytes();
        self.in_bucket(Bucket::of(&[&entity, key]), ROWS, &[&entity, key])
    }

    /// The tiles of a key in a generation.
    pub(crate) fn tiles(&self, slot: ViewSlot, generation: Generation, key: &[u8]) -> Name {
        let entity = slot.entity.to_be_bytes();
        let (view, generation) = (slot.view.to_be_bytes(), generation.0.to_be_bytes());
        let parts = [&entity[..], &view, &generation, key];
        self.in_bucket(Bucket::of(&[&entity, key]), TILES, &parts)
    }

    /// The pending rows of a generation.
    pub(crate) fn due(&self, due: Due, view: u32, generation: Generation) -> Name {
        let (view, generation) = (view.to_be_bytes(), generation.0.to_be_bytes());
        let kind = match due {
            Due::All => DUE,
            Due::Pushed => PUSHED,
        };
        self.in_bucket(Bucket::of(&[&view, &generation]), kind, &[&view, &generation])
    }

    /// The entity keys of a layer that lie in a bucket.
    pub(crate) fn layer_keys(&self, view: u32, layer: Generation, bucket: Bucket) -> Name {
        let (view, layer) = (view.to_be_bytes(), layer.0.to_be_bytes());
        self.in_bucket(bucket, LAYER, &[&view, &layer])
    }

    /// The ids of events of a source that lie in a bucket.
    pub(crate) fn events(&self, source: &SourceAddress, bucket: Bucket) -> Name {
        self.in_bucket(bucket, EVENTS, &[&source_bytes(source)])
    }

    /// A name of a bucket, as a server told it.
    pub(crate) fn of(&self, name: &[u8]) -> Option<Name> {
        let rest = name.strip_prefix(self.start().as_bytes())?;
        let [b'{', tag @ .., b'}'] = rest.first_chunk::<5>()? else {
            return None;
        };
        let bucket = u16::from_str_radix(std::str::from_utf8(tag).ok()?, 16).ok()?;
        Some(Name {
            bytes: name.to_vec(),
            slot: slot_of(tag),
            bucket: Some(Bucket(bucket)),
        })
    }

    /// What lies under a name that begins as all do; `None` where it is not of a key's rows or tiles.
    pub(crate) fn parse<'n>(&self, name: &'n [u8]) -> Option<Stored<'n>> {
        let rest = name.strip_prefix(self.start().as_bytes())?;
        let (tag, rest) = rest.split_first_chunk::<5>()?;
        let (kind, rest) = rest.split_first()?;
        if tag.first() != Some(&b'{') || tag.last() != Some(&b'}') {
            return None;
        }
        match *kind {
            ROWS => {
                let (entity, key) = word(rest)?;
                Some(Stored::Rows { entity, key })
            }
            TILES => {
                let (entity, rest) = word(rest)?;
                let (view, rest) = word(rest)?;
                let (generation, key) = word(rest)?;
                Some(Stored::Tiles {
                    slot: ViewSlot { entity, view },
                    generation: Generation(generation),
                    key,
                })
            }
            _ => None,
        }
    }
}

const MARK: u8 = b'm';
const ROWS: u8 = b'r';
const TILES: u8 = b't';
const DUE: u8 = b'd';
const PUSHED: u8 = b'q';
const EVENTS: u8 = b'e';
const LAYER: u8 = b'l';

/// What is stored of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored<'n> {
    /// Rows in views of an entity.
    Rows { entity: u32, key: &'n [u8] },
    /// Tiles in a generation.
    Tiles {
        slot: ViewSlot,
        generation: Generation,
        key: &'n [u8],
    },
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// A source, as what is kept of it is named: of no other source the beginning.
pub(crate) fn source_bytes(source: &SourceAddress) -> Vec<u8> {
    let SourceAddress { project, source } = source;
    [project.as_str(), "\0", source.as_str(), "\0"]
        .concat()
        .into_bytes()
}

/// The field of a generation in [`Meta::Loads`] and [`Meta::Notes`].
pub(crate) fn generation_field(slot: ViewSlot, generation: Generation) -> Vec<u8> {
    [slot.entity, slot.view, generation.0]
        .map(u32::to_be_bytes)
        .concat()
}

/// A field of the rows of a key: view, generation (4 bytes each), kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowField {
    /// The row that won.
    Row,
    /// The rows that were not due when they were written; see [`pending`](crate::pending).
    Pending,
}

impl RowField {
    pub(crate) fn of(self, view: u32, generation: Generation) -> Vec<u8> {
        let kind = match self {
            Self::Row => 0,
            Self::Pending => 1,
        };
        [&view.to_be_bytes()[..], &generation.0.to_be_bytes(), &[kind]].concat()
    }
}

/// A field of the tiles of a key.
pub(crate) struct TileField;

impl TileField {
    /// Which commits were applied: see the script `put`.
    pub(crate) const APPLIED: &'static [u8] = b"b";
    /// The rows that were not due when they were written; see [`pending`](crate::pending).
    pub(crate) const PENDING: &'static [u8] = b"p";
    /// How often something of it was changed.
    pub(crate) const VERSION: &'static [u8] = b"v";

    /// A chunk: `c`, level, number (8 bytes).
    pub(crate) fn chunk(id: ChunkId) -> Vec<u8> {
        let number = id.number.cast_unsigned() ^ (1 << 63);
        [&[b'c', id.level], &number.to_be_bytes()[..]].concat()
    }

    /// Which chunk a field is.
    pub(crate) fn parse(field: &[u8]) -> Option<ChunkId> {
        let (level, number) = field.strip_prefix(b"c")?.split_first()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        Some(ChunkId {
            level: *level,
            number: (number ^ (1 << 63)).cast_signed(),
        })
    }
}

/// Which pending rows a [`DueEntry`] tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// All.
    All,
    /// Those that were pushed.
    Pushed,
}

/// A pending row, by when it is due: the instant (8 bytes), the order (24 bytes), the entity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueEntry {
    pub(crate) order: RowOrder,
    pub(crate) key: Vec<u8>,
}

impl DueEntry {
    pub(crate) fn bytes(order: RowOrder, key: &[u8]) -> Vec<u8> {
        [&time_bytes(order.due())[..], &order.to_bytes(), key].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<8>()?;
        let (order, key) = rest.split_first_chunk::<ORDER_LEN>()?;
        Some(Self {
            order: RowOrder::from_bytes(*order),
            key: key.to_vec(),
        })
    }

    /// The end of the range of what is due at an instant, as `ZRANGEBYLEX` takes it.
    pub(crate) fn until(now: Timestamp) -> Vec<u8> {
        match now.micros().checked_add(1) {
            Some(next) => [&b"("[..], &time_bytes(Timestamp::from_micros(next))].concat(),
            None => b"+".to_vec(),
        }
    }
}

/// Bytes that compare as instants do.
pub(crate) fn time_bytes(time: Timestamp) -> [u8; 8] {
    (time.micros().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The slot of a cluster that a tag is in: CRC-16 (XMODEM) of it, modulo the number of slots.
pub(crate) fn slot_of(tag: &[u8]) -> u16 {
    let sum = tag.iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => (sum << 1) ^ 0x1021,
        })
    });
    sum % SLOTS
}

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use asof_core::name::{ProjectName, SourceName};

    #[test]
    fn the_bytes_are_these_for_ever() {
        let names = Names::new("n");
        let slot = ViewSlot { entity: 1, view: 2 };
        let source = SourceAddress {
            project: ProjectName::parse("p").unwrap(),
            source: SourceName::parse("s").unwrap(),
        };
        let rows = names.rows(1, b"k{}\0");
        assert_eq!(rows.bytes, b"asof:n:{2f0}r\0\0\0\x01k{}\0");
        assert_eq!(
            names.parse(&rows.bytes),
            Some(Stored::Rows {
                entity: 1,
                key: b"k{}\0"
            })
        );
        let tiles = names.tiles(slot, Generation(3), b"k{}\0");
        assert_eq!(tiles.bytes, b"asof:n:{2f0}t\0\0\0\x01\0\0\0\x02\0\0\0\x03k{}\0");
        assert_eq!(
            (tiles.slot, tiles.bucket),
            (rows.slot, rows.bucket),
            "side by side"
        );
        assert_eq!(
            names.parse(&tiles.bytes),
            Some(Stored::Tiles {
                slot,
                generation: Generation(3),
                key: b"k{}\0"
            })
        );
        assert_eq!(names.meta(Meta::Catalogue).bytes, b"asof:n:{n}:catalogue");
        assert_eq!(names.meta(Meta::Marks(&source)).bytes, b"asof:n:{n}:marks:p\0s\0");
        assert_eq!(names.parse(b"asof:n:{n}:catalogue"), None);
        assert_eq!(names.parse(&Names::new("n_b").rows(1, b"k").bytes), None);
        assert_eq!(
            RowField::Pending.of(2, Generation(3)),
            b"\0\0\0\x02\0\0\0\x03\x01"
        );
        let id = ChunkId { level: 7, number: -2 };
        assert_eq!(TileField::chunk(id), b"c\x07\x7f\xff\xff\xff\xff\xff\xff\xfe");
        assert_eq!(TileField::parse(&TileField::chunk(id)), Some(id));
        assert_eq!(DueEntry::until(Timestamp::MAX), b"+");
    }

    #[test]
    fn slots_are_those_of_a_cluster() {
        // As the specification has it, and as `CLUSTER KEYSLOT` answers.
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b""), 0);
    }
}
