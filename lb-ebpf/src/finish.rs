//! How a packet's way ends.

use lb_common::outcome::Outcome;

/// What the kernel is to do with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on as if drlb were not there.
    Pass,
    /// Drop it.
    Drop,
    /// Send it out of the interface it came in by.
    Transmit,
    /// Send it out of the interface of the segment with that index.
    Redirect(u16),
    /// Send it to where probes are sent from.
    Probe,
}

/// The end of a packet's way: a verdict and the counter for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// What the kernel is to do.
    pub verdict: Verdict,
    /// The counter's name.
    pub outcome: Outcome,
}

impl Finish {
    /// The packet is none of ours.
    #[inline(always)]
    #[must_use]
    pub const fn pass(outcome: Outcome) -> Self {
        Self { verdict: Verdict::Pass, outcome }
    }

    /// The packet is for a VIP and can't be served.
    #[inline(always)]
    #[must_use]
    pub const fn drop(outcome: Outcome) -> Self {
        Self { verdict: Verdict::Drop, outcome }
    }

    /// The end as a number, to hand it on from a subprogram: the outcome in bits 0–7, the verdict in bits 8–15, and a
    /// redirect's segment in bits 16–31. Probes, that a subprogram never ends with, have none.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        let verdict = match self.verdict {
            Verdict::Pass | Verdict::Probe => 0,
            Verdict::Drop => 1,
            Verdict::Transmit => 2,
            Verdict::Redirect(segment) => 3 | (segment as u32) << 8,
        };
        verdict << 8 | self.outcome as u32
    }

    /// The end from what [`Finish::to_bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let verdict = match bits >> 8 & 0xff {
            0 => Verdict::Pass,
            1 => Verdict::Drop,
            2 => Verdict::Transmit,
            _ => Verdict::Redirect((bits >> 16) as u16),
        };
        Self { verdict, outcome: Outcome::from_index(bits & 0xff).unwrap_or(Outcome::Malformed) }
    }

    /// The packet has become our answer to its sender.
    #[inline(always)]
    #[must_use]
    pub const fn answered(outcome: Outcome) -> Self {
        Self { verdict: Verdict::Transmit, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_handed_on_whole() {
        let ends = [
            Verdict::Pass,
            Verdict::Drop,
            Verdict::Transmit,
            Verdict::Redirect(0),
            Verdict::Redirect(0x7fff),
            Verdict::Redirect(u16::MAX),
        ];
        for verdict in ends {
            for &outcome in Outcome::ALL {
                let finish = Finish { verdict, outcome };
                assert_eq!(Finish::from_bits(finish.to_bits()), finish);
            }
        }
    }
}
