//! What the demo prints: for people, in at most 100 columns.

use std::io::{IsTerminal, Write, stdout};

/// Prints a line, and nothing if nobody is there to read it: a closed pipe must not keep the demo from its clean end.
pub(crate) fn line(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Starts a new part.
pub(crate) fn heading(text: &str) {
    let rule = "─".repeat(96_usize.saturating_sub(text.chars().count()));
    let (bold, plain) = if stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    line(&format!("\n{bold}── {text} {rule}{plain}"));
}

/// Prints some words, broken to the width of the screen.
pub(crate) fn note(text: &str) {
    let mut row = String::new();
    for word in text.split_whitespace() {
        if row.chars().count() + 1 + word.chars().count() > 96 {
            line(&row);
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row += word;
    }
    line(&row);
}

/// Prints a command as it is run.
pub(crate) fn command(host: &str, words: &[&str]) {
    line(&format!("[{host}]$ drlb {}", words.join(" ")));
}

/// Prints what a command printed, moved to the right.
pub(crate) fn output(text: &str) {
    for row in text.trim_end().lines() {
        line(format!("    {row}").trim_end());
    }
}

/// Prints a table. A column whose head begins with `>` is of numbers and stands to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let names: Vec<_> = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&names).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut text = String::from(" ");
        for ((cell, width), head) in row.iter().zip(&widths).zip(head) {
            text += &if head.starts_with('>') { format!("   {cell:>width$}") } else { format!("   {cell:<width$}") };
        }
        line(text.trim_end());
    }
}
