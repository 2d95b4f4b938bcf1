//! Values of Arrow arrays as Python's own.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

/// The value at a row: `None` where it is null.
pub(crate) fn value<'py>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    if array.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    match array.data_type() {
        DataType::Null => Ok(py.None().into_bound(py)),
        DataType::Boolean => array.as_boolean().value(row).into_bound_py_any(py),
        DataType::Int8 => number::<Int8Type>(py, array, row),
        DataType::Int16 => number::<Int16Type>(py, array, row),
        DataType::Int32 => number::<Int32Type>(py, array, row),
        DataType::Int64 => number::<Int64Type>(py, array, row),
        DataType::UInt8 => number::<UInt8Type>(py, array, row),
        DataType::UInt16 => number::<UInt16Type>(py, array, row),
        DataType::UInt32 => number::<UInt32Type>(py, array, row),
        DataType::UInt64 => number::<UInt64Type>(py, array, row),
        DataType::Float32 => number::<Float32Type>(py, array, row),
        DataType::Float64 => number::<Float64Type>(py, array, row),
        DataType::Utf8 => array.as_string::<i32>().value(row).into_bound_py_any(py),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into_bound_py_any(py),
        DataType::Utf8View => array.as_string_view().value(row).into_bound_py_any(py),
        DataType::Binary => Ok(PyBytes::new(py, array.as_binary::<i32>().value(row)).into_any()),
        DataType::LargeBinary => Ok(PyBytes::new(py, array.as_binary::<i64>().value(row)).into_any()),
        DataType::BinaryView => Ok(PyBytes::new(py, array.as_binary_view().value(row)).into_any()),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            of_epoch(py, "day", i64::from(days), None)
        }
        DataType::Timestamp(unit, zone) => {
            let micros = match unit {
                TimeUnit::Second => {
                    let seconds = array.as_primitive::<TimestampSecondType>().value(row);
                    seconds.saturating_mul(1_000_000)
                }
                TimeUnit::Millisecond => {
                    let millis = array.as_primitive::<TimestampMillisecondType>().value(row);
                    millis.saturating_mul(1_000)
                }
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array
                    .as_primitive::<TimestampNanosecondType>()
                    .value(row)
                    .div_euclid(1_000),
            };
            of_epoch(py, "instant", micros, zone.as_deref())
        }
        DataType::Decimal128(..) => {
            let decimal = array.as_primitive::<Decimal128Type>().value_as_string(row);
            py.import("decimal")?.getattr("Decimal")?.call1((decimal,))
        }
        DataType::List(_) => list(py, &array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(py, &array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(py, &array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let dict = PyDict::new(py);
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                dict.set_item(field.name(), value(py, column, row)?)?;
            }
            Ok(dict.into_any())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let dict = PyDict::new(py);
            if let [keys, values] = entries.columns() {
                for entry in 0..entries.len() {
                    dict.set_item(value(py, keys, entry)?, value(py, values, entry)?)?;
                }
            }
            Ok(dict.into_any())
        }
        DataType::Dictionary(..) => {
            let plain = array.as_any_dictionary();
            let place = plain.normalized_keys().get(row).copied().unwrap_or_default();
            value(py, plain.values(), place)
        }
        other => Err(PyTypeError::new_err(format!(
            "values of {other} have no form in Python"
        ))),
    }
}

fn number<'py, T>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>>
where
    T: ArrowPrimitiveType,
    T::Native: IntoPyObjectExt<'py>,
{
    array.as_primitive::<T>().value(row).into_bound_py_any(py)
}

fn list<'py>(py: Python<'py>, values: &ArrayRef) -> PyResult<Bound<'py, PyAny>> {
    let values: PyResult<Vec<_>> = (0..values.len()).map(|row| value(py, values, row)).collect();
    Ok(PyList::new(py, values?)?.into_any())
}

/// A day or an instant, counted from 1970.
fn of_epoch<'py>(py: Python<'py>, what: &str, count: i64, zone: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    py.import("asof._time")?.getattr(what)?.call1((count, zone))
}
