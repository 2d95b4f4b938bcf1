//! A few runs of one measurement as their median, least and greatest.

/// The median of some runs, with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number of runs, the lower of both in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one run.
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut runs: Vec<f64> = runs.into_iter().collect();
        runs.sort_by(f64::total_cmp);
        Some(Self {
            median: *runs.get(runs.len().checked_sub(1)? / 2)?,
            min: *runs.first()?,
            max: *runs.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_by_size_not_by_order() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(Spread::of([9.0, 1.0, 4.0]), spread(4.0, 1.0, 9.0));
        assert_eq!(Spread::of([10.0, 9.0]), spread(9.0, 9.0, 10.0));
        assert_eq!(Spread::of([5.0]), spread(5.0, 5.0, 5.0));
        assert_eq!(Spread::of([]), None);
    }
}
