//! A packet's whole way, on one page.
//!
//! Each step either goes on or finishes with a verdict and the counter for it. What isn't addressed to a VIP finishes with
//! [`Verdict::PASS`] and not a bit of it changed.

use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::protocol;
use lb_common::slot::TOO_MANY_FLOWS;
use lb_common::track::signal::Signal;

use crate::finish::{Finish, Verdict};
use crate::known::Known;
use crate::packet::Packet;
use crate::parse::{Headers, Kind, Part, plain};
use crate::select::{Chosen, Place};
use crate::tables::Tables;
use crate::{access, account, match_listener, parse, probe, rewrite, select, steady, vip_traffic};

/// Takes a packet through all steps and says what the kernel is to do with it. The first way that is made for it takes it; those
/// before have not changed, counted or remembered anything of it.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    let verdict = steady::ipv4(packet, tables).or_else(|| ipv4(packet, tables));
    let verdict = verdict.or_else(|| steady::ipv6(packet, tables)).or_else(|| ipv6(packet, tables));
    verdict.or_else(|| tagged(packet, tables)).unwrap_or_else(|| any(packet, known, tables))
}

/// Takes a packet of IPv4 through the steps that is read in one go.
#[inline(always)]
pub fn ipv4<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    if plain::kind(packet, tables.own_mac())? != plain::IPV4 {
        return None;
    }
    forward(packet, true, &plain::ipv4(packet, false)?, tables)
}

/// The same for one of IPv6.
#[inline(always)]
pub fn ipv6<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    if plain::kind(packet, tables.own_mac())? != plain::IPV6 {
        return None;
    }
    forward(packet, true, &plain::ipv6(packet, false)?, tables)
}

/// The same for a packet that has a VLAN tag.
#[inline(always)]
pub fn tagged<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    match plain::tagged_kind(packet, tables.own_mac())? {
        plain::IPV4 => forward(packet, false, &plain::ipv4(packet, true)?, tables),
        plain::IPV6 => forward(packet, false, &plain::ipv6(packet, true)?, tables),
        _ => None,
    }
}

/// The way of such a packet, counted wherever it goes. If `tracks`, one whose flow is tracked goes on here, too. `None` if more has
/// to be read: it may be the answer to a probe, or the listener limits new flows.
#[inline(always)]
fn forward<T: Tables>(packet: &mut Packet<'_>, tracks: bool, headers: &Headers, tables: &T) -> Option<Verdict> {
    let flow = &headers.flow;
    let end = |finish: Finish| Some(account::finish(finish, headers.length, tables));
    let listener = match match_listener::run(flow, true, tables) {
        Ok(listener) => listener,
        Err(finish) => {
            let answer = finish.outcome as u32 == Outcome::NotVip as u32 && tables.is_probing();
            return if answer { None } else { end(finish) };
        }
    };
    let by_slot = listener.goes_by_slot();
    if !by_slot && (!tracks || listener.guards & Listener::GUARD_RATE != 0) {
        return None;
    }
    let place = allowed(headers, listener, tables)
        .and_then(|()| select::index(listener, flow, tables))
        .and_then(|index| select::slot(listener, index, select::glance(listener, index, tables), tables));
    let place = match place {
        Ok(place) => place,
        Err(finish) => return end(finish),
    };
    if by_slot && place.slot.is_steady() {
        return Some(send(packet, headers, listener, place.slot.current(), tables));
    }
    if tracks { tracked(packet, headers, listener, place, tables) } else { None }
}

/// Ends a packet that is not on its listener's allow-list.
#[inline(always)]
fn allowed<T: Tables>(headers: &Headers, listener: &Listener, tables: &T) -> Result<(), Finish> {
    if listener.guards & Listener::GUARD_ALLOW != 0 {
        access::run(listener, &headers.flow.source, Signal::NONE, tables)
            .inspect_err(|finish| account::refused(listener, *finish, tables))?;
    }
    Ok(())
}

/// The rest of the way of such a packet whose slot alone does not tell its backend.
#[inline(always)]
fn tracked<T: Tables>(
    packet: &mut Packet<'_>,
    headers: &Headers,
    listener: &Listener,
    place: Place,
    tables: &T,
) -> Option<Verdict> {
    let headers = tables.keep(headers)?;
    Some(match track_flow(packet, headers, listener, place, tables) {
        Ok(backend) => tables.send(packet, headers, listener, backend),
        Err(finish) => account::finish(finish, headers.length, tables),
    })
}

/// Sends a packet to the backend with that index in the pool, and counts it wherever it goes.
#[inline(always)]
pub fn send<T: Tables>(
    packet: &mut Packet<'_>,
    headers: &Headers,
    listener: &Listener,
    backend: u16,
    tables: &T,
) -> Verdict {
    let mut chosen = Chosen::NONE;
    if let Err(finish) = select::backend(listener, backend, &mut chosen, tables) {
        return account::finish(finish, headers.length, tables);
    }
    send_to(packet, headers, &chosen, tables)
}

/// Sends a packet to the backend that was chosen, and counts it wherever it goes.
#[inline(always)]
fn send_to<T: Tables>(packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen, tables: &T) -> Verdict {
    // The way of most: back out where it came in, and no tag to look after.
    let stays = headers.tag == 0 && chosen.segment.is_untagged_on(tables.ingress_ifindex());
    if stays && rewrite::addresses(packet, chosen) {
        account::sent(chosen, Outcome::Forwarded, headers.length, tables);
        return Verdict::TRANSMIT;
    }
    if !rewrite::run(packet, headers, chosen, tables) {
        return account::finish(Finish::drop(Outcome::NoHeadroom), headers.length, tables);
    }
    if u64::from(chosen.segment.ifindex) == tables.ingress_ifindex() {
        account::sent(chosen, Outcome::Forwarded, headers.length, tables);
        Verdict::TRANSMIT
    } else {
        account::sent(chosen, Outcome::Redirected, headers.length, tables);
        Verdict::redirect(chosen.backend.segment())
    }
}

