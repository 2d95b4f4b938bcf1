//! The definition files of a generated project.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::rows::FEATURES;
use super::{COMPUTED_SERVICE, KeyKind, SERVICE, Spec};

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

/// What a project over generated rows defines: one entity, and views with all features, each over a source of
/// its own.
#[derive(Debug, Clone, Copy)]
pub struct Definitions<'a> {
    /// The type of the keys.
    pub key: KeyKind,
    /// The names of the views, each with that of its source.
    pub views: &'a [(String, String)],
    /// What the views have of their sources.
    pub values: Values<'a>,
    /// Whether the sources are managed tables, rather than the files `data/SOURCE/*.parquet`.
    pub managed: bool,
    /// The stream of the sources, which are managed then, as definition files say it.
    pub stream: Option<&'a str>,
    /// Whether there is a second service, with [`EXPRESSIONS`] over features of the first view beside all that the
    /// first service has.
    pub computed: bool,
}

/// On-demand features, each with its type and its expression over features of a view that stands for `view`.
const EXPRESSIONS: [(&str, &str, &str); 5] = [
    ("ratio", "float64", "view.f0 / view.f1"),
    ("gap", "float64", "abs(view.f2 - view.f3)"),
    ("is_large", "bool", "view.f4 > 0.5 and view.n0 > 10"),
    (
        "bucket",
        "int64",
        "case when view.n1 < 10 then 0 when view.n1 < 100 then 1 else 2 end",
    ),
    (
        "score",
        "float64",
        "coalesce(view.f5, 0.0) * 0.3 + coalesce(view.f6, 0.0) * 0.7",
    ),
];

/// What a view has of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    /// All features, of the newest row of a key, for so long, as definition files say it.
    Newest(&'a str),
    /// Each of [`AGGREGATES`] of [`AGGREGATED`], over each of [`WINDOWS`].
    Windows,
}

/// The feature that is aggregated.
pub const AGGREGATED: &str = "f0";
/// The functions, each over every window.
pub const AGGREGATES: [&str; 3] = ["count", "sum", "mean"];

/// A window, with the step in which its tail moves.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Its length, as definition files say it.
    pub name: &'static str,
    /// Its length in microseconds.
    pub length: u64,
    /// The step in microseconds.
    pub hop: u64,
}

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The windows.
pub const WINDOWS: [Window; 3] = [
    Window {
        name: "1h",
        length: HOUR,
        hop: MINUTE,
    },
    Window {
        name: "1d",
        length: DAY,
        hop: HOUR,
    },
    Window {
        name: "7d",
        length: 7 * DAY,
        hop: HOUR,
    },
];

impl Definitions<'_> {
    /// Writes `asof.toml` and `features/gen.toml` into `dir`.
    ///
    /// # Errors
    /// Whatever writing meets.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir.join("features"))?;
        fs::write(dir.join("asof.toml"), ASOF)?;
        fs::write(dir.join("features/gen.toml"), self.text()?)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        let all: Vec<String> = self
            .views
            .iter()
            .map(|(view, _)| format!("\"{view}:*\""))
            .collect();
        let mut text = format!(
            "[[entity]]\nname = \"user\"\nkeys = {{ {} }}\n\n[[service]]\nname = \"{SERVICE}\"\nfeatures = [{}]\n",
            typed(self.key.columns()),
            all.join(", ")
        );
        for (view, source) in self.views {
            let place = if self.managed {
                let (keys, features) = (typed(self.key.columns()), typed(&FEATURES));
                let stream = self.stream.map(|stream| format!("\nstream = {{ {stream} }}"));
                let stream = stream.unwrap_or_default();
                format!("schema = {{ {keys}, event_time = \"timestamp\", {features} }}{stream}")
            } else {
                format!("path = \"data/{source}/*.parquet\"")
            };
            write!(
                text,
                r#"
[[source]]
name = "{source}"
{place}
event_time = "event_time"

[[view]]
name = "{view}"
entity = "user"
source = "{source}"
"#
            )?;
            self.values.write(&mut text)?;
        }
        if let Some((view, _)) = self.views.first().filter(|_| self.computed) {
            write!(
                text,
                "\n[[service]]\nname = \"{COMPUTED_SERVICE}\"\nfeatures = [{}, \"five:*\"]\n\n[[on_demand]]\nname = \"five\"\n\
                 [on_demand.features]\n",
                all.join(", ")
            )?;
            for (name, data_type, expression) in EXPRESSIONS {
                let expression = expression.replace("view.", &format!("{view}."));
                writeln!(
                    text,
                    "{name} = {{ type = \"{data_type}\", expression = \"{expression}\" }}"
                )?;
            }
        }
        Ok(text)
    }
}

impl Values<'_> {
    fn write(self, text: &mut String) -> std::fmt::Result {
        match self {
            Self::Newest(ttl) => {
                writeln!(text, "ttl = \"{ttl}\"\n\n[view.features]")?;
                FEATURES
                    .iter()
                    .try_for_each(|(name, data_type)| writeln!(text, "{name} = \"{data_type}\""))
            }
            Self::Windows => AGGREGATES.iter().try_for_each(|function| {
                let windows = WINDOWS.map(|window| window.name);
                writeln!(
                    text,
                    "\n[[view.aggregate]]\ninput = \"{AGGREGATED}\"\nfunction = \"{function}\"\nwindows = {windows:?}"
                )
            }),
        }
    }
}

fn typed(columns: &[(&str, &str)]) -> String {
    let columns = columns
        .iter()
        .map(|(name, data_type)| format!("{name} = \"{data_type}\""));
    columns.collect::<Vec<_>>().join(", ")
}

/// What the set is; `format` goes up when the same spec means other rows.
pub(super) fn mark(spec: &Spec) -> String {
    let mark = json!({
        "format": super::FORMAT,
        "rows": spec.rows,
        "keys": spec.keys,
        "spine_rows": spec.spine_rows,
        "files": spec.files,
        "seed": spec.seed,
        "key": spec.key.as_str(),
    });
    let drawn = if spec.once { "every key once\n" } else { "" };
    format!("{mark:#}\n{drawn}")
}
