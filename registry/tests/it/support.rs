//! A project in memory: files in, problems, plans and versions out.

use std::path::Path;
use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::registry::Version;
use asof_core::time::Timestamp;
use asof_registry::{Authored, AuthoredFile, Plan, Problems, ProjectConfig, plan};

pub(crate) fn config() -> ProjectConfig {
    ProjectConfig::new(Path::new("project"), ProjectName::parse("flights").unwrap())
}

pub(crate) fn file(path: &str, text: impl AsRef<[u8]>) -> AuthoredFile {
    AuthoredFile {
        path: path.into(),
        bytes: text.as_ref().to_vec(),
    }
}

pub(crate) fn parse(text: impl AsRef<[u8]>) -> Result<Authored, Problems> {
    Authored::parse(&config(), &[file("features/a.toml", text)])
}

pub(crate) fn plan_on(current: Option<&Version>, text: &str) -> Result<Plan, Problems> {
    plan(current, parse(text)?)
}

/// A version with these definitions, as the first apply would make it.
pub(crate) fn applied(text: &str) -> Version {
    version(1, plan_on(None, text).unwrap().definitions().clone())
}

pub(crate) fn version(number: u64, definitions: Arc<Definitions>) -> Version {
    Version {
        number,
        applied_at: Timestamp::EPOCH,
        digest: String::new(),
        definitions,
        services: Vec::new(),
    }
}

/// An entity, a source read in place and a view of two features.
pub(crate) const WEATHER: &str = r#"
[[entity]]
name = "airport"
keys = { origin = "string" }

[[source]]
name = "weather_hourly"
path = "data/weather.parquet"
event_time = "time_hour"

[[view]]
name = "airport_weather"
entity = "airport"
source = "weather_hourly"
ttl = "3h"
[view.features]
temp = "float64"
wind_speed = "float64"
"#;

/// [`WEATHER`] and a service on it.
pub(crate) fn weather_with(service_features: &str) -> String {
    format!("{WEATHER}\n[[service]]\nname = \"delay_model_v1\"\nfeatures = [{service_features}]\n")
}
