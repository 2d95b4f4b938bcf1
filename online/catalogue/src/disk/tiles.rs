//! The shape of tiles in the catalogue.

use asof_core::aggregate::tiles::{TileLayout, TiledFeature};
use asof_core::data_type::DataType;
use asof_core::duration::Duration;
use asof_core::window::Window;
use serde::{Deserialize, Serialize};

use super::{DiskField, from_disk_schema, text, to_disk_schema};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskTiles {
    inputs: Vec<DiskField>,
    features: Vec<DiskTiled>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskTiled {
    name: String,
    input: usize,
    function: String,
    parameter: u32,
    input_type: String,
    /// How long the window is, and its hop; nothing for all events.
    window_micros: Option<(i64, i64)>,
}

impl DiskTiles {
    pub(super) fn of(layout: &TileLayout) -> Self {
        Self {
            inputs: to_disk_schema(layout.inputs()),
            features: layout.features().iter().map(DiskTiled::of).collect(),
        }
    }

    pub(super) fn into_layout(self) -> Result<TileLayout, String> {
        let inputs = from_disk_schema(self.inputs)?;
        let features = self.features.into_iter().map(DiskTiled::into_feature);
        let features = features.collect::<Result<Vec<_>, _>>()?;
        match features.iter().all(|feature| feature.input < inputs.fields.len()) {
            true => Ok(TileLayout::new(inputs, features)),
            false => Err("a feature is computed of an input that is not there".into()),
        }
    }
}

impl DiskTiled {
    fn of(feature: &TiledFeature) -> Self {
        let (function, parameter) = feature.words();
        Self {
            name: feature.name.clone(),
            input: feature.input,
            function: function.to_owned(),
            parameter,
            input_type: feature.aggregation.input().to_string(),
            window_micros: match feature.window {
                Window::Last { length, hop } => Some((length.micros(), hop.micros())),
                Window::All => None,
            },
        }
    }

    fn into_feature(self) -> Result<TiledFeature, String> {
        let window = match self.window_micros {
            None => Window::All,
            Some((length, hop)) => {
                let length = Duration::from_micros(length).map_err(text)?;
                let hop = Duration::from_micros(hop).map_err(text)?;
                Window::last(length, Some(hop)).map_err(text)?
            }
        };
        let input_type = DataType::parse(&self.input_type).map_err(text)?;
        let words = (self.function.as_str(), self.parameter);
        let unknown = || format!("the function {:?} is not known", self.function);
        TiledFeature::from_words(self.name, self.input, words, input_type, window).ok_or_else(unknown)
    }
}
