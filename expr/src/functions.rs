//! The functions that an expression may call: all deterministic, row by row, without side effects.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion_common::config::ConfigOptions;
use datafusion_expr::ScalarUDF;
use datafusion_functions::{core, datetime, math, string, unicode};
use datafusion_functions_nested::{array_has, extract, length, min_max, position};

use crate::error::{ExprError, clip};
use crate::operators::{Distance, DistanceKind};

/// Name, what it does.
type Described = (&'static str, &'static str);

/// The functions with their forms and meanings, by name. Names are not case-sensitive.
pub fn functions() -> &'static [(&'static str, &'static str)] {
    FUNCTIONS
}

const FUNCTIONS: &[Described] = &[
    ("abs", "abs(x): the absolute value"),
    ("acos", "acos(x): the arc cosine, in radians"),
    (
        "array_element",
        "array_element(list, n): the nth item, counted from 1; null beyond the list",
    ),
    ("array_has", "array_has(list, x): whether x is an item of list"),
    ("array_length", "array_length(list): how many items"),
    ("array_max", "array_max(list): the greatest item that is not null"),
    ("array_min", "array_min(list): the least item that is not null"),
    (
        "array_position",
        "array_position(list, x): where x first is an item of list, counted from 1",
    ),
    ("ascii", "ascii(text): the code point of the first character"),
    ("asin", "asin(x): the arc sine, in radians"),
    ("atan", "atan(x): the arc tangent, in radians"),
    ("atan2", "atan2(y, x): the angle of the point (x, y), in radians"),
    (
        "btrim",
        "btrim(text[, characters]): text without these characters at both ends",
    ),
    ("cbrt", "cbrt(x): the cube root"),
    ("ceil", "ceil(x): the least whole number not below x"),
    ("char_length", "char_length(text): how many characters"),
    ("character_length", "character_length(text): how many characters"),
    ("chr", "chr(n): the character of code point n"),
    ("coalesce", "coalesce(a, b, …): the first that is not null"),
    (
        "concat",
        "concat(a, b, …): the texts joined; a null counts as empty",
    ),
    (
        "concat_ws",
        "concat_ws(separator, a, b, …): the texts joined with a separator; nulls are left out",
    ),
    ("contains", "contains(text, part): whether part occurs in text"),
    ("cos", "cos(x): the cosine of x radians"),
    ("cosh", "cosh(x): the hyperbolic cosine"),
    (
        "cosine_distance",
        "cosine_distance(a, b): 1 less the cosine of the angle between two lists of numbers of one length",
    ),
    ("cot", "cot(x): the cotangent of x radians"),
    (
        "date_part",
        "date_part('unit', time): one part of a date or timestamp, as extract(unit from time)",
    ),
    (
        "date_trunc",
        "date_trunc('unit', time): time cut to the start of its unit",
    ),
    ("degrees", "degrees(x): radians in degrees"),
    ("ends_with", "ends_with(text, part): whether text ends with part"),
    ("exp", "exp(x): e to the power of x"),
    ("floor", "floor(x): the greatest whole number not above x"),
    (
        "from_unixtime",
        "from_unixtime(seconds): the timestamp that many seconds after 1970",
    ),
    (
        "greatest",
        "greatest(a, b, …): the greatest that is not null; NaN is above all numbers",
    ),
    ("ifnull", "ifnull(a, b): a, or b where a is null"),
    ("initcap", "initcap(text): each word with a capital letter"),
    (
        "inner_product",
        "inner_product(a, b): the sum of the products of the items of two lists of one length",
    ),
    ("isnan", "isnan(x): whether x is NaN"),
    (
        "l2_distance",
        "l2_distance(a, b): the Euclidean distance of two lists of numbers of one length",
    ),
    (
        "least",
        "least(a, b, …): the least that is not null; NaN is above all numbers",
    ),
    ("left", "left(text, n): the first n characters"),
    ("length", "length(text): how many characters"),
    ("ln", "ln(x): the natural logarithm"),
    ("log", "log([base, ]x): the logarithm, base 10 unless given"),
    ("log10", "log10(x): the logarithm to base 10"),
    ("log2", "log2(x): the logarithm to base 2"),
    ("lower", "lower(text): in lower case"),
    (
        "ltrim",
        "ltrim(text[, characters]): text without these characters at its start",
    ),
    ("make_date", "make_date(year, month, day): that date"),
    ("nanvl", "nanvl(a, b): a, or b where a is NaN"),
    ("nullif", "nullif(a, b): null where a = b, else a"),
    ("nvl", "nvl(a, b): a, or b where a is null"),
    ("octet_length", "octet_length(text): how many bytes"),
    ("pi", "pi(): 3.14159…"),
    ("pow", "pow(x, y): x to the power of y"),
    ("power", "power(x, y): x to the power of y"),
    ("radians", "radians(x): degrees in radians"),
    ("reverse", "reverse(text): the characters in reverse order"),
    ("right", "right(text, n): the last n characters"),
    (
        "round",
        "round(x[, n]): x rounded to n decimals, halves away from zero",
    ),
    (
        "rtrim",
        "rtrim(text[, characters]): text without these characters at its end",
    ),
    ("signum", "signum(x): -1, 0 or 1"),
    ("sin", "sin(x): the sine of x radians"),
    ("sinh", "sinh(x): the hyperbolic sine"),
    (
        "split_part",
        "split_part(text, separator, n): the nth part, counted from 1",
    ),
    ("sqrt", "sqrt(x): the square root"),
    (
        "starts_with",
        "starts_with(text, part): whether text starts with part",
    ),
    (
        "strpos",
        "strpos(text, part): where part first occurs, counted from 1; 0 for nowhere",
    ),
    (
        "substr",
        "substr(text, from[, length]): a part of text, counted from 1",
    ),
    (
        "substring",
        "substring(text, from[, length]): a part of text, counted from 1",
    ),
    ("tan", "tan(x): the tangent of x radians"),
    ("tanh", "tanh(x): the hyperbolic tangent"),
    ("to_hex", "to_hex(n): n in hexadecimal digits"),
    (
        "to_timestamp_micros",
        "to_timestamp_micros(n): the timestamp n microseconds after 1970",
    ),
    (
        "to_timestamp_millis",
        "to_timestamp_millis(n): the timestamp n milliseconds after 1970",
    ),
    (
        "to_timestamp_seconds",
        "to_timestamp_seconds(n): the timestamp n seconds after 1970",
    ),
    (
        "translate",
        "translate(text, from, to): each character of from replaced by its fellow in to",
    ),
    ("trim", "trim(text): text without spaces at both ends"),
    ("trunc", "trunc(x[, n]): x cut to n decimals"),
    ("upper", "upper(text): in upper case"),
];

