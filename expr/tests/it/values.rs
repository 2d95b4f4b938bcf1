//! What expressions give for each row of the fixture: worked out by hand from the rules in the crate's
//! documentation.

use crate::fixture::{run, shown};

fn check(expression: &str, expect: [&str; 4]) {
    let evaluated = run(&format!("select {expression} as x from source"))
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    assert_eq!(shown(evaluated.batch.column(0)), expect, "{expression}");
}

fn constant(expression: &str, expect: &str) {
    check(expression, [expect; 4]);
}

#[test]
fn integers_that_overflow_or_divide_by_zero_are_null() {
    check("l + 1", ["2", "null", "-9223372036854775807", "null"]);
    check("l - 1", ["0", "9223372036854775806", "null", "null"]);
    check("l * m", ["0", "-9223372036854775807", "null", "null"]);
    check("l / m", ["null", "-9223372036854775807", "null", "null"]);
    check("1 / m", ["null", "-1", "-1", "0"]);
    check("T % m", ["null", "0", "0", "1"]);
    check("-l", ["-1", "-9223372036854775807", "null", "null"]);
    check("abs(l)", ["1", "9223372036854775807", "null", "null"]);
    check("u + u", ["null", "0", "null", "null"]);
    check("u - 1", ["199", "-1", "254", "null"]);
    check("i / 2", ["3", "1073741823", "-3", "null"]);
    check("i % 4", ["3", "3", "-3", "null"]);
    constant("1 / 0", "null");
    constant("9223372036854775807 + 1", "null");
    constant("-9223372036854775808", "-9223372036854775808");
}

#[test]
fn decimals_that_do_not_fit_are_null() {
    check("d + 1", ["null", "6", "-6", "null"]);
    check("d * 10", ["null", "50", "-70", "null"]);
    check(
        "-d",
        ["-99999999999999999999999999999999999999", "-5", "7", "null"],
    );
    check("e + e", ["2.00", "0.00", "5.00", "2.00"]);
    check("e / e = 1", ["true", "null", "true", "true"]);
    check("e % e", ["0.00", "null", "0.00", "0.00"]);
}

#[test]
fn floats_follow_ieee_754() {
    check("f / g", ["inf", "NaN", "NaN", "null"]);
    check("f = f", ["true", "false", "true", "null"]);
    check("f = g", ["false", "false", "true", "null"]);
    check("f <> g", ["true", "true", "false", "null"]);
    check("f > g", ["true", "false", "false", "null"]);
    check("f >= g", ["true", "false", "true", "null"]);
    check("g < 1", ["true", "false", "true", "false"]);
    check("1 > g", ["true", "false", "true", "false"]);
    check("g <= m", ["true", "false", "false", "true"]);
    check("f between -1.0 and 2.0", ["true", "false", "true", "null"]);
    check("f not between -1.0 and 2.0", ["false", "true", "false", "null"]);
    check("f in (1.5, 0.0)", ["true", "false", "true", "null"]);
    check("f not in (1.5, 0.0)", ["false", "true", "false", "null"]);
    check("f in (1.5, null)", ["true", "null", "null", "null"]);
    check("nullif(f, g)", ["1.5", "NaN", "null", "null"]);
    check("f is not distinct from g", ["false", "true", "true", "false"]);
    check("isnan(f)", ["false", "true", "false", "null"]);
    check("round(f)", ["2.0", "NaN", "-0.0", "null"]);
    constant("0.1 + 0.2", "0.30000000000000004");
    constant("ln(0.0)", "-inf");
}

#[test]
fn casts_without_a_counterpart_are_null() {
    check("cast(s as bigint)", ["12", "null", "null", "null"]);
    check("try_cast(s as int64)", ["12", "null", "null", "null"]);
    check("s::double", ["12.0", "null", "null", "null"]);
    check("cast(f as int)", ["1", "null", "0", "null"]);
    check("cast(l as int)", ["1", "null", "null", "null"]);
    check("cast(i as tinyint)", ["7", "null", "-7", "null"]);
    check("cast(f as decimal(3, 1))", ["1.5", "null", "0.0", "null"]);
    check(
        "cast(l as varchar)",
        ["1", "9223372036854775807", "-9223372036854775808", "null"],
    );
    check("cast(s as date)", ["null", "null", "null", "null"]);
    check(
        "cast(day as timestamp)",
        [
            "1970-01-01T00:00:00",
            "2023-11-14T00:00:00",
            "null",
            "1970-01-02T00:00:00",
        ],
    );
    check("cast(b as int)", ["1", "0", "null", "1"]);
    constant("cast('x' as int)", "null");
    constant("cast(null as bigint)", "null");
    constant("cast('2026-02-30' as date)", "null");
}

