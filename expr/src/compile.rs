//! From a planned expression to one that evaluates, a node at a time from the leaves up.
//!
//! Each node is typed, coerced and made physical over a small schema with one column for each of its
//! operands; then the operands' own physical expressions take the places of these columns. So the work
//! is linear in the text, and DataFusion's recursive passes, some of which copy operands, only ever see
//! trees of one level.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::can_cast_types;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{Between as BetweenExpr, InList, Like as LikeExpr, ScalarFunction};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarUDF, lit};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use crate::error::{ExprError, clip};
use crate::functions;
use crate::operators::{
    Arithmetic, Between, Coalesce, Compare, Guarded, InFloats, Like, Negation, NullCast, NullIf, function,
};
use crate::types::{Spelled, is_text};

/// An expression that evaluates, and its type.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) physical: Arc<dyn PhysicalExpr>,
    pub(crate) data_type: DataType,
    constant: Option<ScalarValue>,
}

/// What is left to do: a stack of our own, since a level of recursion here costs many kilobytes.
enum Task {
    Visit(Expr),
    /// A node whose operands are compiled: the last so many results, in their order.
    Build(Expr, usize),
}

/// Compiles an expression over the columns of `schema`, which batches will have in the same order.
pub(crate) fn compile(expr: Expr, schema: &Schema) -> Result<Compiled, ExprError> {
    let mut tasks = vec![Task::Visit(expr)];
    let mut done: Vec<Compiled> = Vec::new();
    while let Some(task) = tasks.pop() {
        match task {
            Task::Visit(Expr::Alias(alias)) => tasks.push(Task::Visit(*alias.expr)),
            Task::Visit(Expr::Column(column)) => done.push(compile_column(&column.name, schema)?),
            Task::Visit(Expr::Literal(value, _)) => done.push(constant(value)),
            Task::Visit(node) => {
                check_node(&node)?;
                let (node, children) = take_children(node)?;
                tasks.push(Task::Build(node, children.len()));
                tasks.extend(children.into_iter().rev().map(Task::Visit));
            }
            Task::Build(node, operands) => {
                let operands = done.split_off(done.len().saturating_sub(operands));
                done.push(compile_node(node, operands)?);
            }
        }
    }
    done.pop().ok_or_else(|| internal("nothing is there"))
}

/// A node with nulls in the places of its operands, and the operands.
fn take_children(node: Expr) -> Result<(Expr, Vec<Expr>), ExprError> {
    let mut children = Vec::new();
    let node = map_children(node, &mut |child| {
        children.push(child);
        Ok(lit(ScalarValue::Null))
    })?;
    Ok((node, children))
}

fn compile_column(name: &str, schema: &Schema) -> Result<Compiled, ExprError> {
    let (index, field) = schema
        .column_with_name(name)
        .ok_or_else(|| internal("a column is lost"))?;
    Ok(Compiled {
        physical: Arc::new(PhysicalColumn::new(name, index)),
        data_type: field.data_type().clone(),
        constant: None,
    })
}

fn constant(value: ScalarValue) -> Compiled {
    Compiled {
        data_type: value.data_type(),
        physical: Arc::new(Literal::new(value.clone())),
        constant: Some(value),
    }
}

fn internal(what: &str) -> ExprError {
    ExprError::Type(format!("the expression cannot be planned: {}", clip(what)))
}

fn compile_node(node: Expr, compiled: Vec<Compiled>) -> Result<Compiled, ExprError> {
    let mut operands = Operands::default();
    let mut compiled = compiled.into_iter();
    let node = map_children(node, &mut |_| {
        let operand = compiled.next().ok_or_else(|| internal("an operand is lost"))?;
        Ok(operands.add(operand))
    })?;
    let small = operands.schema()?;
    let node = translate(node, &operands, &small)?;
    operands.finish(node, &small)
}

/// Applies a function to the direct operands of a node.
fn map_children(expr: Expr, f: &mut dyn FnMut(Expr) -> Result<Expr, ExprError>) -> Result<Expr, ExprError> {
    let mut failed = None;
    let mapped = expr.map_children(|child| match f(child) {
        Ok(expr) => Ok(Transformed::yes(expr)),
        Err(error) => {
            failed = Some(error);
            Err(DataFusionError::Plan(String::new()))
        }
    });
    match (failed, mapped) {
        (Some(error), _) => Err(error),
        (None, Ok(mapped)) => Ok(mapped.data),
        (None, Err(error)) => Err(internal(&error.strip_backtrace())),
    }
}

