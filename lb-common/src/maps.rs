//! The names of the maps and of the program, and the version of their layout.

/// Version of the maps' layout: the folder below the pin directory that they are pinned in. It goes up whenever a
/// map's key, value, size or meaning changes.
pub const LAYOUT: &str = "v4";

/// The XDP program.
pub const PROGRAM: &str = "drlb";
/// The XDP program that sends probes of health checks to their backends.
pub const PROBE_PROGRAM: &str = "drlb_probe";

/// One element, the [`crate::forwarding::Forwarding`]. Memory-mapped by the agent.
pub const FORWARDING: &str = "FORWARDING";
/// [`crate::counters::Counters`] by the CPU: all in one element where the program may be given its address
/// ([`crate::counters::MOST_IN_ONE`]), or else an element for each. Memory-mapped by the agent.
pub const COUNTERS: &str = "COUNTERS";
/// Lines of slots: the lookup tables of all pools, one region a pool. Memory-mapped by the agent.
pub const SLOTS: &str = "SLOTS";
/// `BackendOwner` by the same index. Read and written by the agent only, memory-mapped.
pub const BACKEND_OWNERS: &str = "BACKEND_OWNERS";
/// Interface to redirect to, by a segment's index (a devmap).
pub const EGRESS: &str = "EGRESS";
/// `PinKey` → `Pin`: flows that only what could be their first packet was seen of.
pub const PINS_YOUNG: &str = "PINS_YOUNG";
/// One element, [`crate::track::place::PinPlaces`]: flows at work. Memory-mapped by the agent.
pub const PINS_ESTABLISHED: &str = "PINS_ESTABLISHED";
/// `PinKey` → `Pin`: flows at work that found no place in [`PINS_ESTABLISHED`].
pub const PINS_MORE: &str = "PINS_MORE";
/// `SessionKey` → `Session`.
pub const SESSIONS: &str = "SESSIONS";
/// `DatagramKey` → `Trail`: where the first fragments of datagrams went. Used by the program only.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// `Load` by a backend's place. Memory-mapped by the agent.
pub const LOADS: &str = "LOADS";
/// The next place in the schedule (`u32`) per CPU by a listener's id. Used by the program only.
pub const TURNS: &str = "TURNS";
/// Per CPU, one element (`u64`): pins that there was no room for.
pub const PIN_OVERFLOWS: &str = "PIN_OVERFLOWS";
/// One element (`u64`): 1 while the tables of pins are crowded. Set by the program and the agent, cleared by the agent,
/// memory-mapped.
pub const PINS_CROWDED: &str = "PINS_CROWDED";
/// Words (`u64`) of the listeners' allow-lists, one region a list. Memory-mapped by the agent.
pub const ALLOWED: &str = "ALLOWED";
/// `Refused` per CPU by a listener's id.
pub const LISTENER_REFUSALS: &str = "LISTENER_REFUSALS";
/// `SourceKey` → when its bucket is full again, in nanoseconds (`u64`). Used by the program only.
pub const SOURCES: &str = "SOURCES";
/// Flows (`u64`) by a listener's id, where they are limited. Memory-mapped by the agent.
pub const LISTENER_FLOWS: &str = "LISTENER_FLOWS";
/// Ring of `Event`s, from the program to the agent.
pub const EVENTS: &str = "EVENTS";
/// `ProbeKey` → `ProbeTarget`: probes of health checks that are, or were a moment ago, under way.
pub const PROBES: &str = "PROBES";
/// The interface that probes are sent from (a devmap of one element). The kernel empties it when the agent's namespace ends.
pub const PROBE_LINK: &str = "PROBE_LINK";
/// One element (`u32`): 1 while there are health checks.
pub const PROBING: &str = "PROBING";

/// All maps that outlive the agent: what is pinned.
pub const PINNED: &[&str] = &[
    FORWARDING,
    COUNTERS,
    SLOTS,
    BACKEND_OWNERS,
    EGRESS,
    PINS_YOUNG,
    PINS_ESTABLISHED,
    PINS_MORE,
    SESSIONS,
    FRAGMENTS,
    LOADS,
    TURNS,
    PIN_OVERFLOWS,
    PINS_CROWDED,
    ALLOWED,
    LISTENER_REFUSALS,
    SOURCES,
    LISTENER_FLOWS,
    EVENTS,
    PROBES,
    PROBE_LINK,
    PROBING,
];

/// Our MAC on the interface that the program is attached to ([`crate::address::RaisedMac`]). It is a number that the agent writes
/// into the program's instructions, where the object has an undefined symbol: each interface runs its own instance.
pub const OWN_MAC: &str = "OWN_MAC";
/// Another such number: the index of that interface.
pub const INGRESS: &str = "INGRESS";
/// Another: what backends on the untagged segment behind that interface have in common ([`crate::backend::Backend::on`]).
pub const HOME: &str = "HOME";
/// Another: how many CPUs have their counters in one element of [`COUNTERS`]; 0 if each has its own.
pub const COUNTED_CPUS: &str = "COUNTED_CPUS";
/// Another: the key of the flow hash.
pub const HASH_KEY: &str = "HASH_KEY";
