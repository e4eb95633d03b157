//! What can happen: a closed list, each with its code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is worth knowing.
    Info,
    /// Traffic is lost, or goes where it should not, or may.
    Warning,
}

macro_rules! kinds {
    ($($variant:ident = $code:literal, $severity:ident, $meaning:literal;)+) => {
        /// What happened. Its code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum EventKind {
            $(#[doc = $meaning] $variant,)+
        }

        impl EventKind {
            /// All of them, in the order of their documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code that JSON, filters and the log use.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// How much it matters.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

kinds! {
    AgentStarted = "agent-started", Info, "The agent started.";
    ConfigurationApplied = "configuration-applied", Info, "A configuration file was applied.";
    ConfigurationRefused = "configuration-refused", Warning, "A configuration file was refused, and nothing was changed.";
    LinkUp = "link-up", Info, "A link came up.";
    LinkDown = "link-down", Warning, "A link went down, or lost its carrier.";
    LinkAppeared = "link-appeared", Info, "There is a link of this name, as there was none before.";
    LinkGone = "link-gone", Warning, "There is no link of this name any more.";
    LinkRenamed = "link-renamed", Warning, "A link has another name now.";
    LinkReplaced = "link-replaced", Warning, "Another link has this name now.";
    XdpAttached = "xdp-attached", Info, "The program was attached to an interface.";
    XdpReattached = "xdp-reattached", Info, "The program was attached to an interface that had gone and is back, or is another one of that name.";
    XdpRenewed = "xdp-renewed", Info, "The program on an interface was replaced in place, without a packet lost.";
    XdpDetached = "xdp-detached", Warning, "The program runs on an interface no more.";
    XdpFailed = "xdp-failed", Warning, "The program could not be attached to an interface, or not be taken off it.";
    NeighbourLearnt = "neighbour-learnt", Info, "The MAC of a backend became known.";
    NeighbourMoved = "neighbour-moved", Warning, "A backend has another MAC, or stands behind another interface.";
    NeighbourLost = "neighbour-lost", Warning, "A backend's MAC is not known, and why.";
    NeighbourDuplicate = "neighbour-duplicate", Warning, "Backends have one MAC.";
    NetlinkOverrun = "netlink-overrun", Warning, "The kernel's announcements of links, routes and neighbours were missed; all was read anew.";
    BackendUp = "backend-up", Info, "A backend's health checks say that it serves.";
    BackendDown = "backend-down", Warning, "A backend's health checks say that it does not serve.";
    BackendVipPathBroken = "backend-vip-path-broken", Warning, "A backend serves by its own address, and not by the VIP.";
    BackendFlapping = "backend-flapping", Warning, "A backend keeps going down and coming up.";
    BackendDrained = "backend-drained", Info, "A backend that was draining has no flow left, or its deadline is over.";
    VipAnnounced = "vip-announced", Info, "A VIP is announced on an interface from now on.";
    VipContested = "vip-contested", Warning, "Another host says that it has a VIP.";
    VipWanted = "vip-wanted", Warning, "Another host wanted a VIP for itself, and was told that it is taken.";
    VipDefended = "vip-defended", Info, "A VIP that another host claims was announced against that.";
    OpenstackError = "openstack-error", Warning, "A load balancer of the OpenStack API went to ERROR.";
    OpenstackRecovered = "openstack-recovered", Info, "A load balancer of the OpenStack API is ACTIVE again.";
    PinsOverflow = "pins-overflow", Warning, "There was no room to remember flows at work.";
    LimitReached = "limit-reached", Warning, "A listener refused flows because of its limits.";
    MapsRepaired = "maps-repaired", Warning, "The maps were not as they should be, and were repaired.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> Self {
        kind.code().to_owned()
    }
}

impl TryFrom<String> for EventKind {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        code.parse()
    }
}

impl FromStr for EventKind {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .find(|kind| kind.code() == code)
            .copied()
            .ok_or_else(|| format!("there is no kind of event `{code}`; docs/events.md lists them"))
    }
}
