//! The shape of a statement: one `select` of expressions from `source`, perhaps with a `where`.

use datafusion_sql::sqlparser::ast::{
    Expr as SqlExpr, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, TableWithJoins,
    WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ExprError, clip};
use crate::grammar::{self, Names};
use crate::limits::{self, DIALECT};

/// The name that stands for the table in a statement.
pub(crate) const SOURCE: &str = "source";

/// How deep the parser may recurse: beyond what the limits let through.
const MAX_RECURSION: usize = 100;

/// One item of the list of a `select`.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// `*`: all columns in their order.
    All,
    /// An expression and the name of its column.
    Named { name: String, expr: Box<SqlExpr> },
}

/// A checked statement.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) items: Vec<Item>,
    pub(crate) filter: Option<SqlExpr>,
}

/// Limits, parser, shape: what can be said of a text without knowing a schema.
pub(crate) fn parse(text: &str) -> Result<Shape, ExprError> {
    let tokens = limits::tokens(text)?;
    let statements = Parser::new(&DIALECT)
        .with_recursion_limit(MAX_RECURSION)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(syntax)?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => shape(*query),
        (Some(other), None) => Err(refused(&format!(
            "`{}`",
            clip(&other.to_string().chars().take(64).collect::<String>())
        ))),
        (Some(_), Some(_)) => Err(refused("more than one statement")),
        (None, _) => Err(ExprError::Syntax(format!("nothing is there: {EXPECTED}"))),
    }
}

/// Limits, parser, grammar: one expression, and nothing behind it.
pub(crate) fn parse_expression(text: &str, names: Names) -> Result<SqlExpr, ExprError> {
    let tokens = limits::tokens(text)?;
    let is_statement = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("select"),
        _ => false,
    };
    if tokens.first().is_some_and(is_statement) {
        return Err(ExprError::NotAllowed(
            "a statement is not allowed: write the expression alone, without `select` and `from`".to_owned(),
        ));
    }
    if tokens.iter().all(|token| token.token == Token::EOF) {
        return Err(ExprError::Syntax(
            "nothing is there: write an expression".to_owned(),
        ));
    }
    let mut parser = Parser::new(&DIALECT)
        .with_recursion_limit(MAX_RECURSION)
        .with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(syntax)?;
    let rest = parser.next_token();
    if rest.token != Token::EOF {
        return Err(ExprError::NotAllowed(format!(
            "`{}` at line {}, column {} is behind the end of the expression: write one expression",
            clip(&rest.token.to_string()),
            rest.span.start.line,
            rest.span.start.column
        )));
    }
    grammar::check(&expr, names)?;
    Ok(expr)
}

const EXPECTED: &str = "write `select … from source where …`";

fn refused(what: &str) -> ExprError {
    ExprError::NotAllowed(format!("{what} is not allowed: {EXPECTED}"))
}

/// The parser's message with at most 64 bytes of the text.
fn syntax(error: ParserError) -> ExprError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            return ExprError::TooLarge {
                what: "levels of nesting",
                found: format!("more than {}", limits::MAX_NESTING),
                limit: limits::MAX_NESTING,
            };
        }
    };
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, Some(place.replace(", Column: ", ", column "))),
        None => (message.as_str(), None),
    };
    let mut said = match message.split_once(", found: ") {
        Some((expected, found)) if expected.len() <= 200 => {
            format!(
                "{}, found `{}`",
                expected.replace("Expected: ", "expected "),
                clip(found)
            )
        }
        _ => clip(message),
    };
    if let Some(place) = place {
        said.push_str(&format!(" (line {})", clip(&place)));
    }
    ExprError::Syntax(said)
}

