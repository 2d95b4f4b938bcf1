//! What is computed of what was read.

use arrow_array::ArrayRef;
use asof_core::row::{Layout, Packed, Part};
use asof_core::service::{Input, ReadPlan, Value};
use asof_expr::Program;

use super::keys::Keys;
use crate::error::ServerError;

/// The values that a plan reads, and what it computes of them.
#[derive(Debug)]
pub(crate) struct Computing {
    /// What is read, in the order in which it is packed: what is returned first.
    values: Vec<Value>,
    /// Where it is.
    stored: Layout,
    program: Program,
}

impl Computing {
    pub(crate) fn new(plan: &ReadPlan) -> Result<Self, ServerError> {
        let values = plan.stored_values();
        let types = values.iter().filter_map(|value| plan.stored(*value));
        let stored = Layout::of(types.map(|(_, feature)| &feature.data_type));
        let program = Program::compile(plan).map_err(|error| ServerError::Bug(error.to_string()))?;
        Ok(Self {
            values,
            stored,
            program,
        })
    }

    /// Where what is read is packed.
    pub(crate) fn layout(&self) -> &Layout {
        &self.stored
    }

    /// What is read, in the order of its layout.
    pub(crate) fn stored(&self) -> &[Value] {
        &self.values
    }

    /// The columns of a plan at the places of `layout`, of what was read and of the caller's columns; with, for each
    /// computed feature, how many values are null because something could not be computed.
    ///
    /// # Errors
    ///
    /// Stored values that are not of their types.
    pub(crate) fn finish(
        &self,
        read: Packed,
        plan: &ReadPlan,
        layout: &Layout,
        keys: &Keys,
    ) -> Result<(Packed, Vec<u64>), ServerError> {
        if self.program.is_empty() {
            // Then what is read is what is returned.
            return Ok((read, Vec::new()));
        }
        let inputs = self
            .program
            .inputs()
            .iter()
            .map(|input| self.input(*input, &read, keys));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let computed = self.program.evaluate(&inputs, read.positions);
        let computed = computed.map_err(|error| ServerError::Bug(error.to_string()))?;
        let parts = plan
            .columns
            .iter()
            .map(|column| self.part(column.value, &computed.values));
        let parts = parts.collect::<Option<Vec<_>>>().ok_or_else(lost)?;
        let packed = read.assemble(&self.stored, layout, &parts);
        let packed = packed.map_err(|corrupt| ServerError::Bug(corrupt.to_string()))?;
        Ok((packed, computed.failed))
    }

    fn input(&self, input: Input, read: &Packed, keys: &Keys) -> Result<ArrayRef, ServerError> {
        match input {
            Input::Value(value) => {
                let place = self.place(value).ok_or_else(lost)?;
                let array = read.array(&self.stored, place);
                array.map_err(|corrupt| ServerError::Bug(corrupt.to_string()))
            }
            Input::Key(key) => keys.columns().get(key).cloned().ok_or_else(lost),
            Input::Request(column) => keys.request().get(column).cloned().ok_or_else(lost),
        }
    }

    fn part<'a>(&self, value: Value, computed: &'a [Option<ArrayRef>]) -> Option<Part<'a>> {
        match value {
            Value::Computed(place) => computed.get(place)?.as_ref().map(Part::Array),
            stored => self.place(stored).map(Part::Packed),
        }
    }

    fn place(&self, value: Value) -> Option<usize> {
        self.values.iter().position(|known| *known == value)
    }
}

fn lost() -> ServerError {
    ServerError::Bug("something that is computed with was not read".into())
}
