//! What is refused, and the exact words.

use crate::fixture::run;

fn refused(sql: &str, expect: &str) {
    match run(sql) {
        Ok(_) => panic!("accepted: {sql}"),
        Err(error) => assert_eq!(error.to_string(), expect, "{sql}"),
    }
}

/// Refused for what stands in the statement.
fn not_allowed(sql: &str, what: &str) {
    refused(
        sql,
        &format!("{what} is not allowed: write `select … from source where …`"),
    );
}

/// Refused for the expression.
fn expression(expression: &str, expect: &str) {
    refused(&format!("select {expression} as x from source"), expect);
}

#[test]
fn other_statements() {
    not_allowed("drop table source", "`DROP TABLE source`");
    not_allowed("insert into source values (1)", "`INSERT INTO source VALUES (1)`");
    not_allowed("copy source to '/tmp/x'", "`COPY source TO '/tmp/x'`");
    not_allowed(
        "select l from source; drop table source",
        "more than one statement",
    );
    not_allowed("values (1)", "`values`");
    refused(
        "",
        "not SQL: nothing is there: write `select … from source where …`",
    );
    refused(
        "  -- nothing\n",
        "not SQL: nothing is there: write `select … from source where …`",
    );
}

#[test]
fn other_shapes() {
    not_allowed(
        "with s as (select 1) select l from source",
        "a common table expression (with)",
    );
    not_allowed(
        "select l from source union select m from source",
        "union, except or intersect",
    );
    not_allowed("(select l from source)", "a statement in brackets");
    not_allowed("select distinct l from source", "distinct");
    not_allowed("select l from source group by l", "group by");
    not_allowed("select l from source having l > 1", "having");
    not_allowed("select l from source order by l", "order by");
    not_allowed("select l from source limit 1", "limit");
    not_allowed("select l into x from source", "into");
    not_allowed("select 1 as x", "a select without `from`");
}

#[test]
fn other_tables() {
    not_allowed("select l from Source", "the table `Source`");
    not_allowed("select l from other", "the table `other`");
    not_allowed("select l from main.source", "the table `main.source`");
    not_allowed("select l from '/etc/passwd'", "the table `'/etc/passwd'`");
    not_allowed(
        "select l from read_parquet('/etc/passwd')",
        "the table function `read_parquet`",
    );
    not_allowed(
        "select l from (select l from source)",
        "a subquery or table function after `from`",
    );
    not_allowed("select l from source, source", "more than one table");
    not_allowed("select l from source join source as t on true", "a join");
    not_allowed("select s.l from source as s", "another name for `source`");
    not_allowed("select t.* from source", "`.*` after another name than `source`");
    refused(
        "select * except (l) from source",
        "`*` with exclude, except, replace, rename or ilike is not allowed: name the columns",
    );
}

#[test]
fn subqueries_and_windows() {
    let other_rows = "is not allowed: a subquery reads other rows; use columns of `source` only";
    expression("(select 1)", &format!("`(SELECT 1)` {other_rows}"));
    expression(
        "l in (select m from source)",
        &format!("`l IN (SELECT m FROM source)` {other_rows}"),
    );
    expression("exists (select 1)", &format!("`EXISTS (SELECT 1)` {other_rows}"));
    expression(
        "sum(l)",
        "the function `sum` is not allowed: it needs more than one row: use an aggregate view",
    );
    expression(
        "abs(l) over ()",
        "`abs(l) OVER ()` is not allowed: a window function reads other rows; use an aggregate view",
    );
}

#[test]
fn functions_that_are_not_listed() {
    expression("lowr(s)", "there is no function `lowr`, did you mean `lower`?");
    expression("frobnicate(s)", "there is no function `frobnicate`");
    let changes = "is not allowed: its answer changes from call to call: use a column";
    for call in ["now()", "random()", "uuid()", "current_timestamp", "current_date"] {
        let name = call.trim_end_matches("()");
        expression(call, &format!("the function `{name}` {changes}"));
    }
    expression(
        "read_parquet('x')",
        "the function `read_parquet` is not allowed: it reads files: declare a source with a path",
    );
    expression(
        "repeat(s, 1000000000)",
        "the function `repeat` is not allowed: its result can be of any size: use translate, substr or concat",
    );
    expression(
        "main.lower(s)",
        "`main.lower(s)` is not allowed: function names have no dots",
    );
    expression(
        "lower(distinct s)",
        "`lower(DISTINCT s)` is not allowed: write the arguments in brackets",
    );
    expression(
        "date_trunc('eon', t)",
        "`date_trunc('eon', t)` is not allowed: the unit is one of year, quarter, month, week, day, hour, minute, \
         second, millisecond, microsecond",
    );
    expression(
        "date_trunc(s, t)",
        "`date_trunc(s, t)` is not allowed: the unit is one of year, quarter, month, week, day, hour, minute, \
         second, millisecond, microsecond",
    );
}