/// Units of `date_trunc`.
const TRUNC_UNITS: &[&str] = &[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
];

/// Units of `date_part` and `extract`.
const PART_UNITS: &[&str] = &[
    "year",
    "isoyear",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "dow",
    "isodow",
    "doy",
    "epoch",
];

/// Functions that other engines have and that cannot be allowed: what is wrong with them.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "now",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtime",
            "localtimestamp",
            "random",
            "rand",
            "uuid",
            "today",
            "version",
            "gen_random_uuid",
        ],
        "its answer changes from call to call: use a column",
    ),
    (
        &[
            "count",
            "sum",
            "avg",
            "mean",
            "min",
            "max",
            "stddev",
            "var",
            "median",
            "array_agg",
            "string_agg",
            "first_value",
            "last_value",
            "row_number",
            "rank",
            "dense_rank",
            "lag",
            "lead",
            "ntile",
        ],
        "it needs more than one row: use an aggregate view",
    ),
    (
        &[
            "read_parquet",
            "read_csv",
            "read_json",
            "input_file_name",
            "pg_read_file",
            "load_extension",
        ],
        "it reads files: declare a source with a path",
    ),
    (
        &["replace", "repeat", "lpad", "rpad", "overlay"],
        "its result can be of any size: use translate, substr or concat",
    ),
];

/// The units allowed as the first argument of `name`, where it takes a unit.
pub(crate) fn units(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "date_trunc" => Some(TRUNC_UNITS),
        "date_part" => Some(PART_UNITS),
        _ => None,
    }
}

/// Whether a function may be called; `name` in any case.
pub(crate) fn check_name(name: &str) -> Result<String, ExprError> {
    let lower = name.to_lowercase();
    if TABLE.contains_key(lower.as_str()) {
        return Ok(lower);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(names, _)| names.contains(&lower.as_str())) {
        return Err(ExprError::NotAllowed(format!(
            "the function `{}` is not allowed: {why}",
            clip(name)
        )));
    }
    Err(ExprError::UnknownFunction {
        name: clip(name),
        nearest: asof_core::service::nearest(&lower, TABLE.keys()),
    })
}

/// The function of a name, in any case.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    TABLE.get(name.to_lowercase().as_str()).cloned()
}

/// Whether a planned function is one of those listed, by its own name.
pub(crate) fn is_listed(function: &ScalarUDF) -> bool {
    TABLE.values().any(|listed| listed.name() == function.name())
}

