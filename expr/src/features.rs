//! One expression of on-demand features: what its names mean, and its type against the one that is declared.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use arrow_schema::ArrowError;
use asof_core::data_type::DataType;
use datafusion_sql::sqlparser::ast::{Expr as SqlExpr, visit_expressions, visit_expressions_mut};

use crate::bind::quoted;
use crate::clear::cleared;
use crate::error::{ExprError, clip};
use crate::expression::{BoundExpression, Expression};
use crate::grammar::Names;
use crate::limits::with_stack;
use crate::statement;
use crate::types::{Spelled, is_text};

/// The longest text, or bytes, that an on-demand feature may have; a longer one is null, and counted. So features that are
/// computed of each other cannot double a text time and again, and 65,536 rows always fit a column, which has less than 2 GiB.
pub const MAX_VALUE_BYTES: usize = (1 << 15) - 1;
/// About so many bytes are computed with at a time, as an expression may give many times the text that it is given.
const PART_BYTES: usize = 1 << 20;

/// What a name in an expression of on-demand features is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `name`: a column of the request, or another feature of the same set.
    Own(String),
    /// `view.feature`
    Of {
        /// The view, or another set of on-demand features.
        view: String,
        /// The feature.
        feature: String,
    },
}

/// A text that is known to be one expression of listed functions and operators over features and request columns.
///
/// ```
/// use asof_core::data_type::DataType;
/// use asof_expr::{FeatureExpression, Reference};
/// let headwind = FeatureExpression::parse("weather.wind_speed * cos(radians(weather.wind_dir - bearing))")?;
/// assert_eq!(headwind.references().len(), 3);
/// assert_eq!(headwind.references()[2], Reference::Own("bearing".into()));
/// let inputs = [DataType::Float64, DataType::Float64, DataType::Float64];
/// assert!(headwind.bind(&inputs, &DataType::Float64).is_ok());
/// assert!(headwind.bind(&inputs, &DataType::Bool).is_err());
/// # Ok::<(), asof_expr::ExprError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FeatureExpression {
    /// With the places of the references for their names.
    expression: Expression,
    references: Vec<Reference>,
}

impl FeatureExpression {
    /// Checks the limits, parses, and checks the forms and the functions.
    ///
    /// # Errors
    ///
    /// What is not one expression, or not an allowed one.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        with_stack(|| {
            let mut expr = statement::parse_expression(text, Names::Features)?;
            let references = references(&expr);
            let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
                let place =
                    reference(part).and_then(|name| references.iter().position(|known| *known == name));
                if let Some(place) = place {
                    *part = SqlExpr::Identifier(quoted(&place.to_string()));
                }
                ControlFlow::Continue(())
            });
            Ok(Self {
                expression: Expression::of(text, expr),
                references,
            })
        })
    }

    /// What it names, each once, in the order in which the text names it first.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Types the expression against what its [`references`](Self::references) are, and against the type of the feature.
    ///
    /// Of another type than the declared one it may be where every value of it is one of the declared type: whole numbers of
    /// fewer bits, decimals with fewer digits on both sides of the point, float32 and int32 for float64, timestamps without a
    /// zone or in other units.
    ///
    /// # Errors
    ///
    /// Types that do not go together, or do not give the declared one.
    pub fn bind(&self, inputs: &[DataType], declared: &DataType) -> Result<BoundFeature, ExprError> {
        if matches!(declared, DataType::Json | DataType::Struct(_) | DataType::Map(_)) {
            return Err(ExprError::Type(format!(
                "an expression cannot give {}: declare another type",
                clip(&declared.to_string())
            )));
        }
        let fields = inputs
            .iter()
            .enumerate()
            .map(|(place, input)| Field::new(place.to_string(), input.to_arrow(), true));
        let bound = self.expression.bind(&Schema::new(fields.collect::<Vec<_>>()))?;
        let to = declared.to_arrow();
        if !gives(bound.data_type(), &to) {
            return Err(ExprError::Type(format!(
                "`{}` gives {}, and is declared as {}: cast it, or declare what it gives",
                clip(self.expression.text()),
                Spelled(bound.data_type()),
                clip(&declared.to_string())
            )));
        }
        let may_grow = is_blob(&to) || inputs.iter().any(|input| may_be_long(&input.to_arrow()));
        Ok(BoundFeature { bound, to, may_grow })
    }
}

/// The references of an expression, each once.
fn references(expr: &SqlExpr) -> Vec<Reference> {
    let mut found = Vec::new();
    let _: ControlFlow<()> = visit_expressions(expr, |part| {
        found.extend(reference(part).filter(|name| !found.contains(name)));
        ControlFlow::Continue(())
    });
    found
}

fn reference(expr: &SqlExpr) -> Option<Reference> {
    match expr {
        SqlExpr::Identifier(name) => Some(Reference::Own(name.value.clone())),
        SqlExpr::CompoundIdentifier(parts) => match parts.as_slice() {
            [view, feature] => Some(Reference::Of {
                view: view.value.clone(),
                feature: feature.value.clone(),
            }),
            _ => None,
        },
        _ => None,
    }
}

