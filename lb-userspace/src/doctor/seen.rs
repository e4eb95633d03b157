//! What the doctor saw when it looked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::address::MacAddr;

use crate::events::Events;
use crate::health::once::Tried;
use crate::model::{BackendAddr, Name};
use crate::neighbour::Device;

/// All that was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Interfaces of this host by name: those that drlb is to run on, and those that backends are behind.
    pub devices: BTreeMap<String, DeviceSeen>,
    /// What hosts on the segments answered, or why they could not be asked.
    pub told: Result<Told, String>,
    /// What came of trying the backends' services.
    pub tried: BTreeMap<(Name, BackendAddr), Tried>,
    /// How often backends came to another MAC lately.
    pub moved: BTreeMap<BackendAddr, usize>,
}

/// What was seen of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSeen {
    /// What the kernel tells of it.
    pub device: Device,
    /// True if received frames are put together to larger ones.
    pub merges_received: bool,
    /// How many queues it receives on, if its driver tells.
    pub receive_queues: Option<u32>,
}

/// What hosts on the segments answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Other hosts that say that they have a VIP.
    pub claims: BTreeSet<Claim>,
    /// What backends answered.
    pub hosts: BTreeMap<BackendAddr, Host>,
    /// Interfaces that frames came in by whose checksum was left to a card that is not there.
    pub unfinished: BTreeSet<u32>,
}

/// A host that says that it has a VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The VIP.
    pub vip: IpAddr,
    /// The host's MAC.
    pub mac: MacAddr,
    /// The interface that it is behind.
    pub interface: String,
}

/// What a backend answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The MACs that say that they have its address.
    pub macs: BTreeSet<MacAddr>,
    /// It answers a ping at its own address.
    pub small: bool,
    /// The same with a packet as large as the interface allows.
    pub wide: bool,
    /// It answers an ARP question of an address that is not on the segment.
    pub off_link: bool,
    /// By VIP.
    pub vips: BTreeMap<IpAddr, HeldVip>,
}

/// How a backend takes a VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldVip {
    /// It answers a ping to the VIP.
    pub echoed: bool,
    /// It would have handed that on.
    pub expired: bool,
    /// Its answer to a question that the VIP asks came here, as only that of a host does that has no such address itself.
    pub told_vip: bool,
    /// So did its answer to a ping from an address beside the VIP.
    pub told_beside: bool,
}

/// For how long a MAC that changed is told of.
const LATELY: Duration = Duration::from_secs(600);

/// How often backends came to another MAC lately, by the events that tell of it. `now` is the time since 1970.
#[must_use]
pub fn moved(events: &Events, now: Duration) -> BTreeMap<BackendAddr, usize> {
    let since = now.saturating_sub(LATELY).as_millis();
    let mut times = BTreeMap::new();
    for event in events.events.iter().filter(|event| u128::from(event.time_ms) >= since) {
        for backend in &event.backends {
            *times.entry(*backend).or_default() += 1;
        }
    }
    times
}