#[test]
fn symbols_and_forms_outside_the_grammar() {
    let token = |symbol: &str, column: usize| {
        format!(
            "`{symbol}` at line 1, column {column} is not allowed here: use column names, literals in single \
             quotes, arithmetic, comparisons and functions"
        )
    };
    expression("lower(all => s)", &token("=>", 18));
    expression("$1", &token("$1", 8));
    expression("?", &token("?", 8));
    expression("[1, 2][1]", &token("[", 8));
    expression("{'a': 1}", &token("{", 8));
    expression("s ~ 'a'", &token("~", 10));
    expression("l & 1", &token("&", 10));
    expression("x'00'", &token("X'00'", 8));
    expression(
        "t at time zone 'UTC'",
        "`t AT TIME ZONE 'UTC'` is not allowed: use columns, literals, operators, case, cast and the listed functions",
    );
    expression(
        "cast(l as json)",
        "`CAST(l AS JSON)` is not allowed: cast to boolean, tinyint, smallint, int32 (int), int64 (bigint), float32 \
         (real), float64 (double, float), decimal(p, s), string (varchar, text), bytes, date, timestamp, timestamp \
         with time zone",
    );
    expression(
        "other.l",
        "`other.l` is not allowed: write `column` or `source.column`, and a column name with dots in double quotes",
    );
    refused(
        "select l + 1 from source",
        "the expression `l + 1` has no name: add `as name`",
    );
    refused(
        "select l from source where",
        "not SQL: expected an expression, found `EOF`",
    );
    refused(
        "select 'abc",
        "not SQL: Unterminated string literal (line 1, column 8)",
    );
}

#[test]
fn columns() {
    let known = "l, m, i, u, f, g, s, b, d, e, t, day, T, a.b, wörd \"x\"";
    expression(
        "dey",
        &format!("there is no column `dey`, did you mean `day`?; there are: {known}"),
    );
    expression(
        "nowhere",
        &format!("there is no column `nowhere`; there are: {known}"),
    );
    expression(
        "source.L + 1",
        &format!("there is no column `L`, did you mean `l`?; there are: {known}"),
    );
    refused(
        "select l from source where Day is null",
        &format!("there is no column `Day`, did you mean `day`?; there are: {known}"),
    );
    refused(
        "select *, l + 1 as m from source",
        "two output columns are called `m`: give each a name of its own with `as`",
    );
    refused(
        "select *, * from source",
        "two output columns are called `l`: give each a name of its own with `as`",
    );
}

#[test]
fn types() {
    expression(
        "s + 1",
        "`+` cannot be used with string and int64: cast to types that fit",
    );
    expression(
        "s < 1",
        "`<` cannot be used with string and int64: cast to types that fit",
    );
    expression(
        "l = '1'",
        "`=` cannot be used with int64 and string: cast to types that fit",
    );
    expression(
        "b = 1",
        "`=` cannot be used with boolean and int64: cast to types that fit",
    );
    expression(
        "l and b",
        "`and` cannot be used with int64 and boolean: cast to types that fit",
    );
    expression(
        "not l",
        "Unary operator 'NOT' requires a boolean expression, got Int64: cast to types that fit",
    );
    expression(
        "-s",
        "Unary operator '-' only supports signed numeric, interval and…: cast to types that fit",
    );
    expression(
        "-u",
        "Unary operator '-' only supports signed numeric, interval and…: cast to types that fit",
    );
    expression(
        "l in (1, 'a')",
        "`in` cannot be used with int64, int64 and string: cast to types that fit",
    );
    expression(
        "l between 1 and 'b'",
        "`between` cannot be used with int64, int64 and string: cast to types that fit",
    );
    expression(
        "coalesce(l, s)",
        "the function `coalesce` cannot be used with int64 and string: cast to types that fit",
    );
    expression(
        "lower(l)",
        "the function `lower` cannot be used with int64: cast to types that fit",
    );
    expression(
        "lower()",
        "the function `lower` cannot be used with nothing: cast to types that fit",
    );
    expression(
        "abs(s)",
        "the function `abs` cannot be used with string: cast to types that fit",
    );
    expression("cast(b as date)", "boolean cannot be cast to date");
    expression(
        "t > 'yesterday'",
        "the text 'yesterday' is not a timestamp with time zone",
    );
    expression("day = '2026-02-30'", "the text '2026-02-30' is not a date");
    expression(
        "case f when 1.5 then 1 end",
        "`case x when …` on floats is not allowed: write `case when x = …`",
    );
    expression("null", "the column `x` is always null and has no type: cast it");
    refused(
        "select l from source where l",
        "`where` needs a condition, not int64: compare it with something",
    );
}

#[test]
fn messages_repeat_little_of_the_text_and_no_control_characters() {
    let long = "x".repeat(5_000);
    for sql in [
        format!("drop table {long}"),
        format!("select l from {long}"),
        format!("select {long} as x from source"),
        format!("select {long}(1) as x from source"),
        format!("select l {long} {long} from source"),
        format!("select l, l as {long}, m as {long} from source"),
        format!("select t > '{long}' as x from source"),
        format!("select cast(l as {long}) as x from source"),
        format!("select l + 1 + \"{long}\" from source"),
    ] {
        let message = run(&sql).unwrap_err().to_string();
        let repeated = message.matches('x').count();
        assert!((1..=70).contains(&repeated), "{repeated} of {message}");
        assert!(message.len() < 400, "{message}");
    }
    refused(
        "select l from \"a\u{1b}[31m\u{202e}\"",
        "the table `\"a\\u{1b}[31m\\u{202e}\"` is not allowed: write `select … from source where …`",
    );
}
