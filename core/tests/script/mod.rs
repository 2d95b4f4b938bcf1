//! How scripts write their lines, keys and times.

use asof_core::key::KeyValue;
use asof_core::time::{Rounding, Timestamp};

/// The lines that say something, with one space between words.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

pub(crate) fn key(text: &str) -> Vec<Option<KeyValue>> {
    text.split('+')
        .map(|part| match part {
            "null" => None,
            "''" => Some(KeyValue::String(String::new())),
            part => Some(KeyValue::String(part.into())),
        })
        .collect()
}

/// A time of the first day, or of another with its number before it (`2T00:00:00`).
pub(crate) fn time(text: &str, rounding: Rounding) -> Option<Timestamp> {
    let (day, time) = text.split_once('T').unwrap_or(("1", text));
    (text != "null").then(|| Timestamp::parse_rounded(&format!("2013-06-0{day}T{time}Z"), rounding).unwrap())
}
