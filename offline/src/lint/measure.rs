//! One column of the spine beside one feature: does it tell the later value?

use super::column::Column;

/// In fewer rows than these nothing is told from chance.
pub(super) const MIN_ROWS: usize = 30;
/// A column that is equal in this share of rows is the later value.
const EQUALS: f64 = 0.99;
/// Booleans and text that are equal in this share of rows nearly predict it.
const NEARLY_EQUALS: f64 = 0.95;
/// Numbers whose ranks correlate so nearly predict it.
const CORRELATES: f64 = 0.98;
/// How much farther from 1 the correlation with the value as of the row's time must be.
const CLEARLY: f64 = 2.0;
/// Correlation is first tried on so many rows, and then has to be at least so good.
const ROUGH_ROWS: usize = 2_000;
const ROUGH: f64 = 0.9;

/// What a column tells of the later values of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Leak {
    /// It is the later value, in this share of the rows in which that differs from the value as of the row's
    /// time.
    Equals {
        /// From 0.99 to 1.
        share: f64,
    },
    /// It is the later value in this share of those rows, being a boolean or text.
    NearlyEquals {
        /// From 0.95 to 0.99.
        share: f64,
    },
    /// Its ranks correlate with those of the later value.
    Correlates {
        /// Spearman's coefficient, from 0.98 to 1, whatever its sign.
        later: f64,
        /// The same with the value as of the row's time, where that is there in enough rows.
        now: Option<f64>,
    },
}

/// What `own` tells of `later`, and over how many rows; all three have one length.
pub(super) fn leak(own: &Column, now: &Column, later: &Column) -> Option<(Leak, u64)> {
    if !own.is_like(later) {
        return None;
    }
    let rows = Rows::of(own, now, later);
    let changed = rows.changed();
    if changed.len() < MIN_ROWS || is_constant(changed.iter().map(|row| row.own)) {
        return None;
    }
    let equals = own.equality(later);
    let share = |rows: &[Row]| {
        let equal = rows.iter().filter(|row| equals(row.own, row.later)).count();
        equal as f64 / rows.len() as f64
    };
    // A column that is the opposite of today's value is the later one wherever a boolean changes, and
    // never where it does not.
    let (share, everywhere) = (share(&changed), share(&rows.0));
    let count = changed.len() as u64;
    if share.min(everywhere) >= EQUALS {
        return Some((Leak::Equals { share }, count));
    }
    if own.kind.is_ordered() && later.kind.is_ordered() {
        return Some((correlation(&changed)?, count));
    }
    (share.min(everywhere) >= NEARLY_EQUALS).then_some((Leak::NearlyEquals { share }, count))
}

/// A row in which the column and the later value are there.
#[derive(Debug, Clone, Copy)]
struct Row {
    own: f64,
    /// NaN where there is none.
    now: f64,
    later: f64,
    is_changed: bool,
}

struct Rows(Vec<Row>);

impl Rows {
    fn of(own: &Column, now: &Column, later: &Column) -> Self {
        let values = own.values.iter().zip(&now.values).zip(&later.values);
        let rows = values.filter(|((own, _), later)| !own.is_nan() && !later.is_nan());
        // A value that is not there yet is another than the one that comes.
        let rows = rows.map(|((own, now), later)| Row {
            own: *own,
            now: *now,
            later: *later,
            is_changed: now.is_nan() || now != later,
        });
        Self(rows.collect())
    }

    fn changed(&self) -> Vec<Row> {
        self.0.iter().copied().filter(|row| row.is_changed).collect()
    }
}

fn is_constant(mut values: impl Iterator<Item = f64>) -> bool {
    let first = values.next();
    values.all(|value| Some(value) == first)
}

fn correlation(changed: &[Row]) -> Option<Leak> {
    let step = changed.len().div_ceil(ROUGH_ROWS);
    let rough: Vec<Row> = changed.iter().copied().step_by(step).collect();
    let with_later = |rows: &[Row]| spearman(rows.iter().map(|row| (row.own, row.later)));
    with_later(&rough).filter(|rough| *rough >= ROUGH)?;
    let later = with_later(changed).filter(|later| *later >= CORRELATES)?;
    let both: Vec<Row> = changed.iter().copied().filter(|row| !row.now.is_nan()).collect();
    if both.len() < MIN_ROWS {
        return Some(Leak::Correlates { later, now: None });
    }
    // Without variation there is no correlation.
    let now = spearman(both.iter().map(|row| (row.own, row.now))).unwrap_or(0.0);
    let there = with_later(&both).unwrap_or(0.0);
    let is_clear = now < there && 1.0 - now >= CLEARLY * (1.0 - there);
    is_clear.then_some(Leak::Correlates {
        later,
        now: Some(now),
    })
}

/// The absolute value of Spearman's rank correlation, ties at their mean rank; `None` where one side does
/// not vary.
fn spearman(pairs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let (a, b) = (ranks(&a), ranks(&b));
    // The mean of ranks is the same however they are tied.
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum() };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| (product(&a, &b) / spread).abs().min(1.0))
}

/// The ranks of values from 1, equal ones at the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(f64, usize)> = values.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for (_, place) in tied {
            if let Some(slot) = ranks.get_mut(*place) {
                *slot = rank;
            }
        }
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_values_share_their_rank() {
        assert_eq!(
            ranks(&[30.0, 10.0, 20.0, 10.0, -0.0, 0.0]),
            [6.0, 3.5, 5.0, 3.5, 1.5, 1.5]
        );
    }

    #[test]
    fn rank_correlation_is_that_of_the_textbook() {
        // IQ and hours of television: 1 - 6 * 194 / (10 * 99) = -0.17575….
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let tv = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let found = spearman(iq.into_iter().zip(tv)).unwrap();
        assert!((found - 29.0 / 165.0).abs() < 1e-12, "{found}");
        let squares = (1..50).map(|n| (f64::from(n), -f64::from(n * n)));
        assert_eq!(spearman(squares), Some(1.0));
        assert_eq!(spearman((1..50).map(|n| (f64::from(n), 3.0))), None);
    }
}