/// Takes any packet through all steps.
#[inline(always)]
pub fn any<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    tables.parse(packet, &mut known.headers);
    match steps(packet, known, tables) {
        Ok(()) => send_to(packet, &known.headers, &known.chosen, tables),
        Err(finish) => {
            let finish = answer_to_probe(finish, packet, known, tables);
            account::finish(finish, known.headers.length, tables)
        }
    }
}

/// The way of a packet until its backend is chosen (`Ok`), or to an earlier end (`Err`).
#[inline(always)]
fn steps<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Result<(), Finish> {
    match known.headers.kind {
        Kind::Flow => choose_for_datagram(packet, known, tables),
        Kind::LaterFragment => tables.follow_fragment(&mut known.headers, &mut known.chosen),
        Kind::Foreign => Err(Finish::pass(known.headers.outcome)),
        Kind::Arp | Kind::Discovery | Kind::Echo => Err(tables.answer(packet, &known.headers)),
        Kind::Flowless => Err(vip_traffic::flowless(&known.headers, tables)),
    }
}

/// Chooses the backend of a packet whose flow is known, and leaves a trail for the rest of its datagram if it is a first
/// fragment.
#[inline(always)]
fn choose_for_datagram<T: Tables>(packet: &Packet<'_>, known: &mut Known, tables: &T) -> Result<(), Finish> {
    let end = choose(packet, known, tables);
    if known.headers.fragment.part as u32 == Part::First as u32 {
        match end {
            Ok(()) => tables.leave_first(&mut known.headers, &mut known.chosen),
            // What the kernel gets it has to get whole.
            Err(finish) if finish.outcome as u32 == Outcome::NoListener as u32 => {
                known.chosen = Chosen::NONE;
                tables.leave_first(&mut known.headers, &mut known.chosen);
            }
            Err(_) => {}
        }
    }
    end
}

/// Chooses the backend of a packet whose flow is known.
#[inline(always)]
fn choose<T: Tables>(packet: &Packet<'_>, known: &mut Known, tables: &T) -> Result<(), Finish> {
    tables.find_slot(packet, known)?;
    let Known { headers, listener, place, chosen } = known;
    let backend = if place.slot.is_steady() && !listener.pins_every_flow() {
        place.slot.current()
    } else {
        track_flow(packet, headers, listener, *place, tables)?
    };
    select::backend(listener, backend, chosen, tables)
}

/// The backend of a flow that its slot alone does not tell, by its index in the pool.
#[inline(always)]
fn track_flow<T: Tables>(
    packet: &Packet<'_>,
    headers: &Headers,
    listener: &Listener,
    place: Place,
    tables: &T,
) -> Result<u16, Finish> {
    let backend = tables.track(packet, headers, listener, place);
    if backend == TOO_MANY_FLOWS {
        let finish = Finish::drop(Outcome::TooManyFlows);
        account::refused(listener, finish, tables);
        return Err(finish);
    }
    Ok(backend)
}

/// Finds the listener that a packet is for and, if it takes the packet, the slot of the packet's flow.
///
/// # Errors
/// How a packet ends that has none.
#[inline(always)]
pub fn find_slot<T: Tables>(packet: &Packet<'_>, known: &mut Known, tables: &T) -> Result<(), Finish> {
    let Known { headers, .. } = known;
    let flow = &headers.flow;
    let listener = match_listener::run(flow, protocol::has_ports(flow.protocol), tables)?;
    if listener.guards & Listener::GUARDS_OF_PACKETS != 0 {
        let limited = listener.guards & Listener::GUARD_RATE != 0;
        let signal = if limited { parse::signal(packet, headers) } else { Signal::NONE };
        if let Err(finish) = access::run(listener, &flow.source, signal, tables) {
            account::refused(listener, finish, tables);
            return Err(finish);
        }
    }
    let index = select::index(listener, flow, tables)?;
    known.place = select::slot(listener, index, select::glance(listener, index, tables), tables)?;
    known.note_listener(listener);
    Ok(())
}

/// The answer to a probe of a health check is for no VIP, and goes to who sent that. Everything else ends as it would.
#[inline(always)]
fn answer_to_probe<T: Tables>(finish: Finish, packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Finish {
    let Known { headers, chosen, .. } = known;
    if finish.outcome as u32 != Outcome::NotVip as u32
        || !tables.is_probing()
        || !tables.answers_probe(packet, headers, chosen)
    {
        return finish;
    }
    if !rewrite::run(packet, headers, chosen, tables) {
        return Finish::drop(Outcome::NoHeadroom);
    }
    Finish { verdict: Verdict::PROBE, outcome: Outcome::ProbeAnswer }
}

/// The way of a packet from where probes are sent from: to the probe's backend. Nothing else leaves that place.
#[inline(always)]
pub fn send_probe<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    tables.parse(packet, &mut known.headers);
    let Known { headers, chosen, .. } = known;
    if probe::target(packet, headers, chosen, tables) && rewrite::run(packet, headers, chosen, tables) {
        Verdict::redirect(chosen.backend.segment())
    } else {
        Verdict::DROP
    }
}