/// The gate for planned expressions: DataFusion's planners can reach functions that no text named.
fn check_node(expr: &Expr) -> Result<(), ExprError> {
    match expr {
        Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_) => Ok(()),
        Expr::ScalarFunction(call) if functions::is_listed(&call.func) => Ok(()),
        Expr::ScalarFunction(call) => Err(ExprError::NotAllowed(format!(
            "the function `{}` is not allowed",
            clip(call.func.name())
        ))),
        other => Err(ExprError::NotAllowed(format!(
            "`{}` is not allowed in an expression",
            clip(other.variant_name())
        ))),
    }
}

/// The operands of a node, each a column or a constant of its small schema.
#[derive(Default)]
struct Operands(Vec<Compiled>);

impl Operands {
    /// Adds an operand; what stands for it in the node.
    fn add(&mut self, operand: Compiled) -> Expr {
        let stand_in = match &operand.constant {
            Some(value) => lit(value.clone()),
            None => Expr::Column(Column::new_unqualified(self.0.len().to_string())),
        };
        self.0.push(operand);
        stand_in
    }

    fn schema(&self) -> Result<DFSchema, ExprError> {
        let fields: Vec<Field> = self
            .0
            .iter()
            .enumerate()
            .map(|(index, operand)| Field::new(index.to_string(), operand.data_type.clone(), true))
            .collect();
        DFSchema::try_from(Schema::new(fields)).map_err(|error| internal(&error.strip_backtrace()))
    }

    fn types(&self) -> String {
        let types: Vec<String> = self
            .0
            .iter()
            .map(|operand| Spelled(&operand.data_type).to_string())
            .collect();
        match types.as_slice() {
            [one] => one.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
            [] => "nothing".to_owned(),
        }
    }

    /// Microseconds instead of nanoseconds where no operand has nanoseconds: these end in 2262.
    fn unit_in_use(&self, to: &DataType) -> DataType {
        let nanoseconds =
            |data_type: &DataType| matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _));
        match to {
            DataType::Timestamp(TimeUnit::Nanosecond, zone)
                if !self.0.iter().any(|operand| nanoseconds(&operand.data_type)) =>
            {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            other => other.clone(),
        }
    }

    fn mismatch(&self, what: &str) -> ExprError {
        ExprError::Type(format!(
            "{what} cannot be used with {}: cast to types that fit",
            self.types()
        ))
    }

    /// Makes the node physical, puts the operands into their places, and folds what is constant.
    fn finish(self, node: Expr, small: &DFSchema) -> Result<Compiled, ExprError> {
        let planned = |error: DataFusionError| internal(&error.strip_backtrace());
        let data_type = node.get_type(small).map_err(planned)?;
        let physical = create_physical_expr(
            &node,
            small,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )
        .map_err(planned)?;
        if self.0.iter().all(|operand| operand.constant.is_some()) {
            let batch = RecordBatch::new_null(small, 1).map_err(|error| internal(&error.to_string()))?;
            return match physical.evaluate(&batch).map_err(planned)? {
                ColumnarValue::Scalar(value) => Ok(constant(value)),
                ColumnarValue::Array(array) => {
                    Ok(constant(ScalarValue::try_from_array(&array, 0).map_err(planned)?))
                }
            };
        }
        let physical = physical
            .transform_up(|part| {
                let operand = part
                    .downcast_ref::<PhysicalColumn>()
                    .and_then(|column| self.0.get(column.index()));
                Ok(match operand {
                    Some(operand) => Transformed::yes(Arc::clone(&operand.physical)),
                    None => Transformed::no(part),
                })
            })
            .map_err(planned)?
            .data;
        Ok(Compiled {
            physical,
            data_type,
            constant: None,
        })
    }
}

trait NullBatch: Sized {
    fn new_null(schema: &DFSchema, rows: usize) -> Result<Self, arrow_schema::ArrowError>;
}

impl NullBatch for RecordBatch {
    fn new_null(schema: &DFSchema, rows: usize) -> Result<Self, arrow_schema::ArrowError> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| arrow::array::new_null_array(field.data_type(), rows))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Self::try_new_with_options(Arc::clone(schema.inner()), columns, &options)
    }
}

