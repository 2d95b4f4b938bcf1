//! What is kept of values until a function of them is asked for.

use arrow_buffer::i256;

use super::bytes::{Corrupt, put_count, take, take_byte, take_count};
use super::distinct::Distinct;
use super::edge::Edge;
use super::exact::{ExactSum, Way};
use super::extreme::{Extreme, order, plain};
use super::quantiles::Quantiles;
use super::{Aggregation, Function, Kept, State, Value};
use crate::data_type::DataType;
use crate::order::RowOrder;

/// How many values of a share make a whole.
const MILLION: f64 = 1_000_000.0;
/// The first number of more digits than a decimal has.
const DECIMAL_END: i128 = 10_i128.pow(38);

/// An aggregate of some values, to which more may be added.
#[derive(Debug, Clone)]
pub struct Partial(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Count(u64),
    Whole {
        count: u64,
        sum: i256,
    },
    Sum {
        count: u64,
        sum: ExactSum,
    },
    Squares {
        count: u64,
        sum: ExactSum,
        squares: ExactSum,
    },
    Least(Option<Extreme>),
    Greatest(Option<Extreme>),
    Edge(Edge),
    Distinct(Distinct),
    Quantiles(Quantiles),
}

impl State {
    /// That of no values.
    pub fn init(self) -> Partial {
        Partial(match self.0 {
            Kept::Count => Kind::Count(0),
            Kept::Whole => Kind::Whole {
                count: 0,
                sum: i256::ZERO,
            },
            Kept::Sum => Kind::Sum {
                count: 0,
                sum: ExactSum::default(),
            },
            Kept::Squares => Kind::Squares {
                count: 0,
                sum: ExactSum::default(),
                squares: ExactSum::default(),
            },
            Kept::Least => Kind::Least(None),
            Kept::Greatest => Kind::Greatest(None),
            Kept::Edge(end, most) => Kind::Edge(Edge::new(end, usize::from(most))),
            Kept::Distinct => Kind::Distinct(Distinct::default()),
            Kept::Quantiles => Kind::Quantiles(Quantiles::default()),
        })
    }

    /// Reads what [`Partial::encode`] wrote off the front of some bytes.
    ///
    /// # Errors
    ///
    /// What it did not write.
    pub fn decode(self, rest: &mut &[u8]) -> Result<Partial, Corrupt> {
        let extreme = |rest: &mut &[u8]| match take_byte(rest)? {
            0 => Ok(None),
            1 => Extreme::decode(rest).map(Some),
            _ => Err(Corrupt),
        };
        Ok(Partial(match self.0 {
            Kept::Count => Kind::Count(take_count(rest)?),
            Kept::Whole => Kind::Whole {
                count: take_count(rest)?,
                sum: i256::from_le_bytes(take(rest)?),
            },
            Kept::Sum => Kind::Sum {
                count: take_count(rest)?,
                sum: ExactSum::decode(rest)?,
            },
            Kept::Squares => Kind::Squares {
                count: take_count(rest)?,
                sum: ExactSum::decode(rest)?,
                squares: ExactSum::decode(rest)?,
            },
            Kept::Least => Kind::Least(extreme(rest)?),
            Kept::Greatest => Kind::Greatest(extreme(rest)?),
            Kept::Edge(end, most) => Kind::Edge(Edge::decode(end, usize::from(most), rest)?),
            Kept::Distinct => Kind::Distinct(Distinct::decode(rest)?),
            Kept::Quantiles => Kind::Quantiles(Quantiles::decode(rest)?),
        }))
    }
}

impl Partial {
    /// Adds the value of an event, which is no null; of a [`Function::Count`] without an input any value.
    pub fn add(&mut self, value: Value<'_>, at: RowOrder) {
        self.add_all(std::iter::once((value, at)));
    }

