//! Quantiles within 1 % of their value, of which the order of the values has no say.
//!
//! The sketch is DDSketch (Masson, Rim and Lee, 2019) with bins of which none are ever joined: a count for each power of
//! about 1.02 that a value lies between. Bins are found with additions and multiplications alone, by the quadratic stand-in
//! for the logarithm that its authors give, so that every machine has the same.

use std::collections::BTreeMap;

use super::bytes::{Corrupt, put_count, take_count};

/// Bins for each power of two: `0.75 / ln((1 + 0.01) / (1 - 0.01))`.
const BINS: f64 = 37.498_749_966_665_09;
/// Added to the bins of positive numbers, so that they are greater than 0, and those of negative ones less.
const ABOVE_ZERO: i32 = 40_000;
/// Infinite numbers, and those that are none.
const INFINITE: i32 = i32::MAX - 1;
const NAN: i32 = i32::MAX;
/// Of numbers nearer to zero nothing but their sign would be known.
const LEAST: f64 = f64::MIN_POSITIVE;

/// How many values lie in each bin; the bins are in the order of the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Quantiles {
    bins: BTreeMap<i32, u64>,
    count: u64,
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        *self.bins.entry(bin_of(value)).or_default() += 1;
        self.count += 1;
    }

    /// Adds another's values.
    pub(super) fn merge(&mut self, other: &Self) {
        for (bin, count) in &other.bins {
            let known = self.bins.entry(*bin).or_default();
            *known = known.saturating_add(*count);
        }
        self.count = self.count.saturating_add(other.count);
    }

    /// The value of which a share (0 to 1) of the others is not greater; `None` where there are none.
    pub(super) fn at(&self, share: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let rank = (share * last as f64) as u64;
        let mut before = 0_u64;
        let found = self.bins.iter().find(|(_, count)| {
            before = before.saturating_add(**count);
            before > rank
        });
        found.map(|(bin, _)| value_of(*bin))
    }

    /// Appends its bytes: equal ones have equal bytes.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_count(self.bins.len() as u64, bytes);
        for (bin, count) in &self.bins {
            bytes.extend_from_slice(&bin.to_le_bytes());
            put_count(*count, bytes);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(rest: &mut &[u8]) -> Result<Self, Corrupt> {
        let mut read = Self::default();
        for _ in 0..take_count(rest)? {
            let bin = i32::from_le_bytes(super::bytes::take::<4>(rest)?);
            let count = take_count(rest)?;
            read.count = read.count.checked_add(count).ok_or(Corrupt)?;
            let sorted = read.bins.last_key_value().is_none_or(|(last, _)| *last < bin);
            if count == 0 || !sorted || !is_bin(bin) {
                return Err(Corrupt);
            }
            read.bins.insert(bin, count);
        }
        Ok(read)
    }
}

fn bin_of(value: f64) -> i32 {
    if value.is_nan() {
        return NAN;
    }
    let size = value.abs();
    let bin = match size {
        _ if size < LEAST => 0,
        _ if size.is_infinite() => INFINITE,
        _ => {
            let bits = size.to_bits();
            let exponent = f64::from((bits >> 52) as i32 - 1_023);
            let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits());
            // From 0 to 1 as the mantissa goes from 1 to 2.
            let part = (-mantissa / 3.0 + 2.0) * mantissa - 5.0 / 3.0;
            (BINS * (exponent + part)).floor() as i32 + ABOVE_ZERO
        }
    };
    if value < 0.0 { -bin } else { bin }
}

/// Whether there are values that lie in a bin.
fn is_bin(bin: i32) -> bool {
    match bin.checked_abs() {
        None => false,
        Some(0 | INFINITE) => true,
        Some(NAN) => bin == NAN,
        Some(place) => (bin_of(LEAST)..=bin_of(f64::MAX)).contains(&place),
    }
}

