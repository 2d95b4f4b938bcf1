//! `[[view.aggregate]]`: what it means, and what each mistake gets.

use asof_core::data_type::DataType;
use asof_core::definition::Aggregates;
use asof_registry::{Object, ObjectKind, find, to_toml};

use crate::support::{applied, parse, plan_on};

/// A managed source and a view of aggregates with these lines.
fn clicks(view: &str, aggregates: &str) -> String {
    format!(
        "[[entity]]\nname = \"user\"\nkeys = {{ user_id = \"int64\" }}\n\
         [[source]]\nname = \"clicks\"\n\
         schema = {{ user_id = \"int64\", at = \"timestamp\", amount = \"int64\", note = \"string\" }}\n\
         event_time = \"at\"\n\
         [[view]]\nname = \"click\"\nentity = \"user\"\nsource = \"clicks\"\n{view}\n{aggregates}\n"
    )
}

fn aggregates(view: &str, aggregates: &str) -> Aggregates {
    let plan = plan_on(None, &clicks(view, aggregates)).unwrap();
    plan.definitions().views["click"].aggregates().unwrap().clone()
}

fn names(aggregates: &Aggregates) -> Vec<String> {
    let features = aggregates.features().iter();
    features
        .map(|feature| format!("{} {}", feature.name, feature.data_type))
        .collect()
}

#[test]
fn aggregates_mean_what_they_say() {
    let found = aggregates(
        "hop = \"1m\"",
        r#"
[[view.aggregate]]
input = "amount"
function = "mean"
windows = ["1h", "7d", "all"]
where = "amount > 0"
[[view.aggregate]]
input = "amount"
function = "sum"
windows = ["1h"]
[[view.aggregate]]
function = "count"
windows = ["90m"]
[[view.aggregate]]
input = "note"
function = "last_n"
n = 3
windows = ["1d"]
description = "The last notes."
[[view.aggregate]]
expression = "amount * 2"
name = "double"
type = "float64"
function = "approx_quantile"
quantiles = [0.5, 0.999]
windows = ["1d"]
"#,
    );
    // The type of an input is that of the managed source's column, unless it is given.
    assert_eq!(
        names(&found),
        [
            "amount_mean_1h float64",
            "amount_mean_7d float64",
            "amount_mean_all float64",
            "amount_sum_1h int64",
            "count_90m int64",
            "note_last_n_1d list<string>",
            "double_1d_p50 float64",
            "double_1d_p99_9 float64",
        ]
    );
    assert_eq!(
        found.describe("amount_mean_7d").unwrap(),
        "mean of amount where amount > 0 as int64 over 1w, in hops of 1m"
    );
    assert_eq!(
        found.describe("double_1d_p99_9").unwrap(),
        "approx_quantile(0.999) of (amount * 2) as float64 over 1d, in hops of 1m"
    );
    assert_eq!(found.inputs()[1].data_type, DataType::Int64);
}

/// The problem of a view of aggregates, without what is the same in all.
fn check(view: &str, lines: &str, expected: &str) {
    let found = parse(clicks(view, lines)).unwrap_err().to_string();
    let found = found
        .replace("features/a.toml:", "")
        .replace("[[view.aggregate]] of [[view]] \"click\"", "IT");
    assert_eq!(found, expected, "{lines}");
}

const HEAD: &str = "[[view.aggregate]]\n";

fn check_one(lines: &str, expected: &str) {
    check("", &format!("{HEAD}{lines}"), expected);
}

