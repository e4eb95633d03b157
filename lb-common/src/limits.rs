//! How much drlb holds. Every map is created at its full size, so these numbers are also its memory: see the sum in
//! `docs/architecture.md`.

/// Listeners on one balancer. Their map also has room for the VIPs.
pub const MAX_LISTENERS: u32 = 16_384;
/// VIPs on one balancer.
pub const MAX_VIPS: u32 = 16_384;
/// Backend places of all pools together. A pool takes a power of two of them.
pub const MAX_BACKENDS: u32 = 131_072;
/// Backends of one pool: a slot names its backend in 16 bits, and one value means "none".
pub const MAX_POOL_BACKENDS: u32 = 4_096;
/// Slots of all pools together: 64 tables of the default size.
pub const MAX_SLOTS: u32 = 64 * DEFAULT_SLOTS.next_multiple_of(SLOTS_PER_LINE as u32);
/// Slots of a pool's lookup table, unless set: a prime, as Maglev needs (Maglev paper, section 5.3).
pub const DEFAULT_SLOTS: u32 = 65_537;
/// Slots of the largest lookup table (a prime, too).
pub const LARGEST_SLOTS: u32 = 655_373;
/// Slots that share one element of the slots map: a cache line.
pub const SLOTS_PER_LINE: usize = 16;
/// Slots that can be glanced at: the first ones, those of 64 tables of the default size but for a thousandth.
pub const MAX_GLANCES: u32 = 1 << 22;
/// Segments (an interface and a VLAN) that backends can stand on.
pub const MAX_SEGMENTS: u32 = 1_024;
/// Pins of flows that only their first packet was seen of. When full, the oldest make way.
pub const MAX_YOUNG_PINS: u32 = 65_536;
/// Places for pins of flows at work, whose memory is taken beforehand and lies close together. As many as are wanted while some
/// slots move; one that finds no place goes to the others.
pub const PIN_PLACES: u32 = 131_072;
/// The other pins of flows at work. When full, no more are taken, and that is counted. Their memory is taken only while they
/// are.
pub const MAX_ESTABLISHED_PINS: u32 = 1_048_576;
/// Sessions of clients. When full, the oldest make way.
pub const MAX_SESSIONS: u32 = 262_144;
/// Prefixes of one listener's allow-list.
pub const MAX_ALLOWED: usize = 65_536;
/// Words of all allow-lists together, 8 bytes each. A prefix takes about six, at most 20.
pub const MAX_ALLOW_WORDS: u32 = 1 << 21;
/// Datagrams whose first fragment is remembered. When full, the oldest make way.
pub const MAX_FRAGMENTED: u32 = 65_536;
/// Sources whose new flows are counted. When full, the one that was silent for longest makes way.
pub const MAX_SOURCES: u32 = 65_536;
/// Bytes of the ring of events: some two thousand of them. When it is full, the next ones are lost.
pub const EVENTS_BYTES: u32 = 1 << 16;
/// Probes of health checks that are under way, or were a moment ago: one for each port of an address, and more of them
/// than can be at once. Their memory is taken only while they are.
pub const MAX_PROBES: u32 = 65_536;
/// The highest weight of a backend (Octavia's range is 0–256).
pub const MAX_WEIGHT: u16 = 256;

const _: () = assert!(MAX_SEGMENTS < (1 << 15) - 1);
const _: () = assert!(MAX_POOL_BACKENDS < u16::MAX as u32);
