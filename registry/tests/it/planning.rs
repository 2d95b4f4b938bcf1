//! Plans: what changes, what breaks, what is built anew, and how it reads.

use asof_core::registry::RegistryStore;
use asof_core::time::Timestamp;
use asof_registry::{FrozenColumn, MemoryRegistry, apply, frozen_columns};

use crate::support::{WEATHER, applied, plan_on, version, weather_with};

const SERVICE: &str = "\"airport_weather:temp\", \"airport_weather:wind_speed\"";

/// What a plan says that leads from one text to another.
fn check(before: &str, after: &str, expect: &str) {
    let plan = plan_on(Some(&applied(before)), after).unwrap();
    assert_eq!(plan.to_string(), expect);
}

/// What breaks the service, where the weather's text is changed.
fn breaks(change: impl Fn(String) -> String, expect: &str) {
    let before = weather_with(SERVICE);
    let plan = plan_on(Some(&applied(&before)), &change(before)).unwrap();
    let found: Vec<String> = plan.breaking().iter().map(ToString::to_string).collect();
    assert_eq!(found.join("\n"), expect);
}

#[test]
fn the_first_plan_creates_everything() {
    let plan = plan_on(None, &weather_with(SERVICE)).unwrap();
    assert_eq!(plan.base(), 0);
    assert_eq!(
        plan.to_string(),
        "+ entity airport\n+ source weather_hourly\n+ view airport_weather\n+ service delay_model_v1\n\
         Plan: 4 to add, 0 to change, 0 to remove."
    );
}

#[test]
fn nothing_changed() {
    let before = version(3, plan_on(None, WEATHER).unwrap().definitions().clone());
    let reordered = WEATHER.replace("temp = \"float64\"", "temp = { type = 'float64' } # same");
    let plan = plan_on(Some(&before), &reordered).unwrap();
    assert!(plan.is_empty());
    assert_eq!(
        plan.to_string(),
        "No changes: the registry is at v3 and matches the definitions."
    );
}

#[test]
fn a_star_is_shown_as_the_columns_that_it_was_frozen_as() {
    let before = weather_with("\"airport_weather:*\"");
    let grown = before.replace(
        "wind_speed = \"float64\"",
        "wind_speed = \"float64\"\ngust = \"int64\"",
    );
    let frozen = |text: &str| -> Vec<String> {
        let plan = plan_on(Some(&applied(&before)), text).unwrap();
        let definitions = plan.definitions();
        let columns = frozen_columns(definitions, &definitions.services["delay_model_v1"]);
        let line = |column: &FrozenColumn| format!("{} {} {}", column.name, column.feature, column.data_type);
        columns.iter().map(line).collect()
    };
    let before_gust = [
        "airport_weather__temp airport_weather:temp float64",
        "airport_weather__wind_speed airport_weather:wind_speed float64",
    ];
    assert_eq!(frozen(&grown), before_gust);
    let listed = grown.replace(
        "airport_weather:*\"",
        "airport_weather:*\", \"airport_weather:gust\"",
    );
    assert_eq!(
        frozen(&listed)[2],
        "airport_weather__gust airport_weather:gust int64"
    );
}

#[test]
fn changes_are_shown_field_by_field() {
    let after = WEATHER
        .replace("ttl = \"3h\"", "ttl = \"360m\"\nowner = \"ops\"")
        .replace(
            "temp = \"float64\"",
            "gust = { type = \"float64\", column = \"wind_gust\" }",
        )
        .replace("event_time = ", "timezone = \"UTC\"\nevent_time = ");
    check(
        WEATHER,
        &format!("{after}\n[[entity]]\nname = \"carrier\"\nkeys = {{ carrier = \"string\" }}"),
        "+ entity carrier\n\
         ~ source weather_hourly\n    + timezone: \"UTC\"\n\
         ~ view airport_weather\n    ~ ttl: \"3h\" -> \"6h\"\n    + owner: \"ops\"\n\
         \x20   + features.gust: { type = \"float64\", column = \"wind_gust\" }\n    - features.temp: \"float64\"\n\
         note: view airport_weather starts a new generation; until that is materialized, what is stored serves the features that did not change, and takes no pushed rows\n\
         Plan: 1 to add, 2 to change, 0 to remove.",
    );
}

#[test]
fn removals_come_last_from_the_outside_in() {
    let keep = "[[entity]]\nname = \"carrier\"\nkeys = { c = \"string\" }\n";
    check(
        &format!("{WEATHER}{keep}"),
        keep,
        "- view airport_weather\n- source weather_hourly\n- entity airport\nPlan: 0 to add, 0 to change, 3 to remove.",
    );
}

