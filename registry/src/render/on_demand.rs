//! On-demand features as a file would write them.

use asof_core::definition::{OnDemand, OnDemandFeature};

use super::{Field, inline, key, of_notes, string};

pub(super) fn fields(on_demand: &OnDemand) -> Vec<Field> {
    let OnDemand {
        name,
        request,
        features,
        notes,
    } = on_demand;
    let mut fields = vec![Field::new("name", string(name.as_str()))];
    if !request.is_empty() {
        let columns = request
            .iter()
            .map(|column| (column.name.as_str(), string(&column.data_type.to_string())));
        fields.push(Field::new("request", inline(columns)));
    }
    fields.extend(of_notes(notes));
    fields.extend(features.iter().map(|feature| Field {
        section: Some("features"),
        key: key(feature.name.as_str()),
        value: value(feature),
    }));
    fields
}

pub(super) fn of_feature(feature: &OnDemandFeature) -> Vec<Field> {
    let OnDemandFeature {
        name: _,
        data_type,
        expression,
        inputs: _,
        description,
    } = feature;
    let mut fields = vec![
        Field::new("type", string(&data_type.to_string())),
        Field::new("expression", string(expression)),
    ];
    if let Some(description) = description {
        fields.push(Field::new("description", string(description)));
    }
    fields
}

/// A feature as its line in `[on_demand.features]`.
pub(super) fn line(feature: &OnDemandFeature) -> String {
    format!("{} = {}\n", key(feature.name.as_str()), value(feature))
}

fn value(feature: &OnDemandFeature) -> String {
    let fields = of_feature(feature);
    inline(
        fields
            .iter()
            .map(|field| (field.key.as_str(), field.value.clone())),
    )
}
