//! Row-wise SQL over Arrow batches: checked, compiled once, evaluated without a session.
//!
//! ```
//! use asof_expr::SourceSql;
//! # use arrow_schema::{DataType, Field, Schema};
//! let schema = Schema::new(vec![
//!     Field::new("temp", DataType::Float64, true),
//!     Field::new("dewp", DataType::Float64, true),
//! ]);
//! let sql = SourceSql::parse("select *, temp - dewp as spread from source where temp is not null")?;
//! let bound = sql.bind(&schema)?;
//! assert_eq!(bound.schema().field(2).name(), "spread");
//! # Ok::<(), asof_expr::ExprError>(())
//! ```
//!
//! A text passes these gates in turn: limits, before anything recursive sees it; the parser; the shape of
//! the statement; the grammar of expressions and the list of [`functions`]; the schema; DataFusion's types;
//! a second list, of planned expressions. What is not listed is refused.
//!
//! # Names
//! Column names are case-sensitive and may stand in double quotes; `source.column` is the same as `column`.
//! Function names and keywords are not case-sensitive.
//!
//! # Values
//! - A row that cannot be computed is null, and never fails its batch: `+ - * / %` and negation of integers
//!   and decimals that overflow or divide by zero, timestamps out of range, casts without a counterpart,
//!   functions outside their domain. Integer division cuts towards zero.
//! - Floats follow IEEE 754: `1.0 / 0.0` is infinite, `0.0 / 0.0` is NaN; NaN equals nothing, itself
//!   included, and is neither less nor greater; `-0.0 = 0.0`. for `is distinct from` NaN is the
//!   same as NaN, and for `greatest` and `least` it is above all numbers.
//! - Null goes through operators; `where` keeps a row only where its condition is true.
//! - Nothing converts between text and other types, or between booleans and numbers, unless a `cast` is
//!   written; only a constant text beside a date or timestamp is read as one, and refused where it is none.
//! - `int` is int32, `bigint` int64, `real` float32, `float` and `double` float64; numbers without a point
//!   are int64, with a point float64; timestamps are in microseconds, and UTC where they carry a zone.
//! - The same rows give the same values, in whatever batches they come.

mod bind;
mod clear;
mod compile;
mod error;
mod expression;
mod features;
mod functions;
mod grammar;
mod limits;
mod operators;
mod planner;
mod program;
mod source_sql;
mod statement;
mod types;

pub use error::ExprError;
pub use expression::{BoundExpression, Expression};
pub use features::{BoundFeature, FeatureExpression, FeatureValues, MAX_VALUE_BYTES, Reference};
pub use functions::functions;
pub use limits::{MAX_BYTES, MAX_NESTING, MAX_OPERATORS, MAX_TOKENS};
pub use program::{Program, ProgramError, ProgramValues};
pub use source_sql::{BoundSql, Evaluated, SourceSql};
