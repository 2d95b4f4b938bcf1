//! The first or the last values, by the order of their rows.

use super::bytes::{Corrupt, put_count, take, take_count, take_slice};
use crate::order::{ORDER_LEN, RowOrder};

/// Which end of the rows is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    First,
    Last,
}

/// Up to `most` values from one end, in the order of their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    end: End,
    most: usize,
    values: Vec<(RowOrder, Box<[u8]>)>,
}

impl Edge {
    pub(super) fn new(end: End, most: usize) -> Self {
        Self {
            end,
            most,
            values: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, order: RowOrder, value: &[u8]) {
        let place = self.values.partition_point(|(other, _)| *other < order);
        let outside = match self.end {
            End::First => place,
            End::Last => self.values.len() - place,
        };
        if outside < self.most {
            self.values.insert(place, (order, value.into()));
            self.cut();
        }
    }

    /// Adds the values of other rows.
    pub(super) fn merge(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
        self.values.sort_by_key(|(order, _)| *order);
        self.cut();
    }

    fn cut(&mut self) {
        let over = self.values.len().saturating_sub(self.most);
        match self.end {
            End::First => self.values.truncate(self.most),
            End::Last => drop(self.values.drain(..over)),
        }
    }

    /// The values, from the first row to the last.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.values.iter().map(|(_, value)| &**value)
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_count(self.values.len() as u64, bytes);
        for (order, value) in &self.values {
            bytes.extend_from_slice(&order.to_bytes());
            put_count(value.len() as u64, bytes);
            bytes.extend_from_slice(value);
        }
    }

    /// Reads what [`Self::encode`] wrote of such values.
    pub(super) fn decode(end: End, most: usize, rest: &mut &[u8]) -> Result<Self, Corrupt> {
        let mut read = Self::new(end, most);
        let count = take_count(rest)?;
        if count > most as u64 {
            return Err(Corrupt);
        }
        for _ in 0..count {
            let order = RowOrder::from_bytes(take::<ORDER_LEN>(rest)?);
            if read.values.last().is_some_and(|(last, _)| *last >= order) {
                return Err(Corrupt);
            }
            read.values.push((order, take_slice(rest)?.into()));
        }
        Ok(read)
    }
}
