//! On-demand features: what files say of them, what is refused, and what breaks a service.

use asof_core::definition::OnDemandInput;
use asof_registry::{ObjectKind, find, list, search, to_toml};

use crate::support::{WEATHER, applied, parse, plan_on};

/// The weather's entity, source and view (features `temp` and `wind_speed`), and these lines.
fn with(lines: &str) -> String {
    format!("{WEATHER}\n{lines}")
}

const CONTEXT: &str = r#"
[[on_demand]]
name = "context"
request = { sched_hour = "int64", bearing = "float64" }
description = "Of the flight."
[on_demand.features]
is_rush_hour = { type = "bool", expression = "sched_hour between 6 and 9" }
headwind = { type = "float64", expression = "airport_weather.wind_speed * cos(radians(bearing))", description = "Along the runway." }
late = { type = "bool", expression = "is_rush_hour and context.headwind > 10" }

[[service]]
name = "model"
features = ["airport_weather:temp", "context:*", { view = "context", features = ["headwind"], keys = { origin = "dest" }, prefix = "dest" }]
"#;

#[test]
fn a_set_means_what_it_says() {
    let plan = plan_on(None, &with(CONTEXT)).unwrap();
    let definitions = plan.definitions();
    let context = &definitions.on_demand["context"];
    let names: Vec<_> = context
        .request
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["sched_hour", "bearing"], "in the order of the file");
    let inputs = |name: &str| {
        let feature = context.feature(name).unwrap();
        let inputs = feature.inputs.iter().map(|input| match input {
            OnDemandInput::Request(name) => name.clone(),
            OnDemandInput::Feature { view, feature } => format!("{view}:{feature}"),
        });
        inputs.collect::<Vec<_>>()
    };
    assert_eq!(inputs("is_rush_hour"), ["sched_hour"]);
    assert_eq!(inputs("headwind"), ["airport_weather:wind_speed", "bearing"]);
    assert_eq!(inputs("late"), ["context:is_rush_hour", "context:headwind"]);
    let frozen: Vec<_> = definitions.services["model"].entries[1]
        .features
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(frozen, ["is_rush_hour", "headwind", "late"]);

    let object = find(definitions, ObjectKind::OnDemand, "context").unwrap();
    assert_eq!(
        to_toml(&object),
        "[[on_demand]]\nname = \"context\"\nrequest = { sched_hour = \"int64\", bearing = \"float64\" }\n\
         description = \"Of the flight.\"\n[on_demand.features]\n\
         is_rush_hour = { type = \"bool\", expression = \"sched_hour between 6 and 9\" }\n\
         headwind = { type = \"float64\", expression = \"airport_weather.wind_speed * cos(radians(bearing))\", description = \"Along the runway.\" }\n\
         late = { type = \"bool\", expression = \"is_rush_hour and context.headwind > 10\" }\n"
    );
    let feature = find(definitions, ObjectKind::Feature, "context:headwind").unwrap();
    assert_eq!(feature.description(), Some("Along the runway."));
    assert!(to_toml(&feature).starts_with("headwind = { type = \"float64\", "));
    let features = list(definitions, Some(ObjectKind::Feature));
    assert!(features.iter().any(|feature| feature.name() == "context:late"));
    let found: Vec<_> = search(definitions, "runway")
        .iter()
        .map(|hit| hit.object.name())
        .collect();
    assert_eq!(found, ["context:headwind"]);
}

#[test]
fn what_is_written_is_read_again() {
    // Written as files, too, it is the same.
    let version = applied(&with(CONTEXT));
    let mut text = WEATHER.to_owned();
    for kind in [ObjectKind::OnDemand, ObjectKind::Service] {
        for object in list(&version.definitions, Some(kind)) {
            text.push_str(&format!("\n{}", to_toml(&object)));
        }
    }
    assert!(plan_on(Some(&version), &text).unwrap().is_empty());
}

fn check(lines: &str, expect: &[&str]) {
    let found = parse(with(lines)).unwrap_err().to_string();
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.contains(expect), "{found}\nhas not\n{expect}");
    }
}

fn feature(line: &str) -> String {
    format!(
        "[[on_demand]]\nname = \"context\"\nrequest = {{ hour = \"int64\", origin = \"string\", temp = \"float64\" }}\n\
         [on_demand.features]\n{line}\n"
    )
}

