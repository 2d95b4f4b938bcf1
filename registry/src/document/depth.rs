//! A bound on dotted keys, checked before parsing: `a.a.a…` builds one table inside another for each
//! dot, without the parser's own limit, and dropping a hundred thousand of them overflows the stack.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// The most dots that one key may have.
pub(super) const MAX_DOTS: usize = 16;

/// The offset of the first dot too many.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let mut dots = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Newline | TokenKind::Equals | TokenKind::Comma => dots = 0,
            _ => {}
        }
        if dots > MAX_DOTS {
            return Some(token.span().start());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_keys_count_and_dots_in_text_do_not() {
        assert_eq!(too_deep("a.b.c = '...................................'"), None);
        assert_eq!(too_deep("# ......................................"), None);
        assert_eq!(too_deep(&"x = 1.5\n".repeat(50)), None);
        let key = vec!["a"; 18].join(".");
        assert_eq!(too_deep(&format!("{key} = 1")), Some(33));
        assert_eq!(too_deep(&format!("[{key}]")), Some(34));
    }
}
