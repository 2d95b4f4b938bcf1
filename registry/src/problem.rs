//! What is wrong with the files of a project, and where.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// How many problems one run reports.
pub const MAX_PROBLEMS: usize = 20;
/// How much of the input a message repeats, in bytes.
const MAX_ECHO: usize = 64;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the project.
    pub file: Arc<str>,
    /// Counted from 1; 0 where the whole file is meant.
    pub line: u32,
    /// In characters, counted from 1; 0 where the whole file is meant.
    pub column: u32,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    /// `features/weather.toml:12:8`, or the file alone; control characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.file.chars() {
            match c {
                '"' | '\'' | '\\' => write!(f, "{c}")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What was expected, or what to do.
    pub help: String,
}

impl Problem {
    /// A problem at `place`; an empty `help` says nothing more.
    pub fn new(place: Place, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Problem {
    /// One line: `file:line:column: what; help`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// Problems in the order of their places: the first [`MAX_PROBLEMS`], and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    first: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// How many there are, those that are not kept included.
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.more
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The first ones, by file, line and column.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.first.iter()
    }

    /// How many there are beyond those of [`Self::iter`].
    pub fn more(&self) -> usize {
        self.more
    }

    /// Adds one; what a parser says again and again of one place is told once.
    pub fn push(&mut self, problem: Problem) {
        if self.first.contains(&problem) {
            return;
        }
        let at = self.first.partition_point(|other| other.place <= problem.place);
        self.first.insert(at, problem);
        if self.first.len() > MAX_PROBLEMS {
            self.first.truncate(MAX_PROBLEMS);
            self.more += 1;
        }
    }

    /// `Ok(value)` where nothing is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self {
            first: vec![problem],
            more: 0,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.first.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            let plural = if self.more == 1 { "" } else { "s" };
            write!(f, "\nand {} more problem{plural}", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A URL without what may be secret in it: its user information and its query. Other text stays as it is.
pub fn masked(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Cow::Borrowed(url);
    };
    // A password that was not encoded may hold any of the characters that end it: the last `@` does.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    Cow::Owned(format!("{scheme}://{user}{rest}{query}"))
}

/// Text of the input as messages repeat it: quoted, escaped, cut after 64 bytes, and a URL without secrets.
pub(crate) fn shown(text: &str) -> String {
    let text = &*masked(text);
    if text.len() <= MAX_ECHO {
        return format!("{text:?}");
    }
    let mut end = MAX_ECHO;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{:?}…", text.get(..end).unwrap_or_default())
}

/// The advice that names the nearest known name, or else lists what is known.
pub(crate) fn suggest<T: AsRef<str>>(
    name: &str,
    known: impl IntoIterator<Item = T>,
    otherwise: &str,
) -> String {
    const LISTED: usize = 12;
    let known: Vec<String> = known.into_iter().map(|item| item.as_ref().to_owned()).collect();
    if let Some(near) = asof_core::service::nearest(name, &known) {
        return format!("did you mean {near:?}?");
    }
    match known.len() {
        0 => format!("there is {otherwise} at all"),
        n if n > LISTED => format!(
            "expected one of {}, … ({n} in all)",
            known.get(..LISTED).unwrap_or_default().join(", ")
        ),
        1 => format!("expected {}", known.join("")),
        _ => format!("expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_twenty_by_place_and_the_count_of_the_rest() {
        let mut problems = Problems::default();
        for line in (1..=23).rev() {
            let place = Place {
                file: "a.toml".into(),
                line,
                column: 1,
            };
            problems.push(Problem::new(place, format!("number {line}"), ""));
        }
        let text = problems.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 21);
        assert_eq!(lines[0], "a.toml:1:1: number 1");
        assert_eq!(lines[19], "a.toml:20:1: number 20");
        assert_eq!(lines[20], "and 3 more problems");
    }

    #[test]
    fn the_same_problem_is_told_once() {
        let mut problems = Problems::default();
        for what in ["one", "two", "one", "one"] {
            problems.push(Problem::new(Place::file("a.toml"), what, "help"));
        }
        assert_eq!(problems.to_string(), "a.toml: one; help\na.toml: two; help");
        assert_eq!(problems.more(), 0);
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let check = |url: &str, expect: &str| assert_eq!(masked(url), expect);
        check("postgres://u:secret@h/db", "postgres://***@h/db");
        check("postgres://u:se/cr@t@h:5432/db", "postgres://***@h:5432/db");
        check("s3://bucket/key?signature=secret", "s3://bucket/key?***");
        check("http://127.0.0.1:2763", "http://127.0.0.1:2763");
        check("who@example.com", "who@example.com");
        assert_eq!(shown("postgres://u:secret@h/db"), "\"postgres://***@h/db\"");
    }

    #[test]
    fn echoes_are_cut_and_escaped() {
        assert_eq!(shown("a\u{1b}[31m\0"), "\"a\\u{1b}[31m\\0\"");
        assert_eq!(shown(&"é".repeat(40)), format!("\"{}\"…", "é".repeat(32)));
        assert_eq!(shown(&format!("a{}", "é".repeat(40))).chars().count(), 1 + 31 + 3);
        let place = Place::file("features/a\nb.toml");
        assert_eq!(place.to_string(), "features/a\\nb.toml");
    }
}
