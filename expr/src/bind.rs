//! Checked expressions over the columns of a schema, and the batches that they take.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use asof_core::service::nearest;
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use crate::compile::{Compiled, compile};
use crate::error::{ExprError, clip, list};
use crate::planner;
use crate::statement::SOURCE;
use crate::types::Spelled;

/// The place of a column.
pub(crate) fn find(name: &str, schema: &Schema) -> Result<usize, ExprError> {
    schema.index_of(name).map_err(|_| {
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        ExprError::UnknownColumn {
            name: clip(name),
            nearest: nearest(name, names()),
            known: list(names()),
        }
    })
}

/// Refuses two columns of one name.
pub(crate) fn unique<'a>(
    place: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), ExprError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ExprError::DuplicateColumn {
                place,
                name: clip(name),
            });
        }
    }
    Ok(())
}

/// A column's name as an identifier.
pub(crate) fn quoted(name: &str) -> datafusion_sql::sqlparser::ast::Ident {
    datafusion_sql::sqlparser::ast::Ident::with_quote('"', name)
}

/// The columns as nullable: no expression may depend on what a schema promises about nulls.
pub(crate) fn planning_schema(input: &Schema) -> Result<DFSchema, ExprError> {
    let fields: Vec<Field> = input
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    DFSchema::try_from_qualified_schema(SOURCE, &Schema::new(fields)).map_err(unplannable)
}

/// What DataFusion's planner says of an expression that the grammar allows: types before anything else.
fn unplannable(error: DataFusionError) -> ExprError {
    let said = error.strip_backtrace();
    let said = said.strip_prefix("Error during planning: ").unwrap_or(&said);
    ExprError::Type(format!("{}: cast to types that fit", clip(said)))
}

/// Plans and compiles a checked expression over columns.
pub(crate) fn bound(sql: &SqlExpr, planning: &DFSchema, input: &Schema) -> Result<Compiled, ExprError> {
    let planned = planner::plan(sql.clone(), planning).map_err(unplannable)?;
    compile(planned, input)
}

/// The expression, where it is a condition.
pub(crate) fn condition(compiled: Compiled) -> Result<Arc<dyn PhysicalExpr>, ExprError> {
    if compiled.data_type == DataType::Boolean {
        return Ok(compiled.physical);
    }
    Err(ExprError::Type(format!(
        "`where` needs a condition, not {}: compare it with something",
        Spelled(&compiled.data_type)
    )))
}

/// Refuses a batch that has not the columns that were bound.
pub(crate) fn check_batch(batch: &RecordBatch, bound: &SchemaRef) -> Result<(), ExprError> {
    let schema = batch.schema();
    if Arc::ptr_eq(&schema, bound) {
        return Ok(());
    }
    let alike = schema.fields().len() == bound.fields().len()
        && schema
            .fields()
            .iter()
            .zip(bound.fields())
            .all(|(given, bound)| given.name() == bound.name() && given.data_type() == bound.data_type());
    if alike {
        return Ok(());
    }
    let describe = |schema: &Schema| list(schema.fields().iter().map(|field| field.name().as_str()));
    Err(ExprError::Batch(format!(
        "the batch has the columns {}, bound were {}, each of its type: read the columns that were bound",
        describe(&schema),
        describe(bound)
    )))
}
