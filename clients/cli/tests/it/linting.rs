//! `asof lint`: columns of a spine that tell what was not known yet.

use crate::project::Project;

/// 40 customers with an order each at the start of January, and one at the end of it.
fn two_orders_each() -> Project {
    let project = Project::applied();
    let mut orders = "customer_id,ordered_at,loaded_at,amount,items\n".to_owned();
    for (day, factor) in [(2, 1), (27, 7)] {
        for customer in 0..40 {
            let amount = (customer * 17 * factor + day) % 41;
            let time = format!("2026-01-{day:02}T00:00:00Z");
            orders += &format!("{customer},{time},{time},{amount}.5,{customer}\n");
        }
    }
    project.write("data/orders.csv", &orders);
    project
}

/// A spine that asks about every customer between the two orders.
fn spine(project: &Project, label: impl Fn(i32) -> String) {
    let mut rows = "customer_id,event_timestamp,label,note\n".to_owned();
    for customer in 0..40 {
        rows += &format!(
            "{customer},2026-01-10T00:00:00Z,{},n{}\n",
            label(customer),
            customer % 3
        );
    }
    project.write("spine.csv", &rows);
}

const LINT: [&str; 4] = ["lint", "spine.csv", "--service", "reorder_v1"];

#[test]
fn a_column_that_is_the_next_value() {
    let project = two_orders_each();
    spine(&project, |customer| {
        format!("{}.5", (customer * 17 * 7 + 27) % 41)
    });
    // The amounts of both orders are equal where 17c + 2 = 119c + 27 (mod 41), which is 20c = 16, c = 9.
    let found = project.asof(&LINT);
    assert_eq!(
        found.stdout,
        "\
spine.csv: all 40 rows
compared: label, note
last_order: rows with a later value within 30d: 40

column  feature             what it tells           how well          rows
label   last_order__amount  equals the later value  equal in 100.0 %  39
"
    );
    assert_eq!(
        (found.code, found.stderr.as_str()),
        (
            4,
            "error: label tells what was not known yet at the times of the rows: no model should have that for an input\n"
        )
    );
    let json = project.asof(&[&LINT[..], &["--json"]].concat());
    assert_eq!(json.code, 4);
    assert_eq!(
        json.json()["findings"],
        serde_json::json!([{
            "column": "label", "feature": "last_order__amount", "leak": "equals", "rows": 39, "share": 1.0,
            "rank_correlation_later": null, "rank_correlation_now": null,
        }])
    );
}

#[test]
fn a_column_that_is_the_present_value() {
    let project = two_orders_each();
    spine(&project, |customer| format!("{}.5", (customer * 17 + 2) % 41));
    let found = project.done(&LINT);
    assert_eq!(
        found.stdout,
        "\
spine.csv: all 40 rows
compared: label, note
last_order: rows with a later value within 30d: 40

Nothing was found that tells a feature's later value.
"
    );
}

#[test]
fn what_extract_refuses_is_refused() {
    let project = Project::applied();
    project.refused(
        &["lint", "none.csv", "--service", "reorder_v1"],
        4,
        "spine none.csv does not exist",
    );
    project.refused(
        &["lint", "spine.csv", "--service", "reorder"],
        2,
        "unknown service \"reorder\"; did you mean \"reorder_v1\"?",
    );
}