#[test]
fn functions_and_what_they_take() {
    check_one(
        "input = \"amount\"\nfunction = \"averge\"\nwindows = [\"1h\"]",
        "15:12: unknown function \"averge\"; expected one of count, sum, mean, min, max, variance, stddev, first, last, \
         last_n, count_distinct, approx_quantile",
    );
    check_one(
        "input = \"amount\"\nfunction = \"stdev\"\nwindows = [\"1h\"]",
        "15:12: unknown function \"stdev\"; did you mean \"stddev\"?",
    );
    check_one(
        "input = \"amount\"\nfunction = \"median\"\nwindows = [\"1h\"]",
        "15:12: unknown function \"median\"; it is called approx_quantile, with quantiles = [0.5], here",
    );
    check_one(
        "function = \"count\"\ntype = \"float64\"\nwindows = [\"1h\"]",
        "15:8: \"type\" is not for count; it counts events or values of any type: remove it",
    );
    check_one(
        "input = \"amount\"\nfunction = \"approx_quantile\"\nquantiles = [0.5, 0.50]\nwindows = [\"1h\"]",
        "16:19: the quantile 0.50 is listed twice; remove one of them",
    );
    check_one(
        "input = \"note\"\nfunction = \"mean\"\nwindows = [\"1h\"]",
        "13:1: mean takes numbers, not string; take another function, or an expression that gives such values",
    );
    check_one(
        "function = \"sum\"\nwindows = [\"1h\"]",
        "13:1: sum has no input; name a column with input, or write an expression",
    );
    check_one(
        "input = \"amount\"\nfunction = \"sum\"\nn = 5\nwindows = [\"1h\"]",
        "16:5: \"n\" is not for sum; it is for function = \"last_n\": remove it",
    );
    check_one(
        "input = \"note\"\nfunction = \"last_n\"\nwindows = [\"1h\"]",
        "13:1: IT has no \"n\"; expected n = 5, from 1 to 1000",
    );
    check_one(
        "input = \"note\"\nfunction = \"last_n\"\nn = 0\nwindows = [\"1h\"]",
        "16:5: n = 0 is out of range; expected a whole number from 1 to 1000",
    );
    check_one(
        "input = \"note\"\nfunction = \"last_n\"\nn = \"5\"\nwindows = [\"1h\"]",
        "16:5: \"n\" has the wrong type; expected a decimal integer, found a string",
    );
    check_one(
        "input = \"note\"\nfunction = \"last_n\"\nn = 0x10\nwindows = [\"1h\"]",
        "16:5: \"n\" has the wrong type; expected a decimal integer, found an integer",
    );
    check_one(
        "input = \"amount\"\nfunction = \"approx_quantile\"\nwindows = [\"1h\"]",
        "13:1: IT has no \"quantiles\"; expected quantiles = [0.5, 0.95]",
    );
    check_one(
        "input = \"amount\"\nfunction = \"approx_quantile\"\nquantiles = [0.5, 1.0, 0.50000000001]\nwindows = [\"1h\"]",
        "16:19: 1.0 is not a quantile; expected a number above 0 and below 1, of at most 6 digits behind the point; min and max give the ends\n\
         16:24: 0.50000000001 is not a quantile; expected a number above 0 and below 1, of at most 6 digits behind the point; min and max give the ends",
    );
}

#[test]
fn windows_and_hops() {
    check_one(
        "function = \"count\"",
        "13:1: IT has no \"windows\"; expected windows = [\"1h\", \"7d\"], or \"all\" among them",
    );
    check_one(
        "function = \"count\"\nwindows = []",
        "15:11: IT lists 0 windows; expected windows = [\"1h\", \"7d\"], or \"all\" among them",
    );
    check_one(
        "function = \"count\"\nwindows = [\"0s\", \"-1h\", \"1 hour\", \"99999999999w\"]",
        "15:12: \"0s\" is not a window; a duration must be greater than zero; or \"all\"\n\
         15:18: \"-1h\" is not a window; a duration cannot be negative; or \"all\"\n\
         15:25: \"1 hour\" is not a window; a duration is an integer and one of the units us, ms, s, m, h, d, w, such as \
         \"90m\" or \"7d\"; or \"all\"\n\
         15:35: \"99999999999w\" is not a window; this duration is too long: the longest is about 292,000 years; or \"all\"",
    );
    check_one(
        "function = \"count\"\nwindows = [\"7d\", \"1w\", \"7d\"]",
        "15:18: the windows \"7d\" and \"1w\" are the same; remove one of them\n\
         15:24: the window \"7d\" is listed twice; remove one of them",
    );
    check(
        "hop = \"2h\"",
        &format!("{HEAD}function = \"count\"\nwindows = [\"1d\", \"1h\"]"),
        "13:1: a hop of 2h is longer than the window of 1h; give the view a shorter hop, or none",
    );
    check(
        "hop = \"0s\"",
        &format!("{HEAD}function = \"count\"\nwindows = [\"1d\"]"),
        "12:7: \"0s\" is not a duration; a duration must be greater than zero",
    );
}

