//! From a join to a plan that runs.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::attach::AttachExec;
use super::indexed::IndexedJoinExec;
use super::leaf::{external, ordering};
use super::logical::{AsOfJoin, SpineTable};
use super::merge::{MergeJoinExec, QUESTION_ORDER, ROW_ORDER};
use super::questions::{QuestionsExec, ROW};
use super::shared::SharedScan;
use super::source::{KEY, SourceExec};
use super::spec::{JoinRead, JoinSpec, Strategy};
use super::spine::SpineExec;
use crate::error::OfflineError;

/// A join planned.
pub(crate) struct Planned {
    pub(crate) logical: LogicalPlan,
    pub(crate) physical: Arc<dyn ExecutionPlan>,
}

/// Plans a join.
pub(crate) async fn plan(spec: &Arc<JoinSpec>, strategy: Strategy) -> crate::error::Result<Planned> {
    let strategy = match strategy {
        Strategy::Auto => spec.strategy(),
        chosen => chosen,
    };
    let planned = async {
        let table = Arc::new(SpineTable {
            spec: Arc::clone(spec),
        });
        let spine = LogicalPlanBuilder::scan("spine", provider_as_source(table), None)?.build()?;
        let logical = LogicalPlan::Extension(Extension {
            node: Arc::new(AsOfJoin::try_new(Arc::clone(spec), strategy, spine)?),
        });
        // Partitions and sorts are laid out here; a rule only checks that they are what the nodes require.
        let state = SessionStateBuilder::new_from_existing(spec.engine.context.state())
            .with_physical_optimizer_rules(vec![Arc::new(SanityCheckPlan::new())])
            .build();
        let physical = AsOfPlanner.create_physical_plan(&logical, &state).await?;
        Ok(Planned { logical, physical })
    };
    let planned: Result<Planned> = planned.await;
    planned.map_err(|error| OfflineError::planned(&error))
}

/// DataFusion's planner, which knows as-of joins.
#[derive(Debug)]
struct AsOfPlanner;

#[async_trait]
impl QueryPlanner for AsOfPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)])
            .create_physical_plan(logical, session)
            .await
    }
}

#[async_trait]
impl ExtensionPlanner for AsOfPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(join), [spine]) = (node.as_any().downcast_ref::<AsOfJoin>(), inputs) else {
            return Ok(None);
        };
        let mut attached = vec![Arc::clone(spine)];
        match join.strategy {
            Strategy::Sorted => {
                let sources = 0..join.spec.sources.len();
                let scans: Vec<Arc<SharedScan>> = sources
                    .map(|source| {
                        Ok(Arc::new(
                            SharedScan::try_new(&join.spec, source).map_err(external)?,
                        ))
                    })
                    .collect::<Result<_>>()?;
                for (number, read) in join.spec.reads.iter().enumerate() {
                    let lost = || external(OfflineError::Internal("a read has no source".into()));
                    let scan = scans.get(read.source).ok_or_else(lost)?;
                    attached.push(sorted(&join.spec, number, read, scan)?);
                }
            }
            Strategy::Auto | Strategy::Indexed => attached.push(indexed(&join.spec)?),
        }
        Ok(Some(Arc::new(AttachExec::new(attached))))
    }
}

fn indexed(spec: &Arc<JoinSpec>) -> Result<Arc<dyn ExecutionPlan>> {
    let keys: Vec<_> = spec.reads.iter().flat_map(|read| read.keys.clone()).collect();
    let columns = spec.spine.asking_columns(&keys).map_err(external)?;
    let spine = Arc::new(SpineExec::try_new(spec, columns.clone())?);
    Ok(Arc::new(IndexedJoinExec::new(spec, columns, spine)))
}

fn sorted(
    spec: &Arc<JoinSpec>,
    number: usize,
    read: &JoinRead,
    scan: &Arc<SharedScan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = spec.spine.asking_columns(&read.keys).map_err(external)?;
    let spine = Arc::new(SpineExec::try_new(spec, columns.clone())?);
    let questions = Arc::new(QuestionsExec::new(spec, &read.keys, columns, spine));
    let rows = Arc::new(SourceExec::new(spec, number, read, Arc::clone(scan)));
    let partitions = spec.engine.options.readers.max(1);
    let questions = partitioned(questions, partitions, &QUESTION_ORDER)?;
    let rows = partitioned(rows, partitions, &ROW_ORDER)?;
    let answers = Arc::new(MergeJoinExec::new(spec, number, read, questions, rows));
    let order = ordering(&*answers, &[ROW])?;
    let answers = SortExec::new(order.clone(), answers).with_preserve_partitioning(true);
    Ok(Arc::new(SortPreservingMergeExec::new(order, Arc::new(answers))))
}

/// Partitioned by key, and each partition sorted.
fn partitioned(
    input: Arc<dyn ExecutionPlan>,
    partitions: usize,
    order: &[&str],
) -> Result<Arc<dyn ExecutionPlan>> {
    let order = ordering(&*input, order)?;
    let key = expressions::col(KEY, &input.schema())?;
    let input = RepartitionExec::try_new(input, Partitioning::Hash(vec![key], partitions))?;
    Ok(Arc::new(
        SortExec::new(order, Arc::new(input)).with_preserve_partitioning(true),
    ))
}
