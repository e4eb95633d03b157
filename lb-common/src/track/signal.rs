//! What a packet says of its flow's life.

use core::ops::BitOr;

use crate::protocol;

/// What a packet says of its flow's life: a set of bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signal(pub u32);

impl Signal {
    /// Nothing of note.
    pub const NONE: Self = Self(0);
    /// The packet asks for a new flow.
    pub const FIRST: Self = Self(1 << 0);
    /// The packet ends its flow.
    pub const CLOSING: Self = Self(1 << 1);
    /// The packet only tells of the flow (an ICMP error): it goes where the flow goes, and leaves no trace.
    pub const RELATED: Self = Self(1 << 2);

    /// True if all bits of `other` are in this.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What a TCP packet says, by its flags: octet 13 of the header (RFC 9293 section 3.1).
    #[inline(always)]
    #[must_use]
    pub const fn of_tcp(flags: u8) -> Self {
        const FIN: u8 = 1 << 0;
        const SYN: u8 = 1 << 1;
        const RST: u8 = 1 << 2;
        const ACK: u8 = 1 << 4;
        if flags & (FIN | RST) != 0 {
            Self::CLOSING
        } else if flags & (SYN | ACK) == SYN {
            Self::FIRST
        } else {
            Self::NONE
        }
    }

    /// What an SCTP packet says, by the type of its first chunk (RFC 9260 section 3.2). INIT comes alone in its packet.
    #[inline(always)]
    #[must_use]
    pub const fn of_sctp(chunk: u8) -> Self {
        const INIT: u8 = 1;
        const ABORT: u8 = 6;
        const SHUTDOWN: u8 = 7;
        const SHUTDOWN_ACK: u8 = 8;
        const SHUTDOWN_COMPLETE: u8 = 14;
        match chunk {
            INIT => Self::FIRST,
            ABORT | SHUTDOWN | SHUTDOWN_ACK | SHUTDOWN_COMPLETE => Self::CLOSING,
            _ => Self::NONE,
        }
    }

    /// The shortest UDP payload that can hold a client's QUIC Initial (RFC 9000 section 14.1).
    pub const QUIC_INITIAL: usize = 1200;

    /// What a UDP packet says, by the first octet of its payload, the four that follow (in host order) and the payload's
    /// length: a QUIC Initial of version 1 (RFC 9000 section 17.2.2) or 2 (RFC 9369 section 3.2) asks for a new flow.
    #[inline(always)]
    #[must_use]
    pub const fn of_udp(first: u8, version: u32, length: usize) -> Self {
        const V1: u32 = 1;
        const V2: u32 = 0x6b33_43cf;
        // Header form and fixed bit, then the packet's type.
        let initial = match version {
            V1 => 0b1100,
            V2 => 0b1101,
            _ => return Self::NONE,
        };
        if first >> 4 == initial && length >= Self::QUIC_INITIAL { Self::FIRST } else { Self::NONE }
    }
}

impl BitOr for Signal {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// True for a protocol whose flows begin with a packet that can be told from all others. QUIC's do, UDP's don't: a packet
/// without [`Signal::FIRST`] says nothing about the age of a UDP flow.
#[inline(always)]
#[must_use]
pub const fn begins_with_a_signal(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::SCTP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_flags() {
        for (flags, signal, what) in [
            (0x02, Signal::FIRST, "SYN"),
            (0xc2, Signal::FIRST, "SYN with ECE and CWR (RFC 3168)"),
            (0x12, Signal::NONE, "SYN and ACK"),
            (0x10, Signal::NONE, "ACK"),
            (0x18, Signal::NONE, "PSH and ACK"),
            (0x11, Signal::CLOSING, "FIN and ACK"),
            (0x04, Signal::CLOSING, "RST"),
            (0x06, Signal::CLOSING, "SYN and RST, which no host sends"),
            (0x03, Signal::CLOSING, "SYN and FIN, which no host sends"),
            (0x00, Signal::NONE, "no flag"),
        ] {
            assert_eq!(Signal::of_tcp(flags), signal, "{what}");
        }
    }

    #[test]
    fn sctp_chunks() {
        for (chunk, signal) in
            [(0, Signal::NONE), (1, Signal::FIRST), (2, Signal::NONE), (6, Signal::CLOSING), (14, Signal::CLOSING)]
        {
            assert_eq!(Signal::of_sctp(chunk), signal, "chunk {chunk}");
        }
    }

    #[test]
    fn quic_initials() {
        for (first, version, length, signal, what) in [
            (0xc3, 1, 1200, Signal::FIRST, "Initial of version 1"),
            (0xd0, 0x6b33_43cf, 1252, Signal::FIRST, "Initial of version 2"),
            (0xc3, 1, 1199, Signal::NONE, "too short for a client's Initial"),
            (0xd3, 1, 1200, Signal::NONE, "0-RTT of version 1"),
            (0xe3, 1, 1200, Signal::NONE, "Handshake of version 1"),
            (0xc3, 0x6b33_43cf, 1200, Signal::NONE, "Retry of version 2"),
            (0xc3, 0x0a0a_0a0a, 1200, Signal::NONE, "a version that nobody knows"),
            (0x43, 1, 1200, Signal::NONE, "short header"),
        ] {
            assert_eq!(Signal::of_udp(first, version, length), signal, "{what}");
        }
    }
}
