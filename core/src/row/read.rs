//! The bytes of stored rows to packed columns.

use super::packed::{Layout, Packer, Slot};
use super::take::{is_null, skip, take};
use super::{RowCorrupt, RowSchema};
use crate::data_type::DataType;
use crate::status::Status;

/// A stored field has another type than the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("feature {name:?} is stored as {stored} and asked for as {wanted}")]
pub struct SchemaMismatch {
    /// The feature.
    pub name: String,
    /// Its type as stored.
    pub stored: DataType,
    /// The type asked for.
    pub wanted: DataType,
}

/// Reads the features that are asked for out of rows that one schema wrote.
#[derive(Debug, Clone)]
pub struct RowDecoder {
    fields: Vec<Field>,
    /// Columns of wanted fields that the writer did not have: null in its rows.
    absent: Vec<usize>,
}

/// A field of the writer, and the column that it fills.
#[derive(Debug, Clone)]
struct Field {
    data_type: DataType,
    target: Option<Target>,
}

#[derive(Debug, Clone)]
struct Target {
    column: usize,
    slot: Slot,
}

impl RowDecoder {
    /// A decoder of the rows of `written` into columns of a layout. Each field of `wanted`, matched by name,
    /// goes into the column whose number stands at its place in `columns`.
    pub fn try_new(
        written: &RowSchema,
        wanted: &RowSchema,
        layout: &Layout,
        columns: &[usize],
    ) -> Result<Self, SchemaMismatch> {
        let mut fields = Vec::with_capacity(written.fields.len());
        let mut filled = vec![false; wanted.fields.len()];
        for field in &written.fields {
            let at = wanted.fields.iter().position(|wanted| wanted.name == field.name);
            if let Some(wanted) = at.and_then(|at| wanted.fields.get(at))
                && wanted.data_type != field.data_type
            {
                return Err(SchemaMismatch {
                    name: field.name.clone(),
                    stored: field.data_type.clone(),
                    wanted: wanted.data_type.clone(),
                });
            }
            let column = at.and_then(|at| columns.get(at)).copied();
            let slot = column.and_then(|column| layout.slots().get(column));
            fields.push(Field {
                data_type: field.data_type.clone(),
                target: column.zip(slot).map(|(column, slot)| Target {
                    column,
                    slot: slot.clone(),
                }),
            });
            if let Some(filled) = at.and_then(|at| filled.get_mut(at)) {
                *filled = true;
            }
        }
        let absent = columns.iter().zip(filled).filter(|(_, filled)| !filled);
        Ok(Self {
            fields,
            absent: absent.map(|(column, _)| *column).collect(),
        })
    }

    /// Takes the wanted values of a row in, for a position. Those of one column must come position by
    /// position.
    ///
    /// On an error some columns have the position and others do not: none of them is of use then.
    pub fn decode(&self, body: &[u8], position: usize, packer: &mut Packer) -> Result<(), RowCorrupt> {
        let mut rest = body;
        let nulls = take(&mut rest, self.fields.len().div_ceil(8))?;
        for (at, field) in self.fields.iter().enumerate() {
            match (is_null(nulls, at), &field.target) {
                (false, Some(target)) => packer.push(&target.slot, position, &mut rest)?,
                (true, Some(target)) => packer.pass(target.column, position, Status::Null),
                (false, None) => skip(&field.data_type, &mut rest)?,
                (true, None) => {}
            }
        }
        for column in &self.absent {
            packer.pass(*column, position, Status::Null);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(RowCorrupt::Body)
        }
    }
}
