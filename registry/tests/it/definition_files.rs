//! What each mistake in a definition file gets: the whole message.

use asof_core::definition::{Location, Select};
use asof_registry::{Authored, MAX_PROBLEMS, ObjectKind, find, plan, to_toml};

use crate::support::{WEATHER, applied, config, file, parse, plan_on, weather_with};

fn check(text: impl AsRef<[u8]>, expect: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), expect);
}

/// A managed source and a view on it, with these lines put in.
fn clicks(source: &str, features: &str) -> String {
    format!(
        "[[entity]]\nname = \"user\"\nkeys = {{ user_id = \"int64\" }}\n\
         [[source]]\nname = \"clicks\"\n\
         schema = {{ user_id = \"int64\", at = \"timestamp\", day = \"date\", amount = \"float64\", note = \"string\", gone = \"bool\" }}\n\
         {source}\n[[view]]\nname = \"click\"\nentity = \"user\"\nsource = \"clicks\"\n[view.features]\n{features}\n"
    )
}

#[test]
fn a_whole_project_means_what_it_says() {
    let text = r#"
[[entity]]
name = "stay"
keys = { hotel = "string", "room no" = "decimal(6,0)" }
description = "A room."
[[source]]
name = "clicks"
schema = { hotel = "string", at = "timestamp", amount = "float64", click_id = "string", "room no" = "decimal(6,0)", off = "bool" }
event_time = "at"
event_id = "click_id"
deleted = "off"
[[view]]
name = "click"
entity = "stay"
source = "clicks"
ttl = "90m"
owner = "ops@example.com"
tags = { domain = "web" }
[view.features]
last = { type = "float64", column = "amount", description = "In euro." }
amount = "float64"
[[service]]
name = "model"
features = ["click:*", { view = "click", features = ["last"], keys = { hotel = "dest" }, prefix = "dest" }]
"#;
    let plan = plan_on(None, text).unwrap();
    let definitions = plan.definitions();
    let keys: Vec<&str> = definitions.entities["stay"]
        .keys
        .iter()
        .map(|key| key.name.as_str())
        .collect();
    assert_eq!(keys, ["hotel", "room no"], "keys are in the order of the file");
    let Location::Managed { schema, event_id, .. } = &definitions.sources["clicks"].location else {
        panic!("a schema makes a managed source");
    };
    let columns: Vec<&str> = schema.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(columns, ["hotel", "at", "amount", "click_id", "room no", "off"]);
    assert_eq!(event_id.as_deref(), Some("click_id"));
    let view = &definitions.views["click"];
    assert_eq!(view.ttl.unwrap().micros(), 5_400_000_000);
    assert_eq!(view.notes.tags["domain"], "web");
    let names: Vec<&str> = view
        .features()
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    assert_eq!(names, ["last", "amount"]);
    assert_eq!(view.features()[0].source_column(), "amount");
    let entries = &definitions.services["model"].entries;
    assert_eq!(entries[0].entry.select, Select::All);
    assert_eq!(entries[0].features.len(), 2);
    assert_eq!(entries[1].entry.keys["hotel"], "dest");
    assert_eq!(entries[1].entry.prefix.as_ref().unwrap().as_str(), "dest");
}

#[test]
fn a_project_without_definitions_is_an_error_and_an_empty_file_among_others_is_not() {
    let empty = "features: no definitions were found; write some in features/*.toml, such as an [[entity]], a [[source]] and a [[view]]";
    for text in ["", "\u{feff}", "# nothing\r\n"] {
        assert_eq!(plan_on(None, text).unwrap_err().to_string(), empty);
    }
    assert_eq!(
        plan_on(Some(&applied(WEATHER)), "").unwrap_err().to_string(),
        empty,
        "all is not removed by mistake"
    );
    let authored = Authored::parse(&config(), &[]).unwrap();
    assert_eq!(plan(None, authored).unwrap_err().to_string(), empty);
    let files = [file("features/a.toml", ""), file("features/b.toml", WEATHER)];
    assert!(plan(None, Authored::parse(&config(), &files).unwrap()).is_ok());
}

