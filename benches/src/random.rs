//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): small,
//! fast, and the same numbers everywhere and for ever, which no library promises for its ranges.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64 {
    state: u64,
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The stream of one row of one table: rows can be drawn in any order and in any grouping.
    pub(crate) fn of_row(seed: u64, table: u64, row: u64) -> Self {
        let table = Self::new(seed ^ table.wrapping_mul(GAMMA)).next();
        Self::new(Self::new(table.wrapping_add(row)).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`, by the high half of the product; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True `percent` times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that accompanies the published reference code, for seed 1234567.
    #[test]
    fn agrees_with_the_reference() {
        let mut random = SplitMix64::new(1_234_567);
        let found: Vec<u64> = (0..5).map(|_| random.next()).collect();
        assert_eq!(
            found,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn stays_within_its_ranges() {
        let mut random = SplitMix64::new(7);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
