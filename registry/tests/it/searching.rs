//! Search, lists and the names that are near.

use asof_registry::{ObjectKind, Plan, find, find_any, list, search};

use crate::support::{plan_on, weather_with};

fn project() -> Plan {
    let text = weather_with("\"airport_weather:temp\"")
        .replace(
            "ttl = \"3h\"",
            "owner = \"Ops@example.com\"\ntags = { domain = \"Weather\", tier = \"gold\" }",
        )
        .replace(
            "temp = \"float64\"",
            "temp = { type = \"float64\", description = \"Air temperature, °F\" }",
        )
        .replace("keys = {", "description = \"A departure AIRPORT.\"\nkeys = {");
    plan_on(None, &text).unwrap()
}

fn check(query: &str, expect: &[&str]) {
    let plan = project();
    let found: Vec<String> = search(plan.definitions(), query)
        .iter()
        .map(|hit| format!("{} {}", hit.object.kind(), hit.object.name()))
        .collect();
    assert_eq!(found, expect, "{query:?}");
}

#[test]
fn every_word_counts_in_any_case_and_names_come_first() {
    check("", &[]);
    check("nothing", &[]);
    check(
        "weather",
        &[
            "source weather_hourly",
            "view airport_weather",
            "feature airport_weather:temp",
            "feature airport_weather:wind_speed",
        ],
    );
    check("AIR temperature", &["feature airport_weather:temp"]);
    check("temp", &["feature airport_weather:temp"]);
    check("departure", &["entity airport"]);
    check(
        "gold ops@EXAMPLE",
        &[
            "view airport_weather",
            "feature airport_weather:temp",
            "feature airport_weather:wind_speed",
        ],
    );
    check("model delay", &["service delay_model_v1"]);
    // The entity has it in its name, the view's notes do not matter then.
    check(
        "airport a",
        &[
            "entity airport",
            "view airport_weather",
            "feature airport_weather:temp",
            "feature airport_weather:wind_speed",
        ],
    );
}

#[test]
fn a_name_match_comes_before_a_match_in_other_texts() {
    let text = weather_with("\"airport_weather:temp\"")
        .replace("keys = {", "description = \"Has a delay_model.\"\nkeys = {");
    let plan = plan_on(None, &text).unwrap();
    let hits = search(plan.definitions(), "delay");
    let found: Vec<(String, bool)> = hits.iter().map(|hit| (hit.object.name(), hit.by_name)).collect();
    assert_eq!(
        found,
        [("delay_model_v1".to_owned(), true), ("airport".to_owned(), false)]
    );
}

#[test]
fn lists_are_by_kind_and_name() {
    let plan = project();
    let names = |kind| -> Vec<String> {
        list(plan.definitions(), kind)
            .iter()
            .map(|object| object.name())
            .collect()
    };
    assert_eq!(names(Some(ObjectKind::Source)), ["weather_hourly"]);
    assert_eq!(
        names(None),
        [
            "airport",
            "weather_hourly",
            "airport_weather",
            "airport_weather:temp",
            "airport_weather:wind_speed",
            "delay_model_v1"
        ]
    );
    assert_eq!(ObjectKind::parse("entities"), Some(ObjectKind::Entity));
    assert_eq!(ObjectKind::parse("view"), Some(ObjectKind::View));
    assert_eq!(ObjectKind::parse("views "), None);
}

#[test]
fn what_is_not_found_names_the_nearest() {
    let plan = project();
    let missing = |kind, name: &str| find(plan.definitions(), kind, name).unwrap_err().to_string();
    assert_eq!(
        missing(ObjectKind::View, "airport_wether"),
        "unknown view \"airport_wether\"; did you mean \"airport_weather\"?"
    );
    assert_eq!(
        missing(ObjectKind::Feature, "airport_weather:tmp"),
        "unknown feature \"airport_weather:tmp\"; did you mean \"airport_weather:temp\"?"
    );
    assert_eq!(
        missing(ObjectKind::Service, "x"),
        "unknown service \"x\"; expected delay_model_v1"
    );
    assert_eq!(
        find_any(plan.definitions(), "delay_model")
            .unwrap_err()
            .to_string(),
        "unknown name \"delay_model\"; did you mean \"delay_model_v1\"?"
    );
    assert_eq!(find_any(plan.definitions(), "airport").unwrap().len(), 1);
}
