//! Avro schemas of messages, as far as they decide what a message may do: whatever its bytes are, it ends, and holds
//! the columns of its source.

use asof_core::data_type::DataType;
use serde_json::{Map, Value};

use super::field::Reason;
use crate::problem::shown;

/// The longest schema, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Takes a schema that messages of a source may have.
pub(super) fn check(text: &str, columns: &[(String, DataType)]) -> Result<String, Reason> {
    let refuse = |what: String, help: &str| Err((what, help.to_owned()));
    if text.len() > MAX_BYTES {
        let bytes = text.len();
        return refuse(
            format!("the Avro schema has {bytes} bytes"),
            "expected 65536 at most",
        );
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        (
            format!("the Avro schema is not JSON: {error}"),
            "expected what an .avsc file holds".to_owned(),
        )
    })?;
    let record = schema
        .as_object()
        .filter(|schema| schema.get("type") == Some(&"record".into()));
    let Some(fields) = record.and_then(fields) else {
        return refuse(
            "the Avro schema is no record with fields".into(),
            "expected { \"type\": \"record\", \"name\": \"…\", \"fields\": […] }",
        );
    };
    let names: Vec<&str> = fields
        .iter()
        .filter_map(|field| field.get("name")?.as_str())
        .collect();
    let missing = columns
        .iter()
        .find(|(column, _)| !names.contains(&column.as_str()));
    if let Some((missing, _)) = missing {
        return refuse(
            format!("the Avro schema has no field {}", shown(missing)),
            "its fields are the columns of the source, by name: rename one of them",
        );
    }
    if let Some(unknown) = names
        .iter()
        .find(|name| columns.iter().all(|(column, _)| column != *name))
    {
        return refuse(
            format!(
                "the Avro schema has a field {}, which is not in the source",
                shown(unknown)
            ),
            "its fields are the columns of the source, by name: add it to the schema of the source",
        );
    }
    Walk::default().schema(&schema, false)?;
    Ok(text.to_owned())
}

fn fields(record: &Map<String, Value>) -> Option<&Vec<Value>> {
    record
        .get("fields")?
        .as_array()
        .filter(|fields| !fields.is_empty())
}

/// What a walk down a schema has met.
#[derive(Default)]
struct Walk<'a> {
    /// The records that it is within.
    within: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    /// Goes through a schema; `is_repeated` where a message says how many there are.
    fn schema(&mut self, schema: &'a Value, is_repeated: bool) -> Result<(), Reason> {
        let refuse = |what: String, help: &str| Err((what, help.to_owned()));
        let empty = "an element that takes no byte could be repeated without end";
        match schema {
            Value::String(name) if name == "null" && is_repeated => {
                refuse("the Avro schema repeats null".into(), empty)
            }
            Value::String(name) if self.within.iter().any(|known| is_named(known, name)) => refuse(
                format!("the Avro schema has {} within itself", shown(name)),
                "columns are of a depth that is known: expected a schema without recursion",
            ),
            Value::Array(options) => options.iter().try_for_each(|option| self.schema(option, false)),
            Value::Object(object) => self.object(object, is_repeated),
            _ => Ok(()),
        }
    }

    fn object(&mut self, object: &'a Map<String, Value>, is_repeated: bool) -> Result<(), Reason> {
        let refuse = |what: &str| Err((what.to_owned(), "expected a schema as Avro has it".to_owned()));
        match object.get("type") {
            Some(Value::String(kind)) if kind == "record" || kind == "error" => {
                let Some(fields) = fields(object) else {
                    return refuse("the Avro schema has a record without fields");
                };
                let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
                self.within.push(name);
                // Of a record without a byte none can be repeated.
                let types: Vec<&Value> = fields.iter().filter_map(|field| field.get("type")).collect();
                let is_empty = types.iter().all(|schema| schema.as_str() == Some("null"));
                for schema in types {
                    self.schema(schema, is_repeated && is_empty)?;
                }
                self.within.pop();
                Ok(())
            }
            Some(Value::String(kind)) if kind == "array" || kind == "map" => {
                let items = object.get(if kind == "array" { "items" } else { "values" });
                items.map_or_else(
                    || refuse("the Avro schema has an array or a map without elements"),
                    |items| self.schema(items, true),
                )
            }
            Some(Value::String(kind)) if kind == "fixed" && object.get("size") == Some(&0.into()) => {
                refuse("the Avro schema has a \"fixed\" of no size")
            }
            // What a logical type is of, or a schema once more in brackets.
            Some(schema) => self.schema(schema, is_repeated),
            None => refuse("the Avro schema has an object without a type"),
        }
    }
}

/// Whether a name, which may have a namespace before it, is that of a record.
fn is_named(record: &str, name: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    !record.is_empty() && last(record) == last(name)
}
