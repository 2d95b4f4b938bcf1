//! The requests of a load: keys drawn from the spine, which is who asks for features.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchReader, UInt64Array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::Int64Type;
use asof_core::service::{CallerColumn, ReadPlan};
use asof_proto::convert::to_proto;
use asof_proto::v1::{Column, GetFeaturesRequest};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::random::SplitMix64;
use crate::workload::Workload;

/// Most positions of all requests of a load together; nor are there more than rows to draw from.
const POSITIONS: u64 = 200_000;
/// Most requests of a load.
const REQUESTS: usize = 20_000;
/// Which rows of the spine are drawn.
const SEED: u64 = 1;

/// The key columns of a spine, from which requests are drawn.
pub struct Callers {
    service: String,
    columns: Vec<(CallerColumn, ArrayRef)>,
    rows: u64,
}

impl Callers {
    /// Reads the key columns of the workload's spine.
    ///
    /// # Errors
    ///
    /// A spine that cannot be read, is empty, or lacks a key column.
    pub fn read(workload: &Workload, plan: &ReadPlan) -> Result<Self> {
        Self::of_file(workload, plan, &workload.spine)
    }

    /// Reads the key columns of another file.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn of_file(workload: &Workload, plan: &ReadPlan, path: &Path) -> Result<Self> {
        let spine = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {spine}"))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let names = plan.caller_columns.iter().map(|column| column.name.as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let reader = builder.with_projection(mask).build()?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
        let batch = concat_batches(&schema, &batches)?;
        ensure!(
            batch.num_rows() > 0,
            "{spine} has no rows, so there is nobody to ask for"
        );
        let mut columns = Vec::new();
        for column in &plan.caller_columns {
            let array = batch
                .column_by_name(&column.name)
                .with_context(|| format!("{spine} has no column {:?}", column.name))?;
            let array = cast(array, &column.key_type.data_type().to_arrow())?;
            columns.push((column.clone(), array));
        }
        Ok(Self {
            service: workload.service.clone(),
            columns,
            rows: batch.num_rows() as u64,
        })
    }

    /// Requests for `entities` positions each, the same ones every time.
    ///
    /// # Errors
    ///
    /// None but bugs: a column that is not of its type.
    pub fn requests(&self, entities: usize) -> Result<Arc<[GetFeaturesRequest]>> {
        let requests = self.draws(entities)?.into_iter().map(|rows| self.request(&rows));
        requests.collect()
    }

    /// The key of each position of the same requests, where it is one number.
    ///
    /// # Errors
    ///
    /// Other keys.
    pub fn numbers(&self, entities: usize) -> Result<Vec<Vec<i64>>> {
        let [(_, array)] = self.columns.as_slice() else {
            bail!("the keys are of several columns");
        };
        let numbers = array
            .as_primitive_opt::<Int64Type>()
            .context("the keys are no numbers")?;
        let draws = self.draws(entities)?.into_iter();
        let of = |rows: UInt64Array| -> Result<Vec<i64>> {
            let rows = take(numbers, &rows, None)?;
            Ok(rows.as_primitive::<Int64Type>().values().to_vec())
        };
        draws.map(of).collect()
    }

    fn draws(&self, entities: usize) -> Result<Vec<UInt64Array>> {
        let positions = usize::try_from(POSITIONS.min(self.rows))?;
        let count = (positions / entities.max(1)).clamp(1, REQUESTS);
        let mut random = SplitMix64::new(SEED);
        let mut draw = || (0..entities).map(|_| Some(random.below(self.rows))).collect();
        Ok((0..count).map(|_| draw()).collect())
    }

    fn request(&self, rows: &UInt64Array) -> Result<GetFeaturesRequest> {
        let mut keys = Vec::with_capacity(self.columns.len());
        for (column, array) in &self.columns {
            let values = to_proto(column.key_type.data_type(), &take(array, rows, None)?)?;
            keys.push(Column {
                name: column.name.clone(),
                values: Some(values),
            });
        }
        Ok(GetFeaturesRequest {
            service: self.service.clone(),
            features: Vec::new(),
            keys,
            request: Vec::new(),
        })
    }
}
