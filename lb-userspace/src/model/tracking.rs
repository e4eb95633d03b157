//! What is set of the flows' memory: session persistence, idle times, and a backend's draining.

use lb_common::track::pin;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// Session persistence by source address: for a while, a client's new flows go to the backend that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persistence {
    /// Seconds that a session lasts after the client's last new flow, 1 to [`Persistence::MAX_TIMEOUT`].
    pub timeout: u32,
    /// Leading bits of an IPv6 client's address that make one session, 1 to 128.
    #[serde(default = "whole_ipv6")]
    pub ipv6_prefix: u8,
    /// Leading bits of an IPv4 client's address that make one session, 1 to 32.
    #[serde(default = "whole_ipv4")]
    pub ipv4_prefix: u8,
}

const fn whole_ipv6() -> u8 {
    128
}

const fn whole_ipv4() -> u8 {
    32
}

impl Default for Persistence {
    fn default() -> Self {
        Self { timeout: Self::DEFAULT_TIMEOUT, ipv6_prefix: whole_ipv6(), ipv4_prefix: whole_ipv4() }
    }
}

impl Persistence {
    /// Seconds that a session lasts unless set: one hour.
    pub const DEFAULT_TIMEOUT: u32 = 3_600;
    /// The most seconds that a session can last: a week.
    pub const MAX_TIMEOUT: u32 = 7 * 86_400;

    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !(1..=Self::MAX_TIMEOUT).contains(&self.timeout) {
            let (timeout, max) = (self.timeout, Self::MAX_TIMEOUT);
            return Err(Fault::invalid(format!("a session cannot last {timeout} seconds; give 1 to {max}")));
        }
        for (family, prefix, max) in [("IPv6", self.ipv6_prefix, 128), ("IPv4", self.ipv4_prefix, 32)] {
            if !(1..=max).contains(&prefix) {
                return Err(Fault::invalid(format!(
                    "a session of {family} clients cannot be their leading {prefix} bits; give 1 to {max}"
                )));
            }
        }
        Ok(())
    }
}

/// For how many seconds a flow may be silent before it counts as ended, by its state. Each is 1 to
/// [`Timeouts::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// After its first packet.
    pub handshake: u32,
    /// At work (TCP and SCTP).
    pub established: u32,
    /// After FIN or RST of TCP, SHUTDOWN or ABORT of SCTP.
    pub closing: u32,
    /// UDP.
    pub udp: u32,
    /// Any other protocol.
    pub other: u32,
}

/// What to change of [`Timeouts`], in seconds; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutsChange {
    /// After a flow's first packet.
    pub handshake: Option<u32>,
    /// At work (TCP and SCTP).
    pub established: Option<u32>,
    /// After FIN or RST of TCP, SHUTDOWN or ABORT of SCTP.
    pub closing: Option<u32>,
    /// UDP.
    pub udp: Option<u32>,
    /// Any other protocol.
    pub other: Option<u32>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { handshake: 60, established: 900, closing: 30, udp: 120, other: 300 }
    }
}

impl Timeouts {
    /// The most seconds that one can be: a week.
    pub const MAX: u32 = 7 * 86_400;

    /// These, with a change made.
    #[must_use]
    pub fn with(self, change: &TimeoutsChange) -> Self {
        Self {
            handshake: change.handshake.unwrap_or(self.handshake),
            established: change.established.unwrap_or(self.established),
            closing: change.closing.unwrap_or(self.closing),
            udp: change.udp.unwrap_or(self.udp),
            other: change.other.unwrap_or(self.other),
        }
    }

    /// The same in ticks.
    #[must_use]
    pub const fn ticks(&self) -> pin::Timeouts {
        const fn ticks(seconds: u32) -> u32 {
            pin::Moment::ticks(seconds as u64 * 1_000)
        }
        pin::Timeouts {
            handshake: ticks(self.handshake),
            established: ticks(self.established),
            closing: ticks(self.closing),
            udp: ticks(self.udp),
            other: ticks(self.other),
        }
    }

    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Self { handshake, established, closing, udp, other } = *self;
        let named = [
            ("handshake", handshake),
            ("established", established),
            ("closing", closing),
            ("udp", udp),
            ("other", other),
        ];
        match named.into_iter().find(|(_, seconds)| !(1..=Self::MAX).contains(seconds)) {
            None => Ok(()),
            Some((name, seconds)) => Err(Fault::invalid(format!(
                "the idle time `{name}` cannot be {seconds} seconds; give 1 to {}",
                Self::MAX
            ))),
        }
    }
}

/// That a backend is to run empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drain {
    /// When that was asked for, in seconds since 1970 (Unix time).
    pub since: u64,
    /// When it ends whatever the backend still has, in seconds since 1970; `None` to wait for the last flow.
    pub deadline: Option<u64>,
    /// True when it has ended: the backend takes nothing any more.
    pub drained: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        assert_eq!(Timeouts::default().ticks(), pin::Timeouts::DEFAULT);
        assert_eq!(Timeouts::default().check(), Ok(()));
        assert_eq!(Persistence::default().check(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for udp in [0, Timeouts::MAX + 1] {
            let fault = Timeouts { udp, ..Timeouts::default() }.check().expect_err("out of range");
            assert_eq!(fault.message, format!("the idle time `udp` cannot be {udp} seconds; give 1 to 604800"));
        }
        for persistence in [
            Persistence { timeout: 0, ..Persistence::default() },
            Persistence { timeout: 604_801, ..Persistence::default() },
            Persistence { ipv6_prefix: 0, ..Persistence::default() },
            Persistence { ipv6_prefix: 129, ..Persistence::default() },
            Persistence { ipv4_prefix: 33, ..Persistence::default() },
        ] {
            assert!(persistence.check().is_err(), "{persistence:?}");
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let change = TimeoutsChange { udp: Some(7), ..TimeoutsChange::default() };
        assert_eq!(Timeouts::default().with(&change), Timeouts { udp: 7, ..Timeouts::default() });
    }
}
