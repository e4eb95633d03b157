//! When to announce, to ask and to defend. Pure: it is told the time, and answers with frames.
//!
//! | what | when | source |
//! |---|---|---|
//! | announcement | [`BURST`] times, [`SPACING`] apart, when a VIP or an interface is new (attach, start of the agent, a VIP is added); then each [`AGAIN`] | RFC 5227 section 2.3, RFC 4861 section 7.2.6 |
//! | probe | with the first announcement, and each [`AGAIN`]: who has the VIP, too, answers it | |
//! | defence: one announcement | when a host claims the VIP, each [`DEFEND`] at most | RFC 5227 section 2.4 |
//! | defence: an advertisement | when a host wants an IPv6 VIP, each [`ANSWER`] at most (the program answers who wants an IPv4 VIP) | RFC 4862 section 5.4.3 |
//!
//! A VIP is never given up, as RFC 5227 section 2.4 (c) lets a server with a well-known address do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::address::MacAddr;
use lb_common::event::Event;

use super::{Owned, Port, Rival};
use crate::ethernet::frames::{announcement, probe};

/// Announcements of a VIP that is new (`ANNOUNCE_NUM` of RFC 5227).
pub const BURST: u8 = 2;
/// Time between them (`ANNOUNCE_INTERVAL`).
pub const SPACING: Duration = Duration::from_secs(2);
/// Time between the later ones.
pub const AGAIN: Duration = Duration::from_secs(60);
/// The shortest time between two defences of a VIP (`DEFEND_INTERVAL`).
pub const DEFEND: Duration = Duration::from_secs(10);
/// The shortest time between two answers to hosts that want a VIP.
pub const ANSWER: Duration = Duration::from_secs(1);
/// For how long a host is named that was not heard again: three times of asking who has the VIP.
pub const FORGET: Duration = Duration::from_secs(3 * 60 + 5);
/// The most hosts that are kept in mind.
const MOST_RIVALS: usize = 256;

/// A frame and the interface that it is to go out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The interface.
    pub ifindex: u32,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// Keeps VIPs. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Keeper {
    owned: Owned,
    /// By VIP and interface.
    due: BTreeMap<(IpAddr, u32), Due>,
    defended: BTreeMap<(IpAddr, u32), Duration>,
    answered: BTreeMap<(IpAddr, u32), Duration>,
    /// By VIP, MAC and interface.
    heard: BTreeMap<(IpAddr, MacAddr, u32), Heard>,
    /// What happened and was not taken yet.
    happened: Vec<Happened>,
}

/// Something that happened to a VIP on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub what: What,
    /// The VIP.
    pub vip: IpAddr,
    /// The interface's name.
    pub interface: String,
}

/// What can happen to a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is announced from now on.
    Announced,
    /// The host with that MAC says that it has it.
    Contested(MacAddr),
    /// The host with that MAC wanted it.
    Wanted(MacAddr),
    /// It was announced against the host with that MAC.
    Defended(MacAddr),
}

#[derive(Clone, Copy, Debug)]
struct Due {
    port: Port,
    at: Duration,
    /// Announcements sent, up to [`BURST`].
    sent: u8,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    claims: bool,
    at: Duration,
    frames: u64,
}

impl Keeper {
    /// Takes up what is owned now. What is new is due at once.
    pub fn owns(&mut self, owned: Owned, now: Duration) {
        let mut due = BTreeMap::new();
        for vip in &owned.vips {
            for port in owned.ports.values() {
                let key = (*vip, port.ifindex);
                let old = self.due.get(&key).filter(|due| due.port == *port);
                due.insert(key, old.copied().unwrap_or(Due { port: *port, at: now, sent: 0 }));
            }
        }
        self.defended.retain(|key, _| due.contains_key(key));
        self.answered.retain(|key, _| due.contains_key(key));
        self.heard.retain(|(vip, _, ifindex), _| due.contains_key(&(*vip, *ifindex)));
        (self.due, self.owned) = (due, owned);
    }

