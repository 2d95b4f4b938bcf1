//! The point-in-time contract point by point: the scripts in `contract/` against the reference.
//!
//! A script is its input, a line `---`, and the answers worked out by hand. Lines that start with `#` tell
//! why it exists and draw its history. Input lines, in any order but `row` in the order of acceptance:
//!
//! ```text
//! ttl 3h                            how long a row stays valid
//! as-corrected                      rule 2 is off
//! row KEY EVENT CREATED VALUE…      `deleted` after the values marks the row
//! ask KEY AT
//! ```
//!
//! Parts of a key are joined by `+`; `''` is the empty string, `null` a null, everywhere. Times are of one day, down
//! to nanoseconds, which round as in a source (rows) or a spine (questions). An answer is the key and time as
//! asked, the status and value of each feature, the winner's event time, and `held-back` where rule 2
//! excluded the row that would have won.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod script;

use std::fmt::Write as _;
use std::path::Path;

use asof_core::duration::Duration;
use asof_core::reference::{HistoryRow, Rules, as_of};
use asof_core::time::Rounding;
use script::{key, lines, time};

struct Script {
    rules: Rules,
    rows: Vec<HistoryRow<Vec<Option<String>>>>,
    questions: Vec<(String, String)>,
}

#[test]
fn the_reference_keeps_the_contract() {
    // Cargo runs tests in the folder of their crate.
    let directory = Path::new("tests/contract");
    let mut scripts: Vec<_> = directory
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert_eq!(
        scripts.len(),
        10,
        "a script for each of the nine points, and one for deletions"
    );
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once("\n---\n").unwrap();
        let mut script = parse(input);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(answers(&script), lines(expected), "{name}");
        // Point 9: the order in which rows are looked at has no say.
        script.rows.reverse();
        assert_eq!(
            answers(&script),
            lines(expected),
            "{name}, from the last row to the first"
        );
    }
}

fn parse(input: &str) -> Script {
    let mut script = Script {
        rules: Rules {
            ttl: None,
            as_corrected: false,
        },
        rows: Vec::new(),
        questions: Vec::new(),
    };
    for line in input
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ttl", ttl] => script.rules.ttl = Some(Duration::parse(ttl).unwrap()),
            ["as-corrected"] => script.rules.as_corrected = true,
            ["ask", keys, at] => script.questions.push(((*keys).to_owned(), (*at).to_owned())),
            ["row", keys, event, created, values @ ..] => {
                let deleted = values.last() == Some(&"deleted");
                let values = &values[..values.len() - usize::from(deleted)];
                script.rows.push(HistoryRow {
                    keys: key(keys),
                    event_time: time(event, Rounding::Up),
                    created_time: time(created, Rounding::Up),
                    seq: script.rows.len() as u64,
                    deleted,
                    values: values
                        .iter()
                        .map(|value| (*value != "null").then(|| (*value).to_owned()))
                        .collect(),
                });
            }
            other => panic!("{other:?}"),
        }
    }
    script
}

fn answers(script: &Script) -> Vec<String> {
    let features = script.rows.first().map_or(1, |row| row.values.len());
    script
        .questions
        .iter()
        .map(|(keys, at)| {
            let answer = as_of(
                &script.rows,
                &key(keys),
                time(at, Rounding::Down).unwrap(),
                script.rules,
            );
            let mut line = format!("{keys} {at}");
            for feature in 0..features {
                let value = answer.winner.and_then(|row| row.values[feature].clone());
                let status = answer.verdict.status(value.is_none());
                write!(line, " {status}").unwrap();
                if let (asof_core::status::Status::Present, Some(value)) = (status, value) {
                    write!(line, " {value}").unwrap();
                }
            }
            if let Some(event) = answer.winner.and_then(|row| row.event_time) {
                let event = event.to_string();
                write!(line, " event {}", &event["2013-06-01T".len()..event.len() - 1]).unwrap();
            }
            if answer.held_back_winner {
                line.push_str(" held-back");
            }
            line
        })
        .collect()
}
