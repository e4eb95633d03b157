//! Listeners and VIPs as the XDP program sees them.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Port};
use crate::allow::Root;
use crate::flow::Flow;
use crate::limits::MAX_GLANCES;
use crate::protocol;
use crate::slot::{Glance, GlancePair};

/// Key of the listeners' map: what a listener listens on. 20 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ListenerKey {
    /// The VIP.
    pub vip: Address,
    /// The port; [`Port::ANY`] for every port of the protocol.
    pub port: Port,
    /// The IP protocol; [`protocol::ANY`] for every protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
}

impl ListenerKey {
    /// A listener on one protocol and port of a VIP.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: Address, protocol: u8, port: Port) -> Self {
        Self { vip, port, protocol, reserved: 0 }
    }

    /// The most exact key that a flow can match.
    #[inline(always)]
    #[must_use]
    pub const fn exact(flow: &Flow) -> Self {
        Self::new(flow.destination, flow.protocol, flow.ports.destination())
    }

    /// The key of the DR-mode listener of a VIP: every protocol, every port.
    #[inline(always)]
    #[must_use]
    pub const fn any_protocol(vip: Address) -> Self {
        Self::new(vip, protocol::ANY, Port::ANY)
    }
}

/// What the XDP program knows of a listener and its pool. 60 bytes, no padding.
///
/// The pool is folded in, so that a packet costs no lookup for it; listeners that share a pool hold the same regions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Listener {
    /// Its place among the listeners' counters.
    pub id: u32,
    /// Number of the pool, never given twice: what is remembered of flows and sessions is kept under it. 24 bits.
    pub pool: u32,
    /// First slot of the pool's lookup table; a multiple of [`crate::limits::SLOTS_PER_LINE`].
    pub slots_base: u32,
    /// Slots of the pool's lookup table; 0 if it never had a backend.
    pub slots_len: u32,
    /// First place of the pool in the backends' map.
    pub backends_base: u32,
    /// Places of the pool in the backends' map.
    pub backends_len: u32,
    /// First slot of the schedule of [`Listener::ROUND_ROBIN`]: a region of its own, read in turn.
    pub schedule_base: u32,
    /// Length of the schedule; 0 if the pool has none.
    pub schedule_len: u32,
    /// How a new flow gets its backend: one of the constants of this type.
    pub algorithm: u8,
    /// What was hashed of the flows that began before the pool came to pin every flow, or to hash something else, while
    /// such may be left: one of the `BEFORE_` constants.
    pub before: u8,
    /// Leading bits of a client's address (as of 128, IPv4 mapped) that make one session; 0 for no persistence.
    pub persistence: u8,
    /// What a packet is looked at for before it gets a backend: `GUARD_` bits. 0 for most listeners, so that they pay
    /// nothing for it.
    pub guards: u8,
    /// First word of the allow-list's region in its map, see [`crate::allow`].
    pub allow_base: u32,
    /// Words of that region; 0 for a listener that takes packets from everywhere.
    pub allow_len: u32,
    /// The first bit that the allow-list's root looks at.
    pub allow_from: u8,
    /// How many bits it looks at.
    pub allow_bits: u8,
    /// Leading bits of a client's address that are one source to the limit of new flows.
    pub rate_prefix: u8,
    /// Always zero.
    pub reserved: u8,
    /// Nanoseconds in which a source may begin one more flow, see [`crate::rate`].
    pub rate_interval: u32,
    /// How many flows a source may begin at once.
    pub rate_burst: u32,
    /// How many flows there may be at once.
    pub max_flows: u32,
}

impl Listener {
    /// No listener.
    pub const NONE: Self = Self {
        id: 0,
        pool: 0,
        slots_base: 0,
        slots_len: 0,
        backends_base: 0,
        backends_len: 0,
        schedule_base: 0,
        schedule_len: 0,
        algorithm: Self::SOURCE_IP_PORT,
        before: Self::BEFORE_NOTHING,
        persistence: 0,
        guards: 0,
        allow_base: 0,
        allow_len: 0,
        allow_from: 0,
        allow_bits: 0,
        rate_prefix: 0,
        reserved: 0,
        rate_interval: 0,
        rate_burst: 0,
        max_flows: 0,
    };

