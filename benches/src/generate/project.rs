//! The definition files of a generated project.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::rows::FEATURES;
use super::{SERVICE, Spec};

const ASOF: &str = r#"project = "generated"

[registry]
url = "sqlite://.asof/registry.db"

[offline]
root = ".asof/offline"

[online]
url = "rocksdb://.asof/online"

[serve]
listen = "127.0.0.1:2763"
"#;

/// Writes `asof.toml` and `features/gen.toml`.
pub(super) fn write(dir: &Path, spec: &Spec) -> Result<()> {
    fs::create_dir_all(dir.join("features"))?;
    fs::write(dir.join("asof.toml"), ASOF)?;
    fs::write(dir.join("features/gen.toml"), definitions(spec)?)?;
    Ok(())
}

fn definitions(spec: &Spec) -> Result<String> {
    let keys: Vec<String> = spec
        .key
        .columns()
        .iter()
        .map(|(name, data_type)| format!("{name} = \"{data_type}\""))
        .collect();
    let mut text = format!(
        r#"[[entity]]
name = "user"
keys = {{ {} }}

[[source]]
name = "events"
path = "data/events/*.parquet"
event_time = "event_time"

[[service]]
name = "{SERVICE}"
features = ["gen:*"]

[[view]]
name = "gen"
entity = "user"
source = "events"
ttl = "30d"

[view.features]
"#,
        keys.join(", ")
    );
    for (name, data_type) in FEATURES {
        writeln!(text, "{name} = \"{data_type}\"")?;
    }
    Ok(text)
}

/// What the set is; `format` goes up when the same spec means other rows.
pub(super) fn mark(spec: &Spec) -> String {
    let mark = json!({
        "format": 1,
        "rows": spec.rows,
        "keys": spec.keys,
        "spine_rows": spec.spine_rows,
        "files": spec.files,
        "seed": spec.seed,
        "key": spec.key.as_str(),
    });
    format!("{mark:#}\n")
}