#[test]
fn names_inputs_and_conditions() {
    check_one(
        "input = \"amount\"\nexpression = \"1\"\nfunction = \"sum\"\nwindows = [\"1h\"]",
        "15:14: IT has both an input and an expression; expected input = \"column\", or expression = \"…\" with a name",
    );
    check_one(
        "expression = \"amount + 1\"\nfunction = \"sum\"\nwindows = [\"1h\"]",
        "13:1: IT has no \"name\"; expected name = \"a_name\", which its features begin with",
    );
    check_one(
        "input = \"amout\"\ntype = \"int64\"\nfunction = \"sum\"\nwindows = [\"1h\"]",
        "14:9: source \"clicks\" has no column \"amout\" for the input; did you mean \"amount\"?",
    );
    check_one(
        "input = \"amount\"\ntype = \"float32\"\nfunction = \"sum\"\nwindows = [\"1h\"]",
        "14:9: the input is \"float32\", and column \"amount\" of source \"clicks\" is \"int64\"; expected one type",
    );
    check_one(
        "input = \"amout\"\nfunction = \"count\"\nwindows = [\"1h\"]",
        "14:9: source \"clicks\" has no column \"amout\"; did you mean \"amount\"?",
    );
    check_one(
        "expression = \"amout + 1\"\nname = \"x\"\nfunction = \"sum\"\nwindows = [\"1h\"]",
        "14:14: the expression does not fit source \"clicks\": there is no column `amout`, did you mean `amount`?; there are: \
         user_id, at, amount, note",
    );
    check_one(
        "function = \"count\"\nwindows = [\"1h\"]\nwhere = \"amount + 1\"",
        "16:9: the condition does not fit source \"clicks\": `where` needs a condition, not int64: compare it with something",
    );
    check_one(
        "function = \"count\"\nwindows = [\"1h\"]\nwhere = \"exec('rm')\"",
        "16:9: the condition cannot be used: there is no function `exec`, did you mean `exp`?",
    );
    check_one(
        "function = \"count\"\nname = \"Late\"\nwindows = [\"1h\"]",
        "15:8: \"Late\" is not a valid feature name; a name starts with a lower-case letter a-z",
    );
    check_one(
        "input = \"\"\nfunction = \"count\"\nwindows = [\"1h\"]",
        "14:9: the name of a column is empty; expected the name of a column",
    );
    let twice = format!("{HEAD}function = \"count\"\nwindows = [\"1h\"]\n");
    check(
        "",
        &format!("{twice}{twice}"),
        "16:1: two features would be named \"count_1h\"; the first is of the aggregate at 13:1: give one of them another name",
    );
    check_one(
        "function = \"count\"\nwindow = [\"1h\"]",
        "15:1: unknown key \"window\" in IT; did you mean \"windows\"?",
    );
}

#[test]
fn what_is_wrong_in_one_aggregate_hides_nothing_in_another() {
    check(
        "",
        &format!(
            "{HEAD}function = \"count\"\nwindows = [\"0s\"]\n{HEAD}input = \"amout\"\ntype = \"int64\"\nfunction = \"sum\"\n\
             windows = [\"1h\"]"
        ),
        "15:12: \"0s\" is not a window; a duration must be greater than zero; or \"all\"\n\
         17:9: source \"clicks\" has no column \"amout\" for the input; did you mean \"amount\"?",
    );
}

#[test]
fn a_view_has_so_many_features_at_most() {
    let windows: Vec<String> = (1..=100).map(|minutes| format!("\"{minutes}m\"")).collect();
    let windows = windows.join(", ");
    let lines = |count: usize| -> String {
        let one =
            |number| format!("{HEAD}name = \"c{number}\"\nfunction = \"count\"\nwindows = [{windows}]\n");
        (0..count).map(one).collect()
    };
    assert_eq!(aggregates("", &lines(10)).features().len(), 1_000);
    check(
        "",
        &lines(11),
        "53:1: [[view]] \"click\" has more than 1000 features; make several views of it",
    );
}

#[test]
fn a_view_has_so_many_different_aggregates_at_most() {
    let several = |count: usize| {
        let lists = (1..=count).map(|n| {
            format!("{HEAD}name = \"last{n}\"\ninput = \"note\"\ntype = \"string\"\nfunction = \"last_n\"\nn = {n}\nwindows = [\"1h\", \"1d\"]\n")
        });
        lists.collect::<String>()
    };
    assert_eq!(aggregates("", &several(254)).features().len(), 508);
    check(
        "",
        &several(255),
        "8:1: [[view]] \"click\" has 255 different aggregates, whatever their windows, where there can be 254; \
         make several views of it",
    );
}

