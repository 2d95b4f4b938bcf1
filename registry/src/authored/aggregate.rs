//! `[[view.aggregate]]`

use asof_core::aggregate::{Function, MOST_LAST};
use asof_core::data_type::DataType;
use asof_core::definition::{Aggregate, InputText, NamedWindow};
use asof_core::duration::Duration;
use asof_core::name;
use asof_expr::Expression;

use super::field::{self, Reason};
use crate::document::{Table, Value};
use crate::problem::{Place, Problem, Problems, shown, suggest};

const KEYS: [&str; 10] = [
    "name",
    "input",
    "expression",
    "type",
    "function",
    "windows",
    "where",
    "n",
    "quantiles",
    "description",
];
const WINDOWS: &str = "windows = [\"1h\", \"7d\"], or \"all\" among them";
/// The most windows, and quantiles, of one aggregate.
const MOST_LISTED: usize = 100;
const MILLION: f64 = 1_000_000.0;

/// An aggregate as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AuthoredAggregate {
    /// With `float64` for the type of its input, where none is given.
    pub(super) aggregate: Aggregate,
    pub(super) has_type: bool,
    pub(super) place: Place,
    /// Where its input or expression stands, and its condition; its own place where it has none.
    pub(super) input_place: Place,
    pub(super) filter_place: Place,
}

/// The aggregates of a view, `None` for those that could not be read.
pub(super) fn aggregates(
    view: &Table<'_>,
    value: &Value<'_>,
    problems: &mut Problems,
) -> Vec<Option<AuthoredAggregate>> {
    if value.is_table() {
        let what = format!("\"aggregate\" of {} is one table", view.label());
        problems.push(Problem::new(value.place(), what, "write [[view.aggregate]]"));
        return vec![None];
    }
    let Some(items) = value.array(problems, &format!("\"aggregate\" of {}", view.label())) else {
        return vec![None];
    };
    if items.is_empty() {
        let what = format!("{} has no aggregates", view.label());
        problems.push(Problem::new(value.place(), what, "write [[view.aggregate]]"));
        return vec![None];
    }
    let label = format!("[[view.aggregate]] of {}", view.label());
    items
        .iter()
        .map(|item| aggregate(&item.table(problems, label.clone())?, problems))
        .collect()
}

fn aggregate(table: &Table<'_>, problems: &mut Problems) -> Option<AuthoredAggregate> {
    let mut table = table.clone();
    table.only(problems, &KEYS);
    let name = given(&table, problems, "name", |text| {
        name::check(text).map_or_else(
            |error| {
                Err((
                    format!("{} is not a valid feature name", shown(text)),
                    error.to_string(),
                ))
            },
            |()| Ok(text.to_owned()),
        )
    });
    let input = input(&table, problems);
    let input_type = given(&table, problems, "type", field::data_type);
    let functions = functions(&table, problems);
    let windows = windows(&table, problems);
    let filter = given(&table, problems, "where", |text| expression(text, "condition"));
    let description = field::owned(&table, problems, "description");
    let (name, input, input_type) = (name?, input?, input_type?);
    let place_of = |key: &str| table.get(key).map(|value| value.place());
    let own = table.place();
    Some(AuthoredAggregate {
        has_type: input_type.is_some(),
        aggregate: Aggregate {
            name,
            input,
            input_type: input_type.unwrap_or(DataType::Float64),
            functions: functions?,
            windows: windows?,
            filter: filter?,
            description,
        },
        input_place: place_of("input")
            .or_else(|| place_of("expression"))
            .unwrap_or_else(|| own.clone()),
        filter_place: place_of("where").unwrap_or_else(|| own.clone()),
        place: own.clone(),
    })
}

/// A text that may be given: `None` where it is there and wrong.
fn given<T>(
    table: &Table<'_>,
    problems: &mut Problems,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, Reason>,
) -> Option<Option<T>> {
    if table.get(key).is_none() {
        return Some(None);
    }
    table.string(problems, key)?.parse(problems, parse).map(Some)
}

fn expression(text: &str, what: &str) -> Result<String, Reason> {
    match Expression::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err((format!("the {what} cannot be used: {error}"), String::new())),
    }
}

/// A column or an expression, or neither.
fn input(table: &Table<'_>, problems: &mut Problems) -> Option<Option<InputText>> {
    if let (Some(_), Some(value)) = (table.get("input"), table.get("expression")) {
        let what = format!("{} has both an input and an expression", table.label());
        let help = "expected input = \"column\", or expression = \"…\" with a name";
        problems.push(Problem::new(value.place(), what, help));
        return None;
    }
    let column = given(table, problems, "input", field::column)?;
    let text = given(table, problems, "expression", |text| {
        expression(text, "expression")
    })?;
    if text.is_some() && table.get("name").is_none() {
        table.missing(
            problems,
            "name",
            "name = \"a_name\", which its features begin with",
        );
        return None;
    }
    Some(column.map(InputText::Column).or(text.map(InputText::Expression)))
}

