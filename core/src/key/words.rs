//! Keys of at most eight bytes, each as one word.

use arrow_buffer::NullBuffer;

use super::{KeyColumn, KeyColumns};

/// The keys of a batch as words: equal words are equal keys, and they compare as the keys do.
#[derive(Debug, Clone)]
pub struct Words {
    values: Vec<u64>,
    nulls: Option<NullBuffer>,
}

impl Words {
    /// The words, whatever they are where a column of the key is null.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// The rows in which a column of the key is null.
    pub fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// The word of the key in `row`, `None` where a column of it is null.
    pub fn get(&self, row: usize) -> Option<u64> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        self.values.get(row).copied()
    }
}

impl KeyColumns {
    /// How many bytes every key has, `None` where that depends on the key.
    pub fn width(&self) -> Option<usize> {
        self.columns.iter().map(KeyColumn::width).sum()
    }

    /// All keys as words; `None` where a key may have more than eight bytes.
    pub fn words(&self) -> Option<Words> {
        self.width().filter(|width| *width <= 8)?;
        let mut values = vec![0; self.rows];
        for column in &self.columns {
            column.push_bits(&mut values);
        }
        Some(Words {
            values,
            nulls: self.nulls(),
        })
    }
}

impl KeyColumn {
    fn width(&self) -> Option<usize> {
        match self {
            Self::Bool(_) => Some(1),
            Self::Int32(_) | Self::Date(_) => Some(4),
            Self::Int64(_) | Self::Timestamp(_) => Some(8),
            Self::Decimal(_) => Some(16),
            Self::String(_) | Self::Bytes(_) => None,
        }
    }

    /// Moves each word up and puts the bits of the column's value beneath.
    fn push_bits(&self, words: &mut [u64]) {
        let each = |words: &mut [u64], bits: u32, value: &dyn Fn(usize) -> u64| {
            for (row, word) in words.iter_mut().enumerate() {
                *word = word.checked_shl(bits).unwrap_or(0) | value(row);
            }
        };
        let int32 = |value: i32| u64::from(value.cast_unsigned() ^ (1 << 31));
        match self {
            Self::Bool(array) => each(words, 8, &|row| u64::from(array.value(row))),
            Self::Int32(array) => each(words, 32, &|row| int32(array.value(row))),
            Self::Date(array) => each(words, 32, &|row| int32(array.value(row))),
            Self::Int64(array) => whole(words, array.values()),
            Self::Timestamp(array) => whole(words, array.values()),
            Self::Decimal(_) | Self::String(_) | Self::Bytes(_) => {}
        }
    }
}

/// A value of eight bytes is a word by itself.
fn whole(words: &mut [u64], values: &[i64]) {
    for (word, value) in words.iter_mut().zip(values) {
        *word = value.cast_unsigned() ^ (1 << 63);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use crate::data_type::KeyType;
    use crate::key::KeyColumns;

    fn columns(texts: &[&str], arrays: &[ArrayRef]) -> KeyColumns {
        let types: Vec<_> = texts.iter().map(|text| KeyType::parse(text).unwrap()).collect();
        KeyColumns::try_new(&types, arrays).unwrap()
    }

    /// Words are told from the bytes, which are the key.
    fn check(keys: &KeyColumns) {
        let words = keys.words().unwrap();
        for row in 0..keys.rows() {
            let expected = keys.key(row).map(|key| {
                let bytes = key.as_bytes();
                bytes
                    .iter()
                    .fold(0_u64, |word, byte| (word << 8) | u64::from(*byte))
            });
            assert_eq!(words.get(row), expected, "row {row}");
        }
    }

    proptest! {
        #[test]
        fn words_are_the_bytes(rows in prop::collection::vec(
            (any::<Option<i64>>(), any::<Option<i32>>(), any::<Option<bool>>()), 0..40,
        )) {
            let longs: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
            let ints: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>());
            let dates: ArrayRef = Arc::new(rows.iter().rev().map(|row| row.1).collect::<Date32Array>());
            let bools: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>());
            check(&columns(&["int64"], std::slice::from_ref(&longs)));
            check(&columns(&["int32", "date"], &[Arc::clone(&ints), dates]));
            check(&columns(&["bool", "int32", "bool"], &[Arc::clone(&bools), Arc::clone(&ints), Arc::clone(&bools)]));
            let long = columns(&["int64", "bool"], &[longs, bools]);
            prop_assert!(long.words().is_none());
        }
    }

    #[test]
    fn keys_of_any_length_have_no_words() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert!(columns(&["string"], &[texts]).words().is_none());
    }
}
