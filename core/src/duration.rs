//! Durations as definition files write them: an integer and a unit, such as `90m` or `7d`.

use std::fmt;

/// A positive length of time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(i64);

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not an integer followed by a unit.
    #[error("a duration is an integer and one of the units us, ms, s, m, h, d, w, such as \"90m\" or \"7d\"")]
    Unreadable,
    /// Zero has no use as a ttl, a window or a step.
    #[error("a duration must be greater than zero")]
    Zero,
    /// A leading minus.
    #[error("a duration cannot be negative")]
    Negative,
    /// More than an `i64` of microseconds.
    #[error("this duration is too long: the longest is about 292,000 years")]
    Overflow,
}

/// Units from the longest to the shortest, in microseconds.
const UNITS: [(&str, i64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Duration {
    /// A duration of `micros` microseconds, which must be positive.
    pub fn from_micros(micros: i64) -> Result<Self, DurationError> {
        match micros {
            0 => Err(DurationError::Zero),
            m if m < 0 => Err(DurationError::Negative),
            m => Ok(Self(m)),
        }
    }

    /// Parses `"90m"`; units are `us ms s m h d w`.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let split = digits
            .find(|c: char| !c.is_ascii_digit())
            .ok_or(DurationError::Unreadable)?;
        let (count, unit) = digits.split_at(split);
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(DurationError::Unreadable)?;
        if count.is_empty() {
            return Err(DurationError::Unreadable);
        }
        if digits.len() != text.len() {
            return Err(DurationError::Negative);
        }
        let micros = count
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(*factor))
            .ok_or(DurationError::Overflow)?;
        Self::from_micros(micros)
    }

    /// The length in microseconds.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Duration {
    /// The shortest exact form: `90m`, not `5400s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 % factor == 0)
            .unwrap_or(&("us", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let check = |text: &str, micros: i64, printed: &str| {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration.micros(), micros);
            assert_eq!(duration.to_string(), printed);
        };
        check("3h", 10_800_000_000, "3h");
        check("90m", 5_400_000_000, "90m");
        check("7d", 604_800_000_000, "1w");
        check("1500ms", 1_500_000, "1500ms");
        check("1us", 1, "1us");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, expect: DurationError| {
            assert_eq!(Duration::parse(text), Err(expect), "{text:?}");
        };
        check("", DurationError::Unreadable);
        check("3", DurationError::Unreadable);
        check("h", DurationError::Unreadable);
        check("3 h", DurationError::Unreadable);
        check("1.5h", DurationError::Unreadable);
        check("3 hours", DurationError::Unreadable);
        check("3M", DurationError::Unreadable);
        check("0s", DurationError::Zero);
        check("-1s", DurationError::Negative);
        check("-", DurationError::Unreadable);
        check("9223372036854775807w", DurationError::Overflow);
        check("99999999999999999999s", DurationError::Overflow);
    }
}
