//! How a packet's way ends.

use core::num::NonZeroU32;

use lb_common::outcome::Outcome;

/// What the kernel is to do with the packet: a number, not an enum, so that it goes from where it is decided to the kernel in one
/// register and is not asked about on the way.
///
/// Bits 0–7 are the kernel's `enum xdp_action` (linux/bpf.h), or 5 for a probe; bits 16–31 the segment of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(NonZeroU32);

impl Verdict {
    /// Drop it.
    pub const DROP: Self = Self::from_bits(1);
    /// Go on as if drlb were not there.
    pub const PASS: Self = Self::from_bits(2);
    /// Send it out of the interface it came in by.
    pub const TRANSMIT: Self = Self::from_bits(3);
    /// Send it to where probes are sent from.
    pub const PROBE: Self = Self::from_bits(5);

    const REDIRECT: u32 = 4;
    const ACTION: u32 = 0xff;
    const SEGMENT: u32 = 16;

    /// Send it out of the interface of the segment with that index.
    #[inline(always)]
    #[must_use]
    pub const fn redirect(segment: u16) -> Self {
        Self::from_bits(Self::REDIRECT | (segment as u32) << Self::SEGMENT)
    }

    /// The kernel's action, where nothing else is to be done.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Option<u32> {
        if self.0.get() < Self::REDIRECT { Some(self.0.get()) } else { None }
    }

    /// The segment that it goes out to, of a redirect.
    #[inline(always)]
    #[must_use]
    pub const fn segment(self) -> Option<u16> {
        if self.0.get() & Self::ACTION == Self::REDIRECT { Some((self.0.get() >> Self::SEGMENT) as u16) } else { None }
    }

    /// The verdict as a number, to hand it on from a subprogram.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0.get()
    }

    /// The verdict from what [`Verdict::to_bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match NonZeroU32::new(bits) {
            Some(bits) => Self(bits),
            // Not one of ours: who does not know what to do with a packet lets it go.
            None => Self(NonZeroU32::MIN.saturating_add(1)),
        }
    }
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
        Self { verdict: Verdict::PASS, outcome }
    }

    /// The packet is for a VIP and can't be served.
    #[inline(always)]
    #[must_use]
    pub const fn drop(outcome: Outcome) -> Self {
        Self { verdict: Verdict::DROP, outcome }
    }

    /// Where the outcome stands in the bits of a verdict, which has nothing there.
    const OUTCOME: u32 = 8;

    /// The end as a number, to hand it on from a subprogram: the verdict's bits, with the outcome in bits 8–15.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.verdict.to_bits() | (self.outcome as u32) << Self::OUTCOME
    }

    /// The end from what [`Finish::to_bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let verdict = Verdict::from_bits(bits & !(0xff << Self::OUTCOME));
        Self { verdict, outcome: Outcome::from_index(bits >> Self::OUTCOME & 0xff).unwrap_or(Outcome::Malformed) }
    }

    /// The packet has become our answer to its sender.
    #[inline(always)]
    #[must_use]
    pub const fn answered(outcome: Outcome) -> Self {
        Self { verdict: Verdict::TRANSMIT, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_it_was_made_of() {
        let all = [Verdict::DROP, Verdict::PASS, Verdict::TRANSMIT, Verdict::PROBE, Verdict::redirect(0x7fff)];
        assert_eq!(all.map(Verdict::action), [Some(1), Some(2), Some(3), None, None]);
        assert_eq!(all.map(Verdict::segment), [None, None, None, None, Some(0x7fff)]);
    }

    #[test]
    fn an_end_is_handed_on_whole() {
        let ends = [
            Verdict::PASS,
            Verdict::DROP,
            Verdict::TRANSMIT,
            Verdict::PROBE,
            Verdict::redirect(0),
            Verdict::redirect(0x7fff),
            Verdict::redirect(u16::MAX),
        ];
        for verdict in ends {
            for &outcome in Outcome::ALL {
                let finish = Finish { verdict, outcome };
                assert_eq!(Finish::from_bits(finish.to_bits()), finish);
            }
        }
    }
}
