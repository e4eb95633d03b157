//! Echo requests (RFC 792, RFC 4443 section 4).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::Failed;

/// What an echo request carries.
const PAYLOAD: &[u8; 8] = b"drlb ???";
/// The room for an answer: an IPv4 header with options, an ICMP header and the payload.
const ANSWER: usize = 128;
const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;

/// Who waits for an answer from an address with an identifier.
type Waiting = Rc<RefCell<HashMap<(IpAddr, u16), oneshot::Sender<()>>>>;

/// Sends echo requests and hands out the answers. For one thread.
#[derive(Default)]
pub(in crate::health) struct Pinger {
    /// A raw socket for each address to send from.
    sockets: RefCell<HashMap<IpAddr, Rc<UdpSocket>>>,
    waiting: Waiting,
}

/// Forgets who waited.
struct Wait<'a>(&'a Waiting, (IpAddr, u16));

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().remove(&self.1);
    }
}

impl Pinger {
    /// Sends an echo request and waits for the answer, without end.
    ///
    /// # Errors
    /// It cannot be sent.
    pub(super) async fn ping(&self, to: IpAddr, from: IpAddr, identifier: u16) -> Result<(), Failed> {
        let fault = |error| Failed::of(error, |error| format!("no ping can be sent: {error}"));
        let from = match (to, from.is_unspecified()) {
            (IpAddr::V4(_), true) => Ipv4Addr::UNSPECIFIED.into(),
            (IpAddr::V6(_), true) => Ipv6Addr::UNSPECIFIED.into(),
            _ => from,
        };
        let socket = self.socket(from).map_err(fault)?;
        let (sender, answered) = oneshot::channel();
        let key = (to, identifier);
        self.waiting.borrow_mut().insert(key, sender);
        let _wait = Wait(&self.waiting, key);
        let packet = request(to, identifier);
        socket.send_to(&packet, SocketAddr::new(to, 0)).await.map_err(fault)?;
        answered.await.map_err(|_| Failed::Here("another ping took the place of this one".to_owned()))
    }

    fn socket(&self, from: IpAddr) -> io::Result<Rc<UdpSocket>> {
        if let Some(socket) = self.sockets.borrow().get(&from) {
            return Ok(Rc::clone(socket));
        }
        let (domain, protocol) = match from {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        // A raw socket is sent by and read as a UDP socket is; tokio has no type of its own for it.
        let socket = Rc::new(UdpSocket::from_std(OwnedFd::from(socket).into())?);
        tokio::task::spawn_local(receive(Rc::clone(&socket), Rc::clone(&self.waiting)));
        self.sockets.borrow_mut().insert(from, Rc::clone(&socket));
        Ok(socket)
    }
}

/// Takes what comes, and tells those who wait for it.
async fn receive(socket: Rc<UdpSocket>, waiting: Waiting) {
    let mut packet = [0; ANSWER];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((length, from)) => {
                let identifier = packet.get(..length).and_then(|packet| reply(packet, from.is_ipv4()));
                if let Some(identifier) = identifier
                    && let Some(waits) = waiting.borrow_mut().remove(&(from.ip(), identifier))
                {
                    let _ = waits.send(());
                }
            }
            // ICMP errors are told here, of pings whose answer then does not come.
            Err(error) => tracing::debug!("an answer to a ping cannot be read: {error}"),
        }
    }
}

/// An echo request. The kernel fills in the checksum of ICMPv6.
fn request(to: IpAddr, identifier: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    let (header, payload) = packet.split_at_mut(8);
    payload.copy_from_slice(PAYLOAD);
    header[0] = if to.is_ipv4() { V4_REQUEST } else { V6_REQUEST };
    header[4..6].copy_from_slice(&identifier.to_be_bytes());
    header[6..8].copy_from_slice(&1_u16.to_be_bytes());
    if to.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) as u16 + (folded >> 16) as u16)
}

/// The identifier of an echo reply. A raw socket of IPv4 gets the IP header as well.
fn reply(packet: &[u8], v4: bool) -> Option<u16> {
    let (icmp, wanted) =
        if v4 { (packet.get(usize::from(packet.first()? & 0x0f) * 4..)?, V4_REPLY) } else { (packet, V6_REPLY) };
    let [kind, _, _, _, high, low, ..] = *icmp else { return None };
    (kind == wanted).then_some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_right_checksum() {
        let packet = request(IpAddr::V4(Ipv4Addr::LOCALHOST), 0xabcd);
        assert_eq!(checksum(&packet), 0);
        assert_eq!((packet[0], &packet[4..6]), (8, &[0xab, 0xcd][..]));
    }

    #[test]
    fn only_replies_are_taken_and_options_of_ip_are_stepped_over() {
        let mut packet = vec![0x46; 24];
        packet.extend([0, 0, 0, 0, 0x12, 0x34, 0, 1]);
        assert_eq!(reply(&packet, true), Some(0x1234));
        packet[24] = 8;
        assert_eq!(reply(&packet, true), None, "a request");
        assert_eq!(reply(&[129, 0, 0, 0, 0, 7], false), Some(7));
        assert_eq!(reply(&[129, 0, 0], false), None);
        assert_eq!(reply(&[], true), None);
    }
}