    /// Adds the values of several events.
    pub(super) fn add_all<'v>(&mut self, values: impl Iterator<Item = (Value<'v>, RowOrder)>) {
        match &mut self.0 {
            Kind::Count(_) | Kind::Whole { .. } | Kind::Sum { .. } | Kind::Squares { .. } => {
                self.count(values.map(|(value, _)| value), Way::In);
            }
            _ => {
                for (value, at) in values {
                    self.compare(value, at);
                }
            }
        }
    }

    /// Takes values out again that were added, where its [`State::is_reversible`].
    pub(super) fn remove_all<'v>(&mut self, values: impl Iterator<Item = Value<'v>>) {
        self.count(values, Way::Out);
    }

    /// Adds a value to what it cannot be taken out of again.
    fn compare(&mut self, value: Value<'_>, at: RowOrder) {
        match &mut self.0 {
            Kind::Count(_) | Kind::Whole { .. } | Kind::Sum { .. } | Kind::Squares { .. } => {
                debug_assert!(false, "values of {self:?} are counted");
            }
            Kind::Least(least) => {
                if least
                    .as_ref()
                    .is_none_or(|least| order(value, least.value()).is_lt())
                {
                    *least = Some(Extreme::of(value));
                }
            }
            Kind::Greatest(greatest) => {
                if greatest
                    .as_ref()
                    .is_none_or(|greatest| order(value, greatest.value()).is_gt())
                {
                    *greatest = Some(Extreme::of(value));
                }
            }
            Kind::Edge(edge) => {
                if let Value::Bytes(value) = value {
                    edge.add(at, value);
                }
            }
            Kind::Distinct(distinct) => match value {
                Value::Bool(value) => distinct.add(&[u8::from(value)]),
                Value::Int(value) => distinct.add(&value.to_le_bytes()),
                // -0 is 0 here.
                Value::Float(value) => distinct.add(&(plain(value) + 0.0).to_le_bytes()),
                Value::Decimal(value) => distinct.add(&value.to_le_bytes()),
                Value::Bytes(value) => distinct.add(value),
            },
            Kind::Quantiles(quantiles) => quantiles.add(float(value)),
        }
    }

    /// Adds values to what they can be taken out of again, or takes them out.
    fn count<'v>(&mut self, values: impl Iterator<Item = Value<'v>>, way: Way) {
        let mut counted = 0;
        let values = values.inspect(|_| counted += 1);
        let count = match &mut self.0 {
            Kind::Count(count) => {
                values.for_each(drop);
                count
            }
            Kind::Whole { count, sum } => {
                for value in values {
                    *sum = match way {
                        Way::In => sum.wrapping_add(whole(value)),
                        Way::Out => sum.wrapping_sub(whole(value)),
                    };
                }
                count
            }
            Kind::Sum { count, sum } => {
                for value in values {
                    match value {
                        Value::Int(value) => sum.whole(value, way),
                        value => sum.number(float(value), way),
                    }
                }
                count
            }
            Kind::Squares { count, sum, squares } => {
                for value in values {
                    match value {
                        Value::Int(value) => {
                            sum.whole(value, way);
                            squares.whole_square(value, way);
                        }
                        value => {
                            sum.number(float(value), way);
                            squares.square(float(value), way);
                        }
                    }
                }
                count
            }
            Kind::Least(_) | Kind::Greatest(_) | Kind::Edge(_) | Kind::Distinct(_) | Kind::Quantiles(_) => {
                debug_assert!(false, "values of {self:?} are not taken out");
                return;
            }
        };
        *count = match way {
            Way::In => *count + counted,
            Way::Out => count.saturating_sub(counted),
        };
    }

    /// The same as [`Self::merge`] of what [`State::decode`] reads off the front of some bytes, without making that where
    /// this is a count or a sum.
    ///
    /// # Errors
    ///
    /// Bytes that are none of the state, or a state that is not this one's.
    pub fn merge_encoded(&mut self, state: State, rest: &mut &[u8]) -> Result<(), Corrupt> {
        match (&mut self.0, state.0) {
            (Kind::Count(count), Kept::Count) => *count += take_count(rest)?,
            (Kind::Sum { count, sum }, Kept::Sum) => {
                *count += take_count(rest)?;
                sum.merge_encoded(rest)?;
            }
            (Kind::Squares { count, sum, squares }, Kept::Squares) => {
                *count += take_count(rest)?;
                sum.merge_encoded(rest)?;
                squares.merge_encoded(rest)?;
            }
            _ => self.merge(&state.decode(rest)?)?,
        }
        Ok(())
    }

    /// Adds what another was computed from, which are other events.
    ///
    /// # Errors
    ///
    /// One of another state.
    pub fn merge(&mut self, other: &Self) -> Result<(), Corrupt> {
        match (&mut self.0, &other.0) {
            (Kind::Count(count), Kind::Count(more)) => *count += more,
            (
                Kind::Whole { count, sum },
                Kind::Whole {
                    count: more,
                    sum: others,
                },
            ) => {
                *count += more;
                *sum = sum.wrapping_add(*others);
            }
            (
                Kind::Sum { count, sum },
                Kind::Sum {
                    count: more,
                    sum: others,
                },
            ) => {
                *count += more;
                sum.merge(others);
            }
            (
                Kind::Squares { count, sum, squares },
                Kind::Squares {
                    count: more,
                    sum: others,
                    squares: their_squares,
                },
            ) => {
                *count += more;
                sum.merge(others);
                squares.merge(their_squares);
            }
            (Kind::Least(least), Kind::Least(other)) => {
                let Some(other) = other else { return Ok(()) };
                if least
                    .as_ref()
                    .is_none_or(|least| order(other.value(), least.value()).is_lt())
                {
                    *least = Some(other.clone());
                }
            }
            (Kind::Greatest(greatest), Kind::Greatest(other)) => {
                let Some(other) = other else { return Ok(()) };
                if greatest
                    .as_ref()
                    .is_none_or(|greatest| order(other.value(), greatest.value()).is_gt())
                {
                    *greatest = Some(other.clone());
                }
            }
            (Kind::Edge(edge), Kind::Edge(other)) => edge.merge(other),
            (Kind::Distinct(distinct), Kind::Distinct(other)) => distinct.merge(other),
            (Kind::Quantiles(quantiles), Kind::Quantiles(other)) => quantiles.merge(other),
            _ => return Err(Corrupt),
        }
        Ok(())
    }

    /// Appends its bytes, which [`State::decode`] reads.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match &self.0 {
            Kind::Count(count) => put_count(*count, bytes),
            Kind::Whole { count, sum } => {
                put_count(*count, bytes);
                bytes.extend_from_slice(&sum.to_le_bytes());
            }
            Kind::Sum { count, sum } => {
                put_count(*count, bytes);
                sum.encode(bytes);
            }
            Kind::Squares { count, sum, squares } => {
                put_count(*count, bytes);
                sum.encode(bytes);
                squares.encode(bytes);
            }
            Kind::Least(extreme) | Kind::Greatest(extreme) => match extreme {
                None => bytes.push(0),
                Some(extreme) => {
                    bytes.push(1);
                    extreme.encode(bytes);
                }
            },
            Kind::Edge(edge) => edge.encode(bytes),
            Kind::Distinct(distinct) => distinct.encode(bytes),
            Kind::Quantiles(quantiles) => quantiles.encode(bytes),
        }
    }
}

