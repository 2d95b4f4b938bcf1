//! Aggregates as a file would write them.

use asof_core::aggregate::Function;
use asof_core::definition::{Aggregate, Aggregates, InputText};

use super::{Field, inline, key, string};

/// The section of a view's fields that are aggregates.
pub(super) const SECTION: &str = "aggregates";

/// One field an aggregate, called as its features begin.
pub(super) fn fields(aggregates: &Aggregates) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for aggregate in aggregates.list() {
        let function = aggregate.functions.first().copied();
        let stem = function.and_then(|function| aggregate.stem(function).ok());
        let stem = key(&stem.unwrap_or_default());
        // Several may share a name, over other windows.
        let mut name = stem.clone();
        let mut number = 1;
        while fields.iter().any(|field| field.key == name) {
            number += 1;
            name = format!("{stem}#{number}");
        }
        let values = values(aggregate);
        fields.push(Field {
            section: Some(SECTION),
            key: name,
            value: inline(values.iter().map(|(key, value)| (*key, value.clone()))),
        });
    }
    fields
}

/// An aggregate as a block of its own.
pub(super) fn block(aggregate: &Aggregate) -> String {
    let lines = values(aggregate).into_iter();
    let lines: String = lines.map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("[[view.aggregate]]\n{lines}")
}

fn values(aggregate: &Aggregate) -> Vec<(&'static str, String)> {
    let Aggregate {
        name,
        input,
        input_type,
        functions,
        windows,
        filter,
        description,
    } = aggregate;
    let mut values = Vec::new();
    let mut optional = |key: &'static str, value: Option<&str>| {
        values.extend(value.map(|value| (key, string(value))));
    };
    let (column, expression) = match input {
        Some(InputText::Column(text)) => (Some(text.as_str()), None),
        Some(InputText::Expression(text)) => (None, Some(text.as_str())),
        None => (None, None),
    };
    let function = functions.first().copied();
    let is_counted = function == Some(Function::Count);
    let data_type = input_type.to_string();
    optional("name", name.as_deref());
    optional("input", column);
    optional("expression", expression);
    optional("type", Some(data_type.as_str()).filter(|_| !is_counted));
    optional("function", function.map(Function::as_str));
    match function {
        Some(Function::LastN(most)) => values.push(("n", most.to_string())),
        Some(Function::ApproxQuantile(_)) => {
            let shares = functions
                .iter()
                .map(|function| f64::from(function.parameter()) / 1e6);
            let shares: Vec<String> = shares.map(|share| share.to_string()).collect();
            values.push(("quantiles", format!("[{}]", shares.join(", "))));
        }
        _ => {}
    }
    let windows: Vec<String> = windows.iter().map(|window| string(window.as_str())).collect();
    values.push(("windows", format!("[{}]", windows.join(", "))));
    values.extend(filter.as_deref().map(|filter| ("where", string(filter))));
    values.extend(
        description
            .as_deref()
            .map(|description| ("description", string(description))),
    );
    values
}
