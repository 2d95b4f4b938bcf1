//! What a view computes of the events of windows: the aggregates of its definition taken apart into inputs, states and
//! windows, each once.

use std::collections::BTreeSet;

use super::Feature;
use super::aggregate::{Aggregate, AggregateError, Input};
use crate::aggregate::{Aggregation, Function, State};
use crate::duration::Duration;
use crate::window::Window;

/// The aggregates of a view, and the features that they give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregates {
    hop: Option<Duration>,
    list: Vec<Aggregate>,
    features: Vec<Feature>,
    windowed: Vec<Windowed>,
    inputs: Vec<Input>,
    stored: Vec<Feature>,
    states: Vec<(usize, State)>,
}

/// One feature of a view of aggregates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windowed {
    /// What is computed.
    pub aggregation: Aggregation,
    /// Of which events.
    pub window: Window,
    /// From which of [`Aggregates::states`].
    pub state: usize,
}

impl Aggregates {
    /// The aggregates of a view that sets a hop for its windows or not.
    ///
    /// # Errors
    ///
    /// What one of them cannot compute, and two features of one name.
    pub fn new(hop: Option<Duration>, list: Vec<Aggregate>) -> Result<Self, AggregateError> {
        let mut aggregates = Self {
            hop,
            list: Vec::new(),
            features: Vec::new(),
            windowed: Vec::new(),
            inputs: Vec::new(),
            stored: Vec::new(),
            states: Vec::new(),
        };
        let mut names = BTreeSet::new();
        for aggregate in &list {
            for (feature, input, aggregation, window) in aggregate.features(hop)? {
                if !names.insert(feature.name.clone()) {
                    return Err(AggregateError::Duplicate(feature.name));
                }
                aggregates.push(feature, &input, aggregation, window);
            }
        }
        aggregates.list = list;
        aggregates.order_inputs();
        Ok(aggregates)
    }

    /// Names each input by the least of its features' names, and puts inputs in the order of these: what is stored does
    /// not go by the order in which aggregates are written.
    fn order_inputs(&mut self) {
        for (stored, place) in self.stored.iter_mut().zip(0..) {
            let features = self.features.iter().zip(&self.windowed);
            let of_input = features.filter(|(_, windowed)| {
                let state = self.states.get(windowed.state);
                state.is_some_and(|(input, _)| *input == place)
            });
            if let Some(name) = of_input.map(|(feature, _)| &feature.name).min() {
                stored.name.clone_from(name);
            }
        }
        let mut order: Vec<usize> = (0..self.stored.len()).collect();
        let name = |place: &usize| self.stored.get(*place).map(|stored| &stored.name);
        order.sort_by(|a, b| name(a).cmp(&name(b)));
        let place_of = |input: usize| order.iter().position(|place| *place == input).unwrap_or(input);
        for (input, _) in &mut self.states {
            *input = place_of(*input);
        }
        let ordered = order.iter();
        self.inputs = ordered
            .clone()
            .filter_map(|place| self.inputs.get(*place).cloned())
            .collect();
        self.stored = ordered
            .filter_map(|place| self.stored.get(*place).cloned())
            .collect();
    }

    fn push(&mut self, feature: Feature, input: &Input, aggregation: Aggregation, window: Window) {
        let input = match self.inputs.iter().position(|known| known == input) {
            Some(known) => known,
            None => {
                self.stored.push(Feature {
                    // Until inputs are named and ordered.
                    name: feature.name.clone(),
                    data_type: input.data_type.clone(),
                    column: Some(input.to_string()),
                    description: None,
                });
                self.inputs.push(input.clone());
                self.inputs.len() - 1
            }
        };
        let state = (input, aggregation.state());
        let state = self
            .states
            .iter()
            .position(|known| *known == state)
            .unwrap_or_else(|| {
                self.states.push(state);
                self.states.len() - 1
            });
        self.features.push(feature);
        self.windowed.push(Windowed {
            aggregation,
            window,
            state,
        });
    }

