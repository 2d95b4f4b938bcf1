//! TOML documents with places: every value knows its line and column, so that whatever reads it can
//! say where it is wrong. Reading goes on after a problem, to find the others too.

mod depth;
mod table;

use std::sync::Arc;

use toml::de::DeTable;

use crate::problem::{Place, Problem, Problems, shown};

pub(crate) use table::{Table, Text, Value};

/// The largest file, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

/// The text of one file, and where its lines begin.
pub(crate) struct Document {
    file: Arc<str>,
    text: String,
    line_starts: Vec<usize>,
}

impl Document {
    /// Takes in the bytes of a file: at most 1 MiB of UTF-8, with or without a byte order mark.
    pub(crate) fn read(file: &str, bytes: &[u8], problems: &mut Problems) -> Option<Self> {
        if bytes.len() > MAX_FILE_BYTES {
            problems.push(too_large(file));
            return None;
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(Self::new(file, text)),
            Err(error) => {
                let at = error.valid_up_to();
                let before = bytes.get(..at).unwrap_or_default();
                let readable = Self::new(file, &String::from_utf8_lossy(before));
                problems.push(Problem::new(
                    readable.place(at),
                    format!("byte {at} is not UTF-8"),
                    "save the file as UTF-8",
                ));
                None
            }
        }
    }

    fn new(file: &str, text: &str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file: file.into(),
            text: text.to_owned(),
            line_starts,
        }
    }

    /// The place of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..offset).unwrap_or_default().chars().count() + 1;
        Place {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// Parses the text; `None` where it is not TOML, and then why.
    pub(crate) fn parse(&self, problems: &mut Problems) -> Option<DeTable<'_>> {
        if let Some(at) = depth::too_deep(&self.text) {
            problems.push(Problem::new(
                self.place(at),
                "a key is nested too deeply",
                format!("keys nest at most {} deep", depth::MAX_DOTS),
            ));
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        if errors.is_empty() {
            return Some(root.into_inner());
        }
        for error in errors {
            problems.push(self.syntax(&error));
        }
        None
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or_default();
        let place = self.place(span.start);
        let text = self.text.get(span).unwrap_or_default();
        match error.message() {
            "duplicate key" => Problem::new(
                place,
                format!("the key {} is there already", shown(text)),
                "remove one of the two",
            ),
            "cannot recurse further; max recursion depth met" => Problem::new(
                place,
                "values are nested too deeply",
                "arrays and tables nest at most 80 deep",
            ),
            message => Problem::new(place, format!("not TOML: {message}"), ""),
        }
    }
}

/// The problem of a file with more than [`MAX_FILE_BYTES`], of which no more were read.
fn too_large(file: &str) -> Problem {
    Problem::new(
        Place::file(file),
        "the file has more than 1 MiB",
        "a definition file has at most that: split it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let document = Document::new("a.toml", "a\r\nüb = 1\n");
        let check = |offset: usize, expect: &str| assert_eq!(document.place(offset).to_string(), expect);
        check(0, "a.toml:1:1");
        check(3, "a.toml:2:1");
        check(5, "a.toml:2:2");
        check(4, "a.toml:2:1");
        check(6, "a.toml:2:3");
        check(11, "a.toml:3:1");
        check(99, "a.toml:3:1");
    }
}
