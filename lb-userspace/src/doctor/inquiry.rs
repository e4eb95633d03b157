//! How hosts on the segments are asked, and what their answers mean. Pure.
//!
//! | question | to | what the answer tells |
//! |---|---|---|
//! | who has the VIP? (ARP probe, or that of duplicate address detection) | all | who answers takes traffic away |
//! | who has the backend's address? | all | one MAC answers; if two do, two hosts have it |
//! | the same by ARP, asked by **the VIP** | the backend | a host that has the VIP itself does not answer: an own address as the source is a "martian" (`__fib_validate_source`, net/ipv4/fib_frontend.c). One that answers lacks the VIP |
//! | the same by ARP, asked by an address off the segment | the backend | a strict `rp_filter` keeps silent if it would reach that address by another interface |
//! | the same by a ping to its own address (IPv6, where no source is a martian) | the backend | a host that has the VIP itself answers itself; the answer of one that lacks it comes here |
//! | that ping again, from an own address beside the VIP | the backend | its answers to there do come, so that the silence above means something |
//! | a ping to the own address, small, and as large as the interface allows | the backend | a lower MTU there, or on the way, eats the large one |
//! | a ping to the VIP that may not be handed on (TTL 1) | the backend | its answer: it has the VIP, and its replies get out; "time exceeded": it lacks the VIP and hands such packets on |
//!
//! Nobody who hears a question learns anything that is not so: the VIP *is* at the balancer's MAC.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use lb_common::address::MacAddr;

use super::questions::{Place, Questions};
use super::seen::{Claim, Told};
use crate::ethernet::frames;
use crate::ethernet::questions::{Echo, Heard, arp, hear, solicitation};
use crate::model::BackendAddr;

/// An address that is on no segment (RFC 2544): it stands for clients from elsewhere.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Length of a small ping.
const SMALL: u16 = 64;
/// The largest ping: larger than jumbo frames are.
const LARGEST: u32 = 9_216;

/// One frame that asks.
#[derive(Clone, Debug)]
struct Asked {
    ifindex: u32,
    frame: Vec<u8>,
    answered: bool,
}

/// What a ping that is answered tells.
#[derive(Clone, Copy, Debug)]
enum Ping {
    Small(BackendAddr),
    Wide(BackendAddr),
    Vip(BackendAddr, IpAddr),
    ByVip(BackendAddr, IpAddr),
    Beside(BackendAddr, IpAddr),
}

/// The questions, and what has been answered.
#[derive(Debug)]
pub struct Inquiry<'a> {
    questions: &'a Questions,
    asked: Vec<Asked>,
    /// By number, what it is about, with its place in `asked`.
    pings: BTreeMap<u32, (Ping, usize)>,
    next: u32,
    told: Told,
}

impl<'a> Inquiry<'a> {
    /// Prepares all questions. `mtus` are those of the interfaces by index; pings are numbered from `first` on.
    #[must_use]
    pub fn new(questions: &'a Questions, mtus: &BTreeMap<u32, u32>, first: u32) -> Self {
        let mut inquiry =
            Self { questions, asked: Vec::new(), pings: BTreeMap::new(), next: first, told: Told::default() };
        for port in questions.ports.values() {
            for vip in &questions.vips {
                inquiry.ask(port.ifindex, frames::probe(*vip, port.mac));
            }
        }
        for question in &questions.backends {
            let Some(place) = &question.place else { continue };
            let known = inquiry.told.hosts.contains_key(&question.backend);
            inquiry.told.hosts.entry(question.backend).or_default().vips.entry(question.vip).or_default();
            if !known {
                let mtu = mtus.get(&place.port.ifindex).copied().unwrap_or(0);
                inquiry.ask_host(question.backend, place, mtu);
            }
            inquiry.ask_about(question.backend, question.vip, place);
        }
        inquiry
    }

    fn ask(&mut self, ifindex: u32, frame: Vec<u8>) {
        self.asked.push(Asked { ifindex, frame, answered: false });
    }

    fn ask_host(&mut self, backend: BackendAddr, place: &Place, mtu: u32) {
        let Place { port, mac, source, .. } = place;
        match (backend.ip(), *source) {
            (IpAddr::V4(address), IpAddr::V4(source)) => {
                self.ask(port.ifindex, arp(address, source, port.mac, None));
                self.ask(port.ifindex, arp(address, ELSEWHERE, port.mac, Some(*mac)));
            }
            (IpAddr::V6(address), IpAddr::V6(source)) => {
                self.ask(port.ifindex, solicitation(address, source, port.mac, None));
            }
            _ => {}
        }
        self.ping(place, (place.source, backend.ip()), Ping::Small(backend), SMALL, 64);
        if mtu > u32::from(SMALL) {
            self.ping(place, (place.source, backend.ip()), Ping::Wide(backend), mtu.min(LARGEST) as u16, 64);
        }
    }