    /// The same with some of its features only, in the given order, and what these need.
    #[must_use]
    pub fn narrowed(&self, features: &[Feature]) -> Self {
        let mut narrowed = Self {
            hop: self.hop,
            list: self.list.clone(),
            features: Vec::new(),
            windowed: Vec::new(),
            inputs: Vec::new(),
            stored: Vec::new(),
            states: Vec::new(),
        };
        for feature in features {
            let mut all = self.features.iter().zip(&self.windowed);
            let Some((_, windowed)) = all.find(|(known, _)| known.name == feature.name) else {
                continue;
            };
            if let Some(input) = self.input_of(windowed) {
                let aggregation = windowed.aggregation.clone();
                narrowed.push(feature.clone(), input, aggregation, windowed.window);
            }
        }
        narrowed.order_inputs();
        narrowed
    }

    /// The aggregate that gives a feature.
    pub fn aggregate_of(&self, feature: &str) -> Option<&Aggregate> {
        self.list.iter().find(|aggregate| {
            let features = aggregate.features(self.hop).unwrap_or_default();
            features.iter().any(|(known, ..)| known.name.as_str() == feature)
        })
    }

    /// What a feature is, for people: `mean of amount where amount > 0 over 1h, in hops of 1m`.
    pub fn describe(&self, feature: &str) -> Option<String> {
        let mut all = self.features.iter().zip(&self.windowed);
        let (_, windowed) = all.find(|(known, _)| known.name.as_str() == feature)?;
        let function = windowed.aggregation.function();
        let parameter = match function {
            Function::LastN(most) => format!("({most})"),
            Function::ApproxQuantile(millionths) => format!("({})", f64::from(millionths) / 1e6),
            _ => String::new(),
        };
        let window = match windowed.window {
            Window::Last { length, hop } => format!("over {length}, in hops of {hop}"),
            Window::All => "over all".to_owned(),
        };
        let input = self.input_of(windowed)?;
        Some(format!(
            "{function}{parameter} of {input} as {} {window}",
            input.data_type
        ))
    }

    /// The input of a feature.
    pub fn input_of(&self, windowed: &Windowed) -> Option<&Input> {
        let (input, _) = self.states.get(windowed.state)?;
        self.inputs.get(*input)
    }

    /// All on which the values of each feature depend, as text.
    pub(super) fn shapes(&self) -> impl Iterator<Item = String> {
        let features = self.features.iter().zip(&self.windowed);
        features.map(|(feature, windowed)| {
            let aggregation = &windowed.aggregation;
            let parameter = aggregation.function().parameter();
            let window = match windowed.window {
                Window::Last { length, hop } => format!("{} by {}", length.micros(), hop.micros()),
                Window::All => "all".to_owned(),
            };
            format!(
                "{} {} {} {parameter} of {} over {window}",
                feature.name,
                feature.data_type,
                aggregation.function(),
                self.input_of(windowed).map_or_else(String::new, Input::shape),
            )
        })
    }

    /// The hop that the view sets.
    pub fn hop(&self) -> Option<Duration> {
        self.hop
    }

    /// The aggregates as their definition lists them.
    pub fn list(&self) -> &[Aggregate] {
        &self.list
    }

    /// The features, in the order of the aggregates, their functions and their windows.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// What each of the features is.
    pub fn windowed(&self) -> &[Windowed] {
        &self.windowed
    }

    /// The values that are read of each event, each once, in the order of the names of [`Self::stored`].
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The same as columns, each named as the first of its features by name.
    pub fn stored(&self) -> &[Feature] {
        &self.stored
    }

    /// What is kept of which of the inputs, each once.
    pub fn states(&self) -> &[(usize, State)] {
        &self.states
    }

    /// The windows of a state, each once, in the order of the features.
    pub fn windows_of(&self, state: usize) -> Vec<Window> {
        let mut windows = Vec::new();
        for windowed in self.windowed.iter().filter(|windowed| windowed.state == state) {
            if !windows.contains(&windowed.window) {
                windows.push(windowed.window);
            }
        }
        windows
    }