#[test]
fn a_view_has_features_or_aggregates() {
    let one = format!("{HEAD}function = \"count\"\nwindows = [\"1h\"]\n");
    check(
        "ttl = \"1h\"",
        &one,
        "12:7: [[view]] \"click\" has aggregates and a ttl; remove it: the windows say what is too old",
    );
    check(
        "[view.features]\namount = \"int64\"",
        &one,
        "12:1: [[view]] \"click\" has both features and aggregates; expected [view.features] or [[view.aggregate]]: make two \
         views of it",
    );
    check(
        "hop = \"1h\"\n[view.features]\namount = \"int64\"",
        "",
        "12:7: [[view]] \"click\" has a hop and no aggregates; remove it, or write [[view.aggregate]]",
    );
    check(
        "[view.aggregate]\nfunction = \"count\"",
        "",
        "12:1: \"aggregate\" of [[view]] \"click\" is one table; write [[view.aggregate]]",
    );
    check(
        "aggregate = 5",
        "",
        "12:13: \"aggregate\" of [[view]] \"click\" has the wrong type; expected an array, found an integer",
    );
    check(
        "aggregate = []",
        "",
        "12:13: [[view]] \"click\" has no aggregates; write [[view.aggregate]]",
    );
    // One that is wrong is no unknown view to a service.
    let service = "[[service]]\nname = \"model\"\nfeatures = [\"click:count_1h\", \"click:*\"]\n";
    check(
        "",
        &format!("{HEAD}function = \"count\"\n{service}"),
        "13:1: IT has no \"windows\"; expected windows = [\"1h\", \"7d\"], or \"all\" among them",
    );
}

#[test]
fn a_view_is_shown_as_it_is_written() {
    let lines = "[[view.aggregate]]\nname = \"big\"\ninput = \"amount\"\ntype = \"int64\"\nfunction = \"max\"\n\
                 windows = [\"7d\", \"all\"]\nwhere = \"amount > 1\"\n";
    let text = clicks("hop = \"1h\"", lines);
    let version = applied(&text);
    let view = find(&version.definitions, ObjectKind::View, "click").unwrap();
    let shown = to_toml(&view);
    assert!(shown.ends_with(&format!("hop = \"1h\"\n{lines}")), "{shown}");
    let feature = find(&version.definitions, ObjectKind::Feature, "click:big_7d").unwrap();
    assert!(matches!(feature, Object::Feature { .. }));
    assert_eq!(to_toml(&feature), format!("# big_7d = \"int64\"\n{lines}"));
    assert!(plan_on(Some(&version), &text).unwrap().is_empty());
}

#[test]
fn what_changes_under_a_service_is_told() {
    let service = "[[service]]\nname = \"model\"\nfeatures = [\"click:*\"]\n";
    let with = |hop: &str, filter: &str, windows: &str| {
        let lines = format!(
            "{HEAD}input = \"amount\"\nfunction = \"sum\"\nwindows = [{windows}]\n{filter}\n{service}"
        );
        clicks(hop, &lines)
    };
    let version = applied(&with("", "", "\"1h\""));
    let breaking = |text: &str| {
        let plan = plan_on(Some(&version), text).unwrap();
        let breaking: Vec<String> = plan.breaking().iter().map(ToString::to_string).collect();
        (breaking.join("; "), plan.new_generations().len())
    };
    assert_eq!(
        breaking(&with("", "where = \"amount > 0\"", "\"1h\"")),
        (
            "view click breaks service model (column click__amount_sum_1h is sum of amount where amount > 0 as int64 over 1h, \
             in hops of 1m instead of sum of amount as int64 over 1h, in hops of 1m)"
                .into(),
            1
        )
    );
    assert_eq!(
        breaking(&with("hop = \"5m\"", "", "\"1h\"")).0,
        "view click breaks service model (column click__amount_sum_1h is sum of amount as int64 over 1h, in hops of 5m instead \
         of sum of amount as int64 over 1h, in hops of 1m)"
    );
    // Another window is another feature, for which what is stored does not do.
    assert_eq!(breaking(&with("", "", "\"1h\", \"1d\"")), (String::new(), 1));
    let plan = plan_on(Some(&version), &with("", "", "\"1h\", \"1d\"")).unwrap();
    let lines: Vec<String> = plan.lines().iter().map(ToString::to_string).collect();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("aggregates.amount_sum: {") && line.contains("[\"1h\", \"1d\"]")),
        "{lines:#?}"
    );
}
