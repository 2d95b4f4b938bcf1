//! On-demand features from the command line: `asof test`, `get`, `extract`.

use crate::project::Project;

const ON_DEMAND: &str = r#"
[[on_demand]]
name = "basket"
request = { price = "float64", pieces = "int64", words = "list<string>" }
[on_demand.features]
total = { type = "float64", expression = "price * cast(pieces as double)" }
factor = { type = "float64", expression = "basket.total / last_order.amount" }
each = { type = "int64", expression = "last_order.items / pieces" }

[[on_demand.example]]
description = "three of them"
inputs = { price = 0.1, pieces = 3, "last_order.amount" = 1.5, "last_order.items" = 7 }
outputs = { total = 0.3, factor = 0.2, each = 2 }

[[on_demand.example]]
inputs = { pieces = 0, "last_order.items" = 1, price = nan }
outputs = { total = nan }
nulls = ["factor", "each"]
"#;

fn project() -> Project {
    let project = Project::starter();
    project.write("features/basket.toml", ON_DEMAND);
    project
}

#[test]
fn examples_pass_or_differ() {
    let project = project();
    let passed = project.asof(&["test"]);
    assert_eq!(
        (passed.code, passed.stdout.as_str()),
        (0, "2 examples passed.\n"),
        "{passed:?}"
    );
    assert!(
        !project.path().join(".asof/registry.db").exists(),
        "nothing was applied"
    );

    let wrong = ON_DEMAND
        .replace("total = 0.3, factor = 0.2", "total = 0.30001, factor = 0.2")
        .replace(
            "nulls = [\"factor\", \"each\"]",
            "nulls = [\"factor\", \"total\", \"each\"]",
        )
        .replace("outputs = { total = nan }\n", "");
    project.write("features/basket.toml", &wrong);
    let differs = project.asof(&["test"]);
    assert_eq!(
        (differs.code, differs.stdout.as_str(), differs.stderr.as_str()),
        (
            4,
            "features/basket.toml:10:1: basket:total (three of them)\n  - expected 0.30001\n  + found    0.30000000000000004\n\
             features/basket.toml:15:1: basket:total\n  - expected null\n  + found    \"NaN\"\n",
            "error: 2 of 2 examples differ: correct the expressions or the examples\n"
        )
    );
    let told = project.asof(&["--json", "test"]);
    assert_eq!(told.code, 4);
    let told = told.json();
    assert_eq!(told["examples"], 2);
    assert_eq!(told["differences"][1]["feature"], "basket:total");
    assert_eq!(told["differences"][0]["line"], 10);

    project.write(
        "features/basket.toml",
        &ON_DEMAND.replace("[[on_demand.example]]", "[[on_demand.exmple]]"),
    );
    let refused = project.asof(&["test"]);
    assert_eq!(refused.code, 3);
    assert!(
        refused.stderr.contains("did you mean \"example\"?"),
        "{}",
        refused.stderr
    );
    project.write("features/basket.toml", "");
    assert_eq!(
        project.asof(&["test"]).stdout,
        "There are no examples: write [[on_demand.example]] below an on-demand definition.\n"
    );
}

#[test]
fn what_is_wrong_with_an_example_has_its_place() {
    let project = project();
    for (from, to, expect) in [
        (
            "each = 2",
            "eech = 2",
            "features/basket.toml:13:40: on_demand \"basket\" has no feature \"eech\"; did you mean \"each\"?",
        ),
        (
            "{ price = 0.1",
            "{ prize = 0.1",
            "\"prize\" is nothing that the outputs of the example are computed of; did you mean \"price\"?",
        ),
        (
            "pieces = 3",
            "pieces = 2.5",
            "features/basket.toml:10:1: pieces[0]: is 2.5, not a value of int64",
        ),
        (
            "pieces = 3",
            "pieces = { a = 1 }",
            "the value of \"pieces\" has the wrong type",
        ),
        (
            "nulls = [\"factor\", \"each\"]",
            "nulls = [\"factor\", \"total\"]",
            "the output \"total\" is there twice",
        ),
        (
            "outputs = { total = 0.3, factor = 0.2, each = 2 }",
            "",
            "says nothing of what it gives; expected outputs = { is_late = true }",
        ),
    ] {
        project.write("features/basket.toml", &ON_DEMAND.replace(from, to));
        let refused = project.asof(&["test"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.stderr.contains(expect), "{}", refused.stderr);
    }
}

#[test]
fn one_position_is_asked_for_with_its_request() {
    let project = project();
    project.done(&["apply", "--yes"]);
    project.done(&["materialize"]);
    let get = |arguments: &[&str]| {
        let all = ["get", "--features", "basket:total,basket:factor,basket:each"];
        project.asof(&[&all, arguments].concat())
    };
    let found = get(&[
        "--key",
        "customer_id=1",
        "--request",
        "price=2.5",
        "--request",
        "pieces=0",
    ]);
    assert_eq!(found.code, 0, "{found:?}");
    assert!(found.stdout.contains("basket__total   0.0"), "{}", found.stdout);
    let each = found.stdout.lines().find(|line| line.starts_with("basket__each"));
    assert_eq!(
        each.unwrap().split_whitespace().collect::<Vec<_>>(),
        ["basket__each", "NULL"]
    );
    for (arguments, expect) in [
        (
            &["--key", "customer_id=1", "--request", "price=2.5"][..],
            "--request \"pieces\" is missing: give a column of int64, for on-demand feature basket:total",
        ),
        (
            &[
                "--key",
                "customer_id=1",
                "--request",
                "price=x",
                "--request",
                "pieces=1",
            ],
            "--request \"price=x\" is no number",
        ),
        (
            &["--key", "customer_id=1", "--request", "price"],
            "--request \"price\" is not NAME=VALUE: write it as --request bearing=120",
        ),
    ] {
        let refused = get(arguments);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(expect), "{}", refused.stderr);
    }
    project.write(
        "spine.csv",
        "customer_id,event_timestamp,price,pieces\n1,2026-02-01T00:00:00Z,2.5,0\n2,2026-02-01T00:00:00Z,,3\n",
    );
    let extracted = project.done(&[
        "extract",
        "--features",
        "basket:*",
        "--spine",
        "spine.csv",
        "--out",
        "out.csv",
    ]);
    assert!(
        extracted
            .stdout
            .contains("warning: basket:each: 1 value is null because something could not be computed"),
        "{}",
        extracted.stdout
    );
    // The same bytes again.
    project.done(&["replay", "out.csv.manifest.json", "--out", "again.csv"]);
    let explained = project.done(&[
        "explain",
        "--feature",
        "basket:factor",
        "--key",
        "customer_id=1",
        "--at",
        "2026-03-01T00:00:00Z",
    ]);
    assert!(
        explained.stdout.starts_with(
            "basket:factor is computed when it is asked for: basket.total / last_order.amount\n"
        ),
        "{}",
        explained.stdout
    );
}
