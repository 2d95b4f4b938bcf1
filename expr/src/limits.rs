//! What is checked before a text is parsed, so that no text can exhaust the stack or the clock.

use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{ExprError, clip};

/// The dialect of all texts.
pub(crate) const DIALECT: GenericDialect = GenericDialect {};

/// The longest text, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;
/// The most tokens, spaces and comments aside.
pub const MAX_TOKENS: usize = 400;
/// The most operators (symbols and words such as `and`): each may be one level of a tree.
pub const MAX_OPERATORS: usize = 120;
/// How deep brackets, `case … end`, and signs and `not` before a value may stand in each other.
pub const MAX_NESTING: usize = 40;

/// Runs with a stack that suffices for any text within the limits, on whatever thread.
pub(crate) fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    const ENOUGH: usize = 8 << 20;
    stacker::maybe_grow(ENOUGH, ENOUGH + (1 << 20), work)
}

/// Cuts `text` into tokens and counts them; only tokens of the allowed grammar pass.
pub(crate) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, ExprError> {
    at_most("bytes", text.len(), MAX_BYTES)?;
    let tokens = Tokenizer::new(&DIALECT, text)
        .tokenize_with_location()
        .map_err(|error| {
            let place = error.location;
            ExprError::Syntax(format!(
                "{} (line {}, column {})",
                clip(&error.message),
                place.line,
                place.column
            ))
        })?;
    let tokens: Vec<TokenWithSpan> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    at_most("tokens", tokens.len(), MAX_TOKENS)?;
    let operators = tokens.iter().filter(|token| is_operator(&token.token)).count();
    at_most("operators", operators, MAX_OPERATORS)?;
    at_most("levels of nesting", depth(&tokens), MAX_NESTING)?;
    match tokens.iter().find(|token| !is_allowed(&token.token)) {
        Some(odd) => Err(ExprError::NotAllowed(format!(
            "`{}` at line {}, column {} is not allowed here: use column names, literals in single quotes, \
             arithmetic, comparisons and functions",
            clip(&odd.token.to_string()),
            odd.span.start.line,
            odd.span.start.column
        ))),
        None => Ok(tokens),
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), ExprError> {
    if found <= limit {
        return Ok(());
    }
    Err(ExprError::TooLarge {
        what,
        found: found.to_string(),
        limit,
    })
}

/// The parser has a limit of its own, but goes on with another reading of the text when it meets it.
fn depth(tokens: &[TokenWithSpan]) -> usize {
    let (mut depth, mut deepest, mut prefixes) = (0_usize, 0, 0_usize);
    for token in tokens {
        prefixes = if is_prefix(&token.token) { prefixes + 1 } else { 0 };
        if token.token == Token::LParen || is_word(&token.token, &["case"]) {
            depth += 1;
        } else if token.token == Token::RParen || is_word(&token.token, &["end"]) {
            depth = depth.saturating_sub(1);
        }
        deepest = deepest.max(depth + prefixes);
    }
    deepest
}

fn is_prefix(token: &Token) -> bool {
    matches!(token, Token::Plus | Token::Minus) || is_word(token, &["not"])
}

fn is_word(token: &Token, words: &[&str]) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none() && words.iter().any(|known| word.value.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

/// Whether a token makes its tree one level deeper.
fn is_operator(token: &Token) -> bool {
    const WORDS: [&str; 9] = ["and", "or", "not", "is", "between", "like", "ilike", "in", "case"];
    match token {
        Token::Word(_) => is_word(token, &WORDS),
        Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::DoubleColon => true,
        _ => false,
    }
}

fn is_allowed(token: &Token) -> bool {
    is_operator(token)
        || matches!(
            token,
            Token::Word(_)
                | Token::Number(_, false)
                | Token::SingleQuotedString(_)
                | Token::Comma
                | Token::LParen
                | Token::RParen
                | Token::Period
                | Token::SemiColon
                | Token::EOF
        )
}
