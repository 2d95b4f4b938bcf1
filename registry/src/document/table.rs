//! Reading tables key by key: what is missing, unknown or of another type is noted, and reading goes on.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Document;
use crate::problem::{Place, Problem, Problems, shown, suggest};

/// A table, and what messages call it.
#[derive(Clone)]
pub(crate) struct Table<'a> {
    document: &'a Document,
    table: &'a DeTable<'a>,
    place: Place,
    label: String,
    /// Known keys that a misspelt one was taken for; they do not count as missing too.
    misspelt: Vec<String>,
}

/// Any value, with its place.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    document: &'a Document,
    value: &'a Spanned<DeValue<'a>>,
}

/// A string, with its place.
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) place: Place,
}

impl Text<'_> {
    /// What `parse` makes of it, or a problem at its place: what it returns, and what helps.
    pub(crate) fn parse<T>(
        &self,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        match parse(self.text) {
            Ok(value) => Some(value),
            Err((what, help)) => {
                problems.push(Problem::new(self.place.clone(), what, help));
                None
            }
        }
    }
}

impl<'a> Table<'a> {
    /// The top of a document.
    pub(crate) fn root(document: &'a Document, table: &'a DeTable<'a>) -> Self {
        Self {
            document,
            table,
            place: document.place(0),
            label: "the file".into(),
            misspelt: Vec::new(),
        }
    }

    /// Where it begins.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What messages call it, such as `[[source]] "weather_hourly"`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn set_label(&mut self, label: String) {
        self.label = label;
    }

    /// Its keys and values in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(Text<'a>, Value<'a>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| (self.text_of(key), self.value_of(value)))
            .collect()
    }

    /// Notes every key that is not among `known`.
    pub(crate) fn only(&mut self, problems: &mut Problems, known: &[&str]) {
        for (key, _) in self.entries() {
            if known.contains(&key.text) {
                continue;
            }
            let near = asof_core::service::nearest(key.text, known);
            let help = suggest(key.text, known, "no key");
            let what = format!("unknown key {} in {}", shown(key.text), self.label);
            problems.push(Problem::new(key.place, what, help));
            self.misspelt.extend(near);
        }
    }

    /// The value of a key, where it is there.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.table.get(key).map(|value| self.value_of(value))
    }

    /// Whether [`Self::only`] found a key that was taken for this one.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|known| known == key)
    }

    /// Notes that `key` is missing, unless a misspelt one was taken for it.
    pub(crate) fn missing(&self, problems: &mut Problems, key: &str, example: &str) {
        if !self.is_misspelt(key) {
            let what = format!("{} has no {key:?}", self.label);
            problems.push(Problem::new(
                self.place.clone(),
                what,
                format!("expected {example}"),
            ));
        }
    }

    /// A string that must be there; `example` shows how to write it.
    pub(crate) fn required(&self, problems: &mut Problems, key: &str, example: &str) -> Option<Text<'a>> {
        if self.get(key).is_none() {
            self.missing(problems, key, example);
        }
        self.string(problems, key)
    }

    /// A string that may be there.
    pub(crate) fn string(&self, problems: &mut Problems, key: &str) -> Option<Text<'a>> {
        self.get(key)?.string(problems, &format!("{key:?}"))
    }

    /// A table that may be there.
    pub(crate) fn table(&self, problems: &mut Problems, key: &str, label: String) -> Option<Table<'a>> {
        self.get(key)?.table(problems, label)
    }

    fn text_of(&self, key: &'a Spanned<toml::de::DeString<'a>>) -> Text<'a> {
        Text {
            text: key.get_ref(),
            place: self.document.place(key.span().start),
        }
    }

    fn value_of(&self, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            document: self.document,
            value,
        }
    }
}

impl<'a> Value<'a> {
    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.document.place(self.value.span().start)
    }

    /// Whether it is a string.
    pub(crate) fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is an array.
    pub(crate) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The digits of a number, where it is one and written in decimal.
    pub(crate) fn number(&self) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            DeValue::Float(float) => Some(float.as_str()),
            _ => None,
        }
    }

    /// It as JSON: whole numbers with all their digits, dates and times as text, and as text the numbers that JSON does not
    /// have; `name` is what messages call it.
    pub(crate) fn json(&self, problems: &mut Problems, name: &str) -> Option<serde_json::Value> {
        let number = match self.value.get_ref() {
            DeValue::Boolean(value) => return Some((*value).into()),
            DeValue::Datetime(time) => return Some(time.to_string().into()),
            DeValue::String(text) => return Some(text.as_ref().into()),
            DeValue::Array(_) => {
                let items = self.array(problems, name)?;
                return items.iter().map(|item| item.json(problems, name)).collect();
            }
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(serde_json::Value::from),
            DeValue::Float(float) => match float.as_str().trim_start_matches(['+', '-']) {
                "nan" => Some("NaN".into()),
                "inf" if float.as_str().starts_with('-') => Some("-Infinity".into()),
                "inf" => Some("Infinity".into()),
                _ => float.as_str().parse::<f64>().ok().map(serde_json::Value::from),
            },
            DeValue::Table(_) => None,
        };
        match number {
            Some(number) => Some(number),
            None => self.mismatch(
                problems,
                name,
                "text, a number of at most 64 bits, true, false, a time, or a list",
            ),
        }
    }

    /// It as a string; `name` is what messages call it.
    pub(crate) fn string(&self, problems: &mut Problems, name: &str) -> Option<Text<'a>> {
        match self.value.get_ref().as_str() {
            Some(text) => Some(Text {
                text,
                place: self.place(),
            }),
            None => self.mismatch(problems, name, "a string"),
        }
    }

    /// It as `true` or `false`.
    pub(crate) fn boolean(&self, problems: &mut Problems, name: &str) -> Option<bool> {
        match self.value.get_ref().as_bool() {
            Some(value) => Some(value),
            None => self.mismatch(problems, name, "true or false"),
        }
    }

    /// It as a table.
    pub(crate) fn table(&self, problems: &mut Problems, label: String) -> Option<Table<'a>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(Table {
                document: self.document,
                table,
                place: self.place(),
                label,
                misspelt: Vec::new(),
            }),
            None => self.mismatch(problems, &label, "a table"),
        }
    }

    /// It as an array.
    pub(crate) fn array(&self, problems: &mut Problems, name: &str) -> Option<Vec<Value<'a>>> {
        match self.value.get_ref().as_array() {
            Some(items) => Some(
                items
                    .iter()
                    .map(|value| Value {
                        document: self.document,
                        value,
                    })
                    .collect(),
            ),
            None => self.mismatch(problems, name, "an array"),
        }
    }

    /// Notes that it is not what was expected.
    pub(crate) fn mismatch<T>(&self, problems: &mut Problems, name: &str, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let what = format!("{name} has the wrong type");
        let help = format!("expected {expected}, found {found}");
        problems.push(Problem::new(self.place(), what, help));
        None
    }
}
