//! A figure beside what it is held against.

use std::fmt::{self, Display, Formatter};

/// What is wanted of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// At most this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// At least this.
    AtLeast(f64),
}

impl Wanted {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::Below(bound) => ratio < bound,
            Self::AtLeast(least) => ratio >= least,
        }
    }
}

impl Display for Wanted {
    fn fmt(&self, text: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(text, "≤ {most}"),
            Self::Below(bound) => write!(text, "< {bound}"),
            Self::AtLeast(least) => write!(text, "≥ {least}"),
        }
    }
}

/// A median beside others of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What was done.
    pub case: String,
    /// What was measured, with its unit.
    pub measure: &'static str,
    /// Ours.
    pub ours: f64,
    /// The others, by name, or a limit; the least is what ours is divided by.
    pub against: Vec<(String, f64)>,
    /// What is wanted of the ratio.
    pub wanted: Wanted,
}

impl Verdict {
    /// Ours, divided by the least of the others; none where there are no others.
    pub fn ratio(&self) -> Option<f64> {
        let least = self
            .against
            .iter()
            .map(|(_, value)| *value)
            .min_by(f64::total_cmp)?;
        Some(self.ours / least)
    }

    /// The ratio with three decimals, never rounded towards what is wanted.
    pub fn shown_ratio(&self) -> String {
        let rounded = |ratio: f64| match self.wanted {
            Wanted::AtMost(_) | Wanted::Below(_) => (ratio * 1e3).ceil() / 1e3,
            Wanted::AtLeast(_) => (ratio * 1e3).floor() / 1e3,
        };
        self.ratio()
            .map_or("-".into(), |ratio| format!("{:.3}", rounded(ratio)))
    }

    /// `met` or `missed`, by the ratio as it is.
    pub fn word(&self) -> &'static str {
        match self.ratio() {
            Some(ratio) if self.wanted.is_met(ratio) => "met",
            Some(_) => "missed",
            None => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ours: f64, against: &[f64], wanted: Wanted) -> (String, &'static str) {
        let against = against.iter().map(|value| ("other".to_owned(), *value)).collect();
        let verdict = Verdict {
            case: "one".into(),
            measure: "time, s",
            ours,
            against,
            wanted,
        };
        (verdict.shown_ratio(), verdict.word())
    }

    #[test]
    fn a_ratio_is_to_the_least_and_is_not_rounded_to_what_is_wanted() {
        let at_most = |ours, against: &[f64]| verdict(ours, against, Wanted::AtMost(0.45));
        assert_eq!(at_most(0.9, &[4.0, 2.0]), ("0.450".into(), "met"));
        assert_eq!(at_most(0.900_2, &[4.0, 2.0]), ("0.451".into(), "missed"));
        assert_eq!(at_most(0.25, &[4.0, 2.0]), ("0.125".into(), "met"));
        assert_eq!(at_most(0.25, &[]), ("-".into(), "not measured"));
        assert_eq!(
            verdict(2.0, &[2.0], Wanted::Below(1.0)),
            ("1.000".into(), "missed")
        );
        assert_eq!(verdict(1.0, &[2.0], Wanted::Below(1.0)), ("0.500".into(), "met"));
        let at_least = |ours| verdict(ours, &[1.0], Wanted::AtLeast(0.6));
        assert_eq!(at_least(0.6), ("0.600".into(), "met"));
        assert_eq!(at_least(0.599_9), ("0.599".into(), "missed"));
    }
}
