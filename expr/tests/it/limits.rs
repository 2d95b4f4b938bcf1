//! No text exhausts the stack or the clock.

use std::time::{Duration, Instant};

use asof_expr::SourceSql;

use crate::fixture::run;

/// Runs on a thread with half the stack that threads usually have.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap()
}

fn select(expression: &str) -> String {
    format!("select {expression} as x from source")
}

fn refused(sql: String, expect: &str) {
    let started = Instant::now();
    let error = on_a_small_stack(move || SourceSql::parse(&sql)).unwrap_err();
    assert_eq!(error.to_string(), expect);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{expect}: {:?}",
        started.elapsed()
    );
}

#[test]
fn five_thousand_terms() {
    let sql = select(&format!("1{}", "+1".repeat(5_000)));
    refused(
        sql,
        "the SQL has 10006 tokens, at most 400 are allowed: shorten it",
    );
}

#[test]
fn a_megabyte_of_text() {
    let sql = select(&format!("'{}'", "x".repeat(1 << 20)));
    refused(
        sql,
        "the SQL has 1048602 bytes, at most 16384 are allowed: shorten it",
    );
}

#[test]
fn many_operators() {
    let sql = select(&format!("1{}", "+1".repeat(121)));
    refused(
        sql,
        "the SQL has 121 operators, at most 120 are allowed: shorten it",
    );
}

#[test]
fn deep_brackets() {
    let sql = select(&format!("{}1{}", "(".repeat(41), ")".repeat(41)));
    refused(
        sql,
        "the SQL has 41 levels of nesting, at most 40 are allowed: shorten it",
    );
}

#[test]
fn deep_nesting_without_brackets() {
    let sql = select(&format!(
        "{} 1 {}",
        "case when b then ".repeat(60),
        "end ".repeat(60)
    ));
    refused(
        sql,
        "the SQL has 60 levels of nesting, at most 40 are allowed: shorten it",
    );
}

#[test]
fn everything_within_the_limits_binds_and_evaluates_on_a_small_stack_in_time() {
    let nest = |times: usize, open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let expressions = [
        format!("l{}", " + l".repeat(120)),
        format!("l{}", " * 1".repeat(119)),
        format!("f{}", " - 1.5".repeat(119)),
        format!("b{}", " and b".repeat(119)),
        format!("b{}", " is true".repeat(119)),
        format!("s{}", " || s".repeat(119)),
        format!("l{}", "::bigint".repeat(119)),
        nest(40, "(", "l", ")"),
        nest(40, "abs(", "l", ")"),
        nest(38, "coalesce(", "l", ", 1)"),
        nest(38, "nullif(", "l", ", 1)"),
        nest(18, "upper(concat(", "s", ", s))"),
        nest(18, "(case when ", "l", " in (1, 2) then 1 end)"),
        nest(30, "cast(", "l", " as bigint)"),
        nest(40, "case when b then ", "l", " else 1 end"),
        nest(13, "-abs(case when b then ", "l", " else 1 end)"),
        nest(13, "not (case when b then ", "b", " else true end)"),
        nest(40, "not ", "b", ""),
        nest(40, "- ", "l", ""),
        nest(18, "abs(case when b then ", "l", " else 1 end)"),
        nest(20, "case when l between ", "1", " and 2 then 1 end"),
        nest(18, "(case ", "l", " when 1 then 2 when 2 then 3 end)"),
        nest(18, "cast(", "l", " between 1 and 2 as bigint)"),
    ];
    for expression in expressions {
        let sql = select(&expression);
        let started = Instant::now();
        let outcome = on_a_small_stack(move || run(&sql).map(|_| ()));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}: {expression}");
        assert!(outcome.is_ok(), "{expression}: {outcome:?}");
    }
}
