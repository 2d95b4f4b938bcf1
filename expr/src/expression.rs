//! One row-wise expression, such as the input of an aggregate, or a condition of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use crate::bind::{bound, check_batch, condition, find, planning_schema, unique};
use crate::compile::Compiled;
use crate::error::{ExprError, clip};
use crate::grammar::Names;
use crate::limits::with_stack;
use crate::operators::noted;
use crate::{grammar, statement};

/// A text that is known to be one expression of listed functions and operators.
///
/// ```
/// use asof_expr::Expression;
/// # use arrow_schema::{DataType, Field, Schema};
/// # let schema = Schema::new(vec![
/// #     Field::new("arrived", DataType::Float64, true),
/// #     Field::new("due", DataType::Float64, true),
/// # ]);
/// let delay = Expression::parse("arrived - due")?;
/// assert_eq!(delay.bind(&schema)?.data_type(), &DataType::Float64);
/// assert!(delay.bind_condition(&schema).is_err());
/// # Ok::<(), asof_expr::ExprError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    expr: SqlExpr,
}

impl Expression {
    /// Checks the limits, parses, and checks the forms and the functions. No schema is needed yet.
    ///
    /// # Errors
    ///
    /// What is not one expression, or not an allowed one.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self {
            expr: with_stack(|| statement::parse_expression(text, Names::Columns))?,
            text: text.to_owned(),
        })
    }

    /// A checked expression with its text.
    pub(crate) fn of(text: &str, expr: SqlExpr) -> Self {
        Self {
            text: text.to_owned(),
            expr,
        }
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Types the expression against columns.
    ///
    /// # Errors
    ///
    /// A column that is missing, types that do not go together, and an expression that is always null and so has no
    /// type.
    pub fn bind(&self, schema: &Schema) -> Result<BoundExpression, ExprError> {
        let (columns, compiled) = with_stack(|| self.compile(schema))?;
        if compiled.data_type == DataType::Null {
            return Err(ExprError::Type(format!(
                "`{}` is always null and has no type: cast it",
                clip(&self.text)
            )));
        }
        Ok(BoundExpression {
            data_type: compiled.data_type.clone(),
            physical: compiled.physical,
            columns,
        })
    }

    /// The same for a condition.
    ///
    /// # Errors
    ///
    /// Those of [`Expression::bind`], and an expression of another type than boolean.
    pub fn bind_condition(&self, schema: &Schema) -> Result<BoundExpression, ExprError> {
        let (columns, compiled) = with_stack(|| self.compile(schema))?;
        Ok(BoundExpression {
            physical: condition(compiled)?,
            data_type: DataType::Boolean,
            columns,
        })
    }

    fn compile(&self, schema: &Schema) -> Result<(Columns, Compiled), ExprError> {
        unique("input", schema.fields().iter().map(|field| field.name()))?;
        let mut places = BTreeSet::new();
        for name in grammar::columns(&self.expr)? {
            places.insert(find(&name, schema)?);
        }
        let places: Vec<usize> = places.into_iter().collect();
        let input = schema
            .project(&places)
            .map_err(|error| ExprError::Batch(clip(&error.to_string())))?;
        let compiled = bound(&self.expr, &planning_schema(&input)?, &input)?;
        let input = Arc::new(input);
        Ok((Columns { places, input }, compiled))
    }
}

/// The columns that an expression reads.
#[derive(Debug, Clone)]
struct Columns {
    places: Vec<usize>,
    input: SchemaRef,
}

/// An expression bound to a schema, ready to evaluate. It can be shared between threads.
#[derive(Debug, Clone)]
pub struct BoundExpression {
    columns: Columns,
    physical: Arc<dyn PhysicalExpr>,
    data_type: DataType,
}

impl BoundExpression {
    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The schema of batches that it takes.
    pub(crate) fn input(&self) -> &SchemaRef {
        &self.columns.input
    }

    /// Which columns of the bound schema are needed, ascending.
    pub fn input_columns(&self) -> &[usize] {
        &self.columns.places
    }

    /// Its value for each row of a batch that has exactly the [`input_columns`](Self::input_columns), in their order
    /// (a batch of no columns where none is needed, with its row count).
    ///
    /// # Errors
    ///
    /// A batch of another shape; no value makes this fail.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, ExprError> {
        check_batch(batch, &self.columns.input)?;
        self.values(batch)
    }

    /// The same, with how many rows are null because something in them could not be computed: what overflows, is divided
    /// by zero, has no counterpart in another type, or lies outside a function's domain. A row that has a value all the
    /// same, as of `coalesce`, is not counted; so the count does not go by the batches in which rows come.
    ///
    /// # Errors
    ///
    /// Those of [`Self::evaluate`].
    pub fn evaluate_counted(&self, batch: &RecordBatch) -> Result<(ArrayRef, u64), ExprError> {
        check_batch(batch, &self.columns.input)?;
        let (values, is_noted) = noted(|| self.values(batch));
        let values = values?;
        let failed = match is_noted {
            true => self.failed_rows(batch, &values)?,
            false => 0,
        };
        Ok((values, failed))
    }

    /// Of rows in which something could not be computed, how many are null for it.
    fn failed_rows(&self, batch: &RecordBatch, values: &ArrayRef) -> Result<u64, ExprError> {
        let Some(nulls) = values.logical_nulls() else {
            return Ok(0);
        };
        if batch.num_rows() == 1 {
            return Ok(nulls.null_count() as u64);
        }
        let lost = |error: ArrowError| ExprError::Batch(clip(&error.to_string()));
        let null = BooleanArray::new(!nulls.inner(), None);
        let mut parts = vec![filter_record_batch(batch, &null).map_err(lost)?];
        let mut failed = 0;
        while let Some(part) = parts.pop() {
            let (values, is_noted) = noted(|| self.values(&part));
            values?;
            match (is_noted, part.num_rows()) {
                (false, _) => {}
                (true, 1) => failed += 1,
                (true, rows) => {
                    let half = rows / 2;
                    parts.extend([part.slice(0, half), part.slice(half, rows - half)]);
                }
            }
        }
        Ok(failed)
    }

    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let failed = |error: DataFusionError| ExprError::Batch(clip(&error.strip_backtrace()));
        let values = self.physical.evaluate(batch).map_err(failed)?;
        values.into_array(batch.num_rows()).map_err(failed)
    }
}
