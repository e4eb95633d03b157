//! Which interfaces the program must be attached to and which not.

use super::held::{Held, Station};
use super::segments::Indexes;
use crate::model::{AttachMode, Desired};
use crate::neighbour::NetworkView;

/// A change of where the program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Attach the program to an interface.
    Attach {
        /// The interface's name.
        name: String,
        /// Its index.
        ifindex: u32,
        /// What the program is told of it.
        station: Station,
        /// How to attach.
        mode: AttachMode,
    },
    /// Replace the attached program in place by a newly loaded one: no packet goes by without a program.
    Renew {
        /// The interface's name.
        name: String,
        /// What the program is told of it.
        station: Station,
    },
    /// Take the program off an interface.
    Detach {
        /// The interface's name.
        name: String,
    },
}

impl LinkChange {
    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        match self {
            Self::Attach { name, .. } | Self::Renew { name, .. } | Self::Detach { name } => name,
        }
    }
}

/// The changes, before and after those of the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPlan {
    /// Before: what is attached makes segments for backends to stand on.
    pub first: Vec<LinkChange>,
    /// After: no backend stands on them any more.
    pub last: Vec<LinkChange>,
}

/// Plans the links: what is wanted and there is attached, with its own MAC and segment; what is attached and not wanted, or whose
/// interface is another one of the same name by now, is detached. An interface that is only missing in the picture of
/// the network is left alone: forwarding ends when the kernel says so or the user.
#[must_use]
pub fn plan_links(desired: &Desired, view: &NetworkView, held: &Held) -> LinkPlan {
    let mut plan = LinkPlan::default();
    let mut indexes = Indexes::of(held);
    for (name, interface) in &desired.interfaces {
        let link = view.links.get(name);
        let attached = held.attached.get(name);
        if let Some(attached) = attached
            && link.is_some_and(|link| link.ifindex != attached.ifindex)
        {
            plan.first.push(LinkChange::Detach { name: name.clone() });
        }
        let Some(link) = link else { continue };
        let attached = attached.filter(|attached| attached.ifindex == link.ifindex);
        let loaded = attached.and_then(|attached| attached.station);
        let home = indexes.home(link.ifindex, loaded.and_then(|station| station.home));
        let station = Station { mac: link.mac, home };
        match attached {
            None => plan.first.push(LinkChange::Attach {
                name: name.clone(),
                ifindex: link.ifindex,
                station,
                mode: interface.mode,
            }),
            Some(_) if loaded != Some(station) => {
                plan.first.push(LinkChange::Renew { name: name.clone(), station });
            }
            Some(_) => {}
        }
    }
    let unwanted = held.attached.keys().filter(|name| !desired.interfaces.contains_key(*name));
    plan.last = unwanted.map(|name| LinkChange::Detach { name: name.clone() }).collect();
    plan
}
