//! Rust source cut into words and signs, as far as imports need it: comments, strings and characters are left out.

/// A word (identifier, keyword or number), `::`, or one other sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// True for an identifier, a keyword or a number.
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_char)
    }
}

fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The tokens of a source file that compiles.
pub(super) fn cut(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let left_out = comment(rest).or_else(|| string(rest)).or_else(|| character(rest));
        let length = match left_out {
            Some(length) => length,
            None if first.is_whitespace() => first.len_utf8(),
            None => {
                let text = match rest.find(|c| !is_word_char(c)).unwrap_or(rest.len()) {
                    0 if rest.starts_with("::") => "::",
                    0 => &rest[..first.len_utf8()],
                    word => &rest[..word],
                };
                tokens.push(Token { text, line });
                text.len()
            }
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// Length of the comment that the text starts with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_u32, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(text.len())
}

/// Length of the string that the text starts with: plain, byte, C, or raw.
fn string(text: &str) -> Option<usize> {
    let body = ["br", "cr", "b", "c", "r", ""].into_iter().find_map(|prefix| {
        let rest = text.strip_prefix(prefix)?;
        let raw = prefix.ends_with('r');
        (rest.starts_with('"') || (raw && rest.trim_start_matches('#').starts_with('"') && rest.starts_with('#')))
            .then_some((prefix.len(), raw))
    });
    let (start, raw) = body?;
    let rest = &text[start..];
    let marks = rest.len() - rest.trim_start_matches('#').len();
    let open = start + marks + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(marks));
        return Some(text[open..].find(&close).map_or(text.len(), |at| open + at + close.len()));
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Length of the character, or the lifetime, that the text starts with.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let first = rest.chars().next()?;
    if first == '\\' {
        // What is escaped may be the quote itself.
        let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
        return rest[1 + escaped..].find('\'').map(|at| 1 + 1 + escaped + at + 1);
    }
    let after = &rest[first.len_utf8()..];
    if after.starts_with('\'') {
        return Some(1 + first.len_utf8() + 1);
    }
    Some(1 + rest.find(|c| !is_word_char(c)).unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        cut(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn words_and_signs_are_told_apart() {
        assert_eq!(words("use a_1::{b, c};"), ["use", "a_1", "::", "{", "b", ",", "c", "}", ";"]);
    }

    #[test]
    fn comments_and_strings_are_left_out() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r###"a "b \" c" r#"d " e"# b"f" br"g" h"###), ["a", "h"]);
    }

    #[test]
    fn characters_and_lifetimes_are_left_out() {
        assert_eq!(words(r"a '\'' b '\u{1f600}' c '{' d 'x e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(words("f::<'a, 'static>"), ["f", "::", "<", ",", ">"]);
        assert_eq!(words(r"match c { '\\' => x }"), ["match", "c", "{", "=", ">", "x", "}"]);
    }

    #[test]
    fn lines_are_counted_through_what_is_left_out() {
        let tokens = cut("a\n\"x\ny\"\n/*\n*/ b");
        assert_eq!(tokens.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 5]);
    }
}
