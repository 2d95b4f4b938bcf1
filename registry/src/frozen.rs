//! The columns that a service is frozen as: what each `*` in its file stands for.

use asof_core::data_type::DataType;
use asof_core::definition::{Definitions, Service};
use asof_core::service::ReadPlan;

/// One column of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenColumn {
    /// Its name.
    pub name: String,
    /// Its feature, as `view:feature`.
    pub feature: String,
    /// Its type.
    pub data_type: DataType,
}

/// The columns of a service in order. One whose definitions do not fit together has none; no version with
/// such a service is ever applied.
pub fn frozen_columns(definitions: &Definitions, service: &Service) -> Vec<FrozenColumn> {
    let Ok(plan) = ReadPlan::of_entries(definitions, &service.entries) else {
        return Vec::new();
    };
    let columns = plan.columns.iter().filter_map(|column| {
        let returned = plan.returned(column)?;
        Some(FrozenColumn {
            name: column.name.clone(),
            feature: format!("{}:{}", returned.view, returned.feature),
            data_type: returned.data_type.clone(),
        })
    });
    columns.collect()
}