#[test]
fn what_is_wrong_with_a_set_is_said_with_its_place() {
    check(
        "[[on_demand]]\nname = \"context\"\n",
        &["[[on_demand]] \"context\" has no \"features\""],
    );
    check(
        "[[on_demand]]\nname = \"context\"\n[on_demand.features]\n",
        &["has no features"],
    );
    check(
        "[[on_demand]]\nname = \"Context\"\n[on_demand.features]\nx = { type = \"bool\", expression = \"true\" }\n",
        &["not a valid on_demand name"],
    );
    check(
        "[[on_demand]]\nname = \"airport_weather\"\n[on_demand.features]\nx = { type = \"bool\", expression = \"true\" }\n",
        &["\"airport_weather\" is defined twice"],
    );
    check(
        "[[on_demand]]\nname = \"c\"\nrequest = { a = \"struct<x: int64>\", b = \"list<list<int64>>\", c = 5, d = \"flot64\" }\n\
         [on_demand.features]\nx = { type = \"bool\", expression = \"true\" }\n",
        &[
            "cannot be the type of a request column; expected a scalar type, a list of scalars, or an embedding",
            "cannot be the type of a request column",
            "the type of request column \"c\"",
            "unknown type \"flot64\"",
        ],
    );
    for (line, expect) in [
        ("x = \"bool\"", "feature \"x\" of [[on_demand]] \"context\""),
        ("x = { type = \"bool\" }", "\"expression\""),
        ("x = { expression = \"true\" }", "\"type\""),
        (
            "x = { type = \"bool\", expression = \"true\", column = \"y\" }",
            "unknown key \"column\"",
        ),
        (
            "x = { type = \"bool\", expression = \"hour >\" }",
            "the expression cannot be used: not SQL",
        ),
        (
            "x = { type = \"bool\", expression = \"select true\" }",
            "a statement is not allowed",
        ),
        (
            "x = { type = \"bool\", expression = \"(select 1) > 0\" }",
            "a subquery reads other rows",
        ),
        (
            "x = { type = \"float64\", expression = \"sqr(temp)\" }",
            "there is no function `sqr`",
        ),
        ("x = { type = \"float64\", expression = \"random()\" }", "random"),
        (
            "x = { type = \"int64\", expression = \"hours + 1\" }",
            "\"hours\" is neither a request column nor a feature of on_demand \"context\"; did you mean \"hour\"?",
        ),
        (
            "x = { type = \"float64\", expression = \"airport_wether.temp\" }",
            "unknown view \"airport_wether\"; did you mean \"airport_weather\"?",
        ),
        (
            "x = { type = \"float64\", expression = \"airport_weather.tmp\" }",
            "view \"airport_weather\" has no feature \"tmp\"; did you mean \"temp\"?",
        ),
        (
            "x = { type = \"bool\", expression = \"hour\" }",
            "the expression does not fit what it reads: `hour` gives int64, and is declared as bool",
        ),
        (
            "x = { type = \"float64\", expression = \"origin + temp\" }",
            "`+` cannot be used with string and float64",
        ),
        (
            "x = { type = \"json\", expression = \"origin\" }",
            "an expression cannot give json",
        ),
        (
            "hour = { type = \"int64\", expression = \"hour\" }",
            "\"hour\" is both a request column and a feature",
        ),
        (
            "x = { type = \"int64\", expression = \"context.x + 1\" }",
            "computed of each other: context.x -> context.x",
        ),
    ] {
        check(&feature(line), &[expect]);
    }
    check(
        &feature(
            "x = { type = \"int64\", expression = \"y\" }\ny = { type = \"int64\", expression = \"x\" }",
        ),
        &[
            "context.x -> context.y -> context.x",
            "context.y -> context.x -> context.y",
        ],
    );
    let chain: Vec<String> = (0..17)
        .map(|depth| match depth {
            0 => "f0 = { type = \"int64\", expression = \"hour\" }".to_owned(),
            depth => format!(
                "f{depth} = {{ type = \"int64\", expression = \"f{} + 1\" }}",
                depth - 1
            ),
        })
        .collect();
    check(
        &feature(&chain.join("\n")),
        &["context.f16 is computed of on-demand features that are computed of others, more than 16 deep"],
    );
    check(
        &feature(&format!(
            "x = {{ type = \"int64\", expression = \"hour{}\" }}",
            " + 1".repeat(5_000)
        )),
        &["at most"],
    );
    // A key's column of another type.
    check(
        "[[on_demand]]\nname = \"c\"\nrequest = { origin = \"int64\" }\n[on_demand.features]\n\
         x = { type = \"bool\", expression = \"airport_weather.temp > 1 and origin = 1\" }\n",
        &["\"origin\" would have to be both string and int64"],
    );
    // One mistake is said once.
    check(
        &feature(
            "x = { type = \"int64\", expression = \"nope(1)\" }\ny = { type = \"int64\", expression = \"x + 1\" }",
        ),
        &["nope"],
    );
}

