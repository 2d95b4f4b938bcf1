//! The grammar of expressions, as a list of what is allowed: whatever is not here is refused.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType as SqlType, DateTimeField, Expr as SqlExpr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, TypedString, UnaryOperator,
    Value,
};

use crate::error::{ExprError, clip};
use crate::functions;
use crate::statement::{SOURCE, only_identifier};
use crate::types;

/// What the names in a text mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Columns of one table: `column`, or `source.column`.
    Columns,
    /// Features and columns of the caller: `view.feature`, or `name`.
    Features,
}

/// The column that an expression is, where it is nothing but a column.
pub(crate) fn column(expr: &SqlExpr) -> Option<&str> {
    match expr {
        SqlExpr::Identifier(ident) => Some(&ident.value),
        SqlExpr::CompoundIdentifier(parts) => match parts.as_slice() {
            [Ident { value: table, .. }, column] if table == SOURCE => Some(&column.value),
            _ => None,
        },
        _ => None,
    }
}

/// Checks an expression without a schema: forms, operators, functions, types.
pub(crate) fn check(expr: &SqlExpr, names: Names) -> Result<(), ExprError> {
    for child in children(expr, names)? {
        check(child, names)?;
    }
    Ok(())
}

/// The columns that a checked expression names.
pub(crate) fn columns(expr: &SqlExpr) -> Result<Vec<String>, ExprError> {
    let mut names = Vec::new();
    visit(expr, &mut |name| names.push(name.to_owned()))?;
    Ok(names)
}

fn refused(expr: &SqlExpr, instead: &str) -> ExprError {
    ExprError::NotAllowed(format!("`{}` is not allowed: {instead}", clip(&expr.to_string())))
}

fn visit(expr: &SqlExpr, on_column: &mut dyn FnMut(&str)) -> Result<(), ExprError> {
    for child in children(expr, Names::Columns)? {
        visit(child, on_column)?;
    }
    if let Some(name) = column(expr) {
        on_column(name);
    }
    Ok(())
}

/// The operands of an allowed form.
fn children(expr: &SqlExpr, names: Names) -> Result<Vec<&SqlExpr>, ExprError> {
    match expr {
        SqlExpr::Identifier(_) => Ok(Vec::new()),
        SqlExpr::CompoundIdentifier(parts) => match names {
            Names::Columns if column(expr).is_some() => Ok(Vec::new()),
            Names::Features if parts.len() == 2 => Ok(Vec::new()),
            Names::Columns => Err(refused(
                expr,
                "write `column` or `source.column`, and a column name with dots in double quotes",
            )),
            Names::Features => Err(refused(
                expr,
                "write `view.feature` or the name of a request column, one with dots in double quotes",
            )),
        },
        SqlExpr::Value(value) => literal(expr, &value.value),
        SqlExpr::TypedString(typed) => typed_string(expr, typed),
        SqlExpr::Interval(interval) => match interval.value.as_ref() {
            SqlExpr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => Ok(Vec::new()),
            _ => Err(refused(expr, "write an interval as `interval '2 hours'`")),
        },
        SqlExpr::Nested(inner)
        | SqlExpr::IsTrue(inner)
        | SqlExpr::IsNotTrue(inner)
        | SqlExpr::IsFalse(inner)
        | SqlExpr::IsNotFalse(inner)
        | SqlExpr::IsNull(inner)
        | SqlExpr::IsNotNull(inner)
        | SqlExpr::IsUnknown(inner)
        | SqlExpr::IsNotUnknown(inner) => Ok(vec![inner]),
        SqlExpr::IsDistinctFrom(left, right) | SqlExpr::IsNotDistinctFrom(left, right) => {
            Ok(vec![left, right])
        }
        SqlExpr::BinaryOp { left, op, right } if is_allowed_binary(op) => Ok(vec![left, right]),
        SqlExpr::UnaryOp { op, expr } if is_allowed_unary(*op) => Ok(vec![expr]),
        SqlExpr::Between { expr, low, high, .. } => Ok(vec![expr, low, high]),
        SqlExpr::InList { expr, list, .. } => Ok(std::iter::once(expr.as_ref()).chain(list).collect()),
        SqlExpr::Like {
            any: false,
            expr,
            pattern,
            ..
        }
        | SqlExpr::ILike {
            any: false,
            expr,
            pattern,
            ..
        } => Ok(vec![expr, pattern]),
        SqlExpr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => Ok(operand
            .iter()
            .chain(else_result)
            .map(AsRef::as_ref)
            .chain(conditions.iter().flat_map(|when| [&when.condition, &when.result]))
            .collect()),
        SqlExpr::Cast {
            kind,
            expr: inner,
            data_type,
            array: false,
            format: None,
        } => cast(expr, kind, inner, data_type),
        SqlExpr::InSubquery { .. } | SqlExpr::Exists { .. } | SqlExpr::Subquery(_) => Err(refused(
            expr,
            "a subquery reads other rows; use columns of `source` only",
        )),
        _ => call(expr),
    }
}

