//! What the command prints: tables and text for people, JSON for programs, nothing into a closed pipe.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::exit::{DONE, leave};

/// Writes to stdout; a reader that has gone away ends the process quietly, as it does `cat`.
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let result = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if result.is_err() {
        leave(DONE);
    }
}

/// Writes a line to stdout.
pub fn line(text: impl AsRef<str>) {
    print(&format!("{}\n", text.as_ref()));
}

/// Writes JSON to stdout.
pub fn json(value: &Value) {
    line(format!("{value:#}"));
}

/// Writes an error to stderr.
pub fn error(message: &str, json: bool) {
    let text = if json {
        serde_json::json!({ "error": message }).to_string()
    } else {
        format!("{} {message}", paint("error:", "1;31", color_of_stderr()))
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a note to stderr.
pub fn note(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// A table of text with a line of headings.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(Cell::new));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    line(lines.join("\n"));
}

/// Whether stdout is a terminal that wants colours.
pub fn color_of_stdout() -> bool {
    wants_color() && std::io::stdout().is_terminal()
}

/// Whether stderr is a terminal that wants colours.
pub fn color_of_stderr() -> bool {
    wants_color() && std::io::stderr().is_terminal()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the binary reads the environment, once for each thing"
)]
fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text in a colour, given by its ANSI number, where `color` says so.
pub fn paint(text: &str, ansi: &str, color: bool) -> String {
    if color {
        format!("\u{1b}[{ansi}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`.
pub fn counted(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", count(number))
}

/// A part of a whole as a percentage, rounded; what is not none is not shown as none, nor what is not all as
/// all.
pub fn share(part: u64, whole: u64) -> String {
    let (part, whole) = (u128::from(part), u128::from(whole.max(1)));
    let tenths = (part * 2_000 + whole) / (2 * whole);
    match tenths {
        0 if part > 0 => "under 0.1 %".to_owned(),
        1_000 if part < whole => "over 99.9 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// A number of bytes in the unit that suits it.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let (mut size, mut unit) = (number as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS.get(unit).unwrap_or(&"TiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(336_776), "336,776");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!(counted(1_000, "row"), "1,000 rows");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn shares_are_rounded_and_neither_none_nor_all_by_that() {
        assert_eq!(share(1, 6), "16.7 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(1, 8), "12.5 %");
        assert_eq!(share(0, 5), "0.0 %");
        assert_eq!(share(5, 5), "100.0 %");
        assert_eq!(share(1, 10_000), "under 0.1 %");
        assert_eq!(share(9_999, 10_000), "over 99.9 %");
        assert_eq!(share(0, 0), "0.0 %");
    }
}