#[test]
fn services_are_checked_against_sets() {
    let service = |features: &str| {
        format!(
            "{}\n[[service]]\nname = \"m2\"\nfeatures = [{features}]\n",
            CONTEXT
        )
    };
    check(
        &service("\"contxt:late\""),
        &["unknown view \"contxt\"; did you mean \"context\"?"],
    );
    check(
        &service("\"context:lat\""),
        &["view \"context\" has no feature \"lat\""],
    );
    check(
        &service("{ view = \"context\", features = [\"headwind\"], keys = { carrier = \"x\" } }"),
        &[
            "\"context\" reads no column \"carrier\" of the caller; those that it reads are \"bearing\", \"origin\"",
        ],
    );
    check(
        &service("\"context:late\", \"context:late\""),
        &["two columns would be named \"context__late\""],
    );
}

#[test]
fn what_redefines_a_column_is_named_however_far() {
    let old = applied(&with(CONTEXT));
    let breaking = |text: String| {
        let plan = plan_on(Some(&old), &text).unwrap();
        plan.breaking()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(breaking(with(CONTEXT)), [""; 0]);
    // Text for people breaks nothing.
    assert_eq!(
        breaking(with(&CONTEXT.replace("Along the runway.", "Ahead."))),
        [""; 0]
    );
    assert_eq!(
        breaking(with(&CONTEXT.replace("between 6 and 9", "between 7 and 9"))),
        [
            "on_demand context breaks service model (column context__is_rush_hour is \"sched_hour between 7 and 9\" instead of \
             \"sched_hour between 6 and 9\", column context__late is computed of context:is_rush_hour, which is \"sched_hour \
             between 7 and 9\" instead of \"sched_hour between 6 and 9\")"
        ]
    );
    // A stored input, two steps away.
    let retyped = with(CONTEXT).replace(
        "wind_speed = \"float64\"",
        "wind_speed = { type = \"float64\", column = \"gust\" }",
    );
    assert_eq!(
        breaking(retyped),
        [
            "view airport_weather breaks service model (column context__headwind is computed of airport_weather:wind_speed, which is read \
             from \"gust\" instead of \"wind_speed\", column context__late is computed of airport_weather:wind_speed, which is read from \
             \"gust\" instead of \"wind_speed\", column dest_context__headwind is computed of airport_weather:wind_speed, which is read \
             from \"gust\" instead of \"wind_speed\")"
        ]
    );
    let given = with(&CONTEXT.replace("sched_hour = \"int64\"", "sched_hour = \"int32\""));
    assert_eq!(
        breaking(given),
        [
            "on_demand context breaks service model (column context__is_rush_hour is computed of \"sched_hour\", which the caller gives as \
             int32 instead of int64, column context__late is computed of \"sched_hour\", which the caller gives as int32 instead of int64)"
        ]
    );
    let gone = with(&CONTEXT.replace(
        "late = { type = \"bool\", expression = \"is_rush_hour and context.headwind > 10\" }\n",
        "",
    ));
    assert_eq!(
        breaking(gone),
        ["on_demand context breaks service model (column context__late is removed)"]
    );
    let notes = plan_on(
        Some(&old),
        &with(
            &CONTEXT
                .replace("radians(bearing)", "radians(bearing - drift)")
                .replace(
                    "bearing = \"float64\"",
                    "bearing = \"float64\", drift = \"float64\"",
                ),
        ),
    )
    .unwrap();
    assert!(
        notes
            .notes()
            .iter()
            .any(|note| note
                == "service model will need the request column \"drift\" (float64) from its callers"),
        "{:?}",
        notes.notes()
    );
}