    fn ask_about(&mut self, backend: BackendAddr, vip: IpAddr, place: &Place) {
        if let (IpAddr::V4(address), IpAddr::V4(vip)) = (backend.ip(), vip) {
            self.ask(place.port.ifindex, arp(address, vip, place.port.mac, Some(place.mac)));
        }
        if vip.is_ipv6() {
            self.ping(place, (vip, backend.ip()), Ping::ByVip(backend, vip), SMALL, 64);
            if let Some(beside) = place.beside {
                self.ping(place, (beside, backend.ip()), Ping::Beside(backend, vip), SMALL, 64);
            }
        }
        self.ping(place, (place.source, vip), Ping::Vip(backend, vip), SMALL, 1);
    }

    /// Asks by a ping, from one address to another one.
    fn ping(&mut self, place: &Place, (source, destination): (IpAddr, IpAddr), ping: Ping, length: u16, hops: u8) {
        let Place { port, mac, .. } = place;
        let number = self.next;
        let echo = Echo { source, destination, from: port.mac, to: *mac, number, hops, length };
        if let Some(frame) = echo.frame() {
            self.next += 1;
            self.pings.insert(number, (ping, self.asked.len()));
            self.ask(port.ifindex, frame);
        }
    }

    /// How many pings there are.
    #[must_use]
    pub fn pings(&self) -> usize {
        self.pings.len()
    }

    /// The frames that ask and are not answered, each with the interface that it is to go out of. A question that several
    /// may answer never counts as answered.
    pub fn unanswered(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.asked.iter().filter(|asked| !asked.answered).map(|asked| (asked.ifindex, &asked.frame[..]))
    }

    /// Takes a frame that came in by an interface. `unfinished` says that its checksum was left to a card.
    pub fn hear(&mut self, ifindex: u32, frame: &[u8], unfinished: bool) {
        if unfinished {
            self.told.unfinished.insert(ifindex);
        }
        match hear(frame) {
            Some(Heard::Has { address, told, mac }) => self.hear_of(ifindex, address, told, mac),
            Some(Heard::Echoed { from, number }) => {
                let Some((ping, place)) = self.pings.get(&number).copied() else { return };
                let hosts = &mut self.told.hosts;
                match ping {
                    Ping::Small(backend) if from == backend.ip() => hosts.entry(backend).or_default().small = true,
                    Ping::Wide(backend) if from == backend.ip() => hosts.entry(backend).or_default().wide = true,
                    Ping::Vip(backend, vip) if from == vip => {
                        hosts.entry(backend).or_default().vips.entry(vip).or_default().echoed = true;
                    }
                    Ping::ByVip(backend, vip) if from == backend.ip() => {
                        hosts.entry(backend).or_default().vips.entry(vip).or_default().told_vip = true;
                    }
                    Ping::Beside(backend, vip) if from == backend.ip() => {
                        hosts.entry(backend).or_default().vips.entry(vip).or_default().told_beside = true;
                    }
                    _ => return,
                }
                if let Some(asked) = self.asked.get_mut(place) {
                    asked.answered = true;
                }
            }
            Some(Heard::Expired { number, .. }) => {
                if let Some((Ping::Vip(backend, vip), _)) = self.pings.get(&number).copied() {
                    self.told.hosts.entry(backend).or_default().vips.entry(vip).or_default().expired = true;
                }
            }
            None => {}
        }
    }

    fn hear_of(&mut self, ifindex: u32, address: IpAddr, told: Option<Ipv4Addr>, mac: MacAddr) {
        if self.questions.own.contains(&mac) {
            return;
        }
        if self.questions.vips.contains(&address)
            && let Some((interface, _)) = self.questions.ports.iter().find(|(_, port)| port.ifindex == ifindex)
        {
            self.told.claims.insert(Claim { vip: address, mac, interface: interface.clone() });
        }
        let Ok(backend) = BackendAddr::try_from(address) else { return };
        let Some(host) = self.told.hosts.get_mut(&backend) else { return };
        match told {
            Some(ELSEWHERE) => host.off_link = true,
            Some(told) if host.vips.contains_key(&told.into()) => {
                host.vips.entry(told.into()).or_default().told_vip = true;
            }
            _ => {
                host.macs.insert(mac);
            }
        }
    }

    /// What was answered.
    #[must_use]
    pub fn finish(self) -> Told {
        self.told
    }
}
