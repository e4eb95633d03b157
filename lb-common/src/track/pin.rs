//! Pins: what is remembered of a flow while its slot is not steady, and for how long.

use bytemuck::{Pod, Zeroable};

use super::signal::{self, Signal};
use crate::address::{Address, Ports};
use crate::flow::Flow;
use crate::protocol;
use crate::slot::NO_BACKEND;

/// A point in time, in ticks of 2²⁷ ns (134 ms) of the kernel's monotonic clock.
///
/// It wraps after 18 years, and two moments can be compared if they are less than nine years apart.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Moment(pub u32);

impl Moment {
    /// A tick is two to the power of this many nanoseconds, so that the clock is brought to ticks by a shift.
    const SHIFT: u32 = 27;

    /// The moment at which the monotonic clock says `nanoseconds`.
    #[inline(always)]
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self((nanoseconds >> Self::SHIFT) as u32)
    }

    /// The ticks of a span of so many milliseconds, rounded up.
    #[must_use]
    pub const fn ticks(milliseconds: u64) -> u32 {
        let ticks = (milliseconds as u128 * 1_000_000).div_ceil(1 << Self::SHIFT);
        if ticks > i32::MAX as u128 { i32::MAX as u32 } else { ticks as u32 }
    }

    /// Ticks from `earlier` until this; 0 if `earlier` is the later one, as a pin's may be that a packet just wrote.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0);
        if ticks > i32::MAX as u32 { 0 } else { ticks }
    }
}

/// Which of the two tables of pins.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Flows of which only what could be their first packet was seen. When it is full, the pin that was not seen for the
    /// longest time makes way.
    Young,
    /// Flows that are at work. When it is full, no pin goes in, and none is pushed out.
    Established,
}

/// Key of the tables of pins: a flow, and the pool that it was balanced over. 40 bytes, no padding.
///
/// With the pool in the key, what is remembered of a flow ends when its listener gets another pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PinKey {
    source: Address,
    destination: Address,
    ports: Ports,
    protocol: u8,
    pool: [u8; 3],
}

impl PinKey {
    /// The pin of a flow over the pool with that number, of which the low 24 bits count.
    #[inline(always)]
    #[must_use]
    pub const fn new(flow: &Flow, pool: u32) -> Self {
        let [a, b, c, _] = pool.to_le_bytes();
        Self {
            source: flow.source,
            destination: flow.destination,
            ports: flow.ports,
            protocol: flow.protocol,
            pool: [a, b, c],
        }
    }

    /// The flow.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        Flow { source: self.source, destination: self.destination, ports: self.ports, protocol: self.protocol }
    }

    /// The number of the pool.
    #[must_use]
    pub const fn pool(&self) -> u32 {
        let [a, b, c] = self.pool;
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// A flow whose pin is looked for, over a pool.
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// The [hash](crate::hash::flow) of it.
    pub hash: u64,
    /// The number of the pool, of which the low 24 bits count.
    pub pool: u32,
}

impl Pinned<'_> {
    /// The key of its pin.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self) -> PinKey {
        PinKey::new(self.flow, self.pool)
    }

    /// What is in the key besides the addresses, in one word that holds the bytes as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn rest(&self) -> u64 {
        let of_pool = (self.pool << 8 | self.flow.protocol as u32) as u64;
        of_pool << 32 | self.flow.ports.to_word() as u64
    }

    /// The key as words that hold the bytes as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 5] {
        let ([a, b], [c, d]) = (self.flow.source.halves(), self.flow.destination.halves());
        [a, b, c, d, self.rest()]
    }
}

/// What is remembered of a flow. 16 bytes, no padding.
///
/// The first eight are read in one load: where the kernel gives the element of a pin that was just removed to another flow,
/// a reader still has that flow's `check` with its backend, and knows that it is not its own.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Pin {
    /// The flow's backend, by its index in the pool; [`NO_BACKEND`] in [`Pin::NONE`].
    pub backend: u16,
    /// How far the flow's life is known to be: one of the constants of this type.
    pub state: u8,
    /// Always zero.
    pub reserved: u8,
    /// The flow's [`check`](super::follow::Packet::check).
    pub check: u32,
    /// When a packet of the flow was last seen.
    pub seen: Moment,
    /// The flow's slot, by its index in the pool's table.
    pub slot: u32,
}

impl Pin {
    /// No pin.
    pub const NONE: Self = Self { backend: NO_BACKEND, state: 0, reserved: 0, check: 0, seen: Moment(0), slot: 0 };

    /// The pin from the two words that it is in memory.
    #[inline(always)]
    #[must_use]
    pub fn from_words(words: [u64; 2]) -> Self {
        bytemuck::cast(words)
    }

    /// The two words that it is in memory.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u64; 2] {
        bytemuck::cast(*self)
    }

    /// State: only the first packet was seen.
    pub const HANDSHAKE: u8 = 1;
    /// State: at work (TCP and SCTP).
    pub const ESTABLISHED: u8 = 2;
    /// State: one side has said that it will send no more.
    pub const CLOSING: u8 = 3;
    /// State: at work (UDP).
    pub const UDP: u8 = 4;
    /// State: at work (any other protocol).
    pub const OTHER: u8 = 5;

    /// The state of a flow that was in `state` (0 if that isn't known), after a packet of it with that signal.
    #[inline(always)]
    #[must_use]
    pub const fn state_after(state: u8, protocol: u8, signal: Signal) -> u8 {
        if signal.has(Signal::FIRST) {
            Self::HANDSHAKE
        } else if signal.has(Signal::CLOSING) || state == Self::CLOSING {
            Self::CLOSING
        } else if signal::begins_with_a_signal(protocol) {
            Self::ESTABLISHED
        } else if protocol == protocol::UDP {
            Self::UDP
        } else {
            Self::OTHER
        }
    }
}

