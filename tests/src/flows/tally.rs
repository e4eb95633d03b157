//! What came of flows.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, anyhow, ensure};

/// Failures whose words are kept.
const FAILURES_KEPT: usize = 8;

/// What came of flows.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Questions that were answered rightly.
    pub exchanges: u64,
    /// Flows that began, by the backend that they began at.
    pub begun: BTreeMap<String, u64>,
    /// Flows that ended as they were to.
    pub ended: u64,
    /// Flows that could not begin.
    pub refused: u64,
    /// Answers that came from another backend than the one before.
    pub moved: u64,
    /// Flows that broke: an error, an end that was not asked for, a wrong answer or none.
    pub broken: u64,
    /// Flows that began at a backend that should get none.
    pub misplaced: u64,
    /// UDP questions that had to be asked again.
    pub asked_again: u64,
    /// Moves and breaks by the backend that the flow was at.
    pub lost: BTreeMap<String, u64>,
    /// What the first few failures said.
    pub failures: Vec<String>,
}

impl Tally {
    pub(super) fn note(&mut self, failure: String) {
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(failure);
        }
    }

    /// Fails unless every flow stayed where it began and was answered to its end.
    ///
    /// # Errors
    /// What happened to how many.
    pub fn none_suffered(&self) -> Result<()> {
        ensure!(self.exchanges > 0, "nothing was asked");
        let suffered = self.refused + self.moved + self.broken + self.misplaced;
        if suffered > 0 { Err(anyhow!("{self}")).context("no flow may suffer") } else { Ok(()) }
    }

    /// Fails unless every flow stayed and was answered, except those of one backend.
    ///
    /// # Errors
    /// What happened to how many.
    pub fn only_those_suffered(&self, of: &str) -> Result<()> {
        let strangers: Vec<_> = self.lost.iter().filter(|(home, _)| *home != of).collect();
        ensure!(strangers.is_empty(), "only flows of {of} may suffer, not {strangers:?}: {self}");
        ensure!(self.misplaced == 0, "flows began where they should not: {self}");
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun: u64 = self.begun.values().sum();
        write!(
            f,
            "{begun} flows began {:?} and {} ended; {} questions were answered ({} asked again); \
             {} moved, {} broke {:?}, {} could not begin, {} began at a wrong place",
            self.begun,
            self.ended,
            self.exchanges,
            self.asked_again,
            self.moved,
            self.broken,
            self.lost,
            self.refused,
            self.misplaced
        )?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}
