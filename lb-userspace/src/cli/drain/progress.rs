//! How far a drain is, in one line, and where that line is shown.

use std::io::{self, IsTerminal, Write};

use super::super::table::span;
use crate::engine::status::DrainStatus;

/// A line for people: one that is written over on a terminal, one for each change elsewhere.
#[derive(Debug)]
pub(super) struct Progress<W> {
    out: W,
    /// On a terminal: how many columns it has now.
    columns: Option<fn() -> usize>,
    /// What the line is about that stands there.
    subject: Option<String>,
}

impl Progress<io::Stderr> {
    /// On standard error.
    pub(super) fn on_stderr() -> Self {
        // 80 columns, as terminals have that do not know.
        let columns: fn() -> usize =
            || terminal_size::terminal_size_of(io::stderr()).map_or(80, |(columns, _)| columns.0.into());
        Self::new(io::stderr(), io::stderr().is_terminal().then_some(columns))
    }
}

impl<W: Write> Progress<W> {
    pub(super) const fn new(out: W, columns: Option<fn() -> usize>) -> Self {
        Self { out, columns, subject: None }
    }

    /// Shows a line. Elsewhere than on a terminal only if its subject is another than the last one's: the time goes by
    /// in any case, and is no change.
    pub(super) fn show(&mut self, subject: &str, line: &str) {
        // A line that cannot be shown is no reason to end the waiting.
        let _ = if let Some(columns) = self.columns {
            // One that went on in the next row could not be written over; the last column may wrap, too.
            let fitting: String = line.chars().take(columns().saturating_sub(1)).collect();
            // Back to the first column, and erase what is left of a longer line (ECMA-48, EL).
            write!(self.out, "\r{fitting}\x1b[K").and_then(|()| self.out.flush())
        } else if self.subject.as_deref() != Some(subject) {
            writeln!(self.out, "{line}")
        } else {
            Ok(())
        };
        self.subject = Some(subject.to_owned());
    }

    /// Leaves the line, so that what follows has one of its own.
    pub(super) fn finish(mut self) -> W {
        if self.columns.is_some() && self.subject.is_some() {
            let _ = writeln!(self.out);
        }
        self.out
    }
}

/// How many flows are left, and until when they are waited for. `now` is in seconds of the Unix epoch.
pub(in crate::cli) fn state(drain: &DrainStatus, now: u64) -> String {
    let until = drain.deadline.map(|deadline| format!(", {}", until_deadline(deadline, now)));
    format!("{}{}", left(drain.flows), until.unwrap_or_default())
}

/// The same, with the flows that end in a second, and the listener's longest idle time in seconds.
pub(super) fn state_at(drain: &DrainStatus, rate: Option<f64>, idle: u64, now: u64) -> String {
    let DrainStatus { since, deadline, flows } = *drain;
    // When the last flow of the time before the drain has shown itself, or has been silent for too long.
    let shown = since.saturating_add(idle);
    if flows == 0 && shown > now && deadline.is_none_or(|deadline| shown < deadline) {
        return format!("no flow seen, silent ones get {} more", span(shown - now));
    }
    let mut text = left(flows);
    let rate = rate.filter(|_| flows > 0);
    if let Some(rate) = rate {
        text.push_str(&format!(", {rate:.1}/s ending"));
    }
    match (deadline, rate) {
        (Some(deadline), _) => text.push_str(&format!(", {}", until_deadline(deadline, now))),
        // A rate is more than 0, and what is beyond all numbers is as good as the largest.
        (None, Some(rate)) => text.push_str(&format!(", about {} to go", span((flows as f64 / rate).ceil() as u64))),
        (None, None) => {}
    }
    text
}

/// How much time is left.
pub(super) fn until_deadline(deadline: u64, now: u64) -> String {
    format!("{} until the deadline", span(deadline.saturating_sub(now)))
}

/// What is left, in words; the same words as long as nothing changes.
pub(super) fn left(flows: u64) -> String {
    match flows {
        0 => "no flow seen, silent ones are waited for".into(),
        1 => "1 flow left".into(),
        flows => format!("{flows} flows left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_line_and_a_log_one_for_each_change() {
        let show = |columns| {
            let mut progress = Progress::new(Vec::new(), columns);
            for (subject, line) in [("2 left", "2 left, 9s"), ("2 left", "2 left, 8s"), ("1 left", "1 left, 7s")] {
                progress.show(subject, line);
            }
            String::from_utf8(progress.finish()).expect("text")
        };
        assert_eq!(show(Some(|| 80)), "\r2 left, 9s\x1b[K\r2 left, 8s\x1b[K\r1 left, 7s\x1b[K\n");
        assert_eq!(show(Some(|| 7)), "\r2 left\x1b[K\r2 left\x1b[K\r1 left\x1b[K\n");
        assert_eq!(show(Some(|| 7)), "\r2 left\x1b[K\r2 left\x1b[K\r1 left\x1b[K\n");
        assert_eq!(show(None), "2 left, 9s\n1 left, 7s\n");
    }

    #[test]
    fn the_line_says_how_many_how_fast_and_how_long() {
        for (flows, deadline, rate, idle, text) in [
            (1_200, None, None, 900, "1200 flows left"),
            (1_200, None, Some(40.0), 900, "1200 flows left, 40.0/s ending, about 30s to go"),
            (1_200, Some(1_300), Some(40.0), 900, "1200 flows left, 40.0/s ending, 3m 20s until the deadline"),
            (1, Some(1_000), None, 900, "1 flow left, 0s until the deadline"),
            (0, None, Some(2.5), 900, "no flow seen, silent ones get 13m 20s more"),
            (0, Some(9_000), None, 900, "no flow seen, silent ones get 13m 20s more"),
            (0, Some(1_130), None, 900, "no flow seen, silent ones are waited for, 30s until the deadline"),
            (0, None, None, 100, "no flow seen, silent ones are waited for"),
        ] {
            let drain = DrainStatus { since: 1_000, deadline, flows };
            assert_eq!(state_at(&drain, rate, idle, 1_100), text);
        }
    }
}
