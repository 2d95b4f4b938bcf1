//! A plan for programs, on the wire.

use asof_proto::v1;
use asof_registry::{Plan, PlanReport, ReportedBreaking, ReportedChange, ReportedField};

pub(super) fn report(plan: &Plan) -> v1::PlanReport {
    let PlanReport {
        base_version,
        add,
        change,
        remove,
        changes,
        breaking,
        new_generations,
        notes,
    } = plan.report();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    v1::PlanReport {
        base_version,
        add: number(add),
        change: number(change),
        remove: number(remove),
        changes: changes.into_iter().map(planned_change).collect(),
        breaking: breaking.into_iter().map(breaking_change).collect(),
        new_generations,
        notes,
    }
}

fn planned_change(change: ReportedChange) -> v1::PlannedChange {
    let ReportedChange {
        action,
        kind,
        name,
        fields,
    } = change;
    let field = |ReportedField { field, old, new }| v1::PlannedField { field, old, new };
    v1::PlannedChange {
        action,
        kind,
        name,
        fields: fields.into_iter().map(field).collect(),
    }
}

fn breaking_change(breaking: ReportedBreaking) -> v1::BreakingChange {
    let ReportedBreaking {
        object,
        service,
        columns,
    } = breaking;
    let column = |(column, reason)| v1::BrokenColumn { column, reason };
    v1::BreakingChange {
        object,
        service,
        columns: columns.into_iter().map(column).collect(),
    }
}
