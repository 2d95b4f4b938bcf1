//! The types of features, columns and keys, as definition files write them.
//!
//! ```
//! use asof_core::data_type::DataType;
//! let embedding = DataType::parse("list<embedding(3)>").unwrap();
//! assert_eq!(embedding.to_string(), "list<embedding(3)>");
//! ```

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, Fields, TimeUnit};

/// How deep types may nest.
pub const MAX_DEPTH: usize = 8;
/// The longest embedding, in elements.
pub const MAX_EMBEDDING: u32 = 65_536;

/// The type of a feature or of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// `string`: UTF-8 text.
    String,
    /// `bytes`
    Bytes,
    /// `date`: a calendar day.
    Date,
    /// `timestamp`: UTC microseconds.
    Timestamp,
    /// `decimal(p,s)`: up to 38 digits, `s` of them after the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: i8,
    },
    /// `list<T>`
    List(Box<DataType>),
    /// `embedding(n)`: exactly `n` `float32` values, none of them null.
    Embedding(u32),
    /// `struct<name: T, …>`
    Struct(Vec<(String, DataType)>),
    /// `map<string,T>`
    Map(Box<DataType>),
    /// `json`: a JSON document as text.
    Json,
}

/// Why a text is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// No type starts like this.
    #[error(
        "unknown type {0:?}; the types are bool, int32, int64, float32, float64, string, bytes, date, timestamp, \
         decimal(p,s), list<T>, embedding(n), struct<name: T, …>, map<string,T>, json"
    )]
    Unknown(String),
    /// Something is missing or left over.
    #[error("cannot read this type: {0}")]
    Malformed(&'static str),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("types nest at most {MAX_DEPTH} deep")]
    TooDeep,
    /// Precision or scale out of range.
    #[error("decimal(p,s) needs 1 <= p <= 38 and 0 <= s <= p")]
    Decimal,
    /// Length out of range.
    #[error("embedding(n) needs 1 <= n <= {MAX_EMBEDDING}")]
    Embedding,
    /// Not usable as an entity key.
    #[error(
        "{0} cannot be a key: keys are bool, int32, int64, string, bytes, date, timestamp or decimal(p,s)"
    )]
    NotAKey(String),
}

impl DataType {
    /// Parses the text of a type; white space between its parts does not matter.
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser { rest: text };
        let parsed = parser.data_type(0)?;
        if !parser.rest.trim_start().is_empty() {
            return Err(TypeError::Malformed("there is text after the type"));
        }
        Ok(parsed)
    }

    /// The one Arrow type that values of this type have inside Asof.
    pub fn to_arrow(&self) -> ArrowType {
        match self {
            Self::Bool => ArrowType::Boolean,
            Self::Int32 => ArrowType::Int32,
            Self::Int64 => ArrowType::Int64,
            Self::Float32 => ArrowType::Float32,
            Self::Float64 => ArrowType::Float64,
            Self::String | Self::Json => ArrowType::Utf8,
            Self::Bytes => ArrowType::Binary,
            Self::Date => ArrowType::Date32,
            Self::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Decimal { precision, scale } => ArrowType::Decimal128(*precision, *scale),
            Self::List(item) => ArrowType::List(Arc::new(Field::new("item", item.to_arrow(), true))),
            Self::Embedding(n) => ArrowType::FixedSizeList(
                Arc::new(Field::new("item", ArrowType::Float32, true)),
                i32::try_from(*n).unwrap_or(i32::MAX),
            ),
            Self::Struct(fields) => ArrowType::Struct(
                fields
                    .iter()
                    .map(|(name, t)| Field::new(name, t.to_arrow(), true))
                    .collect::<Fields>(),
            ),
            Self::Map(value) => ArrowType::Map(
                Arc::new(Field::new(
                    "entries",
                    ArrowType::Struct(Fields::from(vec![
                        Field::new("keys", ArrowType::Utf8, false),
                        Field::new("values", value.to_arrow(), true),
                    ])),
                    false,
                )),
                false,
            ),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Embedding(n) => write!(f, "embedding({n})"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    if is_plain(name) {
                        write!(f, "{comma}{name}: {t}")?;
                    } else {
                        write!(f, "{comma}\"{}\": {t}", name.replace('"', "\"\""))?;
                    }
                }
                f.write_str(">")
            }
            Self::Map(value) => write!(f, "map<string,{value}>"),
            Self::Json => f.write_str("json"),
        }
    }
}

/// The type of an entity key column: any scalar type except floats.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyType(DataType);

impl KeyType {
    /// Parses the text of a type and checks that it can be a key.
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        Self::try_from(DataType::parse(text)?)
    }

    /// The type of the key's values.
    pub fn data_type(&self) -> &DataType {
        &self.0
    }
}

impl TryFrom<DataType> for KeyType {
    type Error = TypeError;

