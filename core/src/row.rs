//! Stored rows: the bytes of one row of a view in the online store.
//!
//! | bytes | what |
//! |---|---|
//! | 24 | the row's [`RowOrder`], in bytes that compare as it does |
//! | 4 | the version of the schema that wrote it, little-endian |
//! | 1 | flags: bit 0 = deleted |
//! | … | the body: a bitmap of nulls (bit `i % 8` of byte `i / 8` set where field `i` is null), then the values that are not null, in field order |
//! | 4 | CRC-32C of everything before, little-endian |
//!
//! Values, recursively: numbers, dates, timestamps and decimals little-endian in their own width, bool one
//! byte, text and bytes a `u32` length and the bytes, an embedding its elements, a list a `u32` length and
//! then as a body, a struct as a body, a map a `u32` length, the keys, and the values as a body.
//!
//! A row is read through the schema that wrote it ([`RowDecoder`]), never through the one in force.

mod column;
mod packed;
mod read;
mod take;
mod write;

pub use column::ColumnBuilder;
pub use packed::{Lane, Layout, Packed, PackedMismatch, Packer, Part, Slot};
pub use read::{RowDecoder, SchemaMismatch};
pub use take::fields_of;
pub use write::RowEncoder;
pub(crate) use write::Writer;

use crate::data_type::DataType;
use crate::order::{ORDER_LEN, RowOrder};

const VERSION_LEN: usize = 4;
const FLAGS_LEN: usize = 1;
const CRC_LEN: usize = 4;
const DELETED: u8 = 1;

/// One field of a stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowField {
    /// The feature's name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
}

/// The fields of a stored row, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSchema {
    /// The fields.
    pub fields: Vec<RowField>,
}

/// Bytes that are not a stored row, or not of the schema they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowCorrupt {
    /// Fewer bytes than any row has.
    #[error("a stored row is cut short")]
    Short,
    /// The checksum does not fit the bytes.
    #[error("a stored row fails its checksum")]
    Checksum,
    /// The checksum fits, but the values do not fit the schema.
    #[error("a stored row does not fit the schema that wrote it")]
    Body,
    /// It names a schema that the store does not have.
    #[error("a stored row names the unknown schema version {0}")]
    UnknownSchema(u32),
}

/// A stored row, taken apart and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRow<'a> {
    /// Its place among the rows of its key.
    pub order: RowOrder,
    /// The version of the schema that wrote it.
    pub schema_version: u32,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
    /// Its values; see [`RowDecoder`].
    pub body: &'a [u8],
}

impl<'a> StoredRow<'a> {
    /// Takes the bytes of a row apart, after checking their checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RowCorrupt> {
        let (content, crc) = split_crc(bytes)?;
        if crc != crc32c::crc32c(content).to_le_bytes() {
            return Err(RowCorrupt::Checksum);
        }
        Self::parse_checked(bytes)
    }

    /// Takes the bytes of a row apart whose checksum was found right before.
    pub fn parse_checked(bytes: &'a [u8]) -> Result<Self, RowCorrupt> {
        let (content, _) = split_crc(bytes)?;
        let (order, rest) = content
            .split_first_chunk::<ORDER_LEN>()
            .ok_or(RowCorrupt::Short)?;
        let (version, rest) = rest.split_first_chunk::<VERSION_LEN>().ok_or(RowCorrupt::Short)?;
        let ([flags], body) = rest.split_first_chunk::<FLAGS_LEN>().ok_or(RowCorrupt::Short)?;
        Ok(Self {
            order: RowOrder::from_bytes(*order),
            schema_version: u32::from_le_bytes(*version),
            deleted: flags & DELETED != 0,
            body,
        })
    }
}

fn split_crc(bytes: &[u8]) -> Result<(&[u8], &[u8]), RowCorrupt> {
    let content = bytes.len().checked_sub(CRC_LEN).ok_or(RowCorrupt::Short)?;
    bytes.split_at_checked(content).ok_or(RowCorrupt::Short)
}

/// The bytes of `row` by which stored rows of one key are compared, whatever else they hold.
///
/// Bytes too short to be a row compare below every row, so that damage never wins over a row.
pub fn order_bytes(row: &[u8]) -> &[u8] {
    row.get(..ORDER_LEN).unwrap_or_default()
}

#[cfg(test)]
mod tests;
