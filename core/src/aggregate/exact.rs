//! Sums of floating-point numbers that are exact, and so the same in whatever order the numbers come.
//!
//! A sum is one wide fixed-point number, as in Kulisch's accumulator ("Computer Arithmetic and Validity", 2008): limbs of
//! 32 bits, each with room for carries that are brought up now and then (Neal, "Fast exact summation using small and large
//! superaccumulators", 2015). Only the limbs between the smallest and the largest number are there. It is rounded once, to
//! the nearest number, ties to even, when somebody asks for it.

use num_bigint::{BigInt, BigUint, Sign};

use super::bytes::{Corrupt, put_count, take, take_byte, take_count};

/// The lowest bit of limb 0 weighs 2 to the power of minus this: enough for the square of the smallest number.
const BASE: i32 = 2_176;
const LIMB_BITS: i32 = 32;
const LIMB: i64 = 1 << LIMB_BITS;
/// How many additions limbs have room for: each adds less than 2^32 to a limb, which has 63 bits.
const ROOM: u32 = 1 << 28;
/// The exponent of the last bit of numbers near zero.
const LEAST_EXPONENT: i32 = -1_074;
const MANTISSA_BITS: i32 = 53;

/// An exact sum.
#[derive(Debug, Clone, Default)]
pub(super) struct ExactSum {
    /// Which limb the first of `limbs` is.
    first: usize,
    limbs: Vec<i64>,
    /// Additions since carries were brought up.
    additions: u32,
    /// How many of the numbers were none, and how many were infinite.
    nans: u64,
    ups: u64,
    downs: u64,
}

/// Which way a number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    /// Out again, after it came in.
    Out,
}

impl ExactSum {
    /// Adds a number, or takes it out.
    pub(super) fn number(&mut self, number: f64, way: Way) {
        let Some((mantissa, exponent)) = parts_of(number) else {
            let count = match number {
                _ if number.is_nan() => &mut self.nans,
                _ if number > 0.0 => &mut self.ups,
                _ => &mut self.downs,
            };
            *count = match way {
                Way::In => *count + 1,
                Way::Out => count.saturating_sub(1),
            };
            return;
        };
        if mantissa == 0 {
            return;
        }
        let negative = number.is_sign_negative() != (way == Way::Out);
        let bit = (exponent + BASE).cast_unsigned();
        // It lies in three limbs, wherever in the first it begins.
        let scaled = u128::from(mantissa) << (bit % 32);
        let [first, second, third] = [scaled, scaled >> 32, scaled >> 64].map(|part| i64::from(part as u32));
        let sign = if negative { -1 } else { 1 };
        if let [a, b, c] = self.limbs_at((bit / 32) as usize, 3) {
            *a += sign * first;
            *b += sign * second;
            *c += sign * third;
        }
        self.count_additions(1);
    }

    /// The same of its square.
    pub(super) fn square(&mut self, number: f64, way: Way) {
        match parts_of(number) {
            Some((mantissa, exponent)) => {
                let mantissa = u128::from(mantissa);
                self.add_scaled(mantissa * mantissa, 2 * exponent, way == Way::Out);
            }
            None => self.number(number.abs(), way),
        }
    }

    /// Adds a whole number, or takes it out.
    pub(super) fn whole(&mut self, number: i64, way: Way) {
        self.add_scaled(
            u128::from(number.unsigned_abs()),
            0,
            (number < 0) != (way == Way::Out),
        );
    }

    /// The same of its square.
    pub(super) fn whole_square(&mut self, number: i64, way: Way) {
        let magnitude = u128::from(number.unsigned_abs());
        self.add_scaled(magnitude * magnitude, 0, way == Way::Out);
    }

    /// Adds `magnitude · 2^exponent`, or takes it away.
    fn add_scaled(&mut self, magnitude: u128, exponent: i32, negative: bool) {
        if magnitude == 0 {
            return;
        }
        let bit = (exponent + BASE).cast_unsigned();
        let (limb, shift) = ((bit / 32) as usize, bit % 32);
        let bits = 128 - magnitude.leading_zeros() + shift;
        let limbs = self.limbs_at(limb, bits.div_ceil(32) as usize);
        let mut rest = magnitude;
        let mut taken = LIMB_BITS.cast_unsigned() - shift;
        let mut low = shift;
        for place in limbs {
            let chunk = ((rest & ((1 << taken) - 1)) as i64) << low;
            *place += if negative { -chunk } else { chunk };
            rest >>= taken;
            (taken, low) = (32, 0);
        }
        self.count_additions(1);
    }