/// Functions, and the forms of SQL that stand for functions.
fn call(expr: &SqlExpr) -> Result<Vec<&SqlExpr>, ExprError> {
    match expr {
        SqlExpr::Function(function) => arguments(expr, function),
        SqlExpr::Extract {
            field, expr: time, ..
        } => {
            unit(expr, "date_part", &field.to_string())?;
            Ok(vec![time])
        }
        SqlExpr::Ceil {
            expr,
            field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
        }
        | SqlExpr::Floor {
            expr,
            field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
        } => Ok(vec![expr]),
        SqlExpr::Position { expr, r#in } => Ok(vec![expr, r#in]),
        SqlExpr::Substring {
            expr,
            substring_from,
            substring_for,
            ..
        } => Ok(std::iter::once(expr)
            .chain(substring_from)
            .chain(substring_for)
            .map(AsRef::as_ref)
            .collect()),
        SqlExpr::Trim {
            trim_what,
            expr,
            trim_characters: None,
            ..
        } => Ok(std::iter::once(expr)
            .chain(trim_what)
            .map(AsRef::as_ref)
            .collect()),
        SqlExpr::BinaryOp { .. } | SqlExpr::UnaryOp { .. } => Err(refused(
            expr,
            "the operators are + - * / % || = <> < <= > >= and or not",
        )),
        _ => Err(refused(
            expr,
            "use columns, literals, operators, case, cast and the listed functions",
        )),
    }
}

fn literal<'a>(expr: &SqlExpr, value: &Value) -> Result<Vec<&'a SqlExpr>, ExprError> {
    match value {
        Value::Number(_, false) | Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => {
            Ok(Vec::new())
        }
        _ => Err(refused(expr, "write a number, 'text', true, false or null")),
    }
}

fn typed_string<'a>(expr: &SqlExpr, typed: &TypedString) -> Result<Vec<&'a SqlExpr>, ExprError> {
    let known = matches!(typed.data_type, SqlType::Date | SqlType::Timestamp(None, _));
    if known && matches!(typed.value.value, Value::SingleQuotedString(_)) && !typed.uses_odbc_syntax {
        return Ok(Vec::new());
    }
    Err(refused(
        expr,
        "write `date '2026-01-31'` or `timestamp '2026-01-31 12:00:00'`, else cast",
    ))
}

fn is_allowed_binary(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
    )
}

fn is_allowed_unary(op: UnaryOperator) -> bool {
    matches!(
        op,
        UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not
    )
}

fn cast<'a>(
    expr: &SqlExpr,
    kind: &CastKind,
    inner: &'a SqlExpr,
    to: &SqlType,
) -> Result<Vec<&'a SqlExpr>, ExprError> {
    if types::arrow_type(to).is_some() && !matches!(kind, CastKind::SafeCast) {
        return Ok(vec![inner]);
    }
    Err(refused(expr, &format!("cast to {}", types::NAMES)))
}

fn unit(expr: &SqlExpr, function: &str, written: &str) -> Result<(), ExprError> {
    let units = functions::units(function).unwrap_or_default();
    if units.iter().any(|unit| written.eq_ignore_ascii_case(unit)) {
        return Ok(());
    }
    Err(refused(expr, &format!("the unit is one of {}", units.join(", "))))
}

fn arguments<'a>(expr: &SqlExpr, function: &'a Function) -> Result<Vec<&'a SqlExpr>, ExprError> {
    let Function {
        name,
        uses_odbc_syntax,
        parameters,
        args,
        filter,
        null_treatment,
        over,
        within_group,
    } = function;
    let written = only_identifier(name).ok_or_else(|| refused(expr, "function names have no dots"))?;
    let name = functions::check_name(&written.value)?;
    if over.is_some() {
        return Err(refused(
            expr,
            "a window function reads other rows; use an aggregate view",
        ));
    }
    let FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args,
        clauses,
    }) = args
    else {
        return Err(refused(expr, "write the arguments in brackets"));
    };
    let plain = !uses_odbc_syntax
        && matches!(parameters, FunctionArguments::None)
        && filter.is_none()
        && null_treatment.is_none()
        && within_group.is_empty()
        && clauses.is_empty();
    if !plain {
        return Err(refused(expr, "write a function as name(argument, …)"));
    }
    let args = args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Ok(arg),
            _ => Err(refused(expr, "arguments are expressions without names")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    check_arguments(expr, &name, &args)?;
    Ok(args)
}

fn check_arguments(expr: &SqlExpr, name: &str, args: &[&SqlExpr]) -> Result<(), ExprError> {
    if functions::units(name).is_some() {
        let written = match args.first() {
            Some(SqlExpr::Value(value)) => match &value.value {
                Value::SingleQuotedString(written) => written.as_str(),
                _ => "",
            },
            _ => "",
        };
        unit(expr, name, written)?;
    }
    if matches!(name, "nvl" | "ifnull") && args.len() != 2 {
        return Err(refused(expr, "it takes two arguments"));
    }
    Ok(())
}
