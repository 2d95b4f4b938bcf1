//! Lengths of time for people, exact to the microsecond.

use std::fmt;

use asof_core::time::Timestamp;

/// A length of time in microseconds, written as `15d 10h 0.000001s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u128);

impl Span {
    /// The time between two instants.
    pub fn between(a: Timestamp, b: Timestamp) -> Self {
        Self((i128::from(a.micros()) - i128::from(b.micros())).unsigned_abs())
    }

    /// The length in microseconds.
    pub fn micros(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u128); 3] = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)];
        let mut parts = Vec::new();
        let mut rest = self.0;
        for (unit, micros) in UNITS {
            if rest >= micros {
                parts.push(format!("{}{unit}", rest / micros));
                rest %= micros;
            }
        }
        if rest > 0 || parts.is_empty() {
            let seconds = format!("{}.{:06}", rest / 1_000_000, rest % 1_000_000);
            parts.push(format!(
                "{}s",
                seconds.trim_end_matches('0').trim_end_matches('.')
            ));
        }
        f.pad(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_to_the_microsecond() {
        let check = |micros: i64, expect: &str| {
            let at = Timestamp::from_micros(micros);
            assert_eq!(Span::between(at, Timestamp::EPOCH).to_string(), expect);
            assert_eq!(Span::between(Timestamp::EPOCH, at).to_string(), expect);
        };
        check(0, "0s");
        check(1, "0.000001s");
        check(10_000_000, "10s");
        check(59_500_000, "59.5s");
        check(60_000_000, "1m");
        check(86_400_000_000 + 10 * 3_600_000_000 + 1, "1d 10h 0.000001s");
        check(100 * 86_400_000_000, "100d");
        let all = Span::between(Timestamp::MIN, Timestamp::MAX);
        assert_eq!(all.micros(), u128::from(u64::MAX));
    }
}