    /// The limbs from one on, which are made where they are not there yet.
    #[inline]
    fn limbs_at(&mut self, limb: usize, count: usize) -> &mut [i64] {
        let end = self.first + self.limbs.len();
        if limb < self.first || limb + count > end {
            self.make_limbs_at(limb, count);
        }
        let from = limb - self.first;
        self.limbs.get_mut(from..from + count).unwrap_or_default()
    }

    #[cold]
    fn make_limbs_at(&mut self, limb: usize, count: usize) {
        if self.limbs.is_empty() {
            self.first = limb;
        }
        if limb < self.first {
            let missing = self.first - limb;
            self.limbs.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = limb;
        }
        let from = limb - self.first;
        if self.limbs.len() < from + count {
            self.limbs.resize(from + count, 0);
        }
    }

    fn count_additions(&mut self, more: u32) {
        self.additions += more;
        if self.additions >= ROOM {
            self.carry();
        }
    }

    /// Brings carries up: all limbs but the last are from 0 to 2^32 then, and the last has the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        let last = self.limbs.len().saturating_sub(1);
        for (place, limb) in self.limbs.iter_mut().enumerate() {
            let sum = *limb + carry;
            (*limb, carry) = match place == last && (-LIMB..LIMB).contains(&sum) {
                true => (sum, 0),
                false => (sum.rem_euclid(LIMB), sum.div_euclid(LIMB)),
            };
        }
        if carry != 0 {
            self.limbs.push(carry);
        }
        self.additions = 1;
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        if !other.limbs.is_empty() {
            let limbs = self.limbs_at(other.first, other.limbs.len());
            for (ours, theirs) in limbs.iter_mut().zip(&other.limbs) {
                *ours += theirs;
            }
            self.count_additions(other.additions);
        }
        self.nans += other.nans;
        self.ups += other.ups;
        self.downs += other.downs;
    }

    /// Its sign and digits of 32 bits, the least first and neither the first nor the last of them 0, and the exponent of
    /// the first.
    fn digits(&self) -> (bool, Vec<u32>, i32) {
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.limbs.last().is_some_and(|last| *last < 0);
        if negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.carry();
        }
        let zeros = sum.limbs.iter().take_while(|limb| **limb == 0).count();
        let limbs = sum.limbs.iter().skip(zeros);
        // After the carries every limb is one.
        let mut digits: Vec<u32> = limbs
            .map(|limb| u32::try_from(*limb).unwrap_or(u32::MAX))
            .collect();
        let end = digits
            .iter()
            .rposition(|digit| *digit != 0)
            .map_or(0, |last| last + 1);
        digits.truncate(end);
        let limb = i32::try_from(sum.first + zeros).unwrap_or(i32::MAX);
        (negative, digits, LIMB_BITS * limb - BASE)
    }

    /// What numbers that are none or infinite make of it.
    fn without_end(&self) -> Option<f64> {
        match (self.nans, self.ups, self.downs) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// The nearest number.
    pub(super) fn rounded(&self) -> f64 {
        self.divided(1)
    }

    /// The number nearest to its quotient by a count, which is not 0.
    pub(super) fn divided(&self, count: u64) -> f64 {
        if let Some(endless) = self.without_end() {
            return endless;
        }
        match self.short() {
            Some((negative, magnitude, exponent)) => quotient(negative, (magnitude, exponent), count, false),
            None => {
                let (negative, digits, exponent) = self.digits();
                nearest(negative, &digits, exponent, count)
            }
        }
    }

    /// Its sign, and a whole number by a power of two, where that has no more than 127 bits: so it is with numbers that are
    /// about as large as each other, and is found without a copy of the limbs.
    fn short(&self) -> Option<(bool, u128, i32)> {
        let mut whole = 0_i128;
        for limb in self.limbs.iter().rev() {
            whole = whole.checked_mul(LIMB.into())?.checked_add((*limb).into())?;
        }
        let first = i32::try_from(self.first).ok()?;
        Some((whole < 0, whole.unsigned_abs(), LIMB_BITS * first - BASE))
    }

    /// The sample variance of `count` numbers, two at least, of which this is the sum and `squares` that of their squares.
    pub(super) fn variance(&self, squares: &Self, count: u64) -> f64 {
        if self.without_end().is_some() || squares.without_end().is_some() {
            return f64::NAN;
        }
        // (count · squares - sum²) / (count · (count - 1)), whole numbers but for a power of two.
        let (_, sum, sum_exponent) = self.digits();
        let (_, squares, squares_exponent) = squares.digits();
        let (sum, squares) = (
            BigInt::from(BigUint::new(sum)),
            BigInt::from(BigUint::new(squares)),
        );
        let exponent = squares_exponent.min(2 * sum_exponent);
        let up = |number: BigInt, from: i32| number << (from - exponent).cast_unsigned();
        let spread = up(squares * count, squares_exponent) - up(&sum * &sum, 2 * sum_exponent);
        let (sign, spread) = spread.into_parts();
        if sign != Sign::Plus {
            return 0.0;
        }
        let pairs = BigUint::from(count) * (count - 1);
        // As many bits of the quotient as decide how it is rounded, and one below that says whether more follow.
        let wanted = pairs.bits() + 66;
        let shift = wanted.saturating_sub(spread.bits());
        let spread = spread << shift;
        let quotient = &spread / &pairs;
        let rest = u32::from(&quotient * &pairs != spread);
        let digits = ((quotient << 1_u32) + rest).to_u32_digits();
        let shift = i32::try_from(shift).unwrap_or(i32::MAX);
        nearest(false, &digits, exponent - shift - 1, 1)
    }

    /// Appends its bytes: equal sums have equal ones.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let (negative, digits, exponent) = self.digits();
        let endless = self.without_end().is_some();
        bytes.push(u8::from(negative) | u8::from(endless) << 1);
        let first = if digits.is_empty() {
            0
        } else {
            (exponent + BASE) / LIMB_BITS
        };
        put_count(u64::try_from(first).unwrap_or(0), bytes);
        put_count(digits.len() as u64, bytes);
        for digit in digits {
            bytes.extend_from_slice(&digit.to_le_bytes());
        }
        if endless {
            for count in [self.nans, self.ups, self.downs] {
                put_count(count, bytes);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(rest: &mut &[u8]) -> Result<Self, Corrupt> {
        let mut sum = Self::default();
        sum.merge_encoded(rest)?;
        Ok(sum)
    }

    /// Adds a sum that [`Self::encode`] wrote.
    pub(super) fn merge_encoded(&mut self, rest: &mut &[u8]) -> Result<(), Corrupt> {
        let flags = take_byte(rest)?;
        let first = take_count(rest)?;
        let len = take_count(rest)?;
        if flags > 3 || first > 2 * BASE as u64 || len > 2 * BASE as u64 - first {
            return Err(Corrupt);
        }
        if len > 0 {
            let negative = flags & 1 != 0;
            for limb in self.limbs_at(first as usize, len as usize) {
                let digit = i64::from(u32::from_le_bytes(take::<4>(rest)?));
                *limb += if negative { -digit } else { digit };
            }
            self.count_additions(1);
        }
        if flags & 2 != 0 {
            for count in [&mut self.nans, &mut self.ups, &mut self.downs] {
                *count += take_count(rest)?;
            }
        }
        Ok(())
    }
}

/// The mantissa and the exponent of a number, `None` of one that is none or infinite.
fn parts_of(number: f64) -> Option<(u64, i32)> {
    let bits = number.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match ((bits >> 52) & 0x7ff) as i32 {
        0x7ff => None,
        0 => Some((fraction, LEAST_EXPONENT)),
        exponent => Some((fraction | 1 << 52, exponent - 1 + LEAST_EXPONENT)),
    }
}

/// The number nearest to `digits · 2^exponent / count`, ties to even. The last of the digits is not 0.
fn nearest(negative: bool, digits: &[u32], exponent: i32, count: u64) -> f64 {
    let digit = |from_the_end: usize| {
        let place = digits.len().checked_sub(from_the_end + 1);
        place.and_then(|place| digits.get(place)).copied().unwrap_or(0)
    };
    let top = (0..4).fold(0, |top, place| top << 32 | u128::from(digit(place)));
    if top == 0 {
        return 0.0;
    }
    // The first 128 bits, and whether there are more.
    let zeros = top.leading_zeros();
    let next = u64::from(digit(4)) << zeros;
    let top = top << zeros | u128::from(next >> 32);
    let more = next.trailing_zeros() < 32
        || digits.len() > 5 && digits.iter().rev().skip(5).any(|digit| *digit != 0);
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let exponent = exponent + LIMB_BITS * (len - 4) - zeros.cast_signed();
    quotient(negative, (top, exponent), count, more)
}

/// The number nearest to `(magnitude + more) · 2^exponent / count`, where `more` is something between 0 and 1, or nothing,
/// and nothing where the magnitude has not its first bit.
fn quotient(negative: bool, (magnitude, exponent): (u128, i32), count: u64, more: bool) -> f64 {
    if magnitude == 0 {
        return 0.0;
    }
    // As many bits of the quotient as there can be: more than decide how it is rounded.
    let zeros = magnitude.leading_zeros();
    let (top, exponent) = (magnitude << zeros, exponent - zeros.cast_signed());
    if count == 1 {
        return rounded(negative, top, exponent, more);
    }
    let divisor = u128::from(count);
    let whole = top / divisor;
    rounded(negative, whole, exponent, more || whole * divisor != top)
}

/// The number nearest to `(magnitude + more) · 2^exponent`, where `more` is something between 0 and 1, or nothing.
fn rounded(negative: bool, magnitude: u128, exponent: i32, more: bool) -> f64 {
    let bits = 128 - magnitude.leading_zeros().cast_signed();
    let last = (exponent + bits - MANTISSA_BITS).max(LEAST_EXPONENT);
    let cut = (last - exponent).cast_unsigned();
    let mantissa = match cut {
        _ if last <= exponent => magnitude << (exponent - last).cast_unsigned(),
        // All of it is less than half of the least number, or about that.
        129.. => 0,
        cut => {
            let kept = magnitude.checked_shr(cut).unwrap_or(0);
            let half = 1 << (cut - 1);
            let (lost, above) = (magnitude & (half - 1), magnitude & half != 0);
            let up = above && (lost != 0 || more || kept & 1 == 1);
            kept + u128::from(up)
        }
    };
    // One that was rounded up may have a bit more.
    let (mantissa, last) = match mantissa >> MANTISSA_BITS {
        0 => (mantissa as u64, last),
        _ => ((mantissa >> 1) as u64, last + 1),
    };
    let exponent = last - LEAST_EXPONENT + 1;
    let bits = match mantissa >> 52 {
        0 => mantissa,
        _ if exponent >= 0x7ff => 0x7ff << 52,
        _ => u64::from(exponent.cast_unsigned()) << 52 | mantissa & ((1 << 52) - 1),
    };
    f64::from_bits(bits | u64::from(negative) << 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum_of(numbers: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|number| sum.number(*number, Way::In));
        sum
    }

    fn bytes_of(sum: &ExactSum) -> Vec<u8> {
        let mut bytes = Vec::new();
        sum.encode(&mut bytes);
        bytes
    }

    /// Any number, the smallest and the largest more often than others.
    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => any::<f64>().prop_filter("finite", |number| number.is_finite()),
            4 => -1e6..1e6,
            1 => prop_oneof![Just(f64::MAX), Just(-f64::MAX), Just(5e-324), Just(-5e-324), Just(0.1), Just(-0.0)],
        ]
    }

    #[test]
    fn what_doubles_lose_is_kept() {
        assert_eq!(sum_of(&[1e308, 1.0, -1e308]).rounded(), 1.0);
        assert_eq!(sum_of(&[1e16, 1.0, 1.0, -1e16]).rounded(), 2.0);
        assert_eq!(sum_of(&[0.1; 10]).rounded(), 1.0);
        assert_eq!(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).rounded(), f64::MAX);
        assert_eq!(sum_of(&[f64::MAX, f64::MAX]).rounded(), f64::INFINITY);
        assert_eq!(sum_of(&[f64::MAX, f64::MAX]).divided(2), f64::MAX);
        assert_eq!(sum_of(&[5e-324, 5e-324]).divided(4).to_bits(), 0);
        assert_eq!(sum_of(&[5e-324; 3]).divided(2), 1e-323);
        assert_eq!(sum_of(&[]).rounded().to_bits(), 0);
        assert_eq!(sum_of(&[-0.0]).rounded().to_bits(), 0);
    }

    #[test]
    fn numbers_without_end_are_as_in_ieee() {
        let infinite = f64::INFINITY;
        assert_eq!(sum_of(&[1.0, infinite]).rounded(), infinite);
        assert_eq!(sum_of(&[-infinite, 1.0]).divided(2), -infinite);
        assert!(sum_of(&[infinite, -infinite]).rounded().is_nan());
        assert!(sum_of(&[f64::NAN, infinite]).rounded().is_nan());
        let mut sum = sum_of(&[2.0, f64::NAN, infinite]);
        sum.number(f64::NAN, Way::Out);
        sum.number(infinite, Way::Out);
        assert_eq!(sum.rounded(), 2.0);
    }

    #[test]
    fn carries_have_room() {
        let mut sum = ExactSum::default();
        for _ in 0..5 {
            sum.number(f64::MAX, Way::In);
            sum.additions = ROOM - 1;
            sum.number(-f64::MAX, Way::In);
        }
        assert_eq!(sum.rounded(), 0.0);
        assert_eq!(bytes_of(&sum), bytes_of(&ExactSum::default()));
    }

    proptest! {
        /// The sum of two numbers, rounded once, is what the processor says.
        #[test]
        fn two_numbers_add_up_as_ieee_has_it(a in number(), b in number()) {
            let expected = a + b;
            let found = sum_of(&[a, b]).rounded();
            prop_assert!(found == expected, "{found:e} {expected:e}");
        }

        /// So is the quotient of one by a count.
        #[test]
        fn a_number_is_divided_as_ieee_has_it(a in number(), count in 1..1_u64 << 53) {
            let expected = a / count as f64;
            let found = sum_of(&[a]).divided(count);
            prop_assert!(found == expected, "{found:e} {expected:e}");
        }

        #[test]
        fn short_sums_are_rounded_as_long_ones(
            numbers in prop::collection::vec((-4.0_f64..4.0, -20..20_i32), 1..20),
            count in 1..10_u64,
        ) {
            let numbers: Vec<f64> = numbers.iter().map(|(number, up)| number * f64::from(*up).exp2()).collect();
            let sum = sum_of(&numbers);
            let (negative, digits, exponent) = sum.digits();
            prop_assert!(sum.short().is_some());
            let long = nearest(negative, &digits, exponent, count);
            prop_assert_eq!(sum.divided(count).to_bits(), long.to_bits());
        }

        /// Whole numbers have sums that need no other rule.
        #[test]
        fn whole_numbers_add_up(numbers in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut sum = ExactSum::default();
            numbers.iter().for_each(|number| sum.whole(*number, Way::In));
            let expected: i128 = numbers.iter().map(|number| i128::from(*number)).sum();
            prop_assert_eq!(sum.rounded(), expected as f64);
        }

        /// Order, grouping, what came and went, and being written down change nothing.
        #[test]
        fn sums_do_not_depend_on_order(
            numbers in prop::collection::vec(number(), 0..40),
            passing in prop::collection::vec(number(), 0..10),
            cut in 0..40_usize,
        ) {
            let whole = sum_of(&numbers);
            let mut reversed: Vec<f64> = numbers.clone();
            reversed.reverse();
            prop_assert_eq!(bytes_of(&sum_of(&reversed)), bytes_of(&whole));
            let (left, right) = numbers.split_at(cut.min(numbers.len()));
            let mut merged = sum_of(right);
            merged.merge(&sum_of(left));
            prop_assert_eq!(bytes_of(&merged), bytes_of(&whole));
            passing.iter().for_each(|number| merged.number(*number, Way::In));
            passing.iter().rev().for_each(|number| merged.number(*number, Way::Out));
            prop_assert_eq!(bytes_of(&merged), bytes_of(&whole));
            let bytes = bytes_of(&whole);
            let mut rest = bytes.as_slice();
            let read = ExactSum::decode(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read.rounded().to_bits(), whole.rounded().to_bits());
            prop_assert_eq!(bytes_of(&read), bytes);
        }

        /// Of whole numbers the variance can be had in whole numbers.
        #[test]
        fn variances_are_exact(numbers in prop::collection::vec(-1_000_000_i32..1_000_000, 2..30)) {
            let (mut sum, mut squares) = (ExactSum::default(), ExactSum::default());
            for number in &numbers {
                sum.number(f64::from(*number), Way::In);
                squares.square(f64::from(*number), Way::In);
            }
            let count = numbers.len() as i128;
            let total: i128 = numbers.iter().map(|number| i128::from(*number)).sum();
            let of_squares: i128 = numbers.iter().map(|number| i128::from(*number).pow(2)).sum();
            let spread = count * of_squares - total * total;
            // Both fit a double, so that its division rounds once.
            prop_assume!(spread < 1 << 53);
            let expected = spread as f64 / (count * (count - 1)) as f64;
            prop_assert_eq!(sum.variance(&squares, count as u64), expected);
        }
    }
}
