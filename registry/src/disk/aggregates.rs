//! The disk shape of aggregates.

use asof_core::aggregate::Function;
use asof_core::data_type::DataType;
use asof_core::definition::{Aggregate, Aggregates, InputText, NamedWindow};
use asof_core::duration::Duration;
use serde::{Deserialize, Serialize};

use super::{DiskError, damaged, read};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskAggregates {
    hop_us: Option<i64>,
    list: Vec<DiskAggregate>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskInput {
    Column(String),
    Expression(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskAggregate {
    name: Option<String>,
    input: Option<DiskInput>,
    input_type: String,
    /// Each with its parameter, 0 where it takes none.
    functions: Vec<(String, u32)>,
    windows: Vec<String>,
    filter: Option<String>,
    description: Option<String>,
}

impl DiskAggregates {
    pub(super) fn of(aggregates: &Aggregates) -> Self {
        Self {
            hop_us: aggregates.hop().map(Duration::micros),
            list: aggregates.list().iter().map(DiskAggregate::of).collect(),
        }
    }

    pub(super) fn into_domain(self) -> Result<Aggregates, DiskError> {
        let hop = self.hop_us.map(Duration::from_micros).transpose();
        let list = self.list.into_iter().map(DiskAggregate::into_domain);
        let list = list.collect::<Result<_, _>>()?;
        Aggregates::new(hop.map_err(|error| damaged(&error))?, list).map_err(|error| damaged(&error))
    }
}

impl DiskAggregate {
    fn of(aggregate: &Aggregate) -> Self {
        let Aggregate {
            name,
            input,
            input_type,
            functions,
            windows,
            filter,
            description,
        } = aggregate.clone();
        Self {
            name,
            input: input.map(|input| match input {
                InputText::Column(text) => DiskInput::Column(text),
                InputText::Expression(text) => DiskInput::Expression(text),
            }),
            input_type: input_type.to_string(),
            functions: functions
                .into_iter()
                .map(|function| (function.as_str().to_owned(), function.parameter()))
                .collect(),
            windows: windows.iter().map(|window| window.as_str().to_owned()).collect(),
            filter,
            description,
        }
    }

    fn into_domain(self) -> Result<Aggregate, DiskError> {
        let function = |(word, parameter): (String, u32)| {
            let unknown = || damaged(&format!("unknown function {word:?}"));
            Function::from_word(&word, parameter).ok_or_else(unknown)
        };
        let window = |text: String| {
            let unknown = || damaged(&format!("{text:?} is not a window"));
            NamedWindow::parse(&text).ok_or_else(unknown)
        };
        Ok(Aggregate {
            name: self.name,
            input: self.input.map(|input| match input {
                DiskInput::Column(text) => InputText::Column(text),
                DiskInput::Expression(text) => InputText::Expression(text),
            }),
            input_type: read(&self.input_type, DataType::parse)?,
            functions: self
                .functions
                .into_iter()
                .map(function)
                .collect::<Result<_, _>>()?,
            windows: self.windows.into_iter().map(window).collect::<Result<_, _>>()?,
            filter: self.filter,
            description: self.description,
        })
    }
}
