//! Features that are computed when they are asked for.

use super::Notes;
use crate::data_type::DataType;
use crate::name::{FeatureName, ViewName};

/// A named set of features that are computed, row by row, of other features and of what the caller gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// Its name, which no view has.
    pub name: ViewName,
    /// What the caller gives, in order.
    pub request: Vec<RequestColumn>,
    /// Its features.
    pub features: Vec<OnDemandFeature>,
    /// Text for people.
    pub notes: Notes,
}

/// A column that the caller gives, whose values are computed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestColumn {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
}

/// One computed feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemandFeature {
    /// Its name within the set.
    pub name: FeatureName,
    /// The type of its values.
    pub data_type: DataType,
    /// The expression that gives them.
    pub expression: String,
    /// What the names in the expression mean, in the order in which it names them first.
    pub inputs: Vec<OnDemandInput>,
    /// What it is, in a sentence.
    pub description: Option<String>,
}

/// What a name in an expression means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDemandInput {
    /// A column that the caller gives.
    Request(String),
    /// A feature of a view, or of a set of on-demand features.
    Feature {
        /// The view, or the set.
        view: ViewName,
        /// The feature.
        feature: FeatureName,
    },
}

impl OnDemand {
    /// The feature of that name.
    pub fn feature(&self, name: &str) -> Option<&OnDemandFeature> {
        self.features.iter().find(|feature| feature.name.as_str() == name)
    }
}
