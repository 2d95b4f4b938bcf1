//! The join as a logical node, and its inputs as tables.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;

use super::answers::answer_columns;
use super::spec::{JoinSpec, Strategy};
use super::spine::SpineExec;

/// The rows of the first input, the spine, each with the answers of the point-in-time contract.
#[derive(Debug, Clone)]
pub(super) struct AsOfJoin {
    pub(super) spec: Arc<JoinSpec>,
    pub(super) strategy: Strategy,
    spine: LogicalPlan,
    schema: DFSchemaRef,
}

impl AsOfJoin {
    pub(super) fn try_new(spec: Arc<JoinSpec>, strategy: Strategy, spine: LogicalPlan) -> Result<Self> {
        let mut fields: Vec<_> = spec.spine.schema().fields().iter().cloned().collect();
        for (number, read) in spec.reads.iter().enumerate() {
            fields.extend(answer_columns(number, read).into_iter().map(Arc::new));
        }
        let schema = DFSchema::from_unqualified_fields(fields.into(), std::collections::HashMap::new())?;
        Ok(Self {
            spec,
            strategy,
            spine,
            schema: Arc::new(schema),
        })
    }
}

impl PartialEq for AsOfJoin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && self.strategy == other.strategy && self.spine == other.spine
    }
}

impl Eq for AsOfJoin {}

impl Hash for AsOfJoin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.spec).hash(state);
        self.spine.hash(state);
    }
}

impl PartialOrd for AsOfJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AsOfJoin {
    fn name(&self) -> &'static str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.spine]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfJoin: at={}", self.spec.spine.time_column())?;
        for read in &self.spec.reads {
            let keys: Vec<&str> = read.keys.iter().map(|key| key.name.as_str()).collect();
            write!(f, ", {} on [{}]", read.label, keys.join(", "))?;
        }
        if self.spec.as_corrected {
            write!(f, ", as corrected")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let spine = inputs.into_iter().next().unwrap_or_else(|| self.spine.clone());
        Self::try_new(Arc::clone(&self.spec), self.strategy, spine)
    }
}

/// A spine as a table.
#[derive(Debug)]
pub(super) struct SpineTable {
    pub(super) spec: Arc<JoinSpec>,
}

#[async_trait]
impl TableProvider for SpineTable {
    fn schema(&self) -> SchemaRef {
        let schema = self.spec.spine.schema();
        Arc::new(Schema::new(schema.fields().clone()))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.spec.spine.schema().fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        Ok(Arc::new(SpineExec::try_new(&self.spec, columns)?))
    }
}
