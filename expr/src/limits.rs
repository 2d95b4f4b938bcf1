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
/// How deep round brackets may stand in each other.
pub const MAX_BRACKETS: usize = 40;

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
    at_most("levels of brackets", depth(&tokens), MAX_BRACKETS)?;
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

fn depth(tokens: &[TokenWithSpan]) -> usize {
    let mut depth: usize = 0;
    let mut deepest = 0;
    for token in tokens {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether a token makes its tree one level deeper.
fn is_operator(token: &Token) -> bool {
    const WORDS: [&str; 9] = ["and", "or", "not", "is", "between", "like", "ilike", "in", "case"];
    match token {
        Token::Word(word) => {
            word.quote_style.is_none() && WORDS.iter().any(|known| word.value.eq_ignore_ascii_case(known))
        }
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
