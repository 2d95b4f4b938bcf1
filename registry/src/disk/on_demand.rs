//! The disk shape of on-demand features.

use asof_core::data_type::DataType;
use asof_core::definition::{OnDemand, OnDemandFeature, OnDemandInput, RequestColumn};
use asof_core::name::{FeatureName, ViewName};
use serde::{Deserialize, Serialize};

use super::{DiskError, DiskNotes, read};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskOnDemand {
    name: String,
    request: Vec<(String, String)>,
    features: Vec<DiskComputed>,
    notes: DiskNotes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskComputed {
    name: String,
    data_type: String,
    expression: String,
    inputs: Vec<DiskInput>,
    description: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskInput {
    Request(String),
    Feature(String, String),
}

impl DiskOnDemand {
    pub(super) fn of(on_demand: &OnDemand) -> Self {
        let OnDemand {
            name,
            request,
            features,
            notes,
        } = on_demand;
        let column = |column: &RequestColumn| (column.name.clone(), column.data_type.to_string());
        Self {
            name: name.to_string(),
            request: request.iter().map(column).collect(),
            features: features.iter().map(DiskComputed::of).collect(),
            notes: DiskNotes::of(notes),
        }
    }

    pub(super) fn into_domain(self) -> Result<OnDemand, DiskError> {
        let column = |(name, data_type): (String, String)| {
            Ok(RequestColumn {
                name,
                data_type: read(&data_type, DataType::parse)?,
            })
        };
        Ok(OnDemand {
            name: read(&self.name, ViewName::parse)?,
            request: self.request.into_iter().map(column).collect::<Result<_, _>>()?,
            features: self
                .features
                .into_iter()
                .map(DiskComputed::into_domain)
                .collect::<Result<_, _>>()?,
            notes: self.notes.into_domain(),
        })
    }
}

impl DiskComputed {
    fn of(feature: &OnDemandFeature) -> Self {
        let OnDemandFeature {
            name,
            data_type,
            expression,
            inputs,
            description,
        } = feature;
        let input = |input: &OnDemandInput| match input {
            OnDemandInput::Request(name) => DiskInput::Request(name.clone()),
            OnDemandInput::Feature { view, feature } => {
                DiskInput::Feature(view.to_string(), feature.to_string())
            }
        };
        Self {
            name: name.to_string(),
            data_type: data_type.to_string(),
            expression: expression.clone(),
            inputs: inputs.iter().map(input).collect(),
            description: description.clone(),
        }
    }

    fn into_domain(self) -> Result<OnDemandFeature, DiskError> {
        let input = |input: DiskInput| {
            Ok(match input {
                DiskInput::Request(name) => OnDemandInput::Request(name),
                DiskInput::Feature(view, feature) => OnDemandInput::Feature {
                    view: read(&view, ViewName::parse)?,
                    feature: read(&feature, FeatureName::parse)?,
                },
            })
        };
        Ok(OnDemandFeature {
            name: read(&self.name, FeatureName::parse)?,
            data_type: read(&self.data_type, DataType::parse)?,
            expression: self.expression,
            inputs: self.inputs.into_iter().map(input).collect::<Result<_, _>>()?,
            description: self.description,
        })
    }
}
