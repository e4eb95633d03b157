//! The socket on which the kernel announces changes.
//!
//! It is read here and not through `rtnetlink`'s connection for two reasons. That one decodes each message and queues
//! the result without a bound, which is a lot of work and memory on a host with a full routing table; here a route is
//! no more than the news that routes changed. And it drops what it cannot decode; here that leads to a resync.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};

use super::decode;
use crate::neighbour::picture::{LinkFacts, Neighbour, NeighbourKey};

/// Something that changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A link is new or different.
    Link(u32, LinkFacts),
    /// The link with this index is gone.
    LinkGone(u32),
    /// A neighbour entry is new or different.
    Neighbour(NeighbourKey, Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(NeighbourKey),
    /// Routes, rules or addresses changed, so that a route lookup may answer differently.
    Routes,
    /// Something was missed: all must be read anew. Says why.
    Missed(String),
}

/// Multicast groups (include/uapi/linux/rtnetlink.h, `RTNLGRP_…`), as bits: link, neigh, IPv4 address, route and rule,
/// IPv6 address, route and rule.
const GROUPS: u32 = group(1) | group(3) | group(5) | group(7) | group(8) | group(9) | group(11) | group(19);

const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

// Message types (include/uapi/linux/rtnetlink.h) of what need not be decoded.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

/// The length of a message's header, `struct nlmsghdr`.
const HEADER: usize = 16;
/// Room for one datagram. The kernel's announcements are of a page or two; a longer one is cut short and counts as
/// missed.
const DATAGRAM: usize = 64 * 1024;
/// What the kernel may queue for us, in bytes: a burst of some 10,000 neighbour events.
const QUEUE: u32 = 4 * 1024 * 1024;
/// Datagrams read at a time, so that a flood of events does not keep the task from its other work.
const BATCH: usize = 256;

/// The socket.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes to the changes in this thread's network namespace.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // The kernel caps the size at net.core.rmem_max. A small queue only means more resyncs.
        socket.socket_mut().set_rx_buf_sz(QUEUE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for events and takes those that are there. Cancel safe: while it waits it holds none.
    pub(super) async fn next_batch(&mut self) -> io::Result<Vec<Event>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Vec<Event>>> {
        let mut events = Vec::new();
        for _ in 0..BATCH {
            self.buffer.clear();
            match self.socket.poll_recv(context, &mut self.buffer) {
                Poll::Ready(Ok(())) => decode_datagram(&self.buffer, &mut events),
                Poll::Ready(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    events.push(Event::Missed("the kernel announced changes faster than they were read".into()));
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if events.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        // Also without an event: the datagrams were of no interest, and there may be more of them.
        Poll::Ready(Ok(events))
    }
}

/// The events in one datagram.
fn decode_datagram(mut bytes: &[u8], events: &mut Vec<Event>) {
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let kind = u16::from_ne_bytes([e, f]);
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else {
            events.push(Event::Missed("an announcement of the kernel was cut short".into()));
            return;
        };
        match kind {
            RTM_NEWADDR | RTM_DELADDR | RTM_NEWROUTE | RTM_DELROUTE | RTM_NEWRULE | RTM_DELRULE => {
                if events.last() != Some(&Event::Routes) {
                    events.push(Event::Routes);
                }
            }
            _ => events.extend(decode_message(message)),
        }
        // Messages are aligned to four bytes (NLMSG_ALIGN); the last one need not be filled up.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn decode_message(bytes: &[u8]) -> Option<Event> {
    let message = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
        Ok(message) => message,
        Err(error) => return Some(Event::Missed(format!("an announcement of the kernel is not understood: {error}"))),
    };
    let NetlinkPayload::InnerMessage(inner) = message.payload else { return None };
    match inner {
        RouteNetlinkMessage::NewLink(link) => decode::link(&link).map(|(ifindex, facts)| Event::Link(ifindex, facts)),
        // A bridge announces the end of a port in its own family; the link itself lives on.
        RouteNetlinkMessage::DelLink(link)
            if link.header.interface_family == netlink_packet_route::AddressFamily::Unspec =>
        {
            Some(Event::LinkGone(link.header.index))
        }
        RouteNetlinkMessage::NewNeighbour(neighbour) => {
            decode::neighbour(&neighbour).map(|(key, entry)| Event::Neighbour(key, entry))
        }
        RouteNetlinkMessage::DelNeighbour(neighbour) => {
            decode::neighbour(&neighbour).map(|(key, _)| Event::NeighbourGone(key))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour::Vlan;

    /// A message of that kind, with `body` after its header.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("a short message");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        decode_datagram(bytes, &mut events);
        events
    }

    /// An attribute (rtnetlink(7)).
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("a short attribute");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What the kernel announces of a VLAN interface (`vlan_fill_info` in its net/8021q/vlan_netlink.c): index 7, over 3.
    fn vlan(id: u16, protocol: [u8; 2]) -> Vec<u8> {
        // struct ifinfomsg: family, type (Ethernet), index, flags (up, lower up), change.
        let mut body = [&[0, 0][..], &1_u16.to_ne_bytes(), &7_u32.to_ne_bytes()].concat();
        body.extend_from_slice(&0x1_0001_u32.to_ne_bytes());
        body.extend_from_slice(&[0; 4]);
        let data =
            [attribute(5, &protocol), attribute(1, &id.to_ne_bytes()), attribute(2, &[1, 0, 0, 0, 255, 255, 255, 255])];
        let info = [attribute(1, b"vlan\0"), attribute(2, &data.concat())];
        body.extend(attribute(3, b"eth1.100\0"));
        body.extend(attribute(1, &[2, 0, 0, 0, 0, 1]));
        body.extend(attribute(5, &3_u32.to_ne_bytes()));
        body.extend(attribute(18, &info.concat()));
        message(16, &body)
    }

    #[test]
    fn a_vlan_is_told_by_its_parent_and_number() {
        let told = |bytes: &[u8]| match &decoded(bytes)[..] {
            [Event::Link(7, facts)] => facts.clone(),
            other => panic!("{other:?}"),
        };
        let facts = told(&vlan(100, [0x81, 0x00]));
        assert_eq!((facts.name.as_str(), facts.vlan), ("eth1.100", Some(Vlan { parent: 3, id: 100 })));
        assert_eq!(told(&vlan(100, [0x88, 0xa8])).vlan, None, "a service tag");
        assert_eq!(told(&vlan(0, [0x81, 0x00])).vlan, None, "no VLAN has the number 0");
    }

    #[test]
    fn a_burst_of_route_changes_is_one_event() {
        let bytes = [message(RTM_NEWROUTE, &[0; 12]), message(RTM_DELROUTE, &[0; 13]), message(RTM_NEWADDR, &[])];
        assert_eq!(decoded(&bytes.concat()), [Event::Routes]);
    }

    #[test]
    fn what_is_cut_short_or_not_understood_counts_as_missed() {
        let whole = message(RTM_NEWROUTE, &[0; 12]);
        assert!(matches!(decoded(&whole[..20])[..], [Event::Missed(_)]));
        let too_short_a_link = message(16, &[0; 3]);
        assert!(matches!(decoded(&too_short_a_link)[..], [Event::Missed(_)]));
        let a_length_of_nothing = [0; HEADER];
        assert!(matches!(decoded(&a_length_of_nothing)[..], [Event::Missed(_)]));
    }
}