    /// Packets are taken from the sources of the allow-list only.
    pub const GUARD_ALLOW: u8 = 1 << 0;
    /// New flows of each source are limited.
    pub const GUARD_RATE: u8 = 1 << 1;
    /// The flows that there are at once are limited.
    pub const GUARD_FLOWS: u8 = 1 << 2;
    /// A listener of the pool limits its flows, so that all are pinned, to be counted.
    pub const GUARD_PINS: u8 = 1 << 3;
    /// Slots of the pool are not glanced at in pairs, but one by one. Only in a published listener, see [`Listener::published`].
    pub const GUARD_UNPAIRED: u8 = 1 << 4;
    /// They are not glanced at at all. The same.
    pub const GUARD_UNGLANCED: u8 = 1 << 5;
    /// The guards that each packet is looked at for.
    pub const GUARDS_OF_PACKETS: u8 = Self::GUARD_ALLOW | Self::GUARD_RATE;

    /// The slot of the whole 5-tuple's hash (`source-ip-port`).
    pub const SOURCE_IP_PORT: u8 = 0;
    /// The slot of the hash of the client's address (`source-ip`).
    pub const SOURCE_IP: u8 = 1;
    /// The next of the schedule.
    pub const ROUND_ROBIN: u8 = 2;
    /// The less loaded of two, taken at random by weight.
    pub const LEAST_CONNECTIONS: u8 = 3;

    /// All flows that are left are pinned, or go by the pool's hash.
    pub const BEFORE_NOTHING: u8 = 0;
    /// Flows that are not pinned went by the hash of the 5-tuple.
    pub const BEFORE_SOURCE_IP_PORT: u8 = 1;
    /// Flows that are not pinned went by the hash of the client's address.
    pub const BEFORE_SOURCE_IP: u8 = 2;

    /// The root of the allow-list.
    #[inline(always)]
    #[must_use]
    pub const fn allow_root(&self) -> Root {
        Root { base: self.allow_base, from: self.allow_from, bits: self.allow_bits }
    }

