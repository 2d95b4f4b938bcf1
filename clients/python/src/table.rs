//! Tables, for whoever reads Arrow's C stream, and column by column for those who have nothing that does.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, StructArray};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyList};
use pyo3_arrow::error::PyArrowResult;
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

use crate::convert;
use crate::failure::Failure;
use crate::input;

/// Rows in columns.
#[pyclass(frozen, from_py_object)]
#[derive(Clone)]
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    pub(crate) fn joined<'a>(schema: SchemaRef, tables: impl Iterator<Item = &'a Self>) -> Self {
        let batches = tables.flat_map(|table| table.batches.iter().cloned());
        Self::new(schema, batches.collect())
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub(crate) fn reader(&self) -> Box<dyn arrow_array::RecordBatchReader + Send> {
        let batches = self.batches.clone().into_iter().map(Ok);
        Box::new(RecordBatchIterator::new(batches, Arc::clone(&self.schema)))
    }

    /// The column in one piece.
    fn column(&self, column: usize) -> Result<ArrayRef, Failure> {
        let field = self.schema.fields().get(column);
        let field = field.ok_or_else(|| Failure::bug(format!("a table without column {column}")))?;
        let arrays: Vec<&dyn Array> = self
            .batches
            .iter()
            .map(|batch| batch.column(column).as_ref())
            .collect();
        match arrays.is_empty() {
            true => Ok(arrow_array::new_empty_array(field.data_type())),
            false => arrow_select::concat::concat(&arrays).map_err(|error| Failure::bug(error.to_string())),
        }
    }
}

#[pymethods]
impl Table {
    /// From columns, each with its name, what its values are, and the values; see [`input::column`].
    #[staticmethod]
    fn from_columns(columns: Vec<input::Given<'_>>) -> PyResult<Self> {
        let batch = input::batch_of(columns)?;
        Ok(Self::new(batch.schema(), vec![batch]))
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[getter]
    fn column_names(&self) -> Vec<String> {
        names(&self.schema)
    }

    /// The types of the columns, as Arrow calls them.
    #[getter]
    fn column_types(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.data_type().to_string()).collect()
    }

    /// The values of a column as Python's own.
    fn values<'py>(&self, py: Python<'py>, column: usize) -> PyResult<Bound<'py, PyList>> {
        let array = self.column(column)?;
        let values = (0..array.len()).map(|row| convert::value(py, &array, row));
        PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
    }

    /// The values of a column of numbers, days or instants as NumPy names their type and holds them, a byte each that
    /// says whether it is null where any is, and the zone of instants; nothing where NumPy has no such type.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once, in Python")]
    fn buffer<'py>(
        &self,
        py: Python<'py>,
        column: usize,
    ) -> PyResult<Option<(&'static str, Bound<'py, PyBytes>, Option<Vec<u8>>, Option<String>)>> {
        let array = self.column(column)?;
        let (name, zone) = match array.data_type() {
            DataType::Boolean => ("?", None),
            DataType::Int8 => ("i1", None),
            DataType::Int16 => ("i2", None),
            DataType::Int32 => ("i4", None),
            DataType::Int64 => ("i8", None),
            DataType::UInt8 => ("u1", None),
            DataType::UInt16 => ("u2", None),
            DataType::UInt32 => ("u4", None),
            DataType::UInt64 => ("u8", None),
            DataType::Float32 => ("f4", None),
            DataType::Float64 => ("f8", None),
            DataType::Date32 => ("datetime64[D]", None),
            DataType::Timestamp(unit, zone) => {
                let name = match unit {
                    TimeUnit::Second => "datetime64[s]",
                    TimeUnit::Millisecond => "datetime64[ms]",
                    TimeUnit::Microsecond => "datetime64[us]",
                    TimeUnit::Nanosecond => "datetime64[ns]",
                };
                (name, zone.as_ref().map(ToString::to_string))
            }
            _ => return Ok(None),
        };
        let bytes = match array.data_type() {
            DataType::Boolean => array.as_boolean().values().iter().map(u8::from).collect(),
            // NumPy counts days in eight bytes.
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>().values().iter();
                days.flat_map(|day| i64::from(*day).to_le_bytes()).collect()
            }
            _ => {
                let data = array.to_data();
                let width = data.data_type().primitive_width().unwrap_or_default();
                let start = data.offset() * width;
                let values = data.buffers().first().map_or(&[][..], |buffer| buffer.as_slice());
                values
                    .get(start..start + data.len() * width)
                    .unwrap_or_default()
                    .to_vec()
            }
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let nulls = nulls.map(|nulls| nulls.iter().map(|valid| u8::from(!valid)).collect());
        Ok(Some((name, PyBytes::new(py, &bytes), nulls, zone)))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyArrowResult<Bound<'py, PyCapsule>> {
        let field = Arc::new(Field::new_struct("", self.schema.fields().clone(), false));
        let arrays = self.batches.clone().into_iter();
        let arrays = arrays.map(|batch| Ok(Arc::new(StructArray::from(batch)) as ArrayRef));
        to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, field)), requested_schema)
    }
}

pub(crate) fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

pub(crate) fn schema_capsule<'py>(py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, schema.as_ref())?)
}