impl Aggregation {
    /// Appends what comes out, as stored rows write a value of [`Self::output`], and says whether there is one: nothing is
    /// appended of a NULL.
    ///
    /// # Errors
    ///
    /// A partial aggregate of another [`Self::state`].
    pub fn finish(&self, partial: &Partial, bytes: &mut Vec<u8>) -> Result<bool, Corrupt> {
        let result = match (self.function, &partial.0) {
            (Function::Count, Kind::Count(count)) => Some(Value::Int(count.cast_signed())),
            (Function::Sum, Kind::Whole { count: 1.., sum }) => match (&self.input, sum.to_i128()) {
                (DataType::Decimal { .. }, Some(sum)) if -DECIMAL_END < sum && sum < DECIMAL_END => {
                    Some(Value::Decimal(sum))
                }
                (DataType::Int32 | DataType::Int64, Some(sum)) => i64::try_from(sum).ok().map(Value::Int),
                _ => None,
            },
            (Function::Sum, Kind::Sum { count: 1.., sum }) => Some(Value::Float(sum.rounded())),
            (
                Function::Mean,
                Kind::Sum {
                    count: count @ 1..,
                    sum,
                },
            ) => Some(Value::Float(sum.divided(*count))),
            (
                Function::Variance | Function::Stddev,
                Kind::Squares {
                    count: count @ 2..,
                    sum,
                    squares,
                },
            ) => {
                let variance = sum.variance(squares, *count);
                Some(Value::Float(match self.function {
                    Function::Stddev => variance.sqrt(),
                    _ => variance,
                }))
            }
            (Function::Sum, Kind::Whole { .. } | Kind::Sum { .. })
            | (Function::Mean, Kind::Sum { .. })
            | (Function::Variance | Function::Stddev, Kind::Squares { .. }) => None,
            (Function::Min, Kind::Least(extreme)) | (Function::Max, Kind::Greatest(extreme)) => {
                if let Some(extreme) = extreme {
                    write_as(&self.input, extreme.value(), bytes);
                }
                return Ok(extreme.is_some());
            }
            (Function::First | Function::Last | Function::LastN(_), Kind::Edge(edge)) => {
                return Ok(self.finish_edge(edge, bytes));
            }
            (Function::CountDistinct, Kind::Distinct(distinct)) => {
                Some(Value::Int(distinct.count().cast_signed()))
            }
            (Function::ApproxQuantile(millionths), Kind::Quantiles(quantiles)) => {
                quantiles.at(f64::from(millionths) / MILLION).map(Value::Float)
            }
            _ => return Err(Corrupt),
        };
        if let Some(value) = result {
            write(value, bytes);
        }
        Ok(result.is_some())
    }