    fn try_from(data_type: DataType) -> Result<Self, TypeError> {
        match data_type {
            DataType::Bool
            | DataType::Int32
            | DataType::Int64
            | DataType::String
            | DataType::Bytes
            | DataType::Date
            | DataType::Timestamp
            | DataType::Decimal { .. } => Ok(Self(data_type)),
            DataType::Float32
            | DataType::Float64
            | DataType::List(_)
            | DataType::Embedding(_)
            | DataType::Struct(_)
            | DataType::Map(_)
            | DataType::Json => Err(TypeError::NotAKey(data_type.to_string())),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn data_type(&mut self, depth: usize) -> Result<DataType, TypeError> {
        if depth > MAX_DEPTH {
            return Err(TypeError::TooDeep);
        }
        let word = self.word();
        Ok(match word.as_str() {
            "bool" => DataType::Bool,
            "int32" => DataType::Int32,
            "int64" => DataType::Int64,
            "float32" => DataType::Float32,
            "float64" => DataType::Float64,
            "string" => DataType::String,
            "bytes" => DataType::Bytes,
            "date" => DataType::Date,
            "timestamp" => DataType::Timestamp,
            "json" => DataType::Json,
            "decimal" => {
                self.expect('(', "decimal needs (precision,scale)")?;
                let precision = self.number()?;
                self.expect(',', "decimal needs (precision,scale)")?;
                let scale = self.number()?;
                self.expect(')', "decimal needs (precision,scale)")?;
                decimal(precision, scale)?
            }
            "embedding" => {
                self.expect('(', "embedding needs (length)")?;
                let n = self.number()?;
                self.expect(')', "embedding needs (length)")?;
                if !(1..=MAX_EMBEDDING).contains(&n) {
                    return Err(TypeError::Embedding);
                }
                DataType::Embedding(n)
            }
            "list" => {
                self.expect('<', "list needs <type>")?;
                let item = self.data_type(depth + 1)?;
                self.expect('>', "list needs <type>")?;
                DataType::List(Box::new(item))
            }
            "map" => {
                self.expect('<', "map needs <string,type>")?;
                if self.word() != "string" {
                    return Err(TypeError::Malformed(
                        "the keys of a map are strings: map<string,T>",
                    ));
                }
                self.expect(',', "map needs <string,type>")?;
                let value = self.data_type(depth + 1)?;
                self.expect('>', "map needs <string,type>")?;
                DataType::Map(Box::new(value))
            }
            "struct" => self.fields(depth)?,
            _ => return Err(TypeError::Unknown(self.unknown(word))),
        })
    }

    fn fields(&mut self, depth: usize) -> Result<DataType, TypeError> {
        self.expect('<', "struct needs <name: type, …>")?;
        let mut fields: Vec<(String, DataType)> = Vec::new();
        loop {
            let name = self.field_name()?;
            self.expect(':', "a struct field is name: type")?;
            let field = self.data_type(depth + 1)?;
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(TypeError::Malformed("a struct has two fields of one name"));
            }
            fields.push((name, field));
            if !self.accept(',') {
                break;
            }
        }
        self.expect('>', "struct needs <name: type, …>")?;
        Ok(DataType::Struct(fields))
    }

    fn field_name(&mut self) -> Result<String, TypeError> {
        if !self.accept('"') {
            let name = self.word();
            if name.is_empty() {
                return Err(TypeError::Malformed("a struct field needs a name"));
            }
            return Ok(name);
        }
        let mut name = String::new();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if matches!(chars.peek(), Some((_, '"'))) => {
                    chars.next();
                    name.push('"');
                }
                '"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(name);
                }
                other => name.push(other),
            }
        }
        Err(TypeError::Malformed("a quoted field name does not end"))
    }

    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn number(&mut self) -> Result<u32, TypeError> {
        self.word()
            .parse()
            .map_err(|_| TypeError::Malformed("a number is missing"))
    }

    fn accept(&mut self, expected: char) -> bool {
        match self.rest.trim_start().strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, expected: char, otherwise: &'static str) -> Result<(), TypeError> {
        if self.accept(expected) {
            Ok(())
        } else {
            Err(TypeError::Malformed(otherwise))
        }
    }

    /// What to show of an unknown type: the word, or what stands there instead of one.
    fn unknown(&self, word: String) -> String {
        if word.is_empty() {
            self.rest.chars().take(32).collect()
        } else {
            word.chars().take(64).collect()
        }
    }
}

fn decimal(precision: u32, scale: u32) -> Result<DataType, TypeError> {
    let (Ok(precision), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale)) else {
        return Err(TypeError::Decimal);
    };
    if !(1..=38).contains(&precision) || u8::try_from(scale).map_or(true, |s| s > precision) {
        return Err(TypeError::Decimal);
    }
    Ok(DataType::Decimal { precision, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_round_trips() {
        for text in [
            "bool",
            "int32",
            "int64",
            "float32",
            "float64",
            "string",
            "bytes",
            "date",
            "timestamp",
            "decimal(10,2)",
            "list<int64>",
            "embedding(384)",
            "struct<a: int64, b: list<string>>",
            "struct<\"odd \"\" name\": int64>",
            "map<string,float64>",
            "json",
        ] {
            assert_eq!(DataType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            DataType::parse(" map < string , list<decimal( 3 , 1 )> > ").unwrap(),
            DataType::Map(Box::new(DataType::List(Box::new(DataType::Decimal {
                precision: 3,
                scale: 1
            }))))
        );
    }

    #[test]
    fn refuses() {
        let check = |text: &str, expect: &str| {
            let error = DataType::parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text:?}: {error}");
        };
        check("", "unknown type \"\"");
        check("Int64", "unknown type \"Int64\"");
        check("int64 extra", "text after the type");
        check("list", "list needs <type>");
        check("list<int64", "list needs <type>");
        check("decimal(39,1)", "1 <= p <= 38");
        check("decimal(3,4)", "0 <= s <= p");
        check("embedding(0)", "embedding(n) needs");
        check("embedding(99999999999)", "a number is missing");
        check("map<int64,int64>", "keys of a map are strings");
        check("struct<a: int64, a: bool>", "two fields of one name");
        check(&"list<".repeat(5_000), "types nest at most 8 deep");
    }

    #[test]
    fn keys_are_scalars_but_not_floats() {
        assert!(KeyType::parse("string").is_ok());
        assert!(KeyType::parse("decimal(5,0)").is_ok());
        for text in ["float64", "list<int64>", "json", "embedding(2)"] {
            assert!(
                matches!(KeyType::parse(text), Err(TypeError::NotAKey(_))),
                "{text}"
            );
        }
    }
}
