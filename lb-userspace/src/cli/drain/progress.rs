//! How far a drain is, in one line, and where that line is shown.

use std::io::Write;

use super::super::table::span;
use crate::engine::status::DrainStatus;

/// A line for people: one that is written over on a terminal, one for each change elsewhere.
#[derive(Debug)]
pub(super) struct Progress<W> {
    out: W,
    terminal: bool,
    /// What the line is about that stands there.
    subject: Option<String>,
}

impl<W: Write> Progress<W> {
    pub(super) const fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, subject: None }
    }

    /// Shows a line. Elsewhere than on a terminal only if its subject is another than the last one's: the time goes by
    /// in any case, and is no change.
    pub(super) fn show(&mut self, subject: &str, line: &str) {
        // A line that cannot be shown is no reason to end the waiting.
        let _ = if self.terminal {
            // Back to the first column, and erase what is left of a longer line (ECMA-48, EL).
            write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush())
        } else if self.subject.as_deref() != Some(subject) {
            writeln!(self.out, "{line}")
        } else {
            Ok(())
        };
        self.subject = Some(subject.to_owned());
    }

    /// Leaves the line, so that what follows has one of its own.
    pub(super) fn finish(mut self) -> W {
        if self.terminal && self.subject.is_some() {
            let _ = writeln!(self.out);
        }
        self.out
    }
}

/// How many flows are left, and until when they are waited for. `now` is in seconds of the Unix epoch.
pub(in crate::cli) fn state(drain: &DrainStatus, now: u64) -> String {
    state_at(drain, None, None, now)
}

/// The same, with the flows that end in a second, and the listener's longest idle time in seconds, as far as they are
/// known.
pub(super) fn state_at(drain: &DrainStatus, rate: Option<f64>, idle: Option<u64>, now: u64) -> String {
    let DrainStatus { since, deadline, flows } = *drain;
    let mut text = left(flows);
    let rate = rate.filter(|_| flows > 0);
    if let Some(rate) = rate {
        text.push_str(&format!(", {rate:.1}/s ending"));
    }
    // When the last flow has shown itself that was there when the drain began, or has been silent for too long.
    let shown = idle.map(|idle| since.saturating_add(idle)).filter(|&shown| shown > now);
    match (deadline, rate, shown) {
        (Some(deadline), ..) => text.push_str(&format!(", {} until the deadline", span(deadline.saturating_sub(now)))),
        (None, Some(rate), _) => {
            // A rate is more than 0, and what is beyond all numbers is as good as the largest.
            let seconds = (flows as f64 / rate).ceil() as u64;
            text.push_str(&format!(", about {} to go", span(seconds)));
        }
        (None, _, Some(shown)) if flows == 0 => text.push_str(&format!(", {} at most", span(shown - now))),
        _ => {}
    }
    text
}

/// What is left, in words; the same words as long as nothing changes.
pub(super) fn left(flows: u64) -> String {
    match flows {
        0 => "no flow in sight, silent ones are waited for".into(),
        1 => "1 flow left".into(),
        flows => format!("{flows} flows left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_line_and_a_log_one_for_each_change() {
        let show = |terminal| {
            let mut progress = Progress::new(Vec::new(), terminal);
            for (subject, line) in [("2 left", "2 left, 9s"), ("2 left", "2 left, 8s"), ("1 left", "1 left, 7s")] {
                progress.show(subject, line);
            }
            String::from_utf8(progress.finish()).expect("text")
        };
        assert_eq!(show(true), "\r2 left, 9s\x1b[K\r2 left, 8s\x1b[K\r1 left, 7s\x1b[K\n");
        assert_eq!(show(false), "2 left, 9s\n1 left, 7s\n");
    }

    #[test]
    fn the_line_says_how_many_how_fast_and_how_long() {
        for (flows, deadline, rate, idle, text) in [
            (1_200, None, None, None, "1200 flows left"),
            (1_200, None, Some(40.0), Some(900), "1200 flows left, 40.0/s ending, about 30s to go"),
            (1_200, Some(1_300), Some(40.0), Some(900), "1200 flows left, 40.0/s ending, 3m 20s until the deadline"),
            (1, Some(1_000), None, None, "1 flow left, 0s until the deadline"),
            (0, None, None, None, "no flow in sight, silent ones are waited for"),
            (0, None, None, Some(900), "no flow in sight, silent ones are waited for, 13m 20s at most"),
            (0, None, Some(2.5), Some(900), "no flow in sight, silent ones are waited for, 13m 20s at most"),
            (0, None, None, Some(100), "no flow in sight, silent ones are waited for"),
        ] {
            let drain = DrainStatus { since: 1_000, deadline, flows };
            assert_eq!(state_at(&drain, rate, idle, 1_100), text);
        }
    }
}