/// Whether every value of one type is one of the other.
fn gives(from: &ArrowType, to: &ArrowType) -> bool {
    use ArrowType::{
        Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32, UInt64,
        Utf8,
    };
    match (from, to) {
        (Int8 | Int16 | UInt8 | UInt16, Int32) => true,
        // What functions count is far from the end of int64.
        (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 | UInt64, Int64) => true,
        (Float32 | Int32, Float64) => true,
        (Decimal128(p, s), Decimal128(to_p, to_s)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            s <= to_s && whole(*p, *s) <= whole(*to_p, *to_s)
        }
        (Timestamp(..), Timestamp(..)) => true,
        (from, Utf8) => is_text(from),
        (ArrowType::List(from), ArrowType::List(to)) => gives(from.data_type(), to.data_type()),
        (from, to) => from == to,
    }
}

fn is_blob(data_type: &ArrowType) -> bool {
    matches!(data_type, ArrowType::Utf8 | ArrowType::Binary)
}

fn may_be_long(data_type: &ArrowType) -> bool {
    is_blob(data_type)
        || matches!(
            data_type,
            ArrowType::List(_) | ArrowType::Map(..) | ArrowType::Struct(_)
        )
}

/// An expression bound to the types of its references and of its feature. It can be shared between threads.
#[derive(Debug, Clone)]
pub struct BoundFeature {
    bound: BoundExpression,
    to: ArrowType,
    /// Whether values may be long, and results longer.
    may_grow: bool,
}

/// What a feature has for some rows.
#[derive(Debug, Clone)]
pub struct FeatureValues {
    /// Its values, of the Arrow type of its type; beneath nulls there are zeros, and nothing.
    pub values: ArrayRef,
    /// How many of the nulls are there because something could not be computed.
    pub failed: u64,
}

impl BoundFeature {
    /// Whether its values, or what they are computed of, may be long.
    pub(crate) fn may_grow(&self) -> bool {
        self.may_grow
    }

    /// The schema of the batches that it takes: a column for each reference.
    pub(crate) fn input(&self) -> &SchemaRef {
        self.bound.input()
    }

    /// The values for columns of so many rows, one for each reference.
    ///
    /// # Errors
    ///
    /// Columns of another type or length; no value makes this fail.
    pub fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<FeatureValues, ExprError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(SchemaRef::clone(self.input()), columns, &options);
        let batch = batch.map_err(failed)?;
        let values = match self.may_grow {
            true => self.in_parts(&batch)?,
            false => self.at_once(&batch)?,
        };
        Ok(FeatureValues {
            values: cleared(values.values)?,
            failed: values.failed,
        })
    }

    /// In parts that are short enough for Arrow's text; a row that becomes too long for it on the way is null.
    fn in_parts(&self, batch: &RecordBatch) -> Result<FeatureValues, ExprError> {
        let (mut left, mut done, mut failed_rows) = (vec![batch.clone()], Vec::new(), 0);
        while let Some(part) = left.pop() {
            let rows = part.num_rows();
            let is_short = rows <= 1 || bytes(&part).map_err(failed)? <= PART_BYTES;
            match is_short.then(|| self.at_once(&part)) {
                Some(Ok(FeatureValues { values, failed })) => {
                    done.push(values);
                    failed_rows += failed;
                }
                Some(Err(_)) if rows == 1 => {
                    done.push(new_null_array(&self.to, 1));
                    failed_rows += 1;
                }
                Some(Err(error)) if rows == 0 => return Err(error),
                Some(Err(_)) | None => {
                    let half = rows / 2;
                    left.extend([part.slice(half, rows - half), part.slice(0, half)]);
                }
            }
        }
        let values = match done.as_slice() {
            [one] => Arc::clone(one),
            parts => {
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                concat(&parts).map_err(failed)?
            }
        };
        Ok(FeatureValues {
            values,
            failed: failed_rows,
        })
    }

    fn at_once(&self, batch: &RecordBatch) -> Result<FeatureValues, ExprError> {
        let (values, mut failed_rows) = self.bound.evaluate_counted(batch)?;
        let mut then = |before: &ArrayRef, after: ArrayRef| {
            failed_rows += (after.logical_null_count() - before.logical_null_count()) as u64;
            after
        };
        let values = match *values.data_type() == self.to {
            true => values,
            false => {
                let options = CastOptions {
                    safe: true,
                    ..CastOptions::default()
                };
                let cast = cast_with_options(&values, &self.to, &options).map_err(failed)?;
                then(&values, cast)
            }
        };
        let values = match without_long(&values) {
            Some(short) => then(&values, short),
            None => values,
        };
        Ok(FeatureValues {
            values,
            failed: failed_rows,
        })
    }
}

/// The bytes of all that may be long in a batch.
fn bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let columns = batch.columns().iter();
    let columns = columns.filter(|column| may_be_long(column.data_type()));
    columns
        .map(|column| column.to_data().get_slice_memory_size())
        .sum()
}

/// The same values with nulls for texts that are too long, where there are such.
fn without_long(values: &ArrayRef) -> Option<ArrayRef> {
    let offsets = match values.data_type() {
        ArrowType::Utf8 => values.as_string::<i32>().offsets(),
        ArrowType::Binary => values.as_binary::<i32>().offsets(),
        _ => return None,
    };
    let fits = |length: usize| length <= MAX_VALUE_BYTES;
    if offsets.lengths().all(fits) {
        return None;
    }
    let known = values.logical_nulls();
    let kept = offsets.lengths().enumerate().map(|(row, length)| {
        let is_there = known.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        is_there && fits(length)
    });
    let nulls = Some(kept.collect());
    let data = values.to_data().into_builder().nulls(nulls).build().ok()?;
    Some(make_array(data))
}

pub(crate) fn failed(error: ArrowError) -> ExprError {
    ExprError::Batch(clip(&error.to_string()))
}
