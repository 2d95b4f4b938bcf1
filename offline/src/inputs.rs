//! The stored values of a view, out of the columns of its source after `sql`: its features, or the inputs of its
//! aggregates.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, is_not_null, nullif};
use datafusion::arrow::datatypes::{DataType as ArrowType, Schema, SchemaRef};

use asof_core::data_type::DataType;
use asof_core::definition::{BoundView, Input, InputText};
use asof_expr::{BoundExpression, ExprError, Expression};

use crate::column::{self, ColumnError};
use crate::columns::Selected;
use crate::error::{OfflineError, Result};
use crate::heads::Stand;
use crate::rows::column_error;

/// How the stored values of a view come about.
#[derive(Debug, Clone)]
pub(crate) struct ViewValues {
    /// The places, in the schema of the source, of the columns that they are made of.
    places: Vec<usize>,
    values: Vec<Value>,
}

/// One of the stored values.
#[derive(Debug, Clone)]
struct Value {
    /// What messages call it.
    name: String,
    data_type: DataType,
    of: Of,
    filter: Option<Computed>,
    /// Whether only that there is a value counts.
    is_counted: bool,
}

#[derive(Debug, Clone)]
enum Of {
    /// Every row has one.
    Every,
    /// The column of that number among the selected ones.
    Column(usize),
    Expression(Computed),
}

/// An expression with the columns that it reads, by their numbers among the selected ones.
#[derive(Debug, Clone)]
struct Computed {
    bound: Arc<BoundExpression>,
    columns: Vec<usize>,
    input: SchemaRef,
}

impl ViewValues {
    /// The values of a view of features that stand at these places.
    pub(crate) fn of_features(view: &BoundView, places: Vec<usize>) -> Self {
        let values = view.view.features().iter().enumerate();
        Self {
            values: values
                .map(|(number, feature)| Value {
                    name: feature.source_column().to_owned(),
                    data_type: feature.data_type.clone(),
                    of: Of::Column(number),
                    filter: None,
                    is_counted: false,
                })
                .collect(),
            places,
        }
    }

    /// The inputs of a view of aggregates.
    ///
    /// # Errors
    ///
    /// A column that is missing, and types that do not fit, with the view and the input.
    pub(crate) fn of_inputs(
        bound: &BoundView,
        inputs: &[Input],
        schema: &SchemaRef,
        find: impl Fn(&str, &str) -> Result<usize>,
    ) -> Result<Self> {
        let mut binding = Binding {
            bound,
            schema,
            places: Vec::new(),
        };
        let values = inputs.iter().map(|input| binding.value(input, &find));
        Ok(Self {
            values: values.collect::<Result<_>>()?,
            places: binding.places,
        })
    }

    /// The places of the columns to select.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The places of the columns that are values as they are.
    pub(crate) fn plain(&self) -> impl Iterator<Item = (usize, &DataType)> {
        let columns = self.values.iter().filter_map(|value| match value.of {
            Of::Column(number) if !value.is_counted => Some((number, &value.data_type)),
            _ => None,
        });
        columns.filter_map(|(number, data_type)| Some((*self.places.get(number)?, data_type)))
    }

    /// The values of rows of which the columns were selected, as their types.
    pub(crate) fn read(
        &self,
        columns: &[ArrayRef],
        selected: &Selected,
        stand: Stand<'_>,
    ) -> Result<Vec<ArrayRef>> {
        let values = self.values.iter().map(|value| {
            let array = value.array(columns, selected.rows)?;
            typed(&array, &value.data_type)
                .map_err(|error| column_error(stand, &value.name, &error, selected))
        });
        values.collect()
    }
}

impl Value {
    /// The values before they are of their type, null where the filter is not true.
    fn array(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let array = match &self.of {
            Of::Every => Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef,
            Of::Column(number) => columns.get(*number).cloned().ok_or_else(lost)?,
            Of::Expression(computed) => computed.evaluate(columns, rows)?,
        };
        let array = match self.is_counted && !matches!(self.of, Of::Every) {
            true => there(&array)?,
            false => array,
        };
        let Some(filter) = &self.filter else {
            return Ok(array);
        };
        let kept = filter.evaluate(columns, rows)?;
        let kept = kept.as_any().downcast_ref::<BooleanArray>().ok_or_else(lost)?;
        if *array.data_type() == ArrowType::Null {
            return Ok(array);
        }
        let left_out: BooleanArray = kept.iter().map(|kept| Some(kept != Some(true))).collect();
        Ok(nullif(&array, &left_out)?)
    }
}

