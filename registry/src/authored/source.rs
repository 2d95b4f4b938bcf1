//! `[[source]]`

use asof_core::data_type::DataType;
use asof_core::definition::{Location, Source};
use asof_core::name::SourceName;
use asof_core::time::{DateInstant, Zone};

use super::{Reader, expression, field, path, stream};
use crate::document::Table;
use crate::problem::{Problem, Problems, shown, suggest};
use crate::project::ProjectConfig;

const KEYS: [&str; 14] = [
    "name",
    "path",
    "schema",
    "event_time",
    "created_time",
    "event_id",
    "timezone",
    "dates",
    "deleted",
    "sql",
    "stream",
    "description",
    "owner",
    "tags",
];

impl Reader<'_> {
    pub(super) fn source(&mut self, mut table: Table<'_>) {
        let problems = &mut self.problems;
        table.only(problems, &KEYS);
        let name = field::required_name(&table, problems, "name", "source", SourceName::parse);
        let location = location(&table, problems, self.config);
        let event_time = table
            .required(problems, "event_time", "event_time = \"a_column\"")
            .and_then(|text| text.parse(problems, field::column));
        let created_time = field::optional_column(&table, problems, "created_time");
        let deleted = field::optional_column(&table, problems, "deleted");
        let timezone = table
            .string(problems, "timezone")
            .and_then(|text| text.parse(problems, zone));
        let dates = table
            .string(problems, "dates")
            .and_then(|text| text.parse(problems, date_instant));
        let sql = table
            .string(problems, "sql")
            .and_then(|text| text.parse(problems, expression::source_sql));
        // Without its sql it is a source of other columns.
        let sql_is_wrong = sql.is_none() && table.get("sql").is_some();
        let notes = field::notes(&table, problems);
        check_columns(&table, problems);

        let Some((name, text)) = name else {
            self.sources.has_nameless = true;
            return;
        };
        let is_new = self.sources.enter(problems, text.text, &text.place);
        let (true, Some(location), Some(event_time)) = (is_new && !sql_is_wrong, location, event_time) else {
            return;
        };
        self.sources.good.push(Source {
            name,
            location,
            event_time,
            created_time,
            timezone,
            dates,
            deleted,
            sql,
            notes,
        });
    }
}

fn zone(text: &str) -> Result<Zone, field::Reason> {
    Zone::parse(text).map_err(|_| {
        (
            format!("unknown time zone {}", shown(text)),
            "use an IANA name such as \"UTC\" or \"America/New_York\"".into(),
        )
    })
}

fn date_instant(text: &str) -> Result<DateInstant, field::Reason> {
    match text {
        "start" => Ok(DateInstant::Start),
        "end" => Ok(DateInstant::End),
        other => Err((
            format!("unknown \"dates\" {}", shown(other)),
            "expected \"start\" or \"end\" of the day".into(),
        )),
    }
}

/// Exactly one of `path` and `schema`.
fn location(table: &Table<'_>, problems: &mut Problems, config: &ProjectConfig) -> Option<Location> {
    match (table.get("path"), table.get("schema")) {
        (Some(_), None) => {
            for (key, article, kind) in [("event_id", "an", "event ids"), ("stream", "a", "streams")] {
                if let Some(value) = table.get(key) {
                    problems.push(Problem::new(
                        value.place(),
                        format!("{} is read in place and has {article} {key:?}", table.label()),
                        format!("{kind} are of managed sources, which have a schema and no path"),
                    ));
                }
            }
            let path = table
                .string(problems, "path")?
                .parse(problems, |text| path::check(text, &config.offline_allow))?;
            Some(Location::InPlace { path })
        }
        (None, Some(_)) => {
            let schema = schema(table, problems)?;
            let event_id = field::optional_column(table, problems, "event_id");
            let stream = stream::stream(table, problems, &config.project, &schema);
            // Without its stream it is another source.
            let stream_is_wrong = stream.is_none() && table.get("stream").is_some();
            (!stream_is_wrong).then_some(Location::Managed {
                schema,
                event_id,
                stream,
            })
        }
        (Some(path), Some(_)) => {
            let what = format!("{} has both a path and a schema", table.label());
            let help = "expected path = \"…\" for files read in place, or schema = { … } for a managed table";
            problems.push(Problem::new(path.place(), what, help));
            None
        }
        (None, None) => {
            table.missing(
                problems,
                "path",
                "path = \"…\" for files, or schema = { … } for a managed table",
            );
            None
        }
    }
}

fn schema(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<(String, DataType)>> {
    let columns = table.table(problems, "schema", format!("\"schema\" of {}", table.label()))?;
    if columns.entries().is_empty() {
        let what = format!("{} has no columns", table.label());
        let help = "expected schema = { column = \"int64\" }";
        problems.push(Problem::new(columns.place().clone(), what, help));
        return None;
    }
    let columns: Vec<Option<(String, DataType)>> = columns
        .entries()
        .into_iter()
        .map(|(column, value)| {
            let name = column.parse(problems, field::column);
            let label = format!("the type of column {}", shown(column.text));
            let data_type = value
                .string(problems, &label)?
                .parse(problems, field::data_type)?;
            Some((name?, data_type))
        })
        .collect();
    columns.into_iter().collect()
}

/// That the columns which a managed source names are in its schema, and of a type that fits.
fn check_columns(table: &Table<'_>, problems: &mut Problems) {
    if table.get("path").is_some() {
        return;
    }
    // What is wrong with the schema itself was noted when it was read.
    let Some(schema) = schema(table, &mut Problems::default()) else {
        return;
    };
    let has_dates = table.get("dates").is_some();
    for key in ["event_time", "created_time", "event_id", "deleted"] {
        let Some(column) = table.string(&mut Problems::default(), key) else {
            continue;
        };
        let found = schema.iter().find(|(name, _)| name == column.text);
        let reason = match found {
            None if column.text.is_empty() => continue,
            None => Some((
                format!("{} has no column {}", table.label(), shown(column.text)),
                suggest(column.text, schema.iter().map(|(name, _)| name), "no column"),
            )),
            Some((_, data_type)) => unfit(key, data_type, has_dates).map(|help| {
                (
                    format!("{key:?} is a column of type {data_type}"),
                    help.to_owned(),
                )
            }),
        };
        if let Some((what, help)) = reason {
            problems.push(Problem::new(column.place, what, help));
        }
    }
}

/// What was expected, where a column of that type cannot be what `key` names.
fn unfit(key: &str, data_type: &DataType, has_dates: bool) -> Option<&'static str> {
    match (key, data_type) {
        ("deleted", DataType::Bool) => None,
        ("deleted", _) => Some("expected a column of type bool"),
        (
            "event_id",
            DataType::List(_)
            | DataType::Embedding(_)
            | DataType::Struct(_)
            | DataType::Map(_)
            | DataType::Float32
            | DataType::Float64
            | DataType::Json,
        ) => Some("expected a column of a scalar type that is not a float"),
        ("event_id", _) | (_, DataType::Timestamp) => None,
        (_, DataType::Date) if has_dates => None,
        (_, DataType::Date) => Some("say which instant a date means: dates = \"start\" or \"end\""),
        _ => Some("expected a column of type timestamp or date"),
    }
}
