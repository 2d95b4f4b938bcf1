//! An aggregate as its definition says it, and the features that it gives.

use std::fmt;

use super::Feature;
use crate::aggregate::{Aggregation, Function, InputMismatch};
use crate::data_type::DataType;
use crate::duration::Duration;
use crate::name::{FeatureName, NameError};
use crate::window::{HopTooLong, Window};

/// What is computed of a column or an expression, over some windows, as its definition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// What the names of its features begin with, where that is not the input and the function.
    pub name: Option<String>,
    /// What it is computed of; nothing where events are counted.
    pub input: Option<InputText>,
    /// As which type the input is read; where events or values are counted that does not matter.
    pub input_type: DataType,
    /// The function, or several quantiles.
    pub functions: Vec<Function>,
    /// The windows, in the order in which they are listed.
    pub windows: Vec<NamedWindow>,
    /// A row-wise condition: other events do not count.
    pub filter: Option<String>,
    /// What it is, in a sentence.
    pub description: Option<String>,
}

/// Where the values of an aggregate come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputText {
    /// A column of the source.
    Column(String),
    /// A row-wise expression over its columns.
    Expression(String),
}

/// A window as it is written, which the names of its features end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedWindow {
    /// A duration as it was written, or `all`.
    text: String,
    /// `None` for all events.
    length: Option<Duration>,
}

/// Values that aggregates are computed of, one an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where they come from; every event has one where that is nothing.
    pub of: Option<InputText>,
    /// Other events have none.
    pub filter: Option<String>,
    /// Whether only that there is a value counts: it is `true` then.
    pub is_counted: bool,
    /// The type as which values are given.
    pub data_type: DataType,
}

/// Why aggregates cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// A name that a feature would have.
    #[error("a feature would be named {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// Two features of one name.
    #[error("two features would be named {0:?}: give one of the aggregates another name")]
    Duplicate(FeatureName),
    /// The function does not take such values.
    #[error(transparent)]
    Input(#[from] InputMismatch),
    /// The hop is longer than a window.
    #[error(transparent)]
    Hop(#[from] HopTooLong),
    /// Only `count` takes no input.
    #[error("{0} has no input: name a column with input, or write an expression")]
    NoInput(Function),
    /// An expression is no name.
    #[error("it has an expression and no name")]
    NoName,
}

impl NamedWindow {
    /// Reads a duration, or `all`; `None` where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let length = match text {
            "all" => None,
            text => Some(Duration::parse(text).ok()?),
        };
        Some(Self {
            text: text.to_owned(),
            length,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both are the same however they are written.
    pub fn is_same(&self, other: &Self) -> bool {
        self.length == other.length
    }

    fn window(&self, hop: Option<Duration>) -> Result<Window, HopTooLong> {
        self.length
            .map_or(Ok(Window::All), |length| Window::last(length, hop))
    }
}

impl InputText {
    /// The text of either.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Column(text) | Self::Expression(text) => text,
        }
    }
}

impl Input {
    /// All on which its values depend, as text.
    pub(super) fn shape(&self) -> String {
        let of = match &self.of {
            None => "events".to_owned(),
            Some(InputText::Column(column)) => format!("column {column:?}"),
            Some(InputText::Expression(expression)) => format!("expression {expression:?}"),
        };
        let filter = self.filter.as_deref();
        format!(
            "{of} where {:?} as {}",
            filter.unwrap_or_default(),
            self.data_type
        )
    }
}

impl fmt::Display for Input {
    /// As messages call it: `amount where amount > 0`, with an expression in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            None => f.write_str("events"),
            Some(InputText::Column(column)) => f.write_str(column),
            Some(InputText::Expression(expression)) => write!(f, "({expression})"),
        }?;
        if self.is_counted && self.of.is_some() {
            f.write_str(" is not null")?;
        }
        match &self.filter {
            Some(filter) => write!(f, " where {filter}"),
            None => Ok(()),
        }
    }
}

impl Aggregate {
    /// The features with what each is computed of, where the view sets a hop or not.
    ///
    /// # Errors
    ///
    /// What it cannot compute, and names that features cannot have.
    pub fn features(
        &self,
        hop: Option<Duration>,
    ) -> Result<Vec<(Feature, Input, Aggregation, Window)>, AggregateError> {
        let mut features = Vec::new();
        for function in &self.functions {
            let input = self.input_of(*function)?;
            let aggregation = Aggregation::new(*function, self.input_type_of(*function))?;
            for window in &self.windows {
                let name = self.feature_name(*function, window)?;
                let feature = Feature {
                    name: FeatureName::parse(&name)
                        .map_err(|reason| AggregateError::Name { name, reason })?,
                    data_type: aggregation.output(),
                    column: None,
                    description: self.description.clone(),
                };
                features.push((feature, input.clone(), aggregation.clone(), window.window(hop)?));
            }
        }
        Ok(features)
    }

    /// What the names of its features begin with.
    ///
    /// # Errors
    ///
    /// There is an expression, and no name.
    pub fn stem(&self, function: Function) -> Result<String, AggregateError> {
        match (&self.name, &self.input) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(InputText::Column(column))) => Ok(format!("{column}_{function}")),
            (None, None) => Ok(function.as_str().to_owned()),
            (None, Some(InputText::Expression(_))) => Err(AggregateError::NoName),
        }
    }

    fn feature_name(&self, function: Function, window: &NamedWindow) -> Result<String, AggregateError> {
        let quantile = match function {
            Function::ApproxQuantile(millionths) => format!("_p{}", percent(millionths)),
            _ => String::new(),
        };
        Ok(format!("{}_{}{quantile}", self.stem(function)?, window.as_str()))
    }

    fn input_type_of(&self, function: Function) -> DataType {
        match function {
            Function::Count => DataType::Bool,
            _ => self.input_type.clone(),
        }
    }

    fn input_of(&self, function: Function) -> Result<Input, AggregateError> {
        let is_counted = function == Function::Count;
        if self.input.is_none() && !is_counted {
            return Err(AggregateError::NoInput(function));
        }
        let aggregation = Aggregation::new(function, self.input_type_of(function))?;
        Ok(Input {
            of: self.input.clone(),
            filter: self.filter.clone(),
            is_counted,
            data_type: aggregation.values(),
        })
    }
}

/// Millionths as per cent, such as `50` or `99_9`.
fn percent(millionths: u32) -> String {
    let (whole, rest) = (millionths / 10_000, millionths % 10_000);
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:04}");
    format!("{whole}_{}", rest.trim_end_matches('0'))
}
