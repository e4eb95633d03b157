//! VIPs that the balancer owns: they are announced on its segments, and defended against hosts that claim or want them.
//!
//! [`keeper`] is pure: it says what is to be sent when. [`task`] does it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::address::MacAddr;

pub mod keeper;
pub mod task;

/// The VIPs and the interfaces that the engine has put into the maps: what is to be announced, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The VIPs that the program answers for.
    pub vips: BTreeSet<IpAddr>,
    /// The other VIPs: those that this host owns, or nobody.
    pub others: BTreeSet<IpAddr>,
    /// The interfaces that the program is attached to, by name.
    pub ports: BTreeMap<String, Port>,
}

impl Owned {
    /// The name of the interface with that index; the index itself if the program is not attached to it.
    #[must_use]
    pub fn name_of(&self, ifindex: u32) -> String {
        let port = self.ports.iter().find(|(_, port)| port.ifindex == ifindex);
        port.map_or_else(|| ifindex.to_string(), |(name, _)| name.clone())
    }
}

/// An interface that the program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its index.
    pub ifindex: u32,
    /// Its MAC, by which the VIPs are announced.
    pub mac: MacAddr,
}

/// What is known of others that have or want our VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The other hosts.
    pub rivals: Vec<Rival>,
    /// Why nothing can be announced; `None` if it can.
    pub fault: Option<String>,
}

/// Another host that claims a VIP of ours, or wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The VIP.
    pub vip: IpAddr,
    /// The host's MAC.
    pub mac: MacAddr,
    /// Name of the interface that it was heard on.
    pub interface: String,
    /// True if it says that it has the VIP, false if it only asked for it.
    pub claims: bool,
    /// When it was last heard, in seconds since 1970.
    pub seen: u64,
    /// How many of its frames were heard.
    pub frames: u64,
}
