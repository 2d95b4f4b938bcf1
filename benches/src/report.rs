//! The figures as a page of Markdown, which is also what is printed.

use std::fmt::{self, Display, Formatter};

use crate::spread::Spread;
use crate::verdict::{Verdict, Wanted};

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The set.
    pub set: String,
    /// What was measured.
    pub measure: String,
    /// The unit.
    pub unit: &'static str,
    /// The runs.
    pub spread: Spread,
}

/// What came of measuring this engine beside others.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Its heading.
    pub title: &'static str,
    /// How it was measured.
    pub method: &'static str,
    /// Names and values: the others' versions.
    pub facts: Vec<(String, String)>,
    /// The ratios, and whether they are what is wanted.
    pub verdicts: Vec<Verdict>,
    /// The runs that they are of.
    pub figures: Vec<Figure>,
}

/// All figures, with what they were measured on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Names and values: machine, versions, how it was measured.
    pub facts: Vec<(String, String)>,
    /// The table.
    pub figures: Vec<Figure>,
    /// This engine beside others, as far as that was measured.
    pub comparisons: Vec<Comparison>,
}

impl Report {
    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }
}

impl Display for Report {
    fn fmt(&self, page: &mut Formatter<'_>) -> fmt::Result {
        writeln!(page, "# Figures\n\nMade by `make bench`.\n")?;
        facts(page, &self.facts)?;
        if !self.figures.is_empty() {
            figures(page, &self.figures)?;
        }
        let mut comparisons = self.comparisons.iter();
        comparisons.try_for_each(|comparison| write!(page, "{comparison}"))
    }
}

impl Comparison {
    /// One with nothing in it yet.
    pub fn new(title: &'static str, method: &'static str) -> Self {
        Self {
            title,
            method,
            facts: Vec::new(),
            verdicts: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Adds a figure of the generated set.
    pub fn figure(&mut self, measure: &str, unit: &'static str, spread: Spread) {
        self.figures.push(Figure {
            set: "generated".into(),
            measure: measure.to_owned(),
            unit,
            spread,
        });
    }

    /// Judges a figure by others of the same kind, where there are any.
    pub fn verdict(
        &mut self,
        case: &str,
        measure: &'static str,
        ours: f64,
        against: Vec<(String, f64)>,
        wanted: Wanted,
    ) {
        if against.is_empty() {
            return;
        }
        self.verdicts.push(Verdict {
            case: case.to_owned(),
            measure,
            ours,
            against,
            wanted,
        });
    }

    /// Judges a figure by a limit of the same unit.
    pub fn limit(&mut self, case: &str, measure: &'static str, ours: f64, limit: f64, wanted: Wanted) {
        self.verdict(case, measure, ours, vec![("limit".into(), limit)], wanted);
    }

    /// Adds a fact, unless one of that name is there.
    pub fn fact(&mut self, name: &str, value: &str) {
        if self.facts.iter().all(|(known, _)| known != name) {
            self.facts.push((name.to_owned(), value.to_owned()));
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, page: &mut Formatter<'_>) -> fmt::Result {
        writeln!(page, "\n## {}\n\n{}", self.title, self.method)?;
        facts(page, &self.facts)?;
        let head = [
            "case",
            "measure",
            "held against",
            "asof",
            "ratio",
            "wanted",
            "result",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.verdicts.iter().map(judged));
        writeln!(page)?;
        table::<7, 3>(page, &rows)?;
        figures(page, &self.figures)
    }
}

fn judged(verdict: &Verdict) -> [String; 7] {
    let against = verdict
        .against
        .iter()
        .map(|(name, value)| format!("{name} {}", number(*value)));
    [
        verdict.case.clone(),
        verdict.measure.to_owned(),
        against.collect::<Vec<_>>().join(", "),
        number(verdict.ours),
        verdict.shown_ratio(),
        verdict.wanted.to_string(),
        verdict.word().to_owned(),
    ]
}

fn facts(page: &mut Formatter<'_>, facts: &[(String, String)]) -> fmt::Result {
    facts
        .iter()
        .try_for_each(|(name, value)| writeln!(page, "- {name}: {value}"))
}

fn figures(page: &mut Formatter<'_>, figures: &[Figure]) -> fmt::Result {
    let mut rows = vec![["set", "measure", "unit", "median", "min", "max"].map(str::to_owned)];
    rows.extend(figures.iter().map(cells));
    writeln!(page)?;
    table::<6, 3>(page, &rows)
}

fn cells(figure: &Figure) -> [String; 6] {
    let Spread { median, min, max } = figure.spread;
    [
        figure.set.clone(),
        figure.measure.clone(),
        figure.unit.to_owned(),
        number(median),
        number(min),
        number(max),
    ]
}

/// Columns of one width each: names, which come first, to the left, and numbers to the right.
fn table<const N: usize, const NAMES: usize>(page: &mut Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let mut widths = [3; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (at, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column < NAMES {
                write!(page, "| {cell:<width$} ")?;
            } else {
                write!(page, "| {cell:>width$} ")?;
            }
        }
        writeln!(page, "|")?;
        if at == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let end = if column < NAMES { '-' } else { ':' };
                write!(page, "|-{:-<width$}{end}", "")?;
            }
            writeln!(page, "|")?;
        }
    }
    Ok(())
}

/// A number with three digits or more, and marks between thousands.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        less if less < 9.995 => 2,
        less if less < 99.95 => 1,
        _ => return thousands(&format!("{value:.0}")),
    };
    format!("{value:.decimals$}")
}

/// So many of something.
pub fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A count, with marks between thousands.
pub fn count(value: u64) -> String {
    thousands(&value.to_string())
}

fn thousands(number: &str) -> String {
    let digits = number.trim_start_matches('-');
    let mut text = "-".repeat(number.len() - digits.len());
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_least_three_digits() {
        let shown = [0.1234, 9.994, 9.995, 99.94, 99.95, 999.6, 1_234_567.8, -133.0].map(number);
        assert_eq!(
            shown,
            [
                "0.12",
                "9.99",
                "10.0",
                "99.9",
                "100",
                "1,000",
                "1,234,568",
                "-133"
            ]
        );
    }

    #[test]
    fn the_page_is_a_list_and_a_table() {
        let report = Report {
            facts: vec![("machine".into(), "one".into())],
            figures: vec![Figure {
                set: "flights".into(),
                measure: "extract".into(),
                unit: "rows/s",
                spread: Spread {
                    median: 1500.0,
                    min: 9.0,
                    max: 20_000.0,
                },
            }],
            comparisons: Vec::new(),
        };
        let expected = "\
# Figures

Made by `make bench`.

- machine: one

| set     | measure | unit   | median |  min |    max |
|---------|---------|--------|-------:|-----:|-------:|
| flights | extract | rows/s |  1,500 | 9.00 | 20,000 |
";
        assert_eq!(report.to_string(), expected);
    }
}