static TABLE: LazyLock<BTreeMap<&'static str, Arc<ScalarUDF>>> = LazyLock::new(|| {
    FUNCTIONS
        .iter()
        .filter_map(|(name, _)| implementation(name).map(|function| (*name, function)))
        .collect()
});

fn implementation(name: &str) -> Option<Arc<ScalarUDF>> {
    Some(match name {
        "coalesce" | "ifnull" | "nvl" => core::coalesce(),
        "greatest" => core::greatest(),
        "least" => core::least(),
        "nullif" => core::nullif(),
        _ => {
            return mathematical(name)
                .or_else(|| textual(name))
                .or_else(|| listed(name))
                .or_else(|| temporal(name));
        }
    })
}

fn mathematical(name: &str) -> Option<Arc<ScalarUDF>> {
    Some(match name {
        "abs" => math::abs(),
        "acos" => math::acos(),
        "asin" => math::asin(),
        "atan" => math::atan(),
        "atan2" => math::atan2(),
        "cbrt" => math::cbrt(),
        "ceil" => math::ceil(),
        "cos" => math::cos(),
        "cosh" => math::cosh(),
        "cot" => math::cot(),
        "degrees" => math::degrees(),
        "exp" => math::exp(),
        "floor" => math::floor(),
        "isnan" => math::isnan(),
        "ln" => math::ln(),
        "log" => math::log(),
        "log10" => math::log10(),
        "log2" => math::log2(),
        "nanvl" => math::nanvl(),
        "pi" => math::pi(),
        "pow" | "power" => math::power(),
        "radians" => math::radians(),
        "round" => math::round(),
        "signum" => math::signum(),
        "sin" => math::sin(),
        "sinh" => math::sinh(),
        "sqrt" => math::sqrt(),
        "tan" => math::tan(),
        "tanh" => math::tanh(),
        "trunc" => math::trunc(),
        _ => return None,
    })
}

fn textual(name: &str) -> Option<Arc<ScalarUDF>> {
    Some(match name {
        "ascii" => string::ascii(),
        "btrim" | "trim" => string::btrim(),
        "char_length" | "character_length" | "length" => unicode::character_length(),
        "chr" => string::chr(),
        "concat" => string::concat(),
        "concat_ws" => string::concat_ws(),
        "contains" => string::contains(),
        "ends_with" => string::ends_with(),
        "initcap" => unicode::initcap(),
        "left" => unicode::left(),
        "lower" => string::lower(),
        "ltrim" => string::ltrim(),
        "octet_length" => string::octet_length(),
        "reverse" => unicode::reverse(),
        "right" => unicode::right(),
        "rtrim" => string::rtrim(),
        "split_part" => string::split_part(),
        "starts_with" => string::starts_with(),
        "strpos" => unicode::strpos(),
        "substr" | "substring" => unicode::substr(),
        "to_hex" => string::to_hex(),
        "translate" => unicode::translate(),
        "upper" => string::upper(),
        _ => return None,
    })
}

fn listed(name: &str) -> Option<Arc<ScalarUDF>> {
    let distance = |kind| Arc::new(ScalarUDF::new_from_impl(Distance::new(kind)));
    Some(match name {
        "array_element" => extract::array_element_udf(),
        "array_has" => array_has::array_has_udf(),
        "array_length" => length::array_length_udf(),
        "array_max" => min_max::array_max_udf(),
        "array_min" => min_max::array_min_udf(),
        "array_position" => position::array_position_udf(),
        "cosine_distance" => distance(DistanceKind::Cosine),
        "inner_product" => distance(DistanceKind::InnerProduct),
        "l2_distance" => distance(DistanceKind::Euclidean),
        _ => return None,
    })
}

fn temporal(name: &str) -> Option<Arc<ScalarUDF>> {
    let config = ConfigOptions::default;
    Some(match name {
        "date_part" => datetime::date_part(),
        "date_trunc" => datetime::date_trunc(),
        "from_unixtime" => datetime::from_unixtime(),
        "make_date" => datetime::make_date(),
        "to_timestamp_micros" => datetime::to_timestamp_micros(&config()),
        "to_timestamp_millis" => datetime::to_timestamp_millis(&config()),
        "to_timestamp_seconds" => datetime::to_timestamp_seconds(&config()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_described_function_is_there_and_sorted() {
        assert_eq!(FUNCTIONS.len(), TABLE.len());
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, form) in FUNCTIONS {
            assert!(form.starts_with(&format!("{name}(")), "{name}: {form}");
        }
    }
}