/// A node over its small schema in Asof's operators.
fn translate(expr: Expr, operands: &Operands, small: &DFSchema) -> Result<Expr, ExprError> {
    let (expr, to) = match expr {
        Expr::Cast(cast) => (*cast.expr, Some(cast.field.data_type().clone())),
        Expr::TryCast(cast) => (*cast.expr, Some(cast.field.data_type().clone())),
        other => (other, None),
    };
    if let Some(to) = to {
        return explicit_cast(expr, &to, operands);
    }
    let what = describe(&expr);
    let expr = read_times(expr, operands)?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(small.clone()))
        .build();
    let coerced = ExprSimplifier::new(context)
        .coerce(expr, small)
        .map_err(|_| operands.mismatch(&what))?;
    let coerced = map_children(coerced, &mut |child| implicit_cast(child, &what, operands, small))?;
    let data_type = coerced.get_type(small).map_err(|_| operands.mismatch(&what))?;
    operator(coerced, data_type, &what, operands, small)
}

fn describe(expr: &Expr) -> String {
    match expr {
        Expr::BinaryExpr(binary) => format!("`{}`", binary.op.to_string().to_lowercase()),
        Expr::ScalarFunction(call) => format!("the function `{}`", clip(call.func.name())),
        Expr::Like(_) => "`like`".to_owned(),
        Expr::Between(_) => "`between`".to_owned(),
        Expr::InList(_) => "`in`".to_owned(),
        Expr::Case(_) => "`case`".to_owned(),
        Expr::Negative(_) => "`-`".to_owned(),
        Expr::Not(_) => "`not`".to_owned(),
        _ => "`is`".to_owned(),
    }
}

fn call(function: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}

fn explicit_cast(operand: Expr, to: &DataType, operands: &Operands) -> Result<Expr, ExprError> {
    let from = operands
        .0
        .first()
        .map_or(&DataType::Null, |operand| &operand.data_type);
    if can_cast_types(from, to) {
        return Ok(call(function(NullCast::new(to.clone())), vec![operand]));
    }
    Err(ExprError::Type(format!(
        "{} cannot be cast to {}",
        Spelled(from),
        Spelled(to)
    )))
}

/// Reads constant texts beside a date or timestamp as such; DataFusion would turn all into nanoseconds,
/// which end in 2262.
fn read_times(expr: Expr, operands: &Operands) -> Result<Expr, ExprError> {
    let compares = match &expr {
        Expr::BinaryExpr(binary) => is_comparison(binary.op),
        Expr::Between(_) | Expr::InList(_) => true,
        _ => false,
    };
    let Some(time) = operands
        .0
        .iter()
        .map(|operand| &operand.data_type)
        .find(|known| is_time(known))
    else {
        return Ok(expr);
    };
    if !compares {
        return Ok(expr);
    }
    map_children(expr, &mut |child| match child {
        Expr::Literal(value, _) if is_text(&value.data_type()) => time_constant(&value, time),
        other => Ok(other),
    })
}

/// `= <> < <= > >=`
fn is_order(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    )
}

fn is_comparison(op: Operator) -> bool {
    is_order(op) || matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

fn time_constant(value: &ScalarValue, time: &DataType) -> Result<Expr, ExprError> {
    match value.cast_to(time) {
        Ok(read) if read.is_null() == value.is_null() => Ok(lit(read)),
        _ => Err(ExprError::Type(format!(
            "the text '{}' is not a {}",
            clip(&text_of(value)),
            Spelled(time)
        ))),
    }
}

/// A cast that nobody wrote: between numbers, between texts, between times, or of null.
fn implicit_cast(child: Expr, what: &str, operands: &Operands, small: &DFSchema) -> Result<Expr, ExprError> {
    let Expr::Cast(cast) = child else {
        return Ok(child);
    };
    let to = operands.unit_in_use(cast.field.data_type());
    let from = cast.expr.get_type(small).map_err(|_| operands.mismatch(what))?;
    let alike = from == DataType::Null
        || (from.is_numeric() && to.is_numeric())
        || (is_text(&from) && is_text(&to))
        || (is_time(&from) && is_time(&to))
        || (is_span(&from) && is_span(&to))
        || same_values(&from, &to);
    if from == to {
        return Ok(*cast.expr);
    }
    if alike && can_cast_types(&from, &to) {
        return Ok(call(function(NullCast::new(to)), vec![*cast.expr]));
    }
    Err(operands.mismatch(what))
}

fn text_of(value: &ScalarValue) -> String {
    value.try_as_str().flatten().unwrap_or_default().to_owned()
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
    )
}

fn is_span(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn same_values(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Dictionary(_, values), other) | (other, DataType::Dictionary(_, values)) => {
            values.as_ref() == other
        }
        (DataType::FixedSizeList(item, _), DataType::List(other)) => item.data_type() == other.data_type(),
        _ => false,
    }
}

