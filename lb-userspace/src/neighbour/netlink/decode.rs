//! From the kernel's messages to the picture's words.

use std::net::IpAddr;

use lb_common::address::MacAddr;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState as KernelState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia};

use crate::neighbour::Vlan;
use crate::neighbour::picture::{LinkFacts, Neighbour, NeighbourKey, NeighbourState, Route};

/// The protocol number that drlb leaves on the neighbour entries that it manages, so that it knows them again after a
/// restart. The kernel only stores it (`NDA_PROTOCOL`, include/uapi/linux/neighbour.h); `ip neighbour` shows it.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(0xd1);

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    (bytes != [0; 6]).then_some(MacAddr(bytes))
}

/// A link's index and what is of interest of it; nothing if the message has no name in it, as those of bridges' ports
/// have not.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, LinkFacts)> {
    let mut name = None;
    let mut address = None;
    let mut xdp_program = None;
    let mut parent = None;
    let mut vlan = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => address = mac(bytes),
            LinkAttribute::Xdp(xdp) => {
                xdp_program = xdp.iter().find_map(|nla| match nla {
                    LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id)
                        if *id != 0 =>
                    {
                        Some(*id)
                    }
                    _ => None,
                });
            }
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => vlan = infos.iter().find_map(vlan_id),
            _ => {}
        }
    }
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let facts = LinkFacts {
        name: name?,
        mac: address.filter(|_| is_ethernet),
        up: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        xdp_program,
        vlan: parent.zip(vlan).map(|(parent, id)| Vlan { parent, id }),
    };
    Some((message.header.index, facts))
}

/// The number of a VLAN (`IFLA_INFO_DATA` of kind `vlan`); nothing for what is none, or one of service tags (802.1ad).
fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(facts)) = info else { return None };
    let service =
        facts.iter().any(|fact| matches!(fact, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q));
    facts.iter().find_map(|fact| match fact {
        InfoVlan::Id(id) if !service && (1..=4094).contains(id) => Some(*id),
        _ => None,
    })
}

/// A neighbour entry; nothing if it is not one of IPv4 or IPv6, or a proxy entry, which tells of no neighbour.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || message.header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let mut address = None;
    let mut entry = Neighbour { state: state(message.header.state), mac: None, managed: false, ours: false };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => entry.mac = mac(bytes),
            NeighbourAttribute::ExtFlags(flags) => entry.managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(protocol) => entry.ours = *protocol == PROTOCOL,
            _ => {}
        }
    }
    Some((NeighbourKey { ifindex: message.header.ifindex, address: address? }, entry))
}

/// An address of this host and the length of its network's prefix.
pub(super) fn own_address(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // Where both are there, the other one is the far end's (point to point).
            AddressAttribute::Local(local) => found = Some(*local),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some((found?, message.header.prefix_len))
}

fn state(state: KernelState) -> NeighbourState {
    match state {
        KernelState::Reachable | KernelState::Stale | KernelState::Delay | KernelState::Probe => NeighbourState::Usable,
        KernelState::Permanent | KernelState::Noarp => NeighbourState::Fixed,
        KernelState::Failed => NeighbourState::Failed,
        _ => NeighbourState::Asking,
    }
}

/// The kernel's answer to "where would this go".
pub(super) fn route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Route::Local,
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => return Route::NotAHost,
        _ => return Route::None,
    }
    let mut link = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
                return Route::Via(IpAddr::V4(*v4));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
                return Route::Via(IpAddr::V6(*v6));
            }
            RouteAttribute::Oif(ifindex) => link = Some(*ifindex),
            _ => {}
        }
    }
    link.map_or(Route::None, Route::OnLink)
}
