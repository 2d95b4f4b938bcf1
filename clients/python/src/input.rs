//! Rows that Python gives: anything that has Arrow's C stream, columns, dictionaries, or a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, NullArray, RecordBatch, RecordBatchReader,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use asof_client::batches;
use asof_core::time::Zone;
use asof_offline::Spine;
use futures::StreamExt;
use futures::stream::BoxStream;
use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use pyo3_arrow::input::AnyRecordBatch;

use crate::describe::What;
use crate::failure::Failure;
use crate::table::Table;

/// Rows that are sent.
pub(crate) struct Rows {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, String>> + Send>,
}

impl Rows {
    /// Those of an object with Arrow's C stream or array.
    pub(crate) fn of(rows: &Bound<'_, PyAny>) -> PyResult<Self> {
        let reader = match rows.cast::<Table>() {
            Ok(table) => table.get().reader(),
            Err(_) => rows.extract::<AnyRecordBatch>()?.into_reader()?,
        };
        Ok(Self {
            schema: reader.schema(),
            batches: Box::new(reader.map(|batch| batch.map_err(|error| error.to_string()))),
        })
    }

    /// Those of a spine's file.
    pub(crate) async fn of_spine(path: PathBuf, what: &What) -> Result<Self, Failure> {
        let zone = what.timezone.as_deref().map(Zone::parse).transpose();
        let zone = zone.map_err(|error| Failure::argument(error.to_string()))?;
        let time_column = what.time_column.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let spine = Spine::open(&path, &time_column, zone)?;
            let batches = spine.batches(None)?;
            Ok::<_, Failure>((spine, batches))
        });
        let opened = opened.await.map_err(|error| Failure::bug(error.to_string()))?;
        let (spine, batches) = opened?;
        Ok(Self {
            schema: Arc::clone(spine.schema()),
            batches: Box::new(
                batches.map(move |batch| {
                    batch.map_err(|error| spine.unreadable(&error.to_string()).to_string())
                }),
            ),
        })
    }

    /// The rows as a stream, read on a thread that may wait, and what ends it.
    pub(crate) fn stream(
        self,
        uploads: &Arc<Uploads>,
    ) -> (SchemaRef, BoxStream<'static, Result<RecordBatch, String>>, Upload) {
        let ended = Arc::new(AtomicBool::new(false));
        let (of_this, of_all) = (Arc::clone(&ended), Arc::clone(uploads));
        let mut rows = self.batches;
        let rows = std::iter::from_fn(move || {
            let reading = Reading::begin();
            if of_this.load(Ordering::Relaxed) || of_all.ended.load(Ordering::Relaxed) || reading.is_none() {
                return Some(Err("nobody waits for them any more".into()));
            }
            rows.next()
        });
        (self.schema, batches(rows).boxed(), Upload(ended))
    }
}

/// What a store sends.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    ended: AtomicBool,
}

