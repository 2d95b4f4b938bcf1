//! No definition file and no configuration ends the process (I22): problems with places, or what is shown as what it was.

use std::path::Path;

use asof_core::fuzz;
use asof_registry::{LoadError, ObjectKind, list, load_config, plan, to_toml};

use crate::support::{WEATHER, file, parse, weather_with};

const MORE: &str = r#"
[[entity]]
name = "card"
keys = { card_id = "int64", country = "string" }

[[source]]
name = "payments"
schema = { id = "string", card_id = "int64", country = "string", at = "timestamp", amount = "decimal(12,2)", tags = "list<string>" }
event_time = "at"
created_time = { column = "at", lag = "5m" }
event_id = "id"
stream = { nats = "localhost:4222", subject = "payments.>", format = "json", from = "latest" }

[[view]]
name = "card_payments"
entity = "card"
source = "payments"
owner = "you@example.com"
tags = { tier = "gold" }
description = "Payments of a card."
[[view.aggregate]]
input = "cast(amount as double)"
where = "amount > 0"
function = ["sum", "mean", "approx_quantile(0.5)"]
windows = ["1h", "1d/1h", "all"]

[[on_demand]]
name = "checks"
request = { amount = "float64", vector = "embedding(3)" }
owner = "you@example.com"
[on_demand.features]
ratio = { type = "float64", expression = "amount / card_payments.sum_1h" }
[[on_demand.example]]
amount = 1.5
ratio = 2.0

[[service]]
name = "fraud_v1"
features = ["card_payments:*", "checks:ratio"]
"#;

const WORDS: [&str; 60] = [
    "[[entity]]\n",
    "[[source]]\n",
    "[[view]]\n",
    "[[view.aggregate]]\n",
    "[view.features]\n",
    "[[on_demand]]\n",
    "[on_demand.features]\n",
    "[[on_demand.example]]\n",
    "[[service]]\n",
    "name = ",
    "keys = ",
    "entity = ",
    "source = ",
    "path = ",
    "table = ",
    "schema = ",
    "event_time = ",
    "created_time = ",
    "event_id = ",
    "ttl = ",
    "features = ",
    "function = ",
    "windows = ",
    "input = ",
    "where = ",
    "sql = ",
    "stream = ",
    "owner = ",
    "tags = ",
    "description = ",
    "\"",
    "\"\"\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\n",
    "=",
    "#",
    "\"int64\"",
    "\"list<string>\"",
    "\"embedding(0)\"",
    "\"decimal(39,40)\"",
    "\"timestamp\"",
    "\"struct<a: int32>\"",
    "\"1h\"",
    "\"all\"",
    "\"9999999999d\"",
    "\"*\"",
    "true",
    "1e400",
    "2026-01-01T00:00:00Z",
    "inf",
    "\u{0}",
    "\\u0000",
    "\u{202e}",
    "weather_hourly",
    "airport",
];

#[test]
fn definition_files() {
    let corpus = [
        WEATHER.to_owned(),
        weather_with("\"airport_weather:*\""),
        MORE.to_owned(),
    ];
    fuzz::run("definition files", corpus, &WORDS, |input| {
        let planned = parse(input).and_then(|authored| plan(None, authored));
        match planned {
            Err(problems) => {
                assert!(!problems.is_empty());
                let said = problems.iter().map(ToString::to_string);
                let kinds = said.map(|said| {
                    assert!(!said.contains('\n'), "one line each: {said}");
                    fuzz::kind_of(&said)
                });
                kinds.take(2).collect()
            }
            Ok(planned) => {
                let objects = list(planned.definitions(), None);
                let shown: String = objects
                    .iter()
                    .filter(|object| object.kind() != ObjectKind::Feature)
                    .map(to_toml)
                    .collect();
                let again = parse(&shown).and_then(|authored| plan(None, authored));
                let again = again.unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
                assert_eq!(planned.definitions(), again.definitions(), "{shown}");
                vec![format!("{} objects", objects.len())]
            }
        }
    });
}

#[test]
fn configurations() {
    let corpus = [
        "project = \"shop\"\n[registry]\nurl = \"sqlite://a.db\"\n[offline]\nroot = \"env:ROOT\"\nallow = [\"/data\"]\n\
         [online]\nurl = \"rocksdb://o\"\ndurability = \"sync\"\nmemory = \"64 MiB\"\n[serve]\nlisten = \"[::1]:2763\"\n",
    ];
    let words = [
        "project = ",
        "[registry]\n",
        "[online]\n",
        "[serve]\n",
        "url = ",
        "listen = ",
        "memory = ",
        "\"env:ROOT\"",
        "\"env:\"",
        "\"localhost:0\"",
        "\"0.0.0.0:99999\"",
        "\"GiB\"",
        "MiB",
        "sqlite://",
        "\"",
        "{",
        "[",
        "=",
        "\n",
        "1",
    ];
    let directory = tempfile::tempdir().unwrap();
    let environment = |name: &str| (name == "ROOT").then(|| "elsewhere".to_owned());
    fuzz::run("configurations", corpus, &words, |input| {
        let written = file("asof.toml", input);
        std::fs::write(directory.path().join(&written.path), &written.bytes).unwrap();
        match load_config(directory.path(), environment) {
            Ok(config) => {
                assert!(config.token_variable.as_ref().is_none_or(|name| !name.is_empty()));
                assert!(
                    config.registry_path().starts_with(directory.path())
                        || Path::new("/") != directory.path()
                );
                String::new()
            }
            Err(LoadError::Problems(problems)) => {
                assert!(!problems.is_empty());
                problems
                    .iter()
                    .take(1)
                    .map(|said| fuzz::kind_of(&said.to_string()))
                    .collect()
            }
            Err(error) => panic!("{error}"),
        }
    });
}
