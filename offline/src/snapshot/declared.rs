//! What is declared about the columns of CSV files, which are read as text and become those types here.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use asof_core::data_type::DataType;
use asof_core::definition::{BoundView, InputText, Source, View};

use crate::column::{Holder, text};
use crate::error::{OfflineError, Result};
use crate::files::SourceFile;
use crate::heads::time_rules;
use crate::time_column::TimeRules;

/// The types of a file's columns, by their names; what is not among them stays text.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    columns: BTreeMap<String, DataType>,
    times: TimeRules,
    holder: Holder,
}

impl Declared {
    /// What a view says of the columns of its source.
    ///
    /// Times stay text, which the rules of the source are for, unless they are keys or features, too.
    pub(super) fn by_view(bound: &BoundView) -> Self {
        let BoundView { view, entity, source } = bound;
        let keys = entity.keys.iter();
        let keys = keys.map(|key| (key.name.as_str(), key.key_type.data_type().clone()));
        let deleted = source.deleted.iter().map(|name| (name.as_str(), DataType::Bool));
        let mut columns = BTreeMap::new();
        for (name, data_type) in keys.chain(deleted).chain(values(view)) {
            let fits = !is_time(source, name) || matches!(data_type, DataType::Timestamp | DataType::Date);
            if fits && text::holds(&data_type) {
                columns.entry(name.to_owned()).or_insert(data_type);
            }
        }
        Self {
            columns,
            times: time_rules(source),
            holder: Holder::Source,
        }
    }

    /// What the schema of a managed source says of the columns of a file to ingest.
    pub(super) fn by_schema(source: &Source, schema: &[(String, DataType)]) -> Self {
        let columns = schema
            .iter()
            .filter(|(name, data_type)| text::holds(data_type) && !is_time(source, name))
            .cloned();
        Self {
            columns: columns.collect(),
            times: time_rules(source),
            holder: Holder::Ingested,
        }
    }

    /// The schema of columns of text once they are of their types.
    pub(super) fn schema(&self, text: &Schema) -> SchemaRef {
        let fields = text.fields().iter().map(|field| {
            let declared = self.columns.get(field.name());
            let data_type = declared.map_or_else(|| field.data_type().clone(), DataType::to_arrow);
            Field::new(field.name(), data_type, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The rows of a file from its first on, their text as the declared types.
    pub(super) fn converted(
        self: &Arc<Self>,
        rows: SendableRecordBatchStream,
        source: &str,
        file: &SourceFile,
    ) -> SendableRecordBatchStream {
        let place = match self.holder {
            Holder::Ingested => file.path.clone(),
            Holder::Source | Holder::Spine => format!("source {source}: {}", file.path),
        };
        let declared = Arc::clone(self);
        let schema = self.schema(&rows.schema());
        let typed = Arc::clone(&schema);
        let mut next = 0;
        let batches = rows.map(move |batch| {
            let batch = batch?;
            let first = next;
            next += batch.num_rows();
            let converted = declared.convert(&batch, &typed, &place, first);
            converted.map_err(|error| DataFusionError::External(Box::new(error)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    fn convert(
        &self,
        batch: &RecordBatch,
        typed: &SchemaRef,
        place: &str,
        first: usize,
    ) -> Result<RecordBatch> {
        let columns = typed.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let name = field.name();
            let Some(declared) = self.columns.get(name) else {
                return Ok(Arc::clone(column));
            };
            text::parse(column, declared, self.times).map_err(|error| {
                let row = error.row();
                let row = row.map_or(String::new(), |row| format!(" (row {} of the file)", first + row));
                let what = error.told_to(self.holder);
                OfflineError::Data(format!("{place}: column {name:?} {what}{row}"))
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(typed),
            columns,
            &options,
        )?)
    }
}

/// The columns that are values of a view as they are, with their types.
fn values(view: &View) -> Vec<(&str, DataType)> {
    let mut columns: Vec<_> = match view.aggregates() {
        None => {
            let features = view.features().iter();
            features
                .map(|feature| (feature.source_column(), feature.data_type.clone()))
                .collect()
        }
        Some(aggregates) => {
            let columns = aggregates.inputs().iter();
            let columns = columns.filter_map(|input| match &input.of {
                Some(InputText::Column(column)) if !input.is_counted => {
                    Some((column.as_str(), input.data_type.clone()))
                }
                _ => None,
            });
            columns.collect()
        }
    };
    columns.sort_by_key(|(_, data_type)| losses(data_type));
    columns
}

/// Of a column with several types the one comes first that loses least of the text: the others are taken from it, or
/// refused where it does not have them.
fn losses(data_type: &DataType) -> u8 {
    match data_type {
        DataType::String => 0,
        DataType::Decimal { .. } => 1,
        DataType::Int64 => 2,
        DataType::Int32 => 3,
        DataType::Float64 => 4,
        _ => 5,
    }
}

fn is_time(source: &Source, name: &str) -> bool {
    source.event_time == name || source.created_time.as_deref() == Some(name)
}