#[test]
fn the_order_of_parts_is_a_change() {
    let two = WEATHER.replace(
        "keys = { origin = \"string\" }",
        "keys = { a = \"string\", b = \"string\" }",
    );
    let turned = two.replace("a = \"string\", b = \"string\"", "b = \"string\", a = \"string\"");
    check(
        &two,
        &turned,
        "~ entity airport\n    ~ keys: { a = \"string\", b = \"string\" } -> { b = \"string\", a = \"string\" }\n\
         note: view airport_weather starts a new generation; until that is materialized, what is stored serves the features that did not change, and takes no pushed rows\n\
         Plan: 0 to add, 1 to change, 0 to remove.",
    );
    let features = "temp = \"float64\"\nwind_speed = \"float64\"";
    check(
        WEATHER,
        &WEATHER.replace(features, "wind_speed = \"float64\"\ntemp = \"float64\""),
        "~ view airport_weather\n    ~ features: one order -> another order\nPlan: 0 to add, 1 to change, 0 to remove.",
    );
}

#[test]
fn new_generations_where_stored_rows_no_longer_serve() {
    let check = |after: String, expect: bool| {
        let plan = plan_on(Some(&applied(WEATHER)), &after).unwrap();
        assert_eq!(!plan.new_generations().is_empty(), expect, "{plan}");
    };
    check(WEATHER.replace("ttl = \"3h\"", "ttl = \"4h\""), false);
    check(WEATHER.replace("wind_speed = \"float64\"\n", ""), false);
    check(format!("{WEATHER}gust = \"float64\""), true);
    check(WEATHER.replace("temp = \"float64\"", "temp = \"float32\""), true);
    check(WEATHER.replace("weather.parquet", "weather2.parquet"), true);
}

#[test]
fn each_way_to_break_a_column_is_named() {
    let both = "column airport_weather__temp {0}, column airport_weather__wind_speed {0}";
    let view = |reason: &str| {
        format!(
            "view airport_weather breaks service delay_model_v1 ({})",
            both.replace("{0}", reason)
        )
    };
    let source = |reason: &str| {
        format!(
            "source weather_hourly breaks service delay_model_v1 ({})",
            both.replace("{0}", reason)
        )
    };
    breaks(
        |text| text.replace("temp = \"float64\"", "temp = \"int64\""),
        "view airport_weather breaks service delay_model_v1 (column airport_weather__temp is retyped float64 -> int64)",
    );
    breaks(
        |text| {
            text.replace(
                "temp = \"float64\"",
                "temp = { type = \"float64\", column = \"t\" }",
            )
        },
        "view airport_weather breaks service delay_model_v1 (column airport_weather__temp is read from \"t\" instead of \"temp\")",
    );
    breaks(
        |text| text.replace("ttl = \"3h\"\n", ""),
        &view("has ttl none instead of 3h"),
    );
    breaks(|text| text.replace("ttl = \"3h\"", "ttl = \"180m\""), "");
    breaks(
        |text| {
            text.replace(
                "path = \"data/weather.parquet\"",
                "path = \"x.csv\"\ndeleted = \"gone\"",
            )
        },
        &source("has other rows by path, deleted"),
    );
    breaks(
        |text| text.replace("event_time =", "owner = \"me\"\nevent_time ="),
        "",
    );
    breaks(
        |text| text.replace("weather_hourly", "weather_daily"),
        &view("is read from source weather_daily instead of weather_hourly"),
    );
    breaks(
        |text| text.replace("\"airport\"", "\"field\""),
        &view("is of entity field instead of airport"),
    );
    breaks(
        |text| text.replace("origin = \"string\"", "origin = \"int64\""),
        &format!(
            "entity airport breaks service delay_model_v1 ({})",
            both.replace("{0}", "has another key")
        ),
    );
    breaks(
        |text| text.replace("\"airport_weather:temp\", ", ""),
        "service delay_model_v1 is changed (column airport_weather__temp is removed)",
    );
    breaks(
        |text| {
            text.replace(
                SERVICE,
                "\"airport_weather:wind_speed\", \"airport_weather:temp\"",
            )
        },
        "service delay_model_v1 is changed (column airport_weather__wind_speed changes its place)",
    );
    breaks(
        |text| {
            text.replace(
                "\"airport_weather:temp\"",
                "{ view = \"airport_weather\", features = [\"temp\"], keys = { origin = \"dest\" } }",
            )
        },
        "service delay_model_v1 is changed (column airport_weather__temp is looked up by \"dest\" instead of \"origin\")",
    );
    breaks(
        |text| text.split_once("[[service]]").unwrap().0.to_owned(),
        "service delay_model_v1 is removed (column airport_weather__temp, column airport_weather__wind_speed)",
    );
}

#[test]
fn adding_breaks_nothing_and_tells_what_callers_must_give() {
    let before = weather_with("\"airport_weather:temp\"");
    let after = weather_with(
        "\"airport_weather:temp\", { view = \"airport_weather\", features = [\"temp\"], keys = { origin = \"dest\" }, prefix = \"dest\" }",
    );
    check(
        &before,
        &after,
        "~ service delay_model_v1\n    \
         + features: { view = \"airport_weather\", features = [\"temp\"], keys = { origin = \"dest\" }, prefix = \"dest\" }\n    \
         + column: dest_airport_weather__temp\n\
         note: service delay_model_v1 will need the key column \"dest\" (string) from its callers\n\
         Plan: 0 to add, 1 to change, 0 to remove.",
    );
}