fn shape(query: Query) -> Result<Shape, ExprError> {
    let Query {
        with,
        body,
        order_by,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    none("a common table expression (with)", with.is_none())?;
    none("order by", order_by.is_none())?;
    none("limit", limit_clause.is_none() && fetch.is_none())?;
    let plain = locks.is_empty() && for_clause.is_none() && settings.is_none() && format_clause.is_none();
    none("a clause after `where`", plain && pipe_operators.is_empty())?;
    match *body {
        SetExpr::Select(select) => select_shape(*select),
        SetExpr::SetOperation { .. } => Err(refused("union, except or intersect")),
        SetExpr::Query(_) => Err(refused("a statement in brackets")),
        SetExpr::Values(_) => Err(refused("`values`")),
        SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => Err(refused("another statement than `select`")),
    }
}

fn none(what: &str, absent: bool) -> Result<(), ExprError> {
    if absent { Ok(()) } else { Err(refused(what)) }
}

fn select_shape(select: Select) -> Result<Shape, ExprError> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        lateral_views,
        prewhere,
        selection,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    none("distinct", distinct.is_none())?;
    none("top", top.is_none())?;
    none("into", into.is_none())?;
    let ungrouped =
        matches!(&group_by, GroupByExpr::Expressions(by, more) if by.is_empty() && more.is_empty());
    none("group by", ungrouped)?;
    none("having", having.is_none())?;
    none("a window", named_window.is_empty() && qualify.is_none())?;
    none("exclude", exclude.is_none())?;
    let sorted = cluster_by.is_empty() && distribute_by.is_empty() && sort_by.is_empty();
    none("sort by, cluster by or distribute by", sorted)?;
    let plain = optimizer_hints.is_empty()
        && select_modifiers.is_none()
        && lateral_views.is_empty()
        && prewhere.is_none()
        && connect_by.is_empty()
        && value_table_mode.is_none()
        && flavor == SelectFlavor::Standard;
    none("this form of `select`", plain)?;
    check_from(&from)?;
    let items = projection.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() {
        return Err(ExprError::Syntax(format!("nothing is selected: {EXPECTED}")));
    }
    if let Some(filter) = &selection {
        grammar::check(filter, Names::Columns)?;
    }
    Ok(Shape {
        items,
        filter: selection,
    })
}

fn check_from(from: &[TableWithJoins]) -> Result<(), ExprError> {
    let [TableWithJoins { relation, joins }] = from else {
        let what = if from.is_empty() {
            "a select without `from`"
        } else {
            "more than one table"
        };
        return Err(refused(what));
    };
    none("a join", joins.is_empty())?;
    let TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = relation
    else {
        return Err(refused("a subquery or table function after `from`"));
    };
    if args.is_some() {
        return Err(refused(&format!(
            "the table function `{}`",
            clip(&name.to_string())
        )));
    }
    if only_identifier(name).is_none_or(|name| name.value != SOURCE) {
        return Err(refused(&format!("the table `{}`", clip(&name.to_string()))));
    }
    none("another name for `source`", alias.is_none())?;
    let plain = with_hints.is_empty()
        && version.is_none()
        && !with_ordinality
        && partitions.is_empty()
        && json_path.is_none()
        && sample.is_none()
        && index_hints.is_empty();
    none("a modifier of `source`", plain)
}

/// The identifier of a name that has one part.
pub(crate) fn only_identifier(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident),
        _ => None,
    }
}

fn item(item: SelectItem) -> Result<Item, ExprError> {
    match item {
        SelectItem::Wildcard(options) => wildcard(&options),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
            if only_identifier(&name).is_some_and(|name| name.value == SOURCE) =>
        {
            wildcard(&options)
        }
        SelectItem::QualifiedWildcard(..) => Err(refused("`.*` after another name than `source`")),
        SelectItem::ExprWithAlias { expr, alias } => {
            grammar::check(&expr, Names::Columns)?;
            Ok(Item::Named {
                name: alias.value,
                expr: Box::new(expr),
            })
        }
        SelectItem::UnnamedExpr(expr) => {
            grammar::check(&expr, Names::Columns)?;
            match grammar::column(&expr) {
                Some(name) => Ok(Item::Named {
                    name: name.to_owned(),
                    expr: Box::new(expr),
                }),
                None => Err(ExprError::NotAllowed(format!(
                    "the expression `{}` has no name: add `as name`",
                    clip(&expr.to_string())
                ))),
            }
        }
        SelectItem::ExprWithAliases { .. } => Err(refused("an expression with several names")),
    }
}

fn wildcard(options: &WildcardAdditionalOptions) -> Result<Item, ExprError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let plain = opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none();
    if plain {
        return Ok(Item::All);
    }
    Err(ExprError::NotAllowed(
        "`*` with exclude, except, replace, rename or ilike is not allowed: name the columns".to_owned(),
    ))
}