    /// All windows, each once.
    pub fn windows(&self) -> Vec<Window> {
        let mut windows: Vec<Window> = self.windowed.iter().map(|windowed| windowed.window).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::tiles::TileLayout;
    use crate::data_type::DataType;
    use crate::definition::{InputText, NamedWindow};

    fn aggregate(input: Option<&str>, functions: &[Function], windows: &[&str]) -> Aggregate {
        Aggregate {
            name: None,
            input: input.map(|input| InputText::Column(input.into())),
            input_type: DataType::Float64,
            functions: functions.to_vec(),
            windows: windows
                .iter()
                .map(|text| NamedWindow::parse(text).unwrap())
                .collect(),
            filter: None,
            description: None,
        }
    }

    fn names(aggregates: &Aggregates) -> Vec<&str> {
        aggregates
            .features()
            .iter()
            .map(|feature| feature.name.as_str())
            .collect()
    }

    #[test]
    fn features_are_named_by_input_function_and_window() {
        let quantiles = [
            Function::ApproxQuantile(500_000),
            Function::ApproxQuantile(999_000),
        ];
        let aggregates = Aggregates::new(
            None,
            vec![
                aggregate(Some("delay"), &[Function::Mean], &["1h", "7d", "all"]),
                aggregate(None, &[Function::Count], &["1h"]),
                aggregate(Some("delay"), &quantiles, &["1d"]),
                Aggregate {
                    name: Some("worst".into()),
                    ..aggregate(Some("delay"), &[Function::Max], &["60m"])
                },
            ],
        )
        .unwrap();
        assert_eq!(
            names(&aggregates),
            [
                "delay_mean_1h",
                "delay_mean_7d",
                "delay_mean_all",
                "count_1h",
                "delay_approx_quantile_1d_p50",
                "delay_approx_quantile_1d_p99_9",
                "worst_60m",
            ]
        );
        assert_eq!(aggregates.inputs().len(), 2);
        assert_eq!(aggregates.states().len(), 4);
        assert_eq!(aggregates.windows_of(0).len(), 3);
        let some: Vec<Feature> = [5, 3].map(|at| aggregates.features()[at].clone()).into();
        let narrowed = aggregates.narrowed(&some);
        assert_eq!(names(&narrowed), ["delay_approx_quantile_1d_p99_9", "count_1h"]);
        assert_eq!(
            narrowed.states(),
            [(1, aggregates.states()[2].1), (0, aggregates.states()[1].1)]
        );
    }

    #[test]
    fn what_is_stored_does_not_go_by_the_order_of_the_aggregates() {
        let list = [
            aggregate(Some("b"), &[Function::Sum], &["1h", "all"]),
            aggregate(Some("a"), &[Function::Max], &["1d"]),
            aggregate(Some("b"), &[Function::Max], &["7d"]),
            aggregate(None, &[Function::Count], &["1h"]),
        ];
        let of = |order: [usize; 4], windows: [&str; 2]| {
            let list = order.map(|place| list[place].clone()).into_iter();
            let turned = list.map(|known| match known.windows.len() {
                2 => aggregate(Some("b"), &[Function::Sum], &windows),
                _ => known,
            });
            let aggregates = Aggregates::new(None, turned.collect()).unwrap();
            let stored = aggregates.stored().iter().map(|stored| stored.name.to_string());
            (TileLayout::of(&aggregates), stored.collect::<Vec<_>>())
        };
        let expected = of([0, 1, 2, 3], ["1h", "all"]);
        assert_eq!(expected.1, ["a_max_1d", "b_max_7d", "count_1h"]);
        for order in [[3, 2, 1, 0], [1, 0, 3, 2]] {
            assert_eq!(of(order, ["all", "1h"]), expected);
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let refused = |aggregate: Aggregate| Aggregates::new(None, vec![aggregate]).unwrap_err().to_string();
        assert_eq!(
            refused(aggregate(None, &[Function::Sum], &["1h"])),
            "sum has no input: name a column with input, or write an expression"
        );
        assert_eq!(
            refused(Aggregate {
                input_type: DataType::String,
                ..aggregate(Some("text"), &[Function::Mean], &["1h"])
            }),
            "mean takes numbers, not string"
        );
        assert!(
            refused(aggregate(Some("a b"), &[Function::Sum], &["1h"]))
                .starts_with("a feature would be named")
        );
        assert_eq!(
            refused(aggregate(Some("x"), &[Function::Sum], &["1h", "1h"])),
            "two features would be named \"x_sum_1h\": give one of the aggregates another name"
        );
        let hop = Duration::parse("2h").unwrap();
        let long = Aggregates::new(Some(hop), vec![aggregate(Some("x"), &[Function::Sum], &["1h"])]);
        assert_eq!(
            long.unwrap_err().to_string(),
            "a hop of 2h is longer than the window of 1h"
        );
    }
}
