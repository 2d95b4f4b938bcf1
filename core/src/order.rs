//! The total order that decides which of two rows of one key wins, everywhere.

use crate::time::Timestamp;

/// The place of a row among the rows of its key: the greatest wins.
///
/// The fields compare in the order in which they stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowOrder {
    /// When it was true.
    pub event_time: Timestamp,
    /// When it became known; a row without a created time counts as known at its event time.
    pub created_time: Timestamp,
    /// The order of acceptance; see [`file_seq`] for sources read in place.
    pub seq: u64,
}

/// How many bytes [`RowOrder::to_bytes`] gives.
pub const ORDER_LEN: usize = 24;

impl RowOrder {
    /// The instant from which the row may be served: it has happened and is known.
    #[inline]
    pub fn due(&self) -> Timestamp {
        self.event_time.max(self.created_time)
    }

    /// Bytes that compare as the order does: event time, created time (both as big-endian with the
    /// sign flipped), seq (big-endian).
    pub fn to_bytes(self) -> [u8; ORDER_LEN] {
        let mut bytes = [0; ORDER_LEN];
        let (event, rest) = bytes.split_at_mut(8);
        let (created, seq) = rest.split_at_mut(8);
        event.copy_from_slice(&flip(self.event_time).to_be_bytes());
        created.copy_from_slice(&flip(self.created_time).to_be_bytes());
        seq.copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// The inverse of [`RowOrder::to_bytes`].
    pub fn from_bytes(bytes: [u8; ORDER_LEN]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(bytes.get(at..at + 8).unwrap_or(&[0; 8]));
            u64::from_be_bytes(word)
        };
        Self {
            event_time: unflip(word(0)),
            created_time: unflip(word(8)),
            seq: word(16),
        }
    }
}

fn flip(time: Timestamp) -> u64 {
    time.micros().cast_unsigned() ^ (1 << 63)
}

fn unflip(bits: u64) -> Timestamp {
    Timestamp::from_micros((bits ^ (1 << 63)).cast_signed())
}

/// How many bits of a [`file_seq`] number the row within its file.
const ROW_BITS: u32 = 40;

/// The seq of a row of a source read in place: the place of its file among the snapshot's files in
/// byte order of their paths, then the row's number in the file.
///
/// `None` when the snapshot has more than 2^24 files or the file more than 2^40 rows.
#[inline]
pub fn file_seq(file: usize, row: u64) -> Option<u64> {
    let file = u64::try_from(file).ok()?;
    (file < 1 << (64 - ROW_BITS) && row < 1 << ROW_BITS).then_some((file << ROW_BITS) | row)
}

/// The inverse of [`file_seq`]: the file and the row.
#[inline]
pub fn from_file_seq(seq: u64) -> (usize, u64) {
    let file = usize::try_from(seq >> ROW_BITS).unwrap_or(usize::MAX);
    (file, seq & ((1 << ROW_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order() -> impl Strategy<Value = RowOrder> {
        (any::<i64>(), any::<i64>(), any::<u64>()).prop_map(|(event, created, seq)| RowOrder {
            event_time: Timestamp::from_micros(event),
            created_time: Timestamp::from_micros(created),
            seq,
        })
    }

    proptest! {
        #[test]
        fn bytes_compare_as_the_order_and_round_trip(a in order(), b in order()) {
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
            prop_assert_eq!(RowOrder::from_bytes(a.to_bytes()), a);
        }
    }

    #[test]
    fn file_seq_goes_by_file_then_row() {
        assert!(file_seq(0, (1 << 40) - 1).unwrap() < file_seq(1, 0).unwrap());
        assert_eq!(file_seq(7, 9), Some((7 << 40) + 9));
        assert_eq!(from_file_seq((7 << 40) + 9), (7, 9));
        assert_eq!(file_seq(1 << 24, 0), None);
        assert_eq!(file_seq(0, 1 << 40), None);
    }
}