/// The function, or several quantiles.
fn functions(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<Function>> {
    let word = table
        .required(problems, "function", "function = \"mean\"")?
        .parse(problems, |text| match Function::WORDS.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err((
                format!("unknown function {}", shown(text)),
                match elsewhere(text) {
                    Some(word) => format!("it is called {word} here"),
                    None => suggest(text, Function::WORDS, "no function"),
                },
            )),
        })?;
    let mut is_right = true;
    if let (Some(value), "count") = (table.get("type"), word.as_str()) {
        let help = "it counts events or values of any type: remove it";
        problems.push(Problem::new(value.place(), "\"type\" is not for count", help));
        is_right = false;
    }
    for (key, of) in [("n", "last_n"), ("quantiles", "approx_quantile")] {
        if let (Some(value), true) = (table.get(key), word != of) {
            let what = format!("{key:?} is not for {word}");
            let help = format!("it is for function = {of:?}: remove it");
            problems.push(Problem::new(value.place(), what, help));
            is_right = false;
        }
    }
    let functions = match word.as_str() {
        "last_n" => vec![Function::LastN(most(table, problems)?)],
        "approx_quantile" => quantiles(table, problems)?,
        word => vec![Function::from_word(word, 0)?],
    };
    is_right.then_some(functions)
}

/// What a function is called here that other tools call so.
fn elsewhere(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "avg" | "average" => "mean",
        "median" => "approx_quantile, with quantiles = [0.5],",
        "quantile" | "percentile" | "approx_percentile" => "approx_quantile",
        "std" => "stddev",
        "var" => "variance",
        "distinct" | "nunique" | "approx_count_distinct" => "count_distinct",
        "latest" => "last",
        _ => return None,
    })
}

fn most(table: &Table<'_>, problems: &mut Problems) -> Option<u16> {
    let Some(value) = table.get("n") else {
        table.missing(problems, "n", &format!("n = 5, from 1 to {MOST_LAST}"));
        return None;
    };
    let Some(text) = value.number() else {
        return value.mismatch(problems, "\"n\"", "a decimal integer");
    };
    let most = text.parse().ok().filter(|most| (1..=MOST_LAST).contains(most));
    if most.is_none() {
        let what = format!("n = {} is out of range", shown_number(text));
        problems.push(Problem::new(
            value.place(),
            what,
            format!("expected a whole number from 1 to {MOST_LAST}"),
        ));
    }
    most
}

fn quantiles(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<Function>> {
    const EXAMPLE: &str = "quantiles = [0.5, 0.95]";
    let Some(value) = table.get("quantiles") else {
        table.missing(problems, "quantiles", EXAMPLE);
        return None;
    };
    let items = value.array(problems, "\"quantiles\"")?;
    if items.is_empty() || items.len() > MOST_LISTED {
        let what = format!("{} lists {} quantiles", table.label(), items.len());
        let help = match items.is_empty() {
            true => format!("expected {EXAMPLE}"),
            false => format!("{MOST_LISTED} are the most: make several aggregates of it"),
        };
        problems.push(Problem::new(value.place(), what, help));
        return None;
    }
    let quantile = |item: &Value<'_>| {
        let Some(text) = item.number() else {
            return item.mismatch(problems, "a quantile", "a number between 0 and 1");
        };
        let share = text.parse().unwrap_or(f64::NAN);
        let whole = (share * MILLION).round();
        if (1.0..MILLION).contains(&whole) && whole / MILLION == share {
            return Some(Function::ApproxQuantile(whole as u32));
        }
        let what = format!("{} is not a quantile", shown_number(text));
        let help = "expected a number above 0 and below 1, of at most 6 digits behind the point; min and max give the ends";
        problems.push(Problem::new(item.place(), what, help));
        None
    };
    let quantiles: Vec<Option<Function>> = items.iter().map(quantile).collect();
    let quantiles: Vec<Function> = quantiles.into_iter().collect::<Option<_>>()?;
    for (at, (quantile, item)) in quantiles.iter().zip(&items).enumerate() {
        if quantiles.iter().take(at).any(|known| known == quantile) {
            let text = item.number().unwrap_or_default();
            let what = format!("the quantile {} is listed twice", shown_number(text));
            problems.push(Problem::new(item.place(), what, "remove one of them"));
            return None;
        }
    }
    Some(quantiles)
}

fn shown_number(text: &str) -> String {
    text.chars().take(64).collect()
}

fn windows(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<NamedWindow>> {
    let Some(value) = table.get("windows") else {
        table.missing(problems, "windows", WINDOWS);
        return None;
    };
    let items = value.array(problems, &format!("\"windows\" of {}", table.label()))?;
    if items.is_empty() || items.len() > MOST_LISTED {
        let what = format!("{} lists {} windows", table.label(), items.len());
        let help = match items.is_empty() {
            true => format!("expected {WINDOWS}"),
            false => format!("{MOST_LISTED} are the most: make several aggregates of it"),
        };
        problems.push(Problem::new(value.place(), what, help));
        return None;
    }
    let mut windows: Vec<NamedWindow> = Vec::new();
    let mut is_right = true;
    for item in &items {
        let text = item.string(problems, "a window");
        let place = item.place();
        let Some(window) = text.and_then(|text| text.parse(problems, window)) else {
            is_right = false;
            continue;
        };
        if let Some(same) = windows.iter().find(|known| known.is_same(&window)) {
            let what = match same.as_str() == window.as_str() {
                true => format!("the window {} is listed twice", shown(window.as_str())),
                false => format!(
                    "the windows {} and {} are the same",
                    shown(same.as_str()),
                    shown(window.as_str())
                ),
            };
            problems.push(Problem::new(place, what, "remove one of them"));
            is_right = false;
            continue;
        }
        windows.push(window);
    }
    is_right.then_some(windows)
}

fn window(text: &str) -> Result<NamedWindow, Reason> {
    NamedWindow::parse(text).ok_or_else(|| {
        let help = match Duration::parse(text) {
            Err(error) => format!("{error}; or \"all\""),
            Ok(_) => String::new(),
        };
        (format!("{} is not a window", shown(text)), help)
    })
}
