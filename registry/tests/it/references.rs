//! References are judged together with everything else that is wrong, as far as they can be.

use crate::support::{WEATHER, parse, weather_with};

fn check(text: &str, expect: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), expect);
}

#[test]
fn a_view_with_a_wrong_feature_has_its_references_checked() {
    let text = WEATHER
        .replace("entity = \"airport\"", "entity = \"airprt\"")
        .replace("source = \"weather_hourly\"", "source = \"weather_hurly\"")
        .replace("temp = \"float64\"", "temp = \"flot64\"");
    check(
        &text,
        "features/a.toml:13:10: unknown entity \"airprt\"; did you mean \"airport\"?\n\
         features/a.toml:14:10: unknown source \"weather_hurly\"; did you mean \"weather_hourly\"?\n\
         features/a.toml:17:8: unknown type \"flot64\"; did you mean \"float64\"? the types are bool, int32, int64, \
         float32, float64, string, bytes, date, timestamp, decimal(p,s), list<T>, embedding(n), \
         struct<name: T, …>, map<string,T>, json",
    );
}

#[test]
fn the_other_features_of_a_view_are_checked_against_a_managed_source() {
    let text = "[[entity]]\nname = \"user\"\nkeys = { id = \"int64\" }\n\
                [[source]]\nname = \"clicks\"\nschema = { id = \"int64\", at = \"timestamp\" }\nevent_time = \"at\"\n\
                [[view]]\nname = \"click\"\nentity = \"User\"\nsource = \"clicks\"\n\
                [view.features]\nBad = \"int64\"\nnone = { type = \"int64\", column = \"\" }\namont = \"float64\"\n";
    check(
        text,
        "features/a.toml:10:10: \"User\" is not a valid entity name; a name starts with a lower-case letter a-z\n\
         features/a.toml:13:1: \"Bad\" is not a valid feature name; a name starts with a lower-case letter a-z\n\
         features/a.toml:14:35: the name of a column is empty; expected the name of a column\n\
         features/a.toml:15:1: source \"clicks\" has no column \"amont\" for feature \"amont\"; expected one of id, at",
    );
}

#[test]
fn the_entries_of_a_service_are_checked_beside_a_wrong_one() {
    check(
        &weather_with(
            "\"airport_weather:Temp\", \"airport_wether:*\", \"airport_weather:tmp\", \
             { view = \"airport_wether\", features = [\"temp\"], prefix = \"Dest\" }",
        ),
        "features/a.toml:22:13: \"Temp\" is not a valid feature name; a name starts with a lower-case letter a-z\n\
         features/a.toml:22:37: unknown view \"airport_wether\"; did you mean \"airport_weather\"?\n\
         features/a.toml:22:57: view \"airport_weather\" has no feature \"tmp\"; did you mean \"temp\"?\n\
         features/a.toml:22:80: unknown view \"airport_wether\"; did you mean \"airport_weather\"?\n\
         features/a.toml:22:137: \"Dest\" is not a valid prefix name; a name starts with a lower-case letter a-z",
    );
}

#[test]
fn what_is_wrong_with_a_definition_does_not_make_references_to_it_look_wrong() {
    let service = weather_with("\"airport_weather:temp\", \"airport_weather:wind_speed\"");
    // The view has no name that could be read, the entity a wrong key, the source wrong SQL.
    check(
        &service
            .replace("name = \"airport_weather\"", "")
            .replace("origin = \"string\"", "origin = \"float64\""),
        "features/a.toml:4:19: \"float64\" cannot be a key; keys are bool, int32, int64, string, bytes, date, \
         timestamp or decimal(p,s)\n\
         features/a.toml:11:1: [[view]] has no \"name\"; expected name = \"a_name\"",
    );
    check(
        &service
            .replace("[[view]]", "[[veiw]]")
            .replace("[view.features]", "[veiw.features]"),
        "features/a.toml:11:3: unknown key \"veiw\" in the file; did you mean \"view\"?",
    );
    check(
        &service.replace("[[entity]]", "[entity]"),
        "features/a.toml:2:1: entity is not a list of definitions; write [[entity]]",
    );
    check(
        &service.replace("wind_speed = \"float64\"", "wind_speed = 1"),
        "features/a.toml:18:14: feature \"wind_speed\" of [[view]] \"airport_weather\" has the wrong type; \
         expected a type such as \"float64\", or a table, found an integer",
    );
    let managed = WEATHER
        .replace(
            "path = \"data/weather.parquet\"",
            "schema = { origin = \"string\", time_hour = \"timestamp\", t = \"float64\" }\nsql = 1",
        )
        .replace("wind_speed = \"float64\"\n", "");
    check(
        &managed,
        "features/a.toml:9:7: \"sql\" has the wrong type; expected a string, found an integer",
    );
}
