//! What all nodes of a plan have.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalSortExpr, expressions};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{ExecutionPlan, Partitioning, PlanProperties};

use crate::error::OfflineError;

/// The properties of a node that gives `partitions` streams of rows in no order that anyone may rely on.
pub(super) fn properties(schema: SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// The properties of a node that gives one stream of rows, ascending by the first column.
pub(super) fn sorted_properties(schema: SchemaRef) -> Arc<PlanProperties> {
    let first = schema
        .fields()
        .first()
        .map(|field| field.name().clone())
        .unwrap_or_default();
    let order = expressions::col(&first, &schema).map(PhysicalSortExpr::new_default);
    let equivalence = EquivalenceProperties::new_with_orderings(schema, order.map(|order| [order]));
    Arc::new(PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(1),
        EmissionType::Final,
        Boundedness::Bounded,
    ))
}

/// Our error on its way through DataFusion.
pub(super) fn external(error: OfflineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A leaf stays what it is.
pub(super) fn same_leaf(
    node: Arc<dyn ExecutionPlan>,
    children: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    if children.is_empty() {
        return Ok(node);
    }
    Err(DataFusionError::Internal(format!(
        "{} has no children",
        node.name()
    )))
}

/// The ascending order by some columns of a node.
pub(super) fn ordering(input: &dyn ExecutionPlan, columns: &[&str]) -> Result<LexOrdering> {
    let schema = input.schema();
    let sorts = columns
        .iter()
        .map(|column| Ok(PhysicalSortExpr::new_default(expressions::col(column, &schema)?)))
        .collect::<Result<Vec<_>>>()?;
    let none = || external(OfflineError::Internal("an order of no columns".into()));
    LexOrdering::new(sorts).ok_or_else(none)
}
