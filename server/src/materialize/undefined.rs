//! Views that are defined no more.

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::online::{OnlineStore, StoreError, ViewAddress};

/// Removes the rows of views that the definitions in force do not have, or have with another entity or other types of
/// keys; returns their names.
///
/// # Errors
///
/// Those of the store; views before the one that failed are removed.
pub fn drop_undefined<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    definitions: &Definitions,
) -> Result<Vec<String>, StoreError> {
    let mut dropped = Vec::new();
    for (address, slot, _) in store.views()? {
        let defined = definitions.bound_view(address.view.as_str());
        let is_defined = defined.is_some_and(|bound| ViewAddress::of(project, &bound) == address);
        if address.project == *project && !is_defined {
            store.drop_view(slot)?;
            dropped.push(address.view.to_string());
        }
    }
    Ok(dropped)
}