    fn finish_edge(&self, edge: &Edge, bytes: &mut Vec<u8>) -> bool {
        let values = edge.values();
        let count = values.len();
        if count == 0 {
            return false;
        }
        if matches!(self.function, Function::LastN(_)) {
            let len = u32::try_from(count).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            // None of them is null.
            bytes.resize(bytes.len() + count.div_ceil(8), 0);
        }
        values.for_each(|value| bytes.extend_from_slice(value));
        true
    }
}

fn float(value: Value<'_>) -> f64 {
    match value {
        Value::Float(value) => value,
        Value::Int(value) => value as f64,
        Value::Bool(_) | Value::Decimal(_) | Value::Bytes(_) => f64::NAN,
    }
}

fn whole(value: Value<'_>) -> i256 {
    match value {
        Value::Int(value) => i256::from_i128(value.into()),
        Value::Decimal(value) => i256::from_i128(value),
        Value::Bool(_) | Value::Float(_) | Value::Bytes(_) => i256::ZERO,
    }
}

/// Appends a value of a column of some type as stored rows write it.
fn write_as(data_type: &DataType, value: Value<'_>, bytes: &mut Vec<u8>) {
    match (value, data_type) {
        // It came from such a column.
        (Value::Int(value), DataType::Int32 | DataType::Date) => {
            bytes.extend_from_slice(&(value as i32).to_le_bytes());
        }
        (Value::Float(value), DataType::Float32) => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
        _ => write(value, bytes),
    }
}

/// The same of one of the widest type of its kind.
fn write(value: Value<'_>, bytes: &mut Vec<u8>) {
    match value {
        Value::Bool(value) => bytes.push(u8::from(value)),
        Value::Int(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::Float(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::Decimal(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::Bytes(value) => {
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}