#[test]
fn a_star_keeps_what_it_stood_for_and_the_plan_tells_what_it_would_add() {
    let before = weather_with("\"airport_weather:*\"");
    let service_at = before.find("[[service]]").unwrap();
    let (views, service) = before.split_at(service_at);
    let grown = format!("{views}gust = \"float64\"\n{service}");
    let plan = plan_on(Some(&applied(&before)), &grown).unwrap();
    assert_eq!(
        plan.definitions().services["delay_model_v1"].entries[0]
            .features
            .len(),
        2
    );
    assert_eq!(
        plan.to_string(),
        "~ view airport_weather\n    + features.gust: \"float64\"\n\
         note: view airport_weather starts a new generation; until that is materialized, what is stored serves the features that did not change, and takes no pushed rows\n\
         note: service delay_model_v1 keeps the features that airport_weather:* had when it was applied; today it would add gust\n\
         Plan: 0 to add, 1 to change, 0 to remove."
    );
    // The new one can be listed beside the star, since the star does not have it.
    let listed = grown.replace(
        "\"airport_weather:*\"",
        "\"airport_weather:*\", \"airport_weather:gust\"",
    );
    let second = plan_on(Some(&version(2, plan.definitions().clone())), &listed).unwrap();
    assert_eq!(second.breaking(), []);
    // Written in another way it is a new entry, worked out today.
    let rewritten = grown.replace(
        "\"airport_weather:*\"",
        "{ view = \"airport_weather\", features = [\"*\"], keys = { origin = \"origin\" } }",
    );
    let third = plan_on(Some(&version(2, plan.definitions().clone())), &rewritten).unwrap();
    assert_eq!(
        third.definitions().services["delay_model_v1"].entries[0]
            .features
            .len(),
        3
    );
}

#[test]
fn a_star_loses_a_feature_that_is_dropped_and_that_breaks() {
    let before = weather_with("\"airport_weather:*\"");
    check(
        &before,
        &before.replace("temp = \"float64\"\n", ""),
        "~ view airport_weather\n    - features.temp: \"float64\"\n\
         ~ service delay_model_v1\n    - column: airport_weather__temp\n\
         ! 1 breaking change: view airport_weather breaks service delay_model_v1 (column airport_weather__temp is removed); apply with --allow-breaking\n\
         Plan: 0 to add, 2 to change, 0 to remove.",
    );
}

#[test]
fn a_view_in_use_cannot_be_dropped() {
    let text = weather_with(SERVICE);
    let without_view = format!(
        "{}{}",
        text.split_once("[[view]]").unwrap().0,
        text.split_at(text.find("[[service]]").unwrap()).1
    );
    assert_eq!(
        plan_on(Some(&applied(&text)), &without_view)
            .unwrap_err()
            .to_string(),
        "features/a.toml:13:13: unknown view \"airport_weather\"; there is no view at all\n\
         features/a.toml:13:37: unknown view \"airport_weather\"; there is no view at all"
    );
}

#[tokio::test]
async fn breaking_changes_are_refused_unless_allowed() {
    let store = MemoryRegistry::new();
    let text = weather_with("\"airport_weather:temp\"");
    let first = plan_on(None, &text).unwrap();
    let v1 = apply(&store, &first, false, Timestamp::EPOCH).await.unwrap();
    let retyped = plan_on(Some(&v1), &text.replace("temp = \"float64\"", "temp = \"int64\"")).unwrap();
    let refused = apply(&store, &retyped, false, Timestamp::EPOCH)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "1 breaking change: view airport_weather breaks service delay_model_v1 (column airport_weather__temp is retyped float64 -> int64); apply with --allow-breaking"
    );
    assert_eq!(store.head(&v1.definitions.project).await.unwrap(), Some(v1));
    let v2 = apply(&store, &retyped, true, Timestamp::EPOCH).await.unwrap();
    assert_eq!(v2.number, 2);
}

#[test]
fn a_report_for_programs() {
    let before = weather_with("\"airport_weather:temp\"");
    let after = before.replace("temp = \"float64\"", "temp = \"int64\"");
    let plan = plan_on(Some(&applied(&before)), &after).unwrap();
    assert_eq!(
        serde_json::to_value(plan.report()).unwrap(),
        serde_json::json!({
            "base_version": 1, "add": 0, "change": 1, "remove": 0,
            "changes": [{
                "action": "change", "kind": "view", "name": "airport_weather",
                "fields": [{ "field": "features.temp", "old": "\"float64\"", "new": "\"int64\"" }],
            }],
            "breaking": [{
                "object": "view airport_weather", "service": "delay_model_v1",
                "columns": [["airport_weather__temp", "is retyped float64 -> int64"]],
            }],
            "new_generations": ["airport_weather"],
            "notes": [],
        })
    );
}
