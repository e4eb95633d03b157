//! What one source file imports, and where it is unsafe.

use super::tokens::{self, Token};

/// A name with its place, made absolute: it starts with `crate` or with an outer crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// What a file says, without its test modules.
#[derive(Debug)]
pub(super) struct Source {
    /// From the workspace's root on.
    pub(super) file: String,
    /// Every path of more than one segment, and everything that is brought in by `use`.
    pub(super) imports: Vec<Import>,
    /// Lines with an `unsafe` block, function, trait or implementation.
    pub(super) unsafe_lines: Vec<usize>,
}

impl Source {
    /// Reads the text of `file`, which belongs to the crate whose source is in `folder`.
    pub(super) fn read(file: &str, folder: &str, text: &str) -> Self {
        let tokens = without_tests(&tokens::cut(text));
        let module = module_of(file, folder);
        let imports = paths(&tokens)
            .into_iter()
            .map(|Import { path, line }| Import { path: absolute(path, &module), line })
            .collect();
        // `#[unsafe(no_mangle)]` is an attribute, and no block.
        let unsafe_lines = tokens
            .windows(2)
            .filter(|pair| pair[0].text == "unsafe" && pair[1].text != "(")
            .map(|pair| pair[0].line)
            .collect();
        Self { file: file.to_owned(), imports, unsafe_lines }
    }
}

/// The module that a file is, as a path from `crate` on.
fn module_of(file: &str, folder: &str) -> Vec<String> {
    let inside = file.strip_prefix(folder).unwrap_or(file).trim_start_matches('/').trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| !["lib", "main", "mod"].contains(name));
    ["crate"].into_iter().chain(names).map(str::to_owned).collect()
}

/// A path as it is written, from `crate` or an outer crate on.
fn absolute(path: Vec<String>, module: &[String]) -> Vec<String> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let (base, skip) = match path.first().map(String::as_str) {
        Some("self") => (module, 1),
        Some("super") => (&module[..module.len().saturating_sub(supers)], supers),
        _ => (&[][..], 0),
    };
    base.iter().cloned().chain(path.into_iter().skip(skip)).collect()
}

/// The tokens without the items that are compiled for tests only.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let marked = tokens.len() - at >= MARK.len() && (0..MARK.len()).all(|i| tokens[at + i].text == MARK[i]);
        if marked {
            at = end_of_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Where the item that starts at `at` ends: after its `;`, or after the bracket that closes its body.
fn end_of_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// Every path of the tokens as it is written.
fn paths(tokens: &[Token<'_>]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1).map_or("", |token| token.text);
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text);
        match token.text {
            // `use<'a>` in a type captures lifetimes.
            "use" if next != "<" => at = tree(tokens, at + 1, &[], &mut found),
            "extern" if next == "crate" => {
                at = tree(tokens, at + 2, &[], &mut found);
            }
            _ if token.is_word() && next == "::" && before != "::" && before != "." => {
                at = plain(tokens, at, &mut found);
            }
            _ => at += 1,
        }
    }
    found
}

/// Reads a path in an expression or a type; returns the place after it.
fn plain(tokens: &[Token<'_>], start: usize, found: &mut Vec<Import>) -> usize {
    let mut path = vec![tokens[start].text.to_owned()];
    let mut at = start + 1;
    while let [sign, word, ..] = &tokens[at..]
        && sign.text == "::"
        && word.is_word()
    {
        path.push(word.text.to_owned());
        at += 2;
    }
    found.push(Import { path, line: tokens[start].line });
    at
}

/// Reads one branch of a `use`, below a prefix; returns the place after it.
fn tree(tokens: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            // The name that it is given here says nothing of where it is from.
            "as" => at += 2,
            // `use a::{self}` brings in `a`.
            "self" if !path.is_empty() => at += 1,
            text if token.is_word() || text == "*" => {
                path.push(text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    // A comma, the bracket or the semicolon behind a branch: its line is that of its last word.
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |token| token.line);
    found.push(Import { path, line });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(file: &str, text: &str) -> Vec<String> {
        Source::read(file, "x/src", text).imports.into_iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn a_use_with_branches_is_every_one_of_them() {
        let text = "use crate::{model::{self, Name}, store::*};\npub(crate) use aya::Ebpf as Loaded;\nuse ::libc;";
        let expected = ["crate::model", "crate::model::Name", "crate::store::*", "aya::Ebpf", "libc"];
        assert_eq!(imports("x/src/a.rs", text), expected);
    }

    #[test]
    fn paths_in_code_count_and_methods_do_not() {
        let text = "fn f(x: aya::maps::Map) { tokio::spawn(g()).await; x.iter::<u8>(); Vec::<u8>::new() }";
        assert_eq!(imports("x/src/a.rs", text), ["aya::maps::Map", "tokio::spawn", "Vec"]);
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        assert_eq!(
            imports("x/src/a/b.rs", "use super::c; use super::super::d; use self::e;"),
            ["crate::a::c", "crate::d", "crate::a::b::e"]
        );
        assert_eq!(imports("x/src/a/mod.rs", "use super::d;"), ["crate::d"]);
        assert_eq!(imports("x/src/lib.rs", "use self::d;"), ["crate::d"]);
    }

    #[test]
    fn what_is_for_tests_is_not_read() {
        let text = "#[cfg(test)]\nextern crate std;\nuse a::b;\n#[cfg(test)]\nmod tests { use tokio::x; fn f() { {} } }\nuse c::d;";
        assert_eq!(imports("x/src/a.rs", text), ["a::b", "c::d"]);
    }

    #[test]
    fn unsafe_blocks_are_seen_and_unsafe_attributes_are_not() {
        let text = "#[unsafe(no_mangle)]\nfn f() {\n unsafe { g() }\n}\n// unsafe { }\nunsafe impl Send for X {}";
        assert_eq!(Source::read("x/src/a.rs", "x/src", text).unsafe_lines, [3, 6]);
    }

    #[test]
    fn lines_are_those_of_the_names() {
        let source = Source::read("x/src/a.rs", "x/src", "use a::{\n    b,\n    c::d,\n};\nfn f() {\n    e::g();\n}");
        let lines: Vec<_> = source.imports.iter().map(|import| import.line).collect();
        assert_eq!(lines, [2, 3, 6]);
    }
}
