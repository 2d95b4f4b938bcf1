//! `asof diff`: two datasets compared by row and feature.

use asof_offline::{DiffRequest, Difference, Example, RowKey};
use serde_json::{Map, Value, json};

use crate::args::DiffArgs;
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;

/// How many rows that differ are shown for each column.
const EXAMPLES: usize = 3;

pub(super) async fn run(global: &Global, args: DiffArgs) -> Result<(), Failure> {
    let names = [args.a.display().to_string(), args.b.display().to_string()];
    // The files are read without a pause: on a thread of their own, so that Ctrl-C is seen.
    let compared = tokio::task::spawn_blocking(move || {
        asof_offline::diff(&DiffRequest {
            a: &args.a,
            b: &args.b,
            keys: &args.keys,
            examples: EXAMPLES,
        })
    });
    let compared = compared.await;
    let difference = compared.map_err(|error| Failure::new(Exit::Bug, error.to_string()))??;
    match global.json {
        true => output::json(&to_json(&names, &difference)),
        false => print(&names, &difference),
    }
    match difference.is_same() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Data, verdict(&names, &difference))),
    }
}

/// Where two datasets differ, in one line.
fn verdict([a, b]: &[String; 2], difference: &Difference) -> String {
    let differing = difference
        .compared
        .iter()
        .filter(|column| column.rows > 0)
        .count();
    let [only_a, only_b] = &difference.only;
    let [rows_a, rows_b] = difference.unmatched;
    let parts = [
        (differing as u64, "column", "with other values"),
        (difference.retyped.len() as u64, "column", "of another type"),
        (
            (only_a.len() + only_b.len()) as u64,
            "column",
            "of only one of them",
        ),
        (rows_a + rows_b, "row", "of only one of them"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, what, how)| format!("{} {how}", output::counted(*count, what)))
        .collect();
    format!("{a} and {b} differ: {}", told.join(", "))
}

fn print(names: &[String; 2], difference: &Difference) {
    let [a, b] = names;
    for ((name, rows), columns) in names.iter().zip(difference.rows).zip(difference.columns) {
        output::line(format!(
            "{name}: {}, {}",
            output::counted(rows, "row"),
            output::counted(columns as u64, "column")
        ));
    }
    for (name, only) in names.iter().zip(&difference.only) {
        if !only.is_empty() {
            output::line(format!("only in {name}: {}", only.join(", ")));
        }
    }
    notes(names, difference);
    let triple = |what: &str, sides: &[String; 2]| vec![what.to_owned(), sides[0].clone(), sides[1].clone()];
    let manifests = difference.manifests.iter().flatten();
    let manifests = manifests.map(|change| triple(&change.what, &[change.a.clone(), change.b.clone()]));
    titled(&["in the manifests", a, b], manifests.collect());
    let retyped = difference.retyped.iter();
    let retyped = retyped.map(|column| triple(&column.column, &column.types));
    titled(&["type of column", a, b], retyped.collect());
    let differing = difference.compared.iter().filter(|column| column.rows > 0);
    let differing = differing.map(|column| vec![column.column.clone(), output::count(column.rows)]);
    titled(&["column", "rows that differ"], differing.collect());
    examples(names, difference);
    if difference.is_same() {
        output::line("The same rows and columns.");
    }
}

/// What is not a difference of its own, and tells how to read the others.
fn notes(names: &[String; 2], difference: &Difference) {
    for ((name, rows), shown) in names
        .iter()
        .zip(difference.unmatched)
        .zip(&difference.unmatched_rows)
    {
        if rows > 0 {
            let shown: Vec<String> = shown.iter().map(row_key).collect();
            let more = if rows > shown.len() as u64 { ", …" } else { "" };
            output::line(format!(
                "only in {name}: {}: {}{more}",
                output::counted(rows, "row"),
                shown.join(", ")
            ));
        }
    }
    if difference.repeated_keys > 0 {
        output::line(format!(
            "note: more than once in {}: {}, whose rows are matched in their order",
            names[1],
            output::counted(difference.repeated_keys, "key")
        ));
    }
    if !difference.misaligned.is_empty() {
        output::line(format!(
            "note: rows are matched by position, and do not line up, as {} says: match them by --key",
            difference.misaligned.join(", ")
        ));
    }
    if difference.reordered {
        output::line("note: the columns stand in another order");
    }
    for error in &difference.manifest_errors {
        output::line(format!("note: manifests are not compared: {error}"));
    }
}

fn row_key(row: &RowKey) -> String {
    let key: Vec<String> = row.key.iter().map(pair).collect();
    match key.is_empty() {
        true => format!("row {}", row.row),
        false => format!("row {} ({})", row.row, key.join(", ")),
    }
}

fn pair((name, value): &(String, Option<String>)) -> String {
    format!("{name}={}", told(value.as_ref()))
}

fn told(value: Option<&String>) -> &str {
    value.map_or("null", String::as_str)
}

fn titled(headings: &[&str], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        output::line("");
        output::table(headings, rows);
    }
}

/// The first rows that differ in each column.
fn examples([a, b]: &[String; 2], difference: &Difference) {
    let moved = |example: &Example| example.rows[0] != example.rows[1];
    let place = |example: &Example| match moved(example) {
        false => example.rows[0].to_string(),
        true => format!("{}, {}", example.rows[0], example.rows[1]),
    };
    let row = |column: &str, example: &Example| {
        let key: Vec<String> = example.key.iter().map(pair).collect();
        let [a, b] = &example.values;
        vec![
            column.to_owned(),
            place(example),
            key.join(", "),
            told(a.as_ref()).to_owned(),
            told(b.as_ref()).to_owned(),
        ]
    };
    let rows = difference.compared.iter().flat_map(|column| {
        let examples = column.examples.iter();
        examples.map(|example| row(&column.column, example))
    });
    titled(&["column", "row", "of", a, b], rows.collect());
}

fn to_json([a, b]: &[String; 2], difference: &Difference) -> Value {
    let key = |key: &[(String, Option<String>)]| -> Map<String, Value> {
        let pairs = key.iter();
        pairs.map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    let example = |example: &Example| json!({ "rows": example.rows, "key": key(&example.key), "values": example.values });
    let columns = difference.compared.iter().map(|column| {
        let examples: Vec<Value> = column.examples.iter().map(example).collect();
        json!({ "column": column.column, "rows": column.rows, "examples": examples })
    });
    let unmatched = difference.unmatched.iter().zip(&difference.unmatched_rows);
    let unmatched = unmatched.map(|(rows, shown)| {
        let shown = shown.iter();
        let shown: Vec<Value> = shown
            .map(|row| json!({ "row": row.row, "key": key(&row.key) }))
            .collect();
        json!({ "rows": rows, "first": shown })
    });
    let retyped = difference.retyped.iter();
    let retyped = retyped.map(|column| json!({ "column": column.column, "types": column.types }));
    let manifests = difference.manifests.as_ref().map(|changes| -> Vec<Value> {
        let changes = changes.iter();
        changes
            .map(|change| json!({ "what": change.what, "values": [change.a, change.b] }))
            .collect()
    });
    json!({
        "same": difference.is_same(), "files": [a, b], "rows": difference.rows, "only": difference.only,
        "retyped": retyped.collect::<Vec<_>>(), "unmatched": unmatched.collect::<Vec<_>>(),
        "repeated_keys": difference.repeated_keys, "misaligned": difference.misaligned,
        "reordered": difference.reordered, "columns": columns.collect::<Vec<_>>(), "manifests": manifests,
        "manifest_errors": difference.manifest_errors,
    })
}