impl Uploads {
    /// Reads no more rows for any of them.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Rows that are being sent, until it is dropped.
#[derive(Debug)]
pub(crate) struct Upload(Arc<AtomicBool>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many threads read rows that Python may make.
static READING: AtomicUsize = AtomicUsize::new(0);
/// Whether the interpreter ends.
static ENDING: AtomicBool = AtomicBool::new(false);
/// How long a batch that is being made is waited for when the interpreter ends.
const LAST_BATCH: Duration = Duration::from_secs(5);

struct Reading;

impl Reading {
    /// Nothing, once the interpreter ends.
    fn begin() -> Option<Self> {
        READING.fetch_add(1, Ordering::SeqCst);
        let reading = Self;
        (!ENDING.load(Ordering::SeqCst)).then_some(reading)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets no thread read rows of Python any more: one that does so when the interpreter ends takes the process down.
#[pyfunction]
pub(crate) fn shutdown(py: Python<'_>) {
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let end = Instant::now() + LAST_BATCH;
        while READING.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

/// Key columns: one entity a row, from dictionaries of their values or from anything that [`Rows`] are of.
pub(crate) fn keys(py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<RecordBatch> {
    if let Ok(rows) = keys.cast::<PyList>() {
        return of_dicts(rows);
    }
    let Rows { schema, batches } = Rows::of(keys)?;
    let batches: Result<Vec<_>, String> = py.detach(|| batches.collect());
    let batches = batches.map_err(|error| match error.contains("KeyboardInterrupt") {
        // A reader of Python's was interrupted, which Arrow's stream tells as an error of its own.
        true => PyKeyboardInterrupt::new_err(()),
        false => Failure::data(error).into(),
    })?;
    let batch = arrow_select::concat::concat_batches(&schema, &batches);
    Ok(batch.map_err(|error| Failure::data(error.to_string()))?)
}

fn of_dicts(rows: &Bound<'_, PyList>) -> PyResult<RecordBatch> {
    let wrong = |row: usize, what: &str| Failure::argument(format!("keys[{row}]: {what}"));
    if rows.is_empty() {
        return Err(Failure::argument("keys: is empty: give a dict of key columns for each entity").into());
    }
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Vec<Bound<'_, PyAny>>> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let row = row
            .cast::<PyDict>()
            .map_err(|_| wrong(place, "is no dict of key columns, such as {\"origin\": \"JFK\"}"))?;
        if place == 0 {
            names = row
                .keys()
                .extract()
                .map_err(|_| wrong(place, "has a key column whose name is no string"))?;
            if names.is_empty() {
                return Err(wrong(place, "has no key columns").into());
            }
            columns = names.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        }
        if row.len() != names.len() {
            return Err(wrong(place, "has other key columns than keys[0]").into());
        }
        for (name, column) in names.iter().zip(&mut columns) {
            let value = row.get_item(name)?;
            column.push(value.ok_or_else(|| wrong(place, &format!("has no {name:?}, which keys[0] has")))?);
        }
    }
    let columns = names.into_iter().zip(columns).map(|(name, values)| {
        let array = of_values(&name, &values)?;
        Ok((name, array))
    });
    batch(columns.collect::<PyResult<Vec<_>>>()?)
}

fn batch(columns: Vec<(String, ArrayRef)>) -> PyResult<RecordBatch> {
    let fields = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema, arrays);
    Ok(batch.map_err(|error| Failure::data(error.to_string()))?)
}

/// A column that Python gives: its name, and as [`column`] takes them what its values are, the values, and its nulls.
pub(crate) type Given<'py> = (String, String, Bound<'py, PyAny>, Option<Vec<u8>>);

/// A batch of columns.
pub(crate) fn batch_of(columns: Vec<Given<'_>>) -> PyResult<RecordBatch> {
    let columns = columns.into_iter().map(|(name, kind, values, nulls)| {
        let array = column(&name, &kind, &values, nulls)?;
        Ok((name, array))
    });
    batch(columns.collect::<PyResult<Vec<_>>>()?)
}

/// A column of a list of Python's values (`kind` is "values"), or of the bytes of a NumPy array of that type, with a
/// byte each that says whether it is null where any is. Instants are "datetime64[UNIT] ZONE", or without a zone.
fn column(name: &str, kind: &str, values: &Bound<'_, PyAny>, nulls: Option<Vec<u8>>) -> PyResult<ArrayRef> {
    if kind == "values" {
        let values: Vec<Bound<'_, PyAny>> = values.cast::<PyList>()?.iter().collect();
        return of_values(name, &values);
    }
    let bytes = values.cast::<PyBytes>()?.as_bytes();
    let nulls =
        nulls.map(|nulls| NullBuffer::new(BooleanBuffer::from_iter(nulls.iter().map(|null| *null == 0))));
    let (kind, zone) = kind
        .split_once(' ')
        .map_or((kind, None), |(kind, zone)| (kind, Some(zone.into())));
    let data_type = match kind {
        "?" => {
            let values = BooleanBuffer::from_iter(bytes.iter().map(|value| *value != 0));
            return Ok(Arc::new(BooleanArray::new(values, nulls)));
        }
        "i1" => DataType::Int8,
        "i2" => DataType::Int16,
        "i4" => DataType::Int32,
        "i8" => DataType::Int64,
        "u1" => DataType::UInt8,
        "u2" => DataType::UInt16,
        "u4" => DataType::UInt32,
        "u8" => DataType::UInt64,
        "f4" => DataType::Float32,
        "f8" => DataType::Float64,
        "datetime64[s]" => DataType::Timestamp(TimeUnit::Second, zone),
        "datetime64[ms]" => DataType::Timestamp(TimeUnit::Millisecond, zone),
        "datetime64[us]" => DataType::Timestamp(TimeUnit::Microsecond, zone),
        "datetime64[ns]" => DataType::Timestamp(TimeUnit::Nanosecond, zone),
        other => {
            return Err(PyTypeError::new_err(format!(
                "column {name:?}: values of {other} have no type here"
            )));
        }
    };
    let width = data_type.primitive_width().unwrap_or(1);
    let data = arrow_data::ArrayDataBuilder::new(data_type)
        .len(bytes.len() / width)
        .add_buffer(Buffer::from_slice_ref(bytes))
        .nulls(nulls)
        .align_buffers(true)
        .build();
    let data = data.map_err(|error| Failure::data(format!("column {name:?}: {error}")))?;
    Ok(arrow_array::make_array(data))
}

/// What a value of Python is, once it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Bytes,
    Day,
    Instant,
    LocalTime,
    Decimal,
}

impl Kind {
    fn of(value: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if value.is_instance_of::<PyString>() {
            return Ok(Some(Self::Text));
        }
        if value.is_instance_of::<PyBool>() {
            return Ok(Some(Self::Bool));
        }
        if value.is_instance_of::<PyInt>() {
            return Ok(Some(Self::Int));
        }
        if value.is_instance_of::<PyFloat>() {
            return Ok(Some(Self::Float));
        }
        if value.is_instance_of::<PyBytes>() {
            return Ok(Some(Self::Bytes));
        }
        let of: Option<String> = value
            .py()
            .import("asof._time")?
            .getattr("kind")?
            .call1((value,))?
            .extract()?;
        Ok(match of.as_deref() {
            Some("day") => Some(Self::Day),
            Some("instant") => Some(Self::Instant),
            Some("local") => Some(Self::LocalTime),
            Some("decimal") => Some(Self::Decimal),
            _ => None,
        })
    }
}

/// A value as Python's own, where it is one of NumPy's or of pandas'.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let is_known = value.is_none()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>();
    match is_known {
        true => Ok(value.clone()),
        false => value.py().import("asof._time")?.getattr("plain")?.call1((value,)),
    }
}

/// An array of Python's values, all of one kind; whole numbers go with others.
fn of_values(name: &str, values: &[Bound<'_, PyAny>]) -> PyResult<ArrayRef> {
    let values: Vec<Bound<'_, PyAny>> = values.iter().map(plain).collect::<PyResult<_>>()?;
    let values = values.as_slice();
    let mut kind: Option<Kind> = None;
    for (row, value) in values.iter().enumerate().filter(|(_, value)| !value.is_none()) {
        let of = Kind::of(value)?.ok_or_else(|| {
            let class = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            Failure::argument(format!(
                "column {name:?}, row {row}: a value of type {class} has no type here: give text, numbers, bytes, \
                 truth values, dates, datetimes or decimals"
            ))
        })?;
        kind = Some(match (kind, of) {
            (None, of) => of,
            (Some(before), of) if before == of => of,
            (Some(Kind::Int | Kind::Float), Kind::Int | Kind::Float) => Kind::Float,
            (Some(before), of) => {
                return Err(Failure::argument(format!(
                    "column {name:?}, row {row}: {of:?} among values of {before:?}: one column has values of one type"
                ))
                .into());
            }
        });
    }
    let present = values
        .iter()
        .map(|value| Some(value).filter(|value| !value.is_none()));
    let too_large = |_| Failure::argument(format!("column {name:?}: a number has more than 64 bits"));
    Ok(match kind {
        None => Arc::new(NullArray::new(values.len())),
        Some(Kind::Text) => {
            let mut array = StringBuilder::new();
            for value in present {
                array.append_option(value.map(|value| value.extract::<String>()).transpose()?);
            }
            Arc::new(array.finish())
        }
        Some(Kind::Bytes) => {
            let mut array = BinaryBuilder::new();
            for value in present {
                array.append_option(value.map(|value| value.extract::<Vec<u8>>()).transpose()?);
            }
            Arc::new(array.finish())
        }
        Some(Kind::Bool) => {
            let mut array = BooleanBuilder::new();
            for value in present {
                array.append_option(value.map(|value| value.extract::<bool>()).transpose()?);
            }
            Arc::new(array.finish())
        }
        Some(Kind::Int) => {
            let mut array = Int64Builder::new();
            for value in present {
                array.append_option(
                    value
                        .map(|value| value.extract::<i64>())
                        .transpose()
                        .map_err(too_large)?,
                );
            }
            Arc::new(array.finish())
        }
        Some(Kind::Float) => {
            let mut array = Float64Builder::new();
            for value in present {
                array.append_option(value.map(|value| value.extract::<f64>()).transpose()?);
            }
            Arc::new(array.finish())
        }
        Some(Kind::Day) => {
            let days = counts(name, "days", values)?;
            let days = days
                .into_iter()
                .map(|day| day.and_then(|day| i32::try_from(day).ok()));
            Arc::new(Date32Array::from_iter(days))
        }
        Some(Kind::Instant) => {
            let micros = TimestampMicrosecondArray::from(counts(name, "micros", values)?);
            Arc::new(micros.with_timezone("UTC"))
        }
        Some(Kind::LocalTime) => Arc::new(TimestampMicrosecondArray::from(counts(name, "micros", values)?)),
        Some(Kind::Decimal) => decimals(name, values)?,
    })
}

/// Days or microseconds since 1970.
fn counts(name: &str, of: &str, values: &[Bound<'_, PyAny>]) -> PyResult<Vec<Option<i64>>> {
    let counts = values.iter().map(|value| {
        if value.is_none() {
            return Ok(None);
        }
        let count = value.py().import("asof._time")?.getattr(of)?.call1((value,))?;
        let count = count.extract::<i64>();
        count
            .map(Some)
            .map_err(|_| Failure::argument(format!("column {name:?}: {value} is out of range")).into())
    });
    counts.collect()
}

fn decimals(name: &str, values: &[Bound<'_, PyAny>]) -> PyResult<ArrayRef> {
    let wrong = |value: &Bound<'_, PyAny>| {
        Failure::argument(format!("column {name:?}: {value} has more than 38 digits"))
    };
    let mut parsed: Vec<Option<(i128, u32)>> = Vec::with_capacity(values.len());
    for value in values {
        if value.is_none() {
            parsed.push(None);
            continue;
        }
        let (digits, scale): (String, u32) = value
            .py()
            .import("asof._time")?
            .getattr("decimal")?
            .call1((value,))?
            .extract()?;
        let unscaled = digits.parse::<i128>().map_err(|_| wrong(value))?;
        parsed.push(Some((unscaled, scale)));
    }
    let scale = parsed
        .iter()
        .flatten()
        .map(|(_, scale)| *scale)
        .max()
        .unwrap_or(0);
    let scaled = parsed.iter().zip(values).map(|(parsed, value)| {
        let Some((unscaled, own)) = parsed else {
            return Ok(None);
        };
        let factor = 10_i128.checked_pow(scale - own);
        factor
            .and_then(|factor| unscaled.checked_mul(factor))
            .map(Some)
            .ok_or_else(|| wrong(value))
    });
    let array = Decimal128Array::from(scaled.collect::<Result<Vec<_>, _>>()?);
    let array = array.with_precision_and_scale(38, i8::try_from(scale).unwrap_or(i8::MAX));
    Ok(Arc::new(array.map_err(|error| {
        Failure::argument(format!("column {name:?}: {error}"))
    })?))
}

/// The rows of a Parquet or an Arrow file.
#[pyfunction]
pub(crate) fn table_of_file(py: Python<'_>, path: PathBuf) -> PyResult<Table> {
    Ok(py.detach(|| read_file(&path))?)
}

fn read_file(path: &Path) -> Result<Table, Failure> {
    let place = path.display();
    let unreadable = |error: &dyn std::fmt::Display| Failure::data(format!("{place}: {error}"));
    let open = || File::open(path).map_err(|error| unreadable(&error));
    let ending = path.extension().and_then(|ending| ending.to_str());
    let reader: Box<dyn RecordBatchReader> = match ending.unwrap_or_default() {
        "parquet" | "pq" => {
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(open()?);
            let reader = reader.and_then(|builder| builder.build());
            Box::new(reader.map_err(|error| unreadable(&error))?)
        }
        "arrow" | "feather" | "ipc" => {
            let reader = arrow_ipc::reader::FileReader::try_new_buffered(open()?, None);
            Box::new(reader.map_err(|error| unreadable(&error))?)
        }
        _ => {
            return Err(Failure::argument(format!(
                "{place}: expected a file that ends in .parquet or .arrow: read others with pandas, polars or pyarrow"
            )));
        }
    };
    let schema = reader.schema();
    let batches: Result<Vec<RecordBatch>, ArrowError> = reader.collect();
    Ok(Table::new(schema, batches.map_err(|error| unreadable(&error))?))
}
