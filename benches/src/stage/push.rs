//! Rows that are pushed to a server, a request at a time on each connection.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::compute::cast;
use asof_core::data_type::DataType;
use asof_core::definition::Location;
use asof_proto::convert::to_proto;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use asof_proto::v1::push_request::Rows;
use asof_proto::v1::{Column, PushColumns, PushRequest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tonic::transport::Channel;

use crate::stage::load::{self, Call};
use crate::workload::Opened;

/// Rows of one request.
pub const ROWS: usize = 100;
/// How many different requests there are.
const REQUESTS: usize = 1_000;

/// Requests with the rows of a file, each with a column for each of the source's.
///
/// # Errors
///
/// A file that cannot be read, or has other columns.
pub fn requests(opened: &Opened, file: &std::path::Path) -> Result<Arc<[PushRequest]>> {
    let mut sources = opened.version.definitions.sources.iter();
    let (name, source) = sources.next().context("there is no source")?;
    let Location::Managed { schema, .. } = &source.location else {
        anyhow::bail!("source {name} is not managed");
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
    let reader = reader.with_batch_size(ROWS).build()?;
    let mut requests = Vec::new();
    for batch in reader.take(REQUESTS) {
        let batch = batch?;
        // The last one of a file.
        if batch.num_rows() < ROWS {
            continue;
        }
        let columns = schema.iter().map(|(column, data_type)| {
            let array = batch.column_by_name(column);
            let array = array.with_context(|| format!("{} has no column {column:?}", file.display()))?;
            column_of(column, data_type, &cast(array, &data_type.to_arrow())?)
        });
        requests.push(PushRequest {
            source: name.to_string(),
            request_id: String::new(),
            rows: Some(Rows::Columns(PushColumns {
                columns: columns.collect::<Result<_>>()?,
            })),
        });
    }
    ensure!(
        !requests.is_empty(),
        "{} has less than {ROWS} rows",
        file.display()
    );
    Ok(requests.into())
}

fn column_of(name: &str, data_type: &DataType, array: &arrow::array::ArrayRef) -> Result<Column> {
    Ok(Column {
        name: name.to_owned(),
        values: Some(to_proto(data_type, array)?),
    })
}

/// Pushes rows, all of which must be accepted.
pub struct PushRows(IngestServiceClient<Channel>);

impl Call for PushRows {
    type Request = PushRequest;

    async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self(IngestServiceClient::new(load::channel(address).await?)))
    }

    async fn ask(&mut self, request: PushRequest) -> Result<()> {
        let answer = self.0.push(request).await?.into_inner();
        ensure!(
            answer.accepted == ROWS as u64,
            "{} rows were accepted",
            answer.accepted
        );
        Ok(())
    }
}
