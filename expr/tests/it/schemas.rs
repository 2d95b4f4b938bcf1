//! Binding: which columns are read, and which come out.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use asof_expr::SourceSql;
use std::sync::Arc;

use crate::fixture::{run, shown, table};

fn weather() -> Schema {
    Schema::new(vec![
        Field::new("origin", DataType::Utf8, false),
        Field::new("temp", DataType::Float64, true),
        Field::new("dewp", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
    ])
}

#[test]
fn star_keeps_the_fields_and_adds_the_computed() {
    let sql = "select *, temp - dewp as spread from source where temp is not null";
    let parsed = SourceSql::parse(sql).unwrap();
    assert_eq!(parsed.text(), sql);
    let bound = parsed.bind(&weather()).unwrap();
    assert_eq!(bound.input_columns(), [0, 1, 2, 3]);
    let mut expect = weather().fields().to_vec();
    expect.push(Arc::new(Field::new("spread", DataType::Float64, true)));
    assert_eq!(bound.schema().fields().to_vec(), expect);
}

#[test]
fn only_the_named_columns_are_read() {
    let bound = SourceSql::parse("select dewp, source.origin as place from source where note = 'x'")
        .unwrap()
        .bind(&weather())
        .unwrap();
    assert_eq!(bound.input_columns(), [0, 2, 3]);
    let names: Vec<String> = bound
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["dewp", "place"]);
    assert!(!bound.schema().field(1).is_nullable());
}

#[test]
fn a_batch_of_no_columns_keeps_its_rows() {
    let bound = SourceSql::parse("select 7 as seven from source")
        .unwrap()
        .bind(&weather())
        .unwrap();
    assert!(bound.input_columns().is_empty());
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let evaluated = bound.evaluate(&none).unwrap();
    assert_eq!(shown(evaluated.batch.column(0)), ["7", "7", "7"]);
    assert_eq!(evaluated.kept.len(), 3);
}

#[test]
fn an_empty_batch_gives_an_empty_batch() {
    let bound = SourceSql::parse("select *, l / m as x, coalesce(s, 'a') as y from source where f > 1")
        .unwrap()
        .bind(&table().schema())
        .unwrap();
    let evaluated = bound.evaluate(&table().slice(0, 0)).unwrap();
    assert_eq!(evaluated.batch.num_rows(), 0);
    assert_eq!(evaluated.batch.schema(), bound.schema());
}

#[test]
fn another_batch_than_was_bound_is_refused() {
    let bound = SourceSql::parse("select l from source")
        .unwrap()
        .bind(&table().schema())
        .unwrap();
    let error = bound.evaluate(&table().project(&[1]).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot evaluate: the batch has the columns m, bound were l, each of its type: read the columns that were bound"
    );
}

#[test]
fn statements_may_end_in_a_semicolon_and_have_comments() {
    let evaluated = run("SELECT T -- the capital one\nFROM source /* all */ ;").unwrap();
    assert_eq!(evaluated.batch.num_rows(), 4);
}