/// The value that is within 1 % of all values of a bin.
fn value_of(bin: i32) -> f64 {
    let size = match bin.abs() {
        0 => 0.0,
        NAN => return f64::NAN,
        INFINITE => f64::INFINITY,
        place => {
            let (low, high) = (lower_end(place), lower_end(place + 1));
            // Where the end of the last bin is infinite its begin is the best that is known.
            if high.is_finite() {
                2.0 / (1.0 / low + 1.0 / high)
            } else {
                low
            }
        }
    };
    if bin < 0 { -size } else { size }
}

/// The inverse of the way that bins are found.
fn lower_end(place: i32) -> f64 {
    let power = f64::from(place - ABOVE_ZERO) / BINS;
    let exponent = power.floor();
    let part = power - exponent;
    let mantissa = 3.0 - (4.0 - 3.0 * part).sqrt();
    let exponent = exponent as i32 + 1_023;
    match exponent {
        ..1 => mantissa * LEAST,
        2_047.. => f64::INFINITY,
        _ => mantissa * f64::from_bits(u64::from(exponent.cast_unsigned()) << 52),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    #[test]
    fn bins_end_where_values_do() {
        for bin in [
            i32::MIN,
            i32::MIN + 1,
            -i32::MAX,
            ABOVE_ZERO * 3,
            -1,
            1,
            INFINITE - 1,
        ] {
            assert!(!is_bin(bin), "{bin}");
        }
        for bin in [
            0,
            INFINITE,
            -INFINITE,
            NAN,
            bin_of(f64::MAX),
            -bin_of(f64::MAX),
            bin_of(LEAST),
        ] {
            assert!(is_bin(bin), "{bin}");
        }
    }

    #[test]
    fn values_without_end_have_their_place() {
        let quantiles = of(&[
            f64::NAN,
            f64::NEG_INFINITY,
            -1.0,
            -0.0,
            5e-324,
            1.0,
            f64::INFINITY,
        ]);
        let found: Vec<f64> = (0..7)
            .map(|rank| quantiles.at(f64::from(rank) / 6.0).unwrap())
            .collect();
        assert_eq!(found[0], f64::NEG_INFINITY);
        assert!((found[1] + 1.0).abs() < 0.01);
        assert_eq!((found[2], found[3]), (0.0, 0.0));
        assert_eq!(found[5], f64::INFINITY);
        assert!(found[6].is_nan());
        assert_eq!(of(&[]).at(0.5), None);
    }

    proptest! {
        #[test]
        fn a_value_is_within_one_percent(value in any::<f64>()) {
            prop_assume!(value.is_normal());
            let found = of(&[value]).at(0.5).unwrap();
            prop_assert!((found - value).abs() <= 0.010_000_001 * value.abs(), "{value:e} {found:e}");
        }

        #[test]
        fn bins_of_values_are_bins_and_others_are_refused(value in any::<f64>(), bin in any::<i32>()) {
            prop_assert!(is_bin(bin_of(value)));
            let mut bytes = Vec::new();
            put_count(1, &mut bytes);
            bytes.extend_from_slice(&bin.to_le_bytes());
            put_count(1, &mut bytes);
            let read = Quantiles::decode(&mut bytes.as_slice());
            prop_assert_eq!(read.is_ok(), is_bin(bin));
            // What is read can be asked.
            prop_assert!(read.is_err() || read.unwrap().at(0.5).is_some());
        }

        #[test]
        fn bins_are_in_the_order_of_values(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a < b);
            prop_assert!(bin_of(a) <= bin_of(b));
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            values in prop::collection::vec(-1e9..1e9, 1..200),
            share in 0.0..=1.0,
        ) {
            let mut sorted: Vec<f64> = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = (share * (sorted.len() - 1) as f64) as usize;
            let found = of(&values).at(share).unwrap();
            prop_assert!((found - sorted[rank]).abs() <= 0.010_000_001 * sorted[rank].abs());
        }

        #[test]
        fn order_and_grouping_have_no_say(values in prop::collection::vec(-1e3..1e3, 0..100), cut in 0..100_usize) {
            let whole = of(&values);
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &whole);
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Quantiles::decode(&mut rest), Ok(whole));
            prop_assert!(rest.is_empty());
        }
    }
}
