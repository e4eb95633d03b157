//! What is wrong on the segment, and how to mend it: `drlb doctor`.
//!
//! ```text
//!   engine ─[Questions]─▶ look ──▶ the backends' services, by the VIP and by their own addresses (health)
//!                          │ ├───▶ hosts on the segments, by raw frames (inquiry)
//!                          │ └───▶ this host's interfaces (netlink, ethtool)
//!   engine ─[Status]──▶ examine ◀─[Seen]─┘ ──▶ findings
//! ```
//!
//! [`questions`] is what is asked, [`inquiry`] how hosts are asked and what their answers mean, and [`examine`] what follows
//! from all that. These are pure; [`look`] does the asking.

use serde::{Deserialize, Serialize};

use crate::engine::Status;

mod backends;
pub mod inquiry;
mod interfaces;
pub mod look;
pub mod questions;
pub mod seen;
mod vips;

#[cfg(test)]
mod tests;

pub use questions::Questions;
pub use seen::Seen;

/// Something that is wrong, or worth knowing. Serialised, it is the documented JSON of `drlb doctor -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A name that programs can act on.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: an interface, a VIP, a listener, or a listener and its backend.
    pub about: String,
    /// What is wrong and what to do, without a full stop at the end.
    pub text: String,
}

/// All that was found: the JSON of `drlb doctor -o json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Problems first.
    pub findings: Vec<Finding>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Traffic is lost, or goes where it should not, or will.
    Problem,
    /// It works.
    Note,
}

/// All that a snapshot and what was seen show to be wrong: problems first.
#[must_use]
pub fn examine(status: &Status, questions: &Questions, seen: &Seen) -> Report {
    let mut findings = Findings::default();
    interfaces::examine(status, seen, &mut findings);
    vips::examine(status, seen, &mut findings);
    backends::examine(status, questions, seen, &mut findings);
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    Report { findings }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn problem(&mut self, code: &str, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Problem, code, about.into(), text.into());
    }

    fn note(&mut self, code: &str, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Note, code, about.into(), text.into());
    }

    fn add(&mut self, severity: Severity, code: &str, about: String, text: String) {
        let finding = Finding { code: code.to_owned(), severity, about, text };
        // Two listeners may share a pool, and two pools a backend.
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}