    /// What is to be sent now.
    pub fn due(&mut self, now: Duration) -> Vec<Sending> {
        let mut frames = Vec::new();
        for ((vip, ifindex), due) in self.due.iter_mut().filter(|(_, due)| due.at <= now) {
            if due.sent == 0 {
                let interface = self.owned.name_of(*ifindex);
                self.happened.push(Happened { what: What::Announced, vip: *vip, interface });
            }
            let mac = due.port.mac;
            frames.push(Sending { ifindex: *ifindex, frame: announcement(*vip, mac) });
            if due.sent == 0 || due.sent == BURST {
                frames.push(Sending { ifindex: *ifindex, frame: probe(*vip, mac) });
            }
            due.sent = (due.sent + 1).min(BURST);
            due.at = now + if due.sent < BURST { SPACING } else { AGAIN };
        }
        frames
    }

    /// When something is to be sent or forgotten; `None` if nothing is.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        let due = self.due.values().map(|due| due.at);
        due.chain(self.heard.values().map(|heard| heard.at + FORGET)).min()
    }

    /// Hears of another host, and answers with what is to be sent against it.
    pub fn hear(&mut self, event: &Event, now: Duration) -> Vec<Sending> {
        let vip = IpAddr::from(event.vip);
        let key = (vip, event.ifindex);
        // Our own frames come back where two of our interfaces stand on one segment.
        let is_own = self.owned.ports.values().any(|port| port.mac == event.mac);
        let Some(due) = self.due.get(&key).filter(|_| !is_own) else { return Vec::new() };
        let place = (vip, event.mac, event.ifindex);
        if self.heard.len() >= MOST_RIVALS && !self.heard.contains_key(&place) {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.at).map(|(place, _)| *place);
            oldest.map(|oldest| self.heard.remove(&oldest));
        }
        let claims = event.kind == Event::CLAIMS;
        let known = self.heard.get(&place).filter(|heard| now < heard.at + FORGET);
        if known.is_none_or(|heard| claims && !heard.claims) {
            let what = if claims { What::Contested(event.mac) } else { What::Wanted(event.mac) };
            self.happened.push(Happened { what, vip, interface: self.owned.name_of(event.ifindex) });
        }
        let heard = self.heard.entry(place).or_insert(Heard { claims, at: now, frames: 0 });
        *heard = Heard { claims: claims || heard.claims, at: now, frames: heard.frames + 1 };
        let (last, pause) = match event.kind {
            Event::CLAIMS => (&mut self.defended, DEFEND),
            Event::SOLICITS => (&mut self.answered, ANSWER),
            _ => return Vec::new(),
        };
        if last.get(&key).is_some_and(|last| now < *last + pause) {
            return Vec::new();
        }
        last.insert(key, now);
        if claims {
            let what = What::Defended(event.mac);
            self.happened.push(Happened { what, vip, interface: self.owned.name_of(event.ifindex) });
        }
        vec![Sending { ifindex: event.ifindex, frame: announcement(vip, due.port.mac) }]
    }

    /// Takes what happened since the last time, the oldest first.
    pub fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// The other hosts that were heard not long ago. `unix` is this moment in seconds since 1970.
    pub fn rivals(&mut self, now: Duration, unix: u64) -> Vec<Rival> {
        self.heard.retain(|_, heard| now < heard.at + FORGET);
        let rival = |(&(vip, mac, ifindex), heard): (&(IpAddr, MacAddr, u32), &Heard)| Rival {
            vip,
            mac,
            interface: self.owned.name_of(ifindex),
            claims: heard.claims,
            seen: unix.saturating_sub(now.saturating_sub(heard.at).as_secs()),
            frames: heard.frames,
        };
        self.heard.iter().map(rival).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lb_common::address::Address;

    use super::*;

    const PORT: Port = Port { ifindex: 3, mac: MacAddr([2, 0, 0, 0, 0, 3]) };
    const OTHER_PORT: Port = Port { ifindex: 4, mac: MacAddr([2, 0, 0, 0, 0, 4]) };
    const RIVAL: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn v4() -> IpAddr {
        "192.0.2.10".parse().expect("an address")
    }

    fn v6() -> IpAddr {
        "2001:db8::10".parse().expect("an address")
    }

    fn owned(vips: &[IpAddr], ports: &[(&str, Port)]) -> Owned {
        let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
        Owned { vips: vips.iter().copied().collect(), others: BTreeSet::new(), ports }
    }

    fn event(vip: IpAddr, mac: MacAddr, kind: u8) -> Event {
        Event { vip: Address::from(vip), ifindex: PORT.ifindex, mac, kind, reserved: 0 }
    }

    fn announced(vip: IpAddr, port: Port) -> Sending {
        Sending { ifindex: port.ifindex, frame: announcement(vip, port.mac) }
    }

    fn probed(vip: IpAddr, port: Port) -> Sending {
        Sending { ifindex: port.ifindex, frame: probe(vip, port.mac) }
    }

    #[test]
    fn what_is_new_is_announced_twice_and_then_each_minute() {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.next(), None);
        keeper.owns(owned(&[v4()], &[("eth1", PORT)]), seconds(100));
        assert_eq!(keeper.next(), Some(seconds(100)));
        assert_eq!(keeper.due(seconds(100)), [announced(v4(), PORT), probed(v4(), PORT)]);
        assert_eq!(keeper.due(seconds(101)), []);
        assert_eq!(keeper.next(), Some(seconds(102)));
        assert_eq!(keeper.due(seconds(102)), [announced(v4(), PORT)]);
        assert_eq!(keeper.next(), Some(seconds(162)));
        for minute in 0..3 {
            let now = seconds(162 + 60 * minute);
            assert_eq!(keeper.due(now), [announced(v4(), PORT), probed(v4(), PORT)]);
            assert_eq!(keeper.due(now), []);
        }
    }

    #[test]
    fn a_vip_and_an_interface_that_come_later_are_announced_and_the_others_not_again() {
        let mut keeper = Keeper::default();
        keeper.owns(owned(&[v4()], &[("eth1", PORT)]), seconds(0));
        keeper.due(seconds(0));
        keeper.due(seconds(2));
        keeper.owns(owned(&[v4(), v6()], &[("eth1", PORT)]), seconds(5));
        assert_eq!(keeper.due(seconds(5)), [announced(v6(), PORT), probed(v6(), PORT)]);
        keeper.owns(owned(&[v4()], &[("eth1", PORT), ("eth2", OTHER_PORT)]), seconds(6));
        assert_eq!(keeper.due(seconds(6)), [announced(v4(), OTHER_PORT), probed(v4(), OTHER_PORT)]);
        // Another MAC is news, too.
        let moved = Port { mac: MacAddr([2, 0, 0, 0, 0, 5]), ..PORT };
        keeper.owns(owned(&[v4()], &[("eth1", moved)]), seconds(7));
        assert_eq!(keeper.due(seconds(7)), [announced(v4(), moved), probed(v4(), moved)]);
        keeper.owns(owned(&[], &[("eth1", moved)]), seconds(8));
        assert_eq!(keeper.next(), None);
    }

    #[test]
    fn a_claim_is_answered_once_in_ten_seconds_and_the_host_is_named_until_it_is_silent() {
        let mut keeper = Keeper::default();
        keeper.owns(owned(&[v4()], &[("eth1", PORT)]), seconds(0));
        let claim = event(v4(), RIVAL, Event::CLAIMS);
        assert_eq!(keeper.hear(&claim, seconds(20)), [announced(v4(), PORT)]);
        assert_eq!(keeper.hear(&claim, seconds(29)), []);
        assert_eq!(keeper.hear(&claim, seconds(30)), [announced(v4(), PORT)]);
        let rival = Rival { vip: v4(), mac: RIVAL, interface: "eth1".into(), claims: true, seen: 970, frames: 3 };
        assert_eq!(keeper.rivals(seconds(60), 1_000), [rival]);
        assert_eq!(keeper.rivals(seconds(30) + FORGET, 1_000), []);
    }

    #[test]
    fn who_wants_an_ipv6_vip_is_told_and_who_wants_an_ipv4_one_was_told_by_the_program() {
        let mut keeper = Keeper::default();
        keeper.owns(owned(&[v4(), v6()], &[("eth1", PORT)]), seconds(0));
        assert_eq!(keeper.hear(&event(v4(), RIVAL, Event::PROBES), seconds(1)), []);
        let wants = event(v6(), RIVAL, Event::SOLICITS);
        assert_eq!(keeper.hear(&wants, seconds(1)), [announced(v6(), PORT)]);
        assert_eq!(keeper.hear(&wants, seconds(1)), []);
        assert_eq!(keeper.hear(&wants, seconds(2)), [announced(v6(), PORT)]);
        let rivals = keeper.rivals(seconds(2), 50);
        assert_eq!(
            rivals.iter().map(|rival| (rival.vip, rival.claims)).collect::<Vec<_>>(),
            [(v4(), false), (v6(), false)]
        );
    }

    #[test]
    fn our_own_frames_and_vips_that_are_not_owned_are_nobodys_rivals() {
        let mut keeper = Keeper::default();
        keeper.owns(owned(&[v4()], &[("eth1", PORT), ("eth2", OTHER_PORT)]), seconds(0));
        assert_eq!(keeper.hear(&event(v4(), OTHER_PORT.mac, Event::CLAIMS), seconds(1)), []);
        assert_eq!(keeper.hear(&event(v6(), RIVAL, Event::CLAIMS), seconds(1)), []);
        assert_eq!(keeper.rivals(seconds(1), 1), []);
    }

    #[test]
    fn what_happens_is_told_once_until_it_happens_anew() {
        let mut keeper = Keeper::default();
        let told = |keeper: &mut Keeper| keeper.take_happened().into_iter().map(|one| one.what).collect::<Vec<_>>();
        keeper.owns(owned(&[v4()], &[("eth1", PORT)]), seconds(0));
        keeper.due(seconds(0));
        let announced = Happened { what: What::Announced, vip: v4(), interface: "eth1".into() };
        assert_eq!(keeper.take_happened(), [announced]);
        keeper.due(seconds(2));
        assert_eq!(told(&mut keeper), []);
        keeper.hear(&event(v4(), RIVAL, Event::PROBES), seconds(3));
        keeper.hear(&event(v4(), RIVAL, Event::PROBES), seconds(4));
        assert_eq!(told(&mut keeper), [What::Wanted(RIVAL)]);
        keeper.hear(&event(v4(), RIVAL, Event::CLAIMS), seconds(5));
        keeper.hear(&event(v4(), RIVAL, Event::CLAIMS), seconds(6));
        assert_eq!(told(&mut keeper), [What::Contested(RIVAL), What::Defended(RIVAL)]);
        keeper.hear(&event(v4(), RIVAL, Event::CLAIMS), seconds(7) + FORGET);
        assert_eq!(told(&mut keeper), [What::Contested(RIVAL), What::Defended(RIVAL)]);
    }

    #[test]
    fn many_rivals_push_out_the_oldest() {
        let mut keeper = Keeper::default();
        keeper.owns(owned(&[v4()], &[("eth1", PORT)]), seconds(0));
        for number in 0..=MOST_RIVALS as u64 {
            let [.., a, b] = number.to_be_bytes();
            keeper.hear(&event(v4(), MacAddr([2, 9, 0, 0, a, b]), Event::CLAIMS), seconds(number));
        }
        let rivals = keeper.rivals(seconds(0), 0);
        assert_eq!(rivals.len(), MOST_RIVALS);
        assert!(rivals.iter().all(|rival| rival.mac != MacAddr([2, 9, 0, 0, 0, 0])));
    }
}