/// A coerced node in the operators that yield null where DataFusion's would fail, wrap or repeat.
fn operator(
    expr: Expr,
    data_type: DataType,
    what: &str,
    operands: &Operands,
    small: &DFSchema,
) -> Result<Expr, ExprError> {
    let is_float = |expr: &Expr| {
        expr.get_type(small)
            .is_ok_and(|data_type| data_type.is_floating())
    };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
                if !data_type.is_floating() =>
            {
                call(function(Arithmetic::new(op, data_type)), vec![*left, *right])
            }
            op if is_order(op) && is_float(&left) => call(function(Compare::new(op)), vec![*left, *right]),
            _ => Expr::BinaryExpr(BinaryExpr { left, op, right }),
        },
        Expr::Negative(inner) if !is_float(&inner) => {
            if is_time(&data_type) {
                return Err(operands.mismatch(what));
            }
            call(function(Negation::new()), vec![*inner])
        }
        Expr::Between(BetweenExpr {
            expr,
            negated,
            low,
            high,
        }) => negate(negated, call(function(Between::new()), vec![*expr, *low, *high])),
        Expr::InList(InList { expr, list, negated }) if is_float(&expr) => {
            let args = std::iter::once(*expr).chain(list).collect();
            negate(negated, call(function(InFloats::new()), args))
        }
        Expr::Case(case) if case.expr.as_ref().is_some_and(|base| is_float(base)) => {
            return Err(ExprError::NotAllowed(
                "`case x when …` on floats is not allowed: write `case when x = …`".to_owned(),
            ));
        }
        Expr::Like(like) => text_is_like(like)?,
        Expr::ScalarFunction(ScalarFunction { func, args }) => scalar_function(func, args, operands, small)?,
        other => other,
    })
}

fn text_is_like(like: LikeExpr) -> Result<Expr, ExprError> {
    let LikeExpr {
        negated,
        expr,
        pattern,
        escape_char,
        case_insensitive,
    } = like;
    if escape_char.is_some_and(|escape| escape != '\\') {
        return Err(ExprError::NotAllowed(
            "`like` has no other escape character than the backslash: leave `escape` out".to_owned(),
        ));
    }
    let like = Like::new(case_insensitive);
    if let Expr::Literal(value, _) = &*pattern {
        let text = value.cast_to(&DataType::Utf8).map(ColumnarValue::Scalar);
        let empty = ColumnarValue::Scalar(ScalarValue::from(""));
        if text.is_ok_and(|text| like.matches(&empty, &text).is_err()) {
            return Err(ExprError::NotAllowed(
                "the pattern of `like` is too long: shorten it".to_owned(),
            ));
        }
    }
    Ok(negate(negated, call(function(like), vec![*expr, *pattern])))
}

fn negate(negated: bool, condition: Expr) -> Expr {
    if negated {
        Expr::Not(Box::new(condition))
    } else {
        condition
    }
}

fn scalar_function(
    func: Arc<ScalarUDF>,
    args: Vec<Expr>,
    operands: &Operands,
    small: &DFSchema,
) -> Result<Expr, ExprError> {
    match func.name() {
        "coalesce" => return Ok(call(function(Coalesce::new()), args)),
        "nullif" => return Ok(call(function(NullIf::new()), args)),
        // They fail for no value.
        "cosine_distance" | "l2_distance" | "inner_product" => return Ok(call(func, args)),
        _ => {}
    }
    works_on_nulls(&func, &args, operands, small)?;
    // Counts are int64, as whole numbers are.
    let is_count = matches!(func.name(), "array_length" | "array_position");
    let guarded = call(function(Guarded::new(func)), args);
    Ok(match is_count {
        true => call(function(NullCast::new(DataType::Int64)), vec![guarded]),
        false => guarded,
    })
}

/// A function that fails for a row of nulls fails for its types or constants, not for a value.
fn works_on_nulls(
    func: &Arc<ScalarUDF>,
    args: &[Expr],
    operands: &Operands,
    small: &DFSchema,
) -> Result<(), ExprError> {
    if args.iter().all(|arg| matches!(arg, Expr::Literal(..))) {
        return Ok(());
    }
    let bare = call(Arc::clone(func), args.to_vec());
    let tried = create_physical_expr(
        &bare,
        small,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .and_then(|physical| {
        let batch = RecordBatch::new_null(small, 1)?;
        physical.evaluate(&batch)
    });
    match tried {
        Ok(_) => Ok(()),
        Err(_) => Err(operands.mismatch(&format!("the function `{}`", clip(func.name())))),
    }
}