#[test]
fn syntax_errors_have_their_place() {
    check(
        "[[entity]]\nname = \"airport\nkeys = 1",
        "features/a.toml:2:16: not TOML: invalid basic string, expected `\"`",
    );
    check(
        "[[entity]]\nname airport\n",
        "features/a.toml:2:6: not TOML: key with no value, expected `=`",
    );
    check(
        "a = 1\rb = 2",
        "features/a.toml:1:7: not TOML: carriage return must be followed by newline, expected newline",
    );
    check(
        "[[entity]]\nname = \"a\"\nname = \"b\"\n",
        "features/a.toml:3:1: the key \"name\" is there already; remove one of the two",
    );
}

#[test]
fn a_broken_file_does_not_make_references_to_it_look_wrong() {
    let (first, rest) = WEATHER.split_at(WEATHER.find("[[view]]").unwrap());
    let files = [
        file("features/a.toml", format!("{first}\nx = = 1")),
        file("features/b.toml", rest),
    ];
    assert_eq!(
        Authored::parse(&config(), &files).unwrap_err().to_string(),
        "features/a.toml:12:5: not TOML: extra `=`, expected nothing\n\
         features/a.toml:12:7: not TOML: unexpected key or value, expected newline, `#`"
    );
}

#[test]
fn byte_order_marks_and_windows_line_ends_are_fine() {
    let text = format!("\u{feff}{}", WEATHER.replace('\n', "\r\n"));
    assert_eq!(
        plan_on(None, &text).unwrap().definitions(),
        plan_on(None, WEATHER).unwrap().definitions()
    );
    check(
        "\u{feff}[[entity]]\r\nnane = \"é\"\r\n",
        "features/a.toml:1:1: [[entity]] has no \"keys\"; expected keys = { column = \"string\" }\n\
         features/a.toml:2:1: unknown key \"nane\" in [[entity]]; did you mean \"name\"?",
    );
}