#[test]
fn nulls_go_through() {
    check(
        "coalesce(l, m)",
        ["1", "9223372036854775807", "-9223372036854775808", "2"],
    );
    check("coalesce(null, s, 'none')", ["12", "abc", "", "none"]);
    check("ifnull(i, 0)", ["7", "2147483647", "-7", "0"]);
    check("b and null", ["null", "false", "null", "null"]);
    check("b or null", ["true", "null", "null", "true"]);
    check("not b", ["false", "true", "null", "false"]);
    check("b is true", ["true", "false", "false", "true"]);
    check("l is null", ["false", "false", "false", "true"]);
    check("l in (1, 2)", ["true", "false", "false", "null"]);
    check("m in (2, null)", ["null", "null", "null", "true"]);
    check("m not in (0, 2)", ["false", "true", "true", "false"]);
    check("l between 0 and 5", ["true", "false", "false", "null"]);
    check("l between 2 and null", ["false", "null", "false", "null"]);
    check("nullif(m, -1)", ["0", "null", "null", "2"]);
    check("case when b then 1 else 0 end", ["1", "0", "0", "1"]);
    check("case l when 1 then 'one' end", ["one", "null", "null", "null"]);
    check(
        "case when m = 0 then null else 10 / m end",
        ["null", "-10", "-10", "5"],
    );
    check("greatest(l, 0)", ["1", "9223372036854775807", "0", "0"]);
}

#[test]
fn text_functions() {
    check("s || 'x'", ["12x", "abcx", "x", "null"]);
    check("concat(s, '-', s)", ["12-12", "abc-abc", "-", "-"]);
    check("UPPER(s)", ["12", "ABC", "", "null"]);
    check("length(s)", ["2", "3", "0", "null"]);
    check("substring(s from 2 for 1)", ["2", "b", "", "null"]);
    check("substr(s, 2)", ["2", "bc", "", "null"]);
    check("position('b' in s)", ["0", "2", "0", "null"]);
    check("trim(both 'a' from s)", ["12", "bc", "", "null"]);
    check("trim(leading '1' from s)", ["2", "abc", "", "null"]);
    check("s like 'a%'", ["false", "true", "false", "null"]);
    check("s not ilike 'A_C'", ["true", "false", "true", "null"]);
    check("s = ''", ["false", "false", "true", "null"]);
    check("translate(s, 'ab', 'AB')", ["12", "ABc", "", "null"]);
    check("split_part(s, 'b', 1)", ["12", "a", "", "null"]);
    constant("char_length('äö')", "2");
    constant("'it''s'", "it's");
}

#[test]
fn functions_are_null_for_the_rows_outside_their_domain() {
    // A negative length is an error of DataFusion's for the whole batch.
    check("substr('hello', 1, m)", ["", "null", "null", "he"]);
    check("chr(m)", ["\0", "null", "null", "\u{2}"]);
    constant("sqrt(-1.0)", "null");
    check("make_date(2026, 2, T)", ["null", "null", "null", "null"]);
    check(
        "make_date(2026, 2, 28 + m)",
        ["2026-02-28", "2026-02-27", "2026-02-27", "null"],
    );
}

#[test]
fn times() {
    check(
        "t + interval '1 hour'",
        ["1970-01-01T01:00:00Z", "2023-11-14T23:13:20Z", "null", "null"],
    );
    check(
        "day + interval '1 day'",
        ["1970-01-02", "2023-11-15", "null", "1970-01-03"],
    );
    check("day - date '1970-01-01'", ["0", "19675", "null", "1"]);
    check(
        "t > timestamp '2000-01-01 00:00:00'",
        ["false", "true", "true", "null"],
    );
    check("t > '2000-01-01T00:00:00Z'", ["false", "true", "true", "null"]);
    check("'2000-01-01' < day", ["false", "true", "null", "false"]);
    check("date_part('year', day)", ["1970", "2023", "null", "1970"]);
    check("extract(month from day)", ["1", "11", "null", "1"]);
    check(
        "date_trunc('month', cast(day as timestamp))",
        [
            "1970-01-01T00:00:00",
            "2023-11-01T00:00:00",
            "null",
            "1970-01-01T00:00:00",
        ],
    );
    check(
        "to_timestamp_seconds(T)",
        [
            "1970-01-01T00:00:42",
            "1970-01-01T00:00:43",
            "1970-01-01T00:00:44",
            "1970-01-01T00:00:45",
        ],
    );
}

#[test]
fn names_are_case_sensitive_and_may_be_quoted() {
    check("T", ["42", "43", "44", "45"]);
    check("source.T + 0", ["42", "43", "44", "45"]);
    check("\"T\"", ["42", "43", "44", "45"]);
    check("\"a.b\" + 1", ["11", "21", "31", "41"]);
    check("\"wörd \"\"x\"\"\"", ["1", "2", "3", "4"]);
}

#[test]
fn a_filter_keeps_only_true() {
    let evaluated = run("select T, f from source where b").unwrap();
    assert_eq!(evaluated.kept.values().to_vec(), [0, 3]);
    assert_eq!(shown(evaluated.batch.column(0)), ["42", "45"]);
    assert_eq!(shown(evaluated.batch.column(1)), ["1.5", "null"]);

    let kept = |condition: &str| {
        run(&format!("select T from source where {condition}"))
            .unwrap()
            .kept
            .values()
            .to_vec()
    };
    assert_eq!(kept("f > 0"), [0]);
    assert_eq!(kept("not (f > 0)"), [1, 2]);
    assert_eq!(kept("1 / m = -1"), [1, 2]);
    assert_eq!(kept("true"), [0, 1, 2, 3]);
    assert_eq!(kept("false"), [0_u32; 0]);
    assert_eq!(kept("null = 1"), [0_u32; 0]);
    assert_eq!(kept("s is not null and l is not null"), [0, 1, 2]);
}
