//! Statements and blocks: a keyword and its words on a line, and what stands between braces after it.

use super::super::Imported;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) line: usize,
    /// The keyword and what follows it.
    pub(super) words: Vec<String>,
    block: Vec<Statement>,
}

impl Statement {
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.keyword() == keyword
    }

    /// The word after the keyword.
    pub(super) fn value(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    pub(super) fn number<T: std::str::FromStr>(&self) -> Option<T> {
        self.value()?.parse().ok()
    }

    pub(super) fn block(&self) -> &[Statement] {
        &self.block
    }
}

/// Reads a whole text. What is wrong with its braces is noted; what stands in an open block belongs to it.
pub(super) fn parse(text: &str, imported: &mut Imported) -> Vec<Statement> {
    // The open blocks, the text itself at the bottom.
    let mut open: Vec<Statement> = vec![Statement { line: 0, words: vec![], block: vec![] }];
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let mut words = Vec::new();
        for word in split(line) {
            match word.as_str() {
                "{" => {
                    let mut words = std::mem::take(&mut words);
                    // The brace may stand on a line of its own.
                    let above = open.last_mut().filter(|_| words.is_empty()).and_then(|outer| outer.block.pop());
                    let line = above.as_ref().map_or(line_number, |above| above.line);
                    words = above.map_or(words, |above| above.words);
                    open.push(Statement { line, words, block: vec![] });
                }
                "}" => {
                    put(&mut open, line_number, std::mem::take(&mut words));
                    match open.pop() {
                        Some(block) if !open.is_empty() => push(&mut open, block),
                        bottom => {
                            open.extend(bottom);
                            imported.note(line_number, "a `}` that closes nothing was passed over");
                        }
                    }
                }
                _ => words.push(word),
            }
        }
        put(&mut open, line_number, words);
    }
    while open.len() > 1 {
        if let Some(block) = open.pop() {
            imported.note(block.line, format!("`{}` is not closed by a `}}`", block.words.join(" ")));
            push(&mut open, block);
        }
    }
    open.pop().map_or_else(Vec::new, |bottom| bottom.block)
}

fn put(open: &mut [Statement], line: usize, words: Vec<String>) {
    if !words.is_empty() {
        push(open, Statement { line, words, block: vec![] });
    }
}

fn push(open: &mut [Statement], statement: Statement) {
    if let Some(outer) = open.last_mut() {
        outer.block.push(statement);
    }
}

/// A line's words: between blanks, or between double quotes. Comments begin with `#` or `!`.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        match first {
            '#' | '!' => break,
            '"' => {
                let text = &rest[1..];
                let end = text.find('"').unwrap_or(text.len());
                words.push(text[..end].to_owned());
                rest = text.get(end + 1..).unwrap_or("");
            }
            '{' | '}' => {
                words.push(first.to_string());
                rest = &rest[1..];
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "{}#".contains(c)).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
        }
        rest = rest.trim_start();
    }
    words
}