/// `true` wherever there is a value, null elsewhere.
fn there(array: &ArrayRef) -> Result<ArrayRef> {
    let there = is_not_null(array)?;
    Ok(Arc::new(
        there
            .iter()
            .map(|there| (there == Some(true)).then_some(true))
            .collect::<BooleanArray>(),
    ))
}

fn lost() -> OfflineError {
    OfflineError::Internal("a column of an input was not read".into())
}

/// As its type: exactly, but for decimals of which the nearest `float64` is wanted.
fn typed(array: &ArrayRef, data_type: &DataType) -> std::result::Result<ArrayRef, ColumnError> {
    let is_decimal = matches!(array.data_type(), ArrowType::Decimal128(..));
    if is_decimal && *data_type == DataType::Float64 {
        return cast(array, &ArrowType::Float64).map_err(|_| ColumnError::Type {
            found: column::type_name(array.data_type()),
            declared: data_type.to_string(),
        });
    }
    column::convert(array, data_type)
}

impl Computed {
    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let fields = self.columns.iter().zip(self.input.fields());
        let columns = fields.map(|(number, field)| {
            let array = columns.get(*number).ok_or_else(lost)?;
            match array.data_type() == field.data_type() {
                true => Ok(Arc::clone(array)),
                false => Ok(cast(array, field.data_type())?),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.input), columns, &options)?;
        let failed = |error: ExprError| OfflineError::Internal(error.to_string());
        self.bound.evaluate(&batch).map_err(failed)
    }
}

/// Inputs being bound to the columns of their source.
struct Binding<'a> {
    bound: &'a BoundView,
    schema: &'a SchemaRef,
    places: Vec<usize>,
}

impl Binding<'_> {
    fn value(&mut self, input: &Input, find: impl Fn(&str, &str) -> Result<usize>) -> Result<Value> {
        let of = match &input.of {
            None => Of::Every,
            Some(InputText::Column(column)) => {
                let role = format!("input of view {}", self.bound.view.name);
                Of::Column(self.select(find(column, &role)?))
            }
            Some(InputText::Expression(text)) => {
                Of::Expression(self.computed(input, text, Expression::bind, "")?)
            }
        };
        let filter = input.filter.as_deref();
        let filter = filter.map(|text| self.computed(input, text, Expression::bind_condition, "where: "));
        let value = Value {
            name: input.to_string(),
            data_type: input.data_type.clone(),
            filter: filter.transpose()?,
            is_counted: input.is_counted,
            of,
        };
        self.check(input, &value)?;
        Ok(value)
    }

    /// Refuses types that do not fit, before there are any values.
    fn check(&self, input: &Input, value: &Value) -> Result<()> {
        if value.is_counted {
            return Ok(());
        }
        let found = match &value.of {
            Of::Every => return Ok(()),
            Of::Column(number) => self
                .places
                .get(*number)
                .map_or(&ArrowType::Null, |place| self.schema.field(*place).data_type()),
            Of::Expression(computed) => computed.bound.data_type(),
        };
        let none = datafusion::arrow::array::new_empty_array(found);
        typed(&none, &value.data_type)
            .map(drop)
            .map_err(|error| self.wrong(input, &error.to_string()))
    }

    /// The number of a column among those selected.
    fn select(&mut self, place: usize) -> usize {
        let known = self.places.iter().position(|known| *known == place);
        known.unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    fn computed(
        &mut self,
        input: &Input,
        text: &str,
        bind: impl Fn(&Expression, &Schema) -> std::result::Result<BoundExpression, ExprError>,
        what: &str,
    ) -> Result<Computed> {
        let bound = Expression::parse(text).and_then(|expression| bind(&expression, self.schema));
        let bound = bound.map_err(|error| self.wrong(input, &format!("{what}{error}")))?;
        let places = bound.input_columns().to_vec();
        let input = self.schema.project(&places)?;
        let fields = input.fields().iter();
        let nullable: Vec<_> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        Ok(Computed {
            columns: places.iter().map(|place| self.select(*place)).collect(),
            bound: Arc::new(bound),
            input: Arc::new(Schema::new(nullable)),
        })
    }

    fn wrong(&self, input: &Input, what: &str) -> OfflineError {
        let BoundView { view, source, .. } = self.bound;
        OfflineError::Definition(format!(
            "source {}: view {}: input {input}: {what}",
            source.name, view.name
        ))
    }
}
