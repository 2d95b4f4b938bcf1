//! The same questions to both sides: which flights are asked about, and whether the answers are equal.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::writer::FileWriter;
use asof_core::service::ReadPlan;
use asof_core::time::Timestamp;
use asof_offline::{Dataset, Spine};

use super::online::Served;
use crate::exit::{Exit, Failure};

/// The key columns of the service.
pub(super) const KEYS: [&str; 4] = ["origin", "dest", "carrier", "tailnum"];
/// Half a day, in microseconds.
const HALF_DAY: i64 = 43_200_000_000;

/// The flights that leave within half a day of `moment`, key column by key column.
pub(super) fn flights_around(departures: &Path, moment: Timestamp) -> Result<Vec<ArrayRef>, Failure> {
    let mut keys: Vec<Vec<Option<String>>> = vec![Vec::new(); KEYS.len()];
    for batch in batches(departures)? {
        let times = column(&batch, "event_timestamp")?;
        let times = times
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| broken("event_timestamp is not in microseconds"))?;
        let columns = KEYS
            .iter()
            .map(|name| column(&batch, name))
            .collect::<Result<Vec<_>, _>>()?;
        let near = |row: &usize| (times.value(*row) - moment.micros()).abs() <= HALF_DAY;
        for row in (0..batch.num_rows()).filter(near) {
            for (values, column) in keys.iter_mut().zip(&columns) {
                let texts = column
                    .as_string_opt::<i32>()
                    .ok_or_else(|| broken("a key is not text"))?;
                values.push((!texts.is_null(row)).then(|| texts.value(row).to_owned()));
            }
        }
    }
    Ok(keys
        .into_iter()
        .map(|values| Arc::new(StringArray::from(values)) as ArrayRef)
        .collect())
}

/// A spine that asks about `flights` at `moment`.
pub(super) fn write_spine(work: &Path, moment: Timestamp, flights: &[ArrayRef]) -> Result<PathBuf, Failure> {
    let path = work.join("check_spine.arrow");
    let rows = flights.first().map_or(0, |column| column.len());
    let times = TimestampMicrosecondArray::from(vec![moment.micros(); rows]).with_timezone("UTC");
    let mut fields: Vec<Field> = KEYS
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true))
        .collect();
    let zone = Some("UTC".into());
    fields.push(Field::new(
        "event_timestamp",
        DataType::Timestamp(TimeUnit::Microsecond, zone),
        false,
    ));
    let columns = flights
        .iter()
        .cloned()
        .chain([Arc::new(times) as ArrayRef])
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let write = || -> Result<(), Box<dyn std::error::Error>> {
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut writer = FileWriter::try_new(File::create(&path)?, &schema)?;
        writer.write(&batch)?;
        Ok(writer.finish()?)
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => Err(Failure::unavailable(format!(
            "{} cannot be written: {error}",
            path.display()
        ))),
    }
}

/// How far the answers agree.
#[derive(Default)]
pub(super) struct Agreement {
    pub(super) rows: u64,
    pub(super) features: usize,
    pub(super) compared: u64,
    pub(super) different: u64,
}

impl Agreement {
    /// With what was found of further features of the same flights.
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            rows: self.rows.max(more.rows),
            features: self.features + more.features,
            compared: self.compared + more.compared,
            different: self.different + more.different,
        }
    }
}

/// Compares every value and every status of an extract with what was served.
pub(super) fn compare(extract: &Dataset, plan: &ReadPlan, served: &Served) -> Result<Agreement, Failure> {
    let batches: Vec<RecordBatch> = batches(&extract.output)?;
    let schema = batches
        .first()
        .map(RecordBatch::schema)
        .ok_or_else(|| broken("the extract is empty"))?;
    let offline = concat_batches(&schema, &batches).map_err(|error| broken(&error.to_string()))?;
    let mut agreement = Agreement {
        rows: offline.num_rows() as u64,
        features: plan.columns.len(),
        compared: 0,
        different: 0,
    };
    for (wanted, online) in plan.columns.iter().zip(&served.columns) {
        let values = column(&offline, &wanted.name)?;
        let statuses = column(&offline, &format!("{}__status", wanted.name))?;
        let statuses = statuses
            .as_string_opt::<i32>()
            .ok_or_else(|| broken("a status is not text"))?;
        for row in 0..offline.num_rows() {
            let same_status = online
                .statuses
                .get(row)
                .is_some_and(|status| status.as_str() == statuses.value(row));
            let same_value = values.slice(row, 1).to_data() == online.values.slice(row, 1).to_data();
            agreement.compared += 1;
            agreement.different += u64::from(!(same_status && same_value));
        }
    }
    Ok(agreement)
}

fn batches(path: &Path) -> Result<Vec<RecordBatch>, Failure> {
    let file = Spine::open(path, "event_timestamp", None)?;
    file.batches(None)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| file.unreadable(&error.to_string()).into())
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, Failure> {
    batch
        .column_by_name(name)
        .cloned()
        .ok_or_else(|| broken(&format!("column {name} is missing")))
}

pub(super) fn broken(what: &str) -> Failure {
    Failure::new(
        Exit::Data,
        format!("the flights example is not as it was: {what}"),
    )
}
