//! The `sql` of a source: a projection and a filter over its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use crate::bind::{bound, check_batch, condition, find, planning_schema, quoted, unique};
use crate::compile::Compiled;
use crate::error::{ExprError, clip};
use crate::grammar;
use crate::limits::with_stack;
use crate::statement::{self, Item, Shape};

/// A statement that is known to be a projection and filter of `source`.
#[derive(Debug, Clone)]
pub struct SourceSql {
    text: String,
    shape: Shape,
}

impl SourceSql {
    /// Checks the limits, parses, and checks the shape and the functions. No schema is needed yet.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self {
            shape: with_stack(|| statement::parse(text))?,
            text: text.to_owned(),
        })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Types the statement against the columns of the source.
    ///
    /// Errors name the column that is missing, the types that do not go together, or the output column
    /// that is there twice.
    pub fn bind(&self, schema: &Schema) -> Result<BoundSql, ExprError> {
        with_stack(|| self.bind_columns(schema))
    }

    fn bind_columns(&self, schema: &Schema) -> Result<BoundSql, ExprError> {
        unique("input", schema.fields().iter().map(|field| field.name()))?;
        let input_columns = self.input_columns(schema)?;
        let input = Arc::new(
            schema
                .project(&input_columns)
                .map_err(|error| ExprError::Batch(clip(&error.to_string())))?,
        );
        let planning = planning_schema(&input)?;
        let mut columns: Vec<(FieldRef, Arc<dyn PhysicalExpr>)> = Vec::new();
        for item in &self.shape.items {
            match item {
                Item::All => {
                    for field in schema.fields() {
                        let whole = SqlExpr::Identifier(quoted(field.name()));
                        columns.push((Arc::clone(field), bound(&whole, &planning, &input)?.physical));
                    }
                }
                Item::Named { name, expr } => {
                    let compiled = bound(expr, &planning, &input)?;
                    columns.push((output_field(name, expr, &compiled, &input)?, compiled.physical));
                }
            }
        }
        unique("output", columns.iter().map(|(field, _)| field.name()))?;
        let filter = match &self.shape.filter {
            Some(filter) => Some(condition(bound(filter, &planning, &input)?)?),
            None => None,
        };
        let (fields, expressions): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        Ok(BoundSql {
            input,
            input_columns,
            output: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            expressions,
            filter,
        })
    }

    /// The places of the columns that the statement names, in the order of the schema.
    fn input_columns(&self, schema: &Schema) -> Result<Vec<usize>, ExprError> {
        let mut used = BTreeSet::new();
        let mut expressions: Vec<&SqlExpr> = self.shape.filter.iter().collect();
        for item in &self.shape.items {
            match item {
                Item::All => used.extend(0..schema.fields().len()),
                Item::Named { expr, .. } => expressions.push(expr),
            }
        }
        for expr in expressions {
            for name in grammar::columns(expr)? {
                used.insert(find(&name, schema)?);
            }
        }
        Ok(used.into_iter().collect())
    }
}

fn output_field(
    name: &str,
    expr: &SqlExpr,
    compiled: &Compiled,
    input: &Schema,
) -> Result<FieldRef, ExprError> {
    if let Some(column) = grammar::column(expr) {
        let index = find(column, input)?;
        return Ok(Arc::new(input.field(index).clone().with_name(name)));
    }
    if compiled.data_type == DataType::Null {
        return Err(ExprError::Type(format!(
            "the column `{}` is always null and has no type: cast it",
            clip(name)
        )));
    }
    Ok(Arc::new(Field::new(name, compiled.data_type.clone(), true)))
}

/// A statement bound to a schema, ready to evaluate. It can be shared between threads.
#[derive(Debug, Clone)]
pub struct BoundSql {
    input: SchemaRef,
    input_columns: Vec<usize>,
    output: SchemaRef,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// What a batch became.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The rows that passed the filter, in their order, with the output's columns.
    pub batch: RecordBatch,
    /// For each row of `batch` its row number in the input.
    pub kept: UInt32Array,
}

impl BoundSql {
    /// The columns that come out. A column selected as it is keeps its field; a computed one is nullable.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    /// The same filter with only the given columns of those that come out, in the given order; it needs no
    /// more input than they and the filter do.
    pub fn narrowed(&self, outputs: &[usize]) -> Result<Self, ExprError> {
        let failed = |error: DataFusionError| ExprError::Batch(clip(&error.strip_backtrace()));
        let lost = |error: ArrowError| ExprError::Batch(clip(&error.to_string()));
        let output = self.output.project(outputs).map_err(lost)?;
        let kept: Vec<&Arc<dyn PhysicalExpr>> = outputs
            .iter()
            .filter_map(|place| self.expressions.get(*place))
            .collect();
        let used: BTreeSet<usize> = kept
            .iter()
            .copied()
            .chain(&self.filter)
            .flat_map(collect_columns)
            .map(|column| column.index())
            .collect();
        let used: Vec<usize> = used.into_iter().collect();
        let input = Arc::new(self.input.project(&used).map_err(lost)?);
        let moved = |expression: &Arc<dyn PhysicalExpr>| {
            reassign_expr_columns(Arc::clone(expression), &input).map_err(failed)
        };
        Ok(Self {
            input_columns: used
                .iter()
                .filter_map(|place| self.input_columns.get(*place).copied())
                .collect(),
            expressions: kept.into_iter().map(moved).collect::<Result<_, _>>()?,
            filter: self.filter.as_ref().map(moved).transpose()?,
            output: Arc::new(output),
            input,
        })
    }

    /// Which columns of the bound schema are needed, ascending: read these and no others.
    pub fn input_columns(&self) -> &[usize] {
        &self.input_columns
    }

    /// Filters and projects a batch that has exactly the [`input_columns`](Self::input_columns), in their
    /// order (a batch of no columns where none is needed, with its row count).
    ///
    /// No value makes this fail; a batch of another shape does.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated, ExprError> {
        check_batch(batch, &self.input)?;
        let failed = |error: DataFusionError| ExprError::Batch(clip(&error.strip_backtrace()));
        let rows = u32::try_from(batch.num_rows())
            .map_err(|_| ExprError::Batch("a batch has at most 4294967295 rows: cut it".to_owned()))?;
        let (batch, kept) = match &self.filter {
            None => (batch.clone(), (0..rows).collect()),
            Some(filter) => {
                let passed = filter
                    .evaluate(batch)
                    .and_then(|passed| passed.into_array(batch.num_rows()))
                    .map_err(failed)?;
                keep(batch, passed.as_boolean())?
            }
        };
        let columns = self
            .expressions
            .iter()
            .map(|expression| expression.evaluate(&batch)?.into_array(batch.num_rows()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let batch = RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| ExprError::Batch(clip(&error.to_string())))?;
        Ok(Evaluated { batch, kept })
    }
}

/// The rows for which the condition is true: null is not.
fn keep(batch: &RecordBatch, passed: &BooleanArray) -> Result<(RecordBatch, UInt32Array), ExprError> {
    let kept: UInt32Array = (0_u32..)
        .zip(passed.iter())
        .filter_map(|(row, passed)| (passed == Some(true)).then_some(row))
        .collect();
    if kept.len() == batch.num_rows() {
        return Ok((batch.clone(), kept));
    }
    let batch =
        filter_record_batch(batch, passed).map_err(|error| ExprError::Batch(clip(&error.to_string())))?;
    Ok((batch, kept))
}
