//! Events in columns: those of a key side by side, in their order.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};

use asof_core::aggregate::{Events, Value, Values};
use asof_core::definition::Aggregates;
use asof_core::order::RowOrder;

use crate::error::{OfflineError, Result};
use crate::gather::{Located, gather};

/// Events with the values of their view's inputs.
pub(crate) struct EventColumns {
    orders: Vec<RowOrder>,
    inputs: Vec<Column>,
}

/// The values of an input.
enum Column {
    /// Every event counts, whatever its values.
    Every,
    Of(Box<Given>),
}

struct Given {
    values: Values,
    /// As stored rows write them, where that is wanted.
    stored: Option<Stored>,
}

/// Values one behind the other, with where each ends.
struct Stored {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Events in the order in which they are to be, with where the values of each are.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    orders: Vec<RowOrder>,
    places: Vec<Located>,
}

impl Pending {
    /// Bytes that an event takes beside its inputs, once here and once in columns.
    pub(crate) const EACH: usize = 2 * (size_of::<RowOrder>() + size_of::<Located>());

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, order: RowOrder, place: Located) {
        self.orders.push(order);
        self.places.push(place);
    }
}

/// The events of one key.
pub(super) struct KeyEvents<'a> {
    orders: &'a [RowOrder],
    first: usize,
    inputs: &'a [Column],
    aggregates: &'a Aggregates,
}

impl EventColumns {
    /// Puts events together whose values are in `chunks`: per chunk an array an input.
    pub(crate) fn of(aggregates: &Aggregates, pending: Pending, chunks: &[&[ArrayRef]]) -> Result<Self> {
        let Pending { orders, places } = pending;
        let inputs = aggregates.inputs().iter().enumerate().map(|(number, input)| {
            let arrays = chunks.iter().filter_map(|chunk| chunk.get(number));
            if input.is_counted && arrays.clone().all(|array| array.null_count() == 0) {
                return Ok(Column::Every);
            }
            let array = gather(&input.data_type.to_arrow(), arrays, &places)?;
            let lost = || OfflineError::Internal(format!("the input {input} is of another type"));
            let values = Values::of(&input.data_type, &array).ok_or_else(lost)?;
            let mut states = aggregates.states().iter();
            let is_stored = states.any(|(of, state)| *of == number && state.takes_stored());
            Ok(Column::Of(Box::new(Given {
                stored: is_stored.then(|| Stored::of(&values, orders.len())),
                values,
            })))
        });
        Ok(Self {
            inputs: inputs.collect::<Result<_>>()?,
            orders,
        })
    }

    pub(super) fn of_key<'a>(&'a self, events: Range<usize>, aggregates: &'a Aggregates) -> KeyEvents<'a> {
        KeyEvents {
            first: events.start,
            orders: self.orders.get(events).unwrap_or_default(),
            inputs: &self.inputs,
            aggregates,
        }
    }
}

impl Stored {
    fn of(values: &Values, count: usize) -> Self {
        let mut stored = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(count),
        };
        for event in 0..count {
            if !values.is_null(event) {
                values.write(event, &mut stored.bytes);
            }
            stored.ends.push(stored.bytes.len());
        }
        stored
    }

    fn get(&self, event: usize) -> Option<&[u8]> {
        let start = match event.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(event)?)
    }
}

impl Events for KeyEvents<'_> {
    fn orders(&self) -> &[RowOrder] {
        self.orders
    }

    fn value(&self, wanted: usize, event: usize) -> Option<Value<'_>> {
        let (input, state) = self.aggregates.states().get(wanted)?;
        let given = match self.inputs.get(*input)? {
            Column::Every => return Some(Value::Bool(true)),
            Column::Of(given) => given,
        };
        let event = self.first + event;
        if given.values.is_null(event) {
            return None;
        }
        match &given.stored {
            Some(stored) if state.takes_stored() => stored.get(event).map(Value::Bytes),
            _ => given.values.plain(event),
        }
    }
}