    /// What of a flow chooses its slot, by algorithm: the client's address with [`Listener::SOURCE_IP`], else the 5-tuple.
    /// Those that do not choose by hash need it for flows that nothing is remembered of.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> u8 {
        const ALGORITHM: u32 = u32::from_ne_bytes([!0, 0, 0, 0]);
        const SOURCE_IP: u32 = u32::from_ne_bytes([Listener::SOURCE_IP, 0, 0, 0]);
        if self.treatment() & ALGORITHM == SOURCE_IP { Self::SOURCE_IP } else { Self::SOURCE_IP_PORT }
    }

    /// [`Listener::GUARD_UNPAIRED`] in a [treatment](Self::treatment).
    const UNPAIRED: u32 = u32::from_ne_bytes([0, 0, 0, Self::GUARD_UNPAIRED]);

    /// Algorithm, what was before, persistence and guards, read in one go, as each packet asks.
    #[inline(always)]
    fn treatment(&self) -> u32 {
        let words: &[u32; size_of::<Self>() / 4] = bytemuck::cast_ref(self);
        words[offset_of!(Self, algorithm) / 4]
    }

    /// True for most listeners: [`Listener::SOURCE_IP_PORT`], no persistence, no guard, and their slots glanced at in
    /// pairs.
    #[inline(always)]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.treatment() == 0
    }

    /// The same but for one thing: its slots are glanced at one by one.
    #[inline(always)]
    #[must_use]
    pub fn is_plain_but_unpaired(&self) -> bool {
        self.treatment() == Self::UNPAIRED
    }

    /// True if nothing has to be known of a flow but its slot, as long as that is steady: no flow of the listener is remembered
    /// or counted. Packets may have to be on its allow-list.
    #[inline(always)]
    #[must_use]
    pub fn goes_by_slot(&self) -> bool {
        const BY_SLOT: u8 = Listener::GUARD_ALLOW | Listener::GUARD_UNPAIRED | Listener::GUARD_UNGLANCED;
        const NOT_BY_SLOT: u32 = u32::from_ne_bytes([!Listener::SOURCE_IP, !0, !0, !BY_SLOT]);
        self.treatment() & NOT_BY_SLOT == 0
    }

    /// The listener as packets find it. It has a guard if its slots are not glanced at in pairs, or not at all, as the pool has too many
    /// backends for that ([`GlancePair::MOST_PLACES`], [`Glance::MOST_PLACES`]), slots behind the last glance ([`MAX_GLANCES`]) or
    /// none: packets need not ask for these.
    #[must_use]
    pub const fn published(self) -> Self {
        let is_glanced_at = self.slots_len > 0
            && self.backends_len <= Glance::MOST_PLACES
            && self.slots_base.saturating_add(self.slots_len) <= MAX_GLANCES;
        let guard = match is_glanced_at {
            false => Self::GUARD_UNGLANCED,
            true if self.backends_len > GlancePair::MOST_PLACES => Self::GUARD_UNPAIRED,
            true => 0,
        };
        Self { guards: self.guards | guard, ..self }
    }

    /// The listener as it was before [`Listener::published`].
    #[must_use]
    pub const fn withdrawn(self) -> Self {
        Self { guards: self.guards & !(Self::GUARD_UNGLANCED | Self::GUARD_UNPAIRED), ..self }
    }

    /// True if the slots of the pool are glanced at, for a listener that packets found.
    #[inline(always)]
    #[must_use]
    pub fn is_glanced_at(&self) -> bool {
        const UNGLANCED: u32 = u32::from_ne_bytes([0, 0, 0, Listener::GUARD_UNGLANCED]);
        self.treatment() & UNGLANCED == 0
    }

    /// True if that is one by one, and not in pairs.
    #[inline(always)]
    #[must_use]
    pub fn is_unpaired(&self) -> bool {
        self.treatment() & Self::UNPAIRED != 0
    }

    /// True if a flow's backend does not follow from its slot alone, so that every flow is pinned.
    #[inline(always)]
    #[must_use]
    pub const fn pins_every_flow(&self) -> bool {
        self.algorithm > Self::SOURCE_IP
            || self.persistence != 0
            || self.before != Self::BEFORE_NOTHING
            || self.guards & Self::GUARD_PINS != 0
    }
}

/// What the XDP program knows of a VIP, whatever listens on it. 4 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Vip {
    /// Which wildcard listeners the VIP has, and who owns it: the `WILDCARD_` and `OWNER_` bits.
    pub flags: u32,
}

impl Vip {
    /// There is a listener for every port of TCP.
    pub const WILDCARD_TCP: u32 = 1 << 0;
    /// There is a listener for every port of UDP.
    pub const WILDCARD_UDP: u32 = 1 << 1;
    /// There is a listener for every port of SCTP.
    pub const WILDCARD_SCTP: u32 = 1 << 2;
    /// There is a listener for every protocol (protocol `ip`).
    pub const WILDCARD_ANY: u32 = 1 << 3;

    /// The kernel answers for the VIP.
    pub const OWNER_HOST: u32 = 1 << 8;
    /// Nobody on this host answers for the VIP.
    pub const OWNER_NONE: u32 = 1 << 9;

    /// True if the program answers for the VIP: ARP, neighbour discovery and echo.
    #[inline(always)]
    #[must_use]
    pub const fn is_ours(self) -> bool {
        self.flags & (Self::OWNER_HOST | Self::OWNER_NONE) == 0
    }

    /// The bit of a protocol's every-port listener; none for a protocol without ports.
    #[inline(always)]
    #[must_use]
    pub const fn wildcard_of(protocol: u8) -> u32 {
        match protocol {
            protocol::TCP => Self::WILDCARD_TCP,
            protocol::UDP => Self::WILDCARD_UDP,
            protocol::SCTP => Self::WILDCARD_SCTP,
            protocol::ANY => Self::WILDCARD_ANY,
            _ => 0,
        }
    }
}
