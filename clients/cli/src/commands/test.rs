//! `asof test`: what on-demand features give for the examples that are written beside them.

use std::fmt::Display;

use asof_core::data_type::DataType;
use asof_core::definition::Definitions;
use asof_core::service::{ReadPlan, Value as Planned};
use asof_expr::Program;
use asof_registry::{Authored, Example, input_name, plan};
use asof_server::{column_of_json, value_json};
use serde_json::{Value, json};

use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;

/// Floating-point numbers may differ by this part of the greater one: what a file writes has few digits.
const CLOSE: f64 = 1e-9;

/// And by so much near zero.
const LEAST: f64 = 1e-12;

/// A feature that gives something else than its example says.
struct Difference<'a> {
    example: &'a Example,
    feature: String,
    expected: Value,
    found: Value,
}

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let project = global.open()?;
    let authored = Authored::parse(&project.config, &project.files()?)?;
    let examples = authored.examples().to_vec();
    // As applying would, whatever was applied before.
    let plan = plan(None, authored)?;
    let mut differences = Vec::new();
    for example in &examples {
        differences.extend(differences_of(example, plan.definitions())?);
    }
    if global.json {
        let told = differences.iter().map(to_json);
        output::json(&json!({ "examples": examples.len(), "differences": told.collect::<Vec<_>>() }));
    } else {
        differences.iter().for_each(print);
    }
    let mut failing: Vec<_> = differences
        .iter()
        .map(|difference| &difference.example.place)
        .collect();
    failing.dedup();
    let count = |count: usize| match count {
        1 => "1 example".to_owned(),
        several => format!("{several} examples"),
    };
    if !failing.is_empty() {
        let what = format!(
            "{} of {} {}",
            failing.len(),
            count(examples.len()),
            match failing.len() {
                1 => "differs: correct the expression or the example",
                _ => "differ: correct the expressions or the examples",
            }
        );
        return Err(Failure::new(Exit::Data, what));
    }
    if !global.json {
        output::line(match examples.len() {
            0 => {
                "There are no examples: write [[on_demand.example]] below an on-demand definition.".to_owned()
            }
            all => format!("{} passed.", count(all)),
        });
    }
    Ok(())
}

fn differences_of<'a>(
    example: &'a Example,
    definitions: &Definitions,
) -> Result<Vec<Difference<'a>>, Failure> {
    let failure = |exit, what: &dyn Display| Failure::new(exit, format!("{}: {what}", example.place));
    let bug = |what: &dyn Display| failure(Exit::Bug, what);
    let wrong = |what: &dyn Display| failure(Exit::Definition, what);
    let lost = || bug(&"the plan of the example is not whole");
    let plan = example.plan(definitions).ok_or_else(lost)?;
    let program = Program::compile(&plan).map_err(|error| bug(&error))?;
    let inputs = program.inputs().iter().map(|input| {
        let name = input_name(&plan, *input).ok_or_else(lost)?;
        let data_type = plan.input_type(*input).ok_or_else(lost)?;
        let given = example.inputs.iter().find(|(given, _)| *given == name);
        let value = given.map_or(&Value::Null, |(_, value)| value);
        column_of_json(&name, data_type, &json!([value])).map_err(|error| wrong(&error))
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let computed = program.evaluate(&inputs, 1).map_err(|error| bug(&error))?;
    let mut differences = Vec::new();
    for ((name, expected), column) in example.outputs.iter().zip(&plan.columns) {
        let (data_type, place) = output(&plan, column.value).ok_or_else(lost)?;
        let found = computed
            .values
            .get(place)
            .and_then(Option::as_ref)
            .ok_or_else(lost)?;
        let expected = column_of_json(name.as_str(), data_type, &json!([expected]));
        let expected = expected.map_err(|error| wrong(&error))?;
        let value = |array| value_json(data_type, array, 0).map_err(|error| bug(&error));
        let (found, expected) = (value(found)?, value(&expected)?);
        if !is_alike(&found, &expected) {
            differences.push(Difference {
                example,
                feature: format!("{}:{name}", example.on_demand),
                expected,
                found,
            });
        }
    }
    Ok(differences)
}

fn output(plan: &ReadPlan, value: Planned) -> Option<(&DataType, usize)> {
    match value {
        Planned::Computed(place) => Some((&plan.computed.get(place)?.feature.data_type, place)),
        Planned::Stored { .. } => None,
    }
}

/// Whether two values are the same, but for the last digits of floating-point numbers.
fn is_alike(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            let mut pairs = found.iter().zip(expected);
            found.len() == expected.len() && pairs.all(|(found, expected)| is_alike(found, expected))
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => {
                    (one - other).abs() <= (CLOSE * one.abs().max(other.abs())).max(LEAST)
                }
                _ => false,
            }
        }
        (found, expected) => found == expected,
    }
}

fn to_json(difference: &Difference<'_>) -> Value {
    let Difference {
        example,
        feature,
        expected,
        found,
    } = difference;
    json!({
        "file": &*example.place.file, "line": example.place.line, "column": example.place.column,
        "description": example.description, "feature": feature, "expected": expected, "found": found,
    })
}

fn print(difference: &Difference<'_>) {
    let Difference {
        example,
        feature,
        expected,
        found,
    } = difference;
    let description = example.description.as_ref().map(|text| format!(" ({text})"));
    output::line(format!(
        "{}: {feature}{}",
        example.place,
        description.unwrap_or_default()
    ));
    output::line(format!("  - expected {expected}"));
    output::line(format!("  + found    {found}"));
}
