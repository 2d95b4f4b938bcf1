//! Decimal numbers in text, digit by digit: nothing is rounded on the way.

/// The most digits that any of our types holds.
const MOST_DIGITS: usize = 38;

/// A number as it is written, `digits × 10^exponent`: no zero stands at either end of the digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads `-12`, `+007`, `1.50`, `.5` or `1e-3`; spaces around it do not matter.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = whole.bytes().chain(fraction.bytes());
        if (whole.is_empty() && fraction.is_empty()) || !written.clone().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits: Vec<u8> = written
            .map(|byte| byte - b'0')
            .skip_while(|digit| *digit == 0)
            .collect();
        let mut exponent = i64::from(power) - i64::try_from(fraction.len()).ok()?;
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }

    /// How many of `10^-scale` it is, where it is a whole number of them and fits.
    pub(super) fn scaled(&self, scale: i8) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.exponent.checked_add(i64::from(scale))?).ok()?;
        if self.digits.len().checked_add(zeros)? > MOST_DIGITS {
            return None;
        }
        let all = self.digits.iter().copied().chain(std::iter::repeat_n(0, zeros));
        let value = all.fold(0_i128, |value, digit| value * 10 + i128::from(digit));
        Some(if self.negative { -value } else { value })
    }

    /// Whether a `float32` has every digit that is written.
    pub(super) fn is_kept_by(&self, value: f32) -> bool {
        let Some(last) = self.digits.len().checked_sub(1) else {
            return value == 0.0;
        };
        // As many digits of the value's exact decimal expansion.
        Self::parse(&format!("{value:.last$e}")).is_some_and(|kept| kept == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_a_scale() {
        let check = |text: &str, scale: i8, expect: Option<i128>| {
            let found = Decimal::parse(text).and_then(|decimal| decimal.scaled(scale));
            assert_eq!(found, expect, "{text} at {scale}");
        };
        check("7", 0, Some(7));
        check("007", 0, Some(7));
        check("+7", 0, Some(7));
        check(" -7 ", 0, Some(-7));
        check("-0", 0, Some(0));
        check("1.0", 0, Some(1));
        check("1.", 0, Some(1));
        check("1e3", 0, Some(1_000));
        check("1200e-2", 0, Some(12));
        check("1.5", 0, None);
        check("1.55", 2, Some(155));
        check("1.5", 2, Some(150));
        check(".5", 2, Some(50));
        check("1.550", 2, Some(155));
        check("1.555", 2, None);
        check(
            "99999999999999999999999999999999999999",
            0,
            Some(10_i128.pow(38) - 1),
        );
        check("100000000000000000000000000000000000000", 0, None);
        check("1e2147483647", 0, None);
        check("0e2147483647", 0, Some(0));
        check("1e-2147483648", 38, None);
        for text in [
            "",
            " ",
            ".",
            "-",
            "+-1",
            "1,5",
            "0x10",
            "1e",
            "1e99999999999",
            "one",
            "1 2",
            "inf",
            "١",
        ] {
            check(text, 0, None);
        }
    }

    #[test]
    fn a_float32_keeps_the_digits_that_it_has() {
        let check = |text: &str, expect: bool| {
            let kept = Decimal::parse(text).unwrap().is_kept_by(text.parse().unwrap());
            assert_eq!(kept, expect, "{text}");
        };
        check("0", true);
        check("-0.0", true);
        check("0.1", true);
        check("-0.10", true);
        check("1.1", true);
        check("3.1415927", true);
        check("3.14159265", false);
        check("16777216", true);
        // 2^24 + 1 lies between two of them.
        check("16777217", false);
        check("123456789", false);
        check("1e39", false);
        check("1e-60", false);
        check("3.4028235e38", true);
    }
}
