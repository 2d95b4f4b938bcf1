//! Names, parsed once and never invalid afterwards.
//!
//! The names of projects, entities, sources, views, features and services share one grammar,
//! `[a-z][a-z0-9_]{0,62}` without `__` and without a trailing `_`, so that `view__feature` splits in
//! one way only. They are distinct types, and do not mix:
//!
//! ```compile_fail
//! use asof_core::name::{EntityName, ViewName};
//! let view: ViewName = EntityName::parse("airport").unwrap();
//! ```

use std::fmt;

/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`MAX_NAME_LEN`] bytes.
    #[error("a name has at most 63 bytes, this one has {0}")]
    TooLong(usize),
    /// The first character is not a lower-case letter.
    #[error("a name starts with a lower-case letter a-z")]
    Start,
    /// A character outside `a-z`, `0-9` and `_`.
    #[error("a name has only a-z, 0-9 and _, not {0:?}")]
    Character(char),
    /// Two underscores in a row separate a view from its feature in column names.
    #[error("a name has no double underscore: it separates view and feature in column names")]
    DoubleUnderscore,
    /// A trailing underscore would make column names ambiguous.
    #[error("a name does not end with an underscore")]
    TrailingUnderscore,
}

/// Checks `text` against the grammar of names.
pub fn check(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME_LEN {
        return Err(NameError::TooLong(text.len()));
    }
    if !first.is_ascii_lowercase() {
        return Err(NameError::Start);
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_'))
    {
        return Err(NameError::Character(odd));
    }
    if text.contains("__") {
        return Err(NameError::DoubleUnderscore);
    }
    if text.ends_with('_') {
        return Err(NameError::TrailingUnderscore);
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a name; see the grammar of this module.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )+};
}

names! {
    /// The name of a project.
    ProjectName
    /// The name of an entity.
    EntityName
    /// The name of a source.
    SourceName
    /// The name of a view.
    ViewName
    /// The name of a feature within its view.
    FeatureName
    /// The name of a service.
    ServiceName
    /// A prefix that a service puts before the columns of one of its entries.
    Prefix
}

/// What the name of a table of dead letters ends with; no name that was parsed does.
const DEAD_LETTERS: &str = "__dead";

impl SourceName {
    /// The name of the table of what could not be taken in from the stream of this source.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        Self([self.as_str(), DEAD_LETTERS].concat().into())
    }

    /// Parses the name of what a store keeps rows of: a source, or the dead letters of one.
    pub fn parse_stored(text: &str) -> Result<Self, NameError> {
        match text.strip_suffix(DEAD_LETTERS) {
            Some(source) => Ok(Self::parse(source)?.dead_letters()),
            None => Self::parse(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let check = |text: &str, expect: Result<(), NameError>| {
            assert_eq!(super::check(text), expect, "{text:?}");
        };
        check("a", Ok(()));
        check("airport_weather2", Ok(()));
        check(&"a".repeat(63), Ok(()));
        check(&"a".repeat(64), Err(NameError::TooLong(64)));
        check("", Err(NameError::Empty));
        check("Airport", Err(NameError::Start));
        check("_a", Err(NameError::Start));
        check("-rf", Err(NameError::Start));
        check("../etc", Err(NameError::Start));
        check("9lives", Err(NameError::Start));
        check("a\0b", Err(NameError::Character('\0')));
        check("a/b", Err(NameError::Character('/')));
        check("p\u{430}y", Err(NameError::Character('\u{430}')));
        check("a__b", Err(NameError::DoubleUnderscore));
        check("a_", Err(NameError::TrailingUnderscore));
    }

    #[test]
    fn dead_letters_have_a_name_that_no_source_has() {
        let source = SourceName::parse(&"a".repeat(63)).unwrap();
        let dead = source.dead_letters();
        assert!(super::check(dead.as_str()).is_err());
        assert_eq!(SourceName::parse_stored(dead.as_str()), Ok(dead));
        assert_eq!(SourceName::parse_stored(source.as_str()), Ok(source));
        for odd in ["__dead", "a__dead__dead", "A__dead", "a__b"] {
            assert!(SourceName::parse_stored(odd).is_err(), "{odd}");
        }
    }
}
