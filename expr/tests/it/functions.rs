//! Each listed function once on constants and once on columns.

use asof_expr::functions;

use crate::fixture::{run, shown};

/// Name, first argument, the rest, and the result.
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("abs", "-2", "", "2"),
    ("acos", "1.0", "", "0.0"),
    ("ascii", "'A'", "", "65"),
    ("asin", "0.0", "", "0.0"),
    ("atan", "0.0", "", "0.0"),
    ("atan2", "0.0", ", 1.0", "0.0"),
    ("btrim", "'xax'", ", 'x'", "a"),
    ("cbrt", "27.0", "", "3.0"),
    ("ceil", "1.2", "", "2.0"),
    ("char_length", "'äö'", "", "2"),
    ("character_length", "'äö'", "", "2"),
    ("chr", "65", "", "A"),
    ("coalesce", "'a'", ", 'b'", "a"),
    ("concat", "'a'", ", null, 'b'", "ab"),
    ("concat_ws", "'-'", ", 'a', null, 'b'", "a-b"),
    ("contains", "'abc'", ", 'b'", "true"),
    ("cos", "0.0", "", "1.0"),
    ("cosh", "0.0", "", "1.0"),
    ("cot", "0.7853981633974483", " - 0.0", "1.0000000000000002"),
    ("date_part", "'year'", ", date '2026-03-04'", "2026"),
    (
        "date_trunc",
        "'month'",
        ", timestamp '2026-03-04 05:06:07'",
        "2026-03-01T00:00:00",
    ),
    ("degrees", "0.0", "", "0.0"),
    ("ends_with", "'abc'", ", 'c'", "true"),
    ("exp", "0.0", "", "1.0"),
    ("floor", "-1.2", "", "-2.0"),
    ("from_unixtime", "1", "", "1970-01-01T00:00:01"),
    ("greatest", "1", ", 3, 2", "3"),
    ("ifnull", "1", ", 2", "1"),
    ("initcap", "'ab cd'", "", "Ab Cd"),
    ("isnan", "1.0", "", "false"),
    ("least", "3", ", 1, 2", "1"),
    ("left", "'abc'", ", 2", "ab"),
    ("length", "'äö'", "", "2"),
    ("ln", "1.0", "", "0.0"),
    ("log", "2.0", ", 8.0", "3.0"),
    ("log10", "100.0", "", "2.0"),
    ("log2", "8.0", "", "3.0"),
    ("lower", "'AB'", "", "ab"),
    ("ltrim", "'xax'", ", 'x'", "ax"),
    ("make_date", "2024", ", 2, 29", "2024-02-29"),
    ("nanvl", "0.0 / 0.0", ", 1.0", "1.0"),
    ("nullif", "1", ", 2", "1"),
    ("nvl", "1", ", 2", "1"),
    ("octet_length", "'é'", "", "2"),
    ("pow", "2.0", ", 3.0", "8.0"),
    ("power", "2.0", ", 3.0", "8.0"),
    ("radians", "0.0", "", "0.0"),
    ("reverse", "'abc'", "", "cba"),
    ("right", "'abc'", ", 2", "bc"),
    ("round", "1.25", ", 1", "1.3"),
    ("rtrim", "'xax'", ", 'x'", "xa"),
    ("signum", "-2.5", "", "-1.0"),
    ("sin", "0.0", "", "0.0"),
    ("sinh", "0.0", "", "0.0"),
    ("split_part", "'a-b'", ", '-', 2", "b"),
    ("sqrt", "9.0", "", "3.0"),
    ("starts_with", "'abc'", ", 'a'", "true"),
    ("strpos", "'abc'", ", 'c'", "3"),
    ("substr", "'abc'", ", 2, 1", "b"),
    ("substring", "'abc'", ", 2, 1", "b"),
    ("tan", "0.0", "", "0.0"),
    ("tanh", "0.0", "", "0.0"),
    ("to_hex", "255", "", "ff"),
    ("to_timestamp_micros", "1", "", "1970-01-01T00:00:00.000001"),
    ("to_timestamp_millis", "1500", "", "1970-01-01T00:00:01.500"),
    ("to_timestamp_seconds", "2", "", "1970-01-01T00:00:02"),
    ("translate", "'abc'", ", 'ac', 'x'", "xb"),
    ("trim", "' a '", "", "a"),
    ("trunc", "-1.7", "", "-1.0"),
    ("upper", "'ab'", "", "AB"),
];

/// Those of lists, which no constant is: `lists.rs` has them.
const OF_LISTS: [&str; 9] = [
    "array_element",
    "array_has",
    "array_length",
    "array_max",
    "array_min",
    "array_position",
    "cosine_distance",
    "inner_product",
    "l2_distance",
];

fn check(expression: &str, expect: &str) {
    let evaluated = run(&format!("select {expression} as x from source"))
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    assert_eq!(shown(evaluated.batch.column(0)), [expect; 4], "{expression}");
}

#[test]
fn each_on_constants_and_on_columns() {
    for (name, first, rest, expect) in CALLS {
        check(&format!("{name}({first}{rest})"), expect);
        if !name.starts_with("date_") {
            // Always true, but not known to be.
            check(&format!("{name}(case when T > 0 then {first} end{rest})"), expect);
        }
    }
    check("pi() between 3.14159 and 3.1416", "true");
    check(
        "date_part('day', case when T > 0 then date '2026-03-04' end)",
        "4",
    );
}

#[test]
fn none_is_left_out() {
    let mut tried: Vec<&str> = CALLS
        .iter()
        .map(|call| call.0)
        .chain(["pi"])
        .chain(OF_LISTS)
        .collect();
    tried.sort_unstable();
    let listed: Vec<&str> = functions().iter().map(|(name, _)| *name).collect();
    assert_eq!(tried, listed);
}

#[test]
fn the_documentation_lists_every_function_as_it_is() {
    let page = std::fs::read_to_string("../docs/expressions.md").unwrap();
    let (_, listed) = page.split_once("## Functions\n\n").unwrap();
    let expected: String = functions()
        .iter()
        .map(|(_, described)| {
            let (form, what) = described.split_once(": ").unwrap();
            format!("- `{form}`: {what}\n")
        })
        .collect();
    assert_eq!(listed, expected);
}