/// For how long a flow may be silent before it counts as ended, in ticks, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// After its first packet.
    pub handshake: u32,
    /// At work (TCP and SCTP).
    pub established: u32,
    /// After FIN or RST of TCP, SHUTDOWN or ABORT of SCTP.
    pub closing: u32,
    /// UDP, QUIC among it.
    pub udp: u32,
    /// Any other protocol.
    pub other: u32,
}

impl Timeouts {
    /// What holds unless set. A handshake outlives the longest pause between a client's SYNs (32 s with Linux). A client that
    /// has closed its side is silent no longer than the server thinks; short flows make this the one that costs most. What is
    /// at work may be silent for as long as IPVS lets it.
    pub const DEFAULT: Self = Self {
        handshake: Moment::ticks(60_000),
        established: Moment::ticks(900_000),
        closing: Moment::ticks(30_000),
        udp: Moment::ticks(120_000),
        other: Moment::ticks(300_000),
    };

    /// For how long a pin in that state may be silent.
    #[must_use]
    pub const fn of(&self, state: u8) -> u32 {
        match state {
            Pin::HANDSHAKE => self.handshake,
            Pin::ESTABLISHED => self.established,
            Pin::CLOSING => self.closing,
            Pin::UDP => self.udp,
            _ => self.other,
        }
    }

    /// The longest that a flow of a protocol may be silent, in whatever state; with [`protocol::ANY`], a flow of any.
    #[must_use]
    pub const fn longest(&self, protocol: u8) -> u32 {
        match protocol {
            protocol::TCP | protocol::SCTP => longer(self.handshake, longer(self.established, self.closing)),
            protocol::UDP => longer(self.handshake, self.udp),
            protocol::ANY => longer(longer(self.longest(protocol::TCP), self.longest(protocol::UDP)), self.other),
            _ => self.other,
        }
    }
}

const fn longer(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

/// The times that the agent goes by when it looks after slots and pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// When a silent flow counts as ended.
    pub timeouts: Timeouts,
    /// The longest that a packet is on its way through the program, in ticks: whoever read a word before it was written
    /// is done with it after that.
    pub grace: u32,
}

impl Timing {
    /// [`Timing::grace`] on a real machine, where a packet takes microseconds: one second.
    pub const GRACE: u32 = Moment::ticks(1_000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Port;

    #[test]
    fn the_key_gives_back_flow_and_pool() {
        let flow = Flow {
            source: Address([1, 2, 3, 4]),
            destination: Address([5, 6, 7, 8]),
            ports: Ports::new(Port::from_host(4000), Port::from_host(443)),
            protocol: protocol::TCP,
        };
        let key = PinKey::new(&flow, 0x00c0_ffee);
        assert_eq!((key.flow(), key.pool()), (flow, 0x00c0_ffee));
        assert_ne!(key, PinKey::new(&flow, 7));
    }

    #[test]
    fn moments_wrap_and_never_go_back() {
        assert_eq!(Moment(5).since(Moment(3)), 2);
        assert_eq!(Moment(1).since(Moment(u32::MAX)), 2);
        assert_eq!(Moment(3).since(Moment(5)), 0);
    }

    #[test]
    fn a_span_is_rounded_up_to_ticks() {
        assert_eq!(Moment::ticks(0), 0);
        assert_eq!(Moment::ticks(1), 1);
        assert_eq!(Moment::ticks(1_000), 8);
        assert_eq!(Moment::ticks(u64::MAX), i32::MAX as u32);
        assert_eq!(Moment::from_nanos(1_000_000_000), Moment(7));
    }

    #[test]
    fn a_life_goes_on_from_state_to_state() {
        let after = Pin::state_after;
        assert_eq!(after(0, protocol::TCP, Signal::FIRST), Pin::HANDSHAKE);
        assert_eq!(after(Pin::HANDSHAKE, protocol::TCP, Signal::NONE), Pin::ESTABLISHED);
        assert_eq!(after(Pin::ESTABLISHED, protocol::TCP, Signal::CLOSING), Pin::CLOSING);
        assert_eq!(after(Pin::CLOSING, protocol::TCP, Signal::NONE), Pin::CLOSING);
        assert_eq!(after(Pin::CLOSING, protocol::TCP, Signal::FIRST), Pin::HANDSHAKE);
        assert_eq!(after(0, protocol::UDP, Signal::NONE), Pin::UDP);
        assert_eq!(after(Pin::HANDSHAKE, protocol::UDP, Signal::NONE), Pin::UDP);
        assert_eq!(after(0, 50, Signal::NONE), Pin::OTHER);
    }

    #[test]
    fn the_longest_silence_of_a_protocol_covers_each_of_its_states() {
        let timeouts = Timeouts { handshake: 1, established: 2, closing: 3, udp: 4, other: 5 };
        assert_eq!(timeouts.longest(protocol::TCP), 3);
        assert_eq!(timeouts.longest(protocol::UDP), 4);
        assert_eq!(timeouts.longest(protocol::ANY), 5);
        assert_eq!(timeouts.longest(50), 5);
    }
}