#[test]
fn files_for_a_newer_version_are_told_from_typing_errors() {
    for (line, key) in [
        ("version = 99", "version"),
        ("format = 2", "format"),
        ("[format_version]", "format_version"),
    ] {
        let place = if line.starts_with('[') { "1:2" } else { "1:1" };
        check(
            format!("{line}\n[[unheard_of]]\nname = \"x\"\n"),
            &format!(
                "features/a.toml:{place}: the file is for a newer version of asof: it has a {key:?}, which this version does not know; use that version, or remove the key"
            ),
        );
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_placed() {
    check(
        b"[[entity]]\nname = \"\xff\"".as_slice(),
        "features/a.toml:2:9: byte 19 is not UTF-8; save the file as UTF-8",
    );
    check(
        "\u{feff}x = \u{1}".as_bytes(),
        "features/a.toml:1:5: not TOML: string values must be quoted, expected literal string",
    );
}

#[test]
fn huge_files_and_deep_nesting_are_refused() {
    check(
        vec![b'#'; (1 << 20) + 1],
        "features/a.toml: the file has more than 1 MiB; a definition file has at most that: split it",
    );
    let deep = format!("x = {}", "[".repeat(500_000));
    check(
        deep,
        "features/a.toml:1:85: values are nested too deeply; arrays and tables nest at most 80 deep\n\
         features/a.toml:1:500005: not TOML: unclosed array, expected `]`",
    );
    for (deep, column) in [
        (format!("{} = 1", vec!["a"; 200_000].join(".")), 34),
        (format!("[{}]", vec!["a"; 200_000].join(".")), 35),
        (format!("x = {{ {} = 1 }}", vec!["a"; 200_000].join(".")), 40),
    ] {
        check(
            deep,
            &format!("features/a.toml:1:{column}: a key is nested too deeply; keys nest at most 16 deep"),
        );
    }
}

#[test]
fn unknown_keys_name_the_nearest_and_do_not_count_as_missing_too() {
    check(
        WEATHER.replace("event_time =", "evnt_time ="),
        "features/a.toml:9:1: unknown key \"evnt_time\" in [[source]] \"weather_hourly\"; did you mean \"event_time\"?",
    );
    check(
        WEATHER.replace(
            "temp = \"float64\"",
            "temp = { type = \"float64\", colum = \"t\" }",
        ),
        "features/a.toml:17:28: unknown key \"colum\" in feature \"temp\" of [[view]] \"airport_weather\"; did you mean \"column\"?",
    );
    check(
        format!("[[entiti]]\nname = \"x\"\n{WEATHER}"),
        "features/a.toml:1:3: unknown key \"entiti\" in the file; did you mean \"entity\"?",
    );
    check(
        format!("\"\\u001b[31m{}\" = 1\n{WEATHER}", "x".repeat(100)),
        &format!(
            "features/a.toml:1:1: unknown key \"\\u{{1b}}[31m{}\"… in the file; expected one of entity, source, view, service, on_demand, stream",
            "x".repeat(59)
        ),
    );
}

#[test]
fn what_is_missing_is_named() {
    check(
        "[[entity]]\n[[source]]\n[[view]]\n[[service]]",
        "features/a.toml:1:1: [[entity]] has no \"name\"; expected name = \"a_name\"\n\
         features/a.toml:1:1: [[entity]] has no \"keys\"; expected keys = { column = \"string\" }\n\
         features/a.toml:2:1: [[source]] has no \"name\"; expected name = \"a_name\"\n\
         features/a.toml:2:1: [[source]] has no \"path\"; expected path = \"…\" for files, or schema = { … } for a managed table\n\
         features/a.toml:2:1: [[source]] has no \"event_time\"; expected event_time = \"a_column\"\n\
         features/a.toml:3:1: [[view]] has no \"name\"; expected name = \"a_name\"\n\
         features/a.toml:3:1: [[view]] has no \"entity\"; expected entity = \"a_name\"\n\
         features/a.toml:3:1: [[view]] has no \"source\"; expected source = \"a_name\"\n\
         features/a.toml:3:1: [[view]] has no \"features\"; expected [view.features] with a line such as temp = \"float64\", or [[view.aggregate]]\n\
         features/a.toml:4:1: [[service]] has no \"name\"; expected name = \"a_name\"\n\
         features/a.toml:4:1: [[service]] has no \"features\"; expected features = [\"view:feature\", \"view:*\"]",
    );
    check(
        "[[entity]]\nname = \"e\"\nkeys = {}\n[[service]]\nname = \"s\"\nfeatures = []\n[[source]]\nname = \"m\"\nschema = {}\nevent_time = \"t\"",
        "features/a.toml:3:8: [[entity]] \"e\" has no key columns; expected keys = { column = \"string\" }\n\
         features/a.toml:6:12: [[service]] \"s\" lists no features; expected features = [\"view:feature\", \"view:*\"]\n\
         features/a.toml:9:10: [[source]] \"m\" has no columns; expected schema = { column = \"int64\" }",
    );
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    check(
        "[[entity]]\nname = 7\nkeys = [\"a\"]\ntags = \"x\"\nowner = 1979-05-27\ndescription = 1.5\n",
        "features/a.toml:2:8: \"name\" has the wrong type; expected a string, found an integer\n\
         features/a.toml:3:8: \"keys\" of [[entity]] has the wrong type; expected a table, found an array\n\
         features/a.toml:4:8: \"tags\" of [[entity]] has the wrong type; expected a table, found a string\n\
         features/a.toml:5:9: \"owner\" has the wrong type; expected a string, found a date or time\n\
         features/a.toml:6:15: \"description\" has the wrong type; expected a string, found a float",
    );
    check(
        "[view]\nname = \"x\"",
        "features/a.toml:1:1: view is not a list of definitions; write [[view]]",
    );
    check(
        WEATHER.replace("temp = \"float64\"", "temp = 64"),
        "features/a.toml:17:8: feature \"temp\" of [[view]] \"airport_weather\" has the wrong type; expected a type such as \"float64\", or a table, found an integer",
    );
    check(
        weather_with("true"),
        "features/a.toml:22:13: an entry of [[service]] \"delay_model_v1\" has the wrong type; expected \"view:feature\", \"view:*\" or a table, found a boolean",
    );
}

#[test]
fn a_name_is_defined_once_and_both_places_are_told() {
    let files = [
        file("features/a.toml", WEATHER),
        file(
            "features/b.toml",
            "[[entity]]\nname = \"airport\"\nkeys = { x = \"int64\" }\n",
        ),
    ];
    assert_eq!(
        Authored::parse(&config(), &files).unwrap_err().to_string(),
        "features/b.toml:2:8: entity \"airport\" is defined twice; the first is at features/a.toml:3:8: rename or remove one of them"
    );
    check(
        format!("{WEATHER}temp = \"int64\"\n"),
        "features/a.toml:19:1: the key \"temp\" is there already; remove one of the two",
    );
}

#[test]
fn references_to_what_is_missing_name_the_nearest() {
    check(
        WEATHER
            .replace("entity = \"airport\"", "entity = \"airprt\"")
            .replace("source = \"weather_hourly\"", "source = \"clicks\""),
        "features/a.toml:13:10: unknown entity \"airprt\"; did you mean \"airport\"?\n\
         features/a.toml:14:10: unknown source \"clicks\"; expected weather_hourly",
    );
    check(
        weather_with("\"airport_wether:temp\", \"airport_weather:tmp\""),
        "features/a.toml:22:13: unknown view \"airport_wether\"; did you mean \"airport_weather\"?\n\
         features/a.toml:22:36: view \"airport_weather\" has no feature \"tmp\"; did you mean \"temp\"?",
    );
    check(
        "[[service]]\nname = \"s\"\nfeatures = [\"v:f\"]",
        "features/a.toml:3:13: unknown view \"v\"; there is no view at all",
    );
}

#[test]
fn unknown_types_list_the_known_ones() {
    let types = "the types are bool, int32, int64, float32, float64, string, bytes, date, timestamp, decimal(p,s), list<T>, embedding(n), struct<name: T, …>, map<string,T>, json";
    let with = |feature: &str| WEATHER.replace("temp = \"float64\"", &format!("temp = {feature}"));
    check(
        with("\"flaot64\""),
        &format!("features/a.toml:17:8: unknown type \"flaot64\"; did you mean \"float64\"? {types}"),
    );
    check(
        with("{ type = \"uuid\" }"),
        &format!("features/a.toml:17:17: unknown type \"uuid\"; {types}"),
    );
    check(
        with("\"decimal(39,1)\""),
        "features/a.toml:17:8: \"decimal(39,1)\" is not a type; decimal(p,s) needs 1 <= p <= 38 and 0 <= s <= p",
    );
    check(
        WEATHER.replace("origin = \"string\"", "origin = \"float64\""),
        "features/a.toml:4:19: \"float64\" cannot be a key; keys are bool, int32, int64, string, bytes, date, timestamp or decimal(p,s)",
    );
}

#[test]
fn a_ttl_is_a_positive_duration() {
    let ttl = |text: &str, expect: &str| {
        check(
            WEATHER.replace("\"3h\"", &format!("{text:?}")),
            &format!("features/a.toml:15:7: {text:?} is not a duration; {expect}"),
        );
    };
    let unreadable =
        "a duration is an integer and one of the units us, ms, s, m, h, d, w, such as \"90m\" or \"7d\"";
    ttl("-3h", "a duration cannot be negative");
    ttl("0s", "a duration must be greater than zero");
    ttl(
        "9223372036854775807w",
        "this duration is too long: the longest is about 292,000 years",
    );
    ttl("3 hours", unreadable);
    ttl("", unreadable);
    check(
        WEATHER.replace("\"3h\"", "3"),
        "features/a.toml:15:7: \"ttl\" has the wrong type; expected a string, found an integer",
    );
}

#[test]
fn hostile_names_are_refused_and_shown_harmless() {
    let name = |toml: &str, shown: &str, expect: &str| {
        check(
            format!("[[entity]]\nname = {toml}\nkeys = {{ k = \"int64\" }}"),
            &format!("features/a.toml:2:8: {shown} is not a valid entity name; {expect}"),
        );
    };
    let start = "a name starts with a lower-case letter a-z";
    name("\"../../etc/passwd\"", "\"../../etc/passwd\"", start);
    name("\"a/b\"", "\"a/b\"", "a name has only a-z, 0-9 and _, not '/'");
    name(
        "\"a\\u0000b\"",
        "\"a\\0b\"",
        "a name has only a-z, 0-9 and _, not '\\0'",
    );
    name("\"-rf\"", "\"-rf\"", start);
    name("\"\"", "\"\"", "a name cannot be empty");
    name(
        "\"a__b\"",
        "\"a__b\"",
        "a name has no double underscore: it separates view and feature in column names",
    );
    name(
        "\"p\u{430}y\"",
        "\"p\u{430}y\"",
        "a name has only a-z, 0-9 and _, not '\u{430}'",
    );
    name(
        "\"a\\u001b[2Jb\"",
        "\"a\\u{1b}[2Jb\"",
        "a name has only a-z, 0-9 and _, not '\\u{1b}'",
    );
    let long = "a".repeat(10_000);
    name(
        &format!("\"{long}\""),
        &format!("\"{}\"…", "a".repeat(64)),
        "a name has at most 63 bytes, this one has 10000",
    );
    check(
        weather_with(
            "\"airport_weather:Temp\", \"temp\", { view = \"airport_weather\", features = [\"*\", \"temp\"], prefix = \"Dest\" }",
        ),
        "features/a.toml:22:13: \"Temp\" is not a valid feature name; a name starts with a lower-case letter a-z\n\
         features/a.toml:22:37: \"temp\" is not a feature; write \"view:feature\" or \"view:*\"\n\
         features/a.toml:22:85: \"*\" stands beside other features; expected \"*\" alone, or the features by name\n\
         features/a.toml:22:108: \"Dest\" is not a valid prefix name; a name starts with a lower-case letter a-z",
    );
}

#[test]
fn a_stream_stands_in_its_source() {
    let (head, _) = WEATHER.split_once("wind_speed").unwrap();
    check(
        format!("{head}\n\n[[stream]]\nname = \"s\"\n"),
        "features/a.toml:20:1: [[stream]] \"s\" stands alone; a stream fills a source: write stream = { … } into its [[source]]",
    );
}

#[test]
fn a_source_has_a_path_or_a_schema() {
    check(
        WEATHER.replace(
            "event_time =",
            "schema = { time_hour = \"timestamp\" }\nevent_time =",
        ),
        "features/a.toml:8:8: [[source]] \"weather_hourly\" has both a path and a schema; expected path = \"…\" for files read in place, or schema = { … } for a managed table",
    );
    check(
        WEATHER.replace("event_time =", "event_id = \"id\"\nevent_time ="),
        "features/a.toml:9:12: [[source]] \"weather_hourly\" is read in place and has an \"event_id\"; event ids are of managed sources, which have a schema and no path",
    );
}

#[test]
fn paths_stay_in_the_project() {
    let path = |text: &str, expect: &str| {
        check(
            WEATHER.replace("data/weather.parquet", text),
            &format!("features/a.toml:8:8: the path {expect}"),
        );
    };
    let outside = "is outside the project; move the files into it, or list their directory in asof.toml under [offline] allow";
    path("/etc/passwd", &format!("\"/etc/passwd\" {outside}"));
    path("data/../../x.csv", &format!("\"data/../../x.csv\" {outside}"));
    path("", "is empty; expected a file, a directory or a glob");
    path("a\\u0000b", "\"a\\0b\" has a zero byte; remove it");
    path(
        "http://169.254.169.254/latest/meta-data",
        "\"http://169.254.169.254/latest/meta-data\" is a URL; this version of asof reads files only: expected a path relative to the project",
    );
    let mut config = config();
    config.offline_allow = vec!["/etc".into()];
    let text = WEATHER.replace("data/weather.parquet", "/etc/weather.parquet");
    assert!(Authored::parse(&config, &[file("features/a.toml", text)]).is_ok());
}

#[test]
fn zones_dates_and_columns_are_checked() {
    check(
        WEATHER.replace(
            "event_time =",
            "timezone = \"Mars/Base\"\ndates = \"noon\"\nsql = \" \"\ncreated_time = \"\"\nevent_time =",
        ),
        "features/a.toml:9:12: unknown time zone \"Mars/Base\"; use an IANA name such as \"UTC\" or \"America/New_York\"\n\
         features/a.toml:10:9: unknown \"dates\" \"noon\"; expected \"start\" or \"end\" of the day\n\
         features/a.toml:11:7: the sql cannot be used: not SQL: nothing is there: write `select … from source where …`\n\
         features/a.toml:12:16: the name of a column is empty; expected the name of a column",
    );
}

#[test]
fn the_sql_of_a_source_is_a_projection_and_filter_within_limits() {
    let with = |sql: &str| WEATHER.replace("event_time =", &format!("sql = {sql:?}\nevent_time ="));
    let check = |sql: &str, expect: &str| {
        check(
            with(sql),
            &format!("features/a.toml:9:7: the sql cannot be used: {expect}"),
        );
    };
    assert!(
        parse(with(
            "select *, temp - dewp as spread from source where temp is not null"
        ))
        .is_ok()
    );
    check(
        "drop table source",
        "`DROP TABLE source` is not allowed: write `select … from source where …`",
    );
    check(
        "select (select 1) as x from source",
        "`(SELECT 1)` is not allowed: a subquery reads other rows; use columns of `source` only",
    );
    check(
        "select sleep(10) as x from source",
        "there is no function `sleep`",
    );
    check(
        "select read_text('/etc/passwd') as x from source",
        "there is no function `read_text`",
    );
    check(
        "select read_parquet('/etc/passwd') as x from source",
        "the function `read_parquet` is not allowed: it reads files: declare a source with a path",
    );
    check(
        &format!("select 1{} as x from source", "+1".repeat(5_000)),
        "the SQL has 10006 tokens, at most 400 are allowed: shorten it",
    );
    check(
        &format!("select '{}' as x from source", "a".repeat(1_000_000)),
        "the SQL has 1000026 bytes, at most 16384 are allowed: shorten it",
    );
}

#[test]
fn the_columns_that_a_managed_source_names_are_in_its_schema() {
    assert!(
        parse(clicks(
            "event_time = \"at\"\ndeleted = \"gone\"",
            "amount = \"float64\""
        ))
        .is_ok()
    );
    assert!(
        parse(clicks(
            "event_time = \"day\"\ndates = \"end\"",
            "amount = \"float64\""
        ))
        .is_ok()
    );
    check(
        clicks(
            "event_time = \"att\"\ncreated_time = \"note\"\nevent_id = \"amount\"\ndeleted = \"at\"",
            "amount = \"float64\"",
        ),
        "features/a.toml:7:14: [[source]] \"clicks\" has no column \"att\"; did you mean \"at\"?\n\
         features/a.toml:8:16: \"created_time\" is a column of type string; expected a column of type timestamp or date\n\
         features/a.toml:9:12: \"event_id\" is a column of type float64; expected a column of a scalar type that is not a float\n\
         features/a.toml:10:11: \"deleted\" is a column of type timestamp; expected a column of type bool",
    );
    check(
        clicks("event_time = \"day\"", "amount = \"float64\""),
        "features/a.toml:7:14: \"event_time\" is a column of type date; say which instant a date means: dates = \"start\" or \"end\"",
    );
}

#[test]
fn views_read_columns_that_a_managed_source_has() {
    let time = "event_time = \"at\"";
    check(
        clicks(
            time,
            "amont = \"float64\"\nx = { type = \"int64\", column = \"amount\" }\nnote = \"json\"",
        ),
        "features/a.toml:13:1: source \"clicks\" has no column \"amont\" for feature \"amont\"; did you mean \"amount\"?\n\
         features/a.toml:14:1: feature \"x\" is \"int64\", and column \"amount\" of source \"clicks\" is \"float64\"; expected one type",
    );
    check(
        clicks(time, "amount = \"float64\"").replace(
            "keys = { user_id = \"int64\" }",
            "keys = { user = \"int64\", note = \"int64\" }",
        ),
        "features/a.toml:11:10: source \"clicks\" has no column \"user\" for key column \"user\" of entity \"user\"; expected one of user_id, at, day, amount, note, gone\n\
         features/a.toml:11:10: key column \"note\" of entity \"user\" is \"int64\", and column \"note\" of source \"clicks\" is \"string\"; expected one type",
    );
    let sql = "event_time = \"at\"\nsql = \"select *, amount as amont from source\"";
    assert!(parse(clicks(sql, "amont = \"float64\"")).is_ok());
}

#[test]
fn the_columns_of_a_service_do_not_collide() {
    check(
        weather_with("\"airport_weather:temp\", \"airport_weather:wind_speed\", \"airport_weather:temp\""),
        "features/a.toml:22:67: two columns would be named \"airport_weather__temp\"; remove one of the entries, or give one a prefix",
    );
    check(
        weather_with("{ view = \"airport_weather\", features = [\"temp\"], keys = { orign = \"dest\" } }"),
        "features/a.toml:22:13: entity \"airport\" has no key column \"orign\"; its key is \"origin\"",
    );
    let other = "[[entity]]\nname = \"route\"\nkeys = { origin = \"int64\" }\n[[view]]\nname = \"r\"\nentity = \"route\"\nsource = \"weather_hourly\"\n[view.features]\nx = \"int64\"";
    check(
        format!("{}{other}", weather_with("\"airport_weather:temp\", \"r:x\"")),
        "features/a.toml:22:37: the caller's column \"origin\" would have to be both string and int64; map the keys of one entry: keys = { key_column = \"another_column\" }, or rename a request column",
    );
    // What `*` stands for is known to the plan only.
    let twice = weather_with("\"airport_weather:*\", \"airport_weather:temp\"");
    assert_eq!(
        plan_on(None, &twice).unwrap_err().to_string(),
        "features/a.toml:22:34: two columns would be named \"airport_weather__temp\"; remove one of the entries, or give one a prefix"
    );
}

#[test]
fn at_most_twenty_problems_are_shown() {
    let text: String = (0..25).map(|i| format!("k{i} = 1\n")).collect();
    let shown: String = (0..MAX_PROBLEMS)
        .map(|i| {
            format!(
                "features/a.toml:{}:1: unknown key \"k{i}\" in the file; expected one of entity, source, view, service, on_demand, stream\n",
                i + 1
            )
        })
        .collect();
    assert_eq!(MAX_PROBLEMS, 20);
    check(text, &format!("{shown}and 5 more problems"));
}

#[test]
fn a_definition_is_shown_as_a_file_writes_it() {
    let plan = plan_on(None, &weather_with("\"airport_weather:*\"")).unwrap();
    let view = find(plan.definitions(), ObjectKind::View, "airport_weather").unwrap();
    assert_eq!(
        to_toml(&view),
        "[[view]]\nname = \"airport_weather\"\nentity = \"airport\"\nsource = \"weather_hourly\"\nttl = \"3h\"\n\
         [view.features]\ntemp = \"float64\"\nwind_speed = \"float64\"\n"
    );
    let service = find(plan.definitions(), ObjectKind::Service, "delay_model_v1").unwrap();
    assert_eq!(
        to_toml(&service),
        "[[service]]\nname = \"delay_model_v1\"\nfeatures = [\n  \"airport_weather:*\",\n]\n"
    );
}
