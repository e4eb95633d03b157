//! A packet's whole way, on one page.
//!
//! Each step either goes on or finishes with a verdict and the counter for it. What isn't addressed to a VIP finishes with
//! [`Verdict::Pass`] and not a bit of it changed.

use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::slot::TOO_MANY_FLOWS;
use lb_common::track::signal::Signal;
use network_types::eth::EtherType;

use crate::finish::{Finish, Verdict};
use crate::known::Known;
use crate::packet::Packet;
use crate::parse::{Headers, Kind, Part};
use crate::select::{Chosen, Place};
use crate::tables::Tables;
use crate::{access, account, match_listener, parse, probe, rewrite, select, vip_traffic};

const IPV4: u16 = EtherType::Ipv4 as u16;
const IPV6: u16 = EtherType::Ipv6 as u16;

/// Takes a packet through all steps and says what the kernel is to do with it.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    let verdict = plain(packet, tables).or_else(|| tagged(packet, tables));
    verdict.unwrap_or_else(|| any(packet, known, tables))
}

/// Takes a packet through the steps that is like nearly all packets: it is read in one go. `None` for one that is not, of which
/// nothing was changed, counted or remembered.
#[inline(always)]
pub fn plain<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    // Two ways that have much in common: each is made for its kind of addresses.
    match parse::plain::kind(packet, tables.own_mac())? {
        IPV4 => forward(packet, true, &parse::plain::ipv4(packet, false)?, tables),
        IPV6 => forward(packet, true, &parse::plain::ipv6(packet, false)?, tables),
        _ => None,
    }
}

/// The same for a packet that has a VLAN tag.
#[inline(always)]
pub fn tagged<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    match parse::plain::tagged_kind(packet, tables.own_mac())? {
        IPV4 => forward(packet, false, &parse::plain::ipv4(packet, true)?, tables),
        IPV6 => forward(packet, false, &parse::plain::ipv6(packet, true)?, tables),
        _ => None,
    }
}

/// Counts the packet, wherever it goes. If `tracks`, one whose flow is tracked goes on here, too.
#[inline(always)]
fn forward<T: Tables>(packet: &mut Packet<'_>, tracks: bool, headers: &Headers, tables: &T) -> Option<Verdict> {
    let finish = way(packet, tracks, headers, tables)?;
    Some(account::finish(finish, headers.length, tables))
}

/// The way of such a packet, whole. `None` if more has to be read: it may be the answer to a probe, or the listener limits new
/// flows.
#[inline(always)]
fn way<T: Tables>(packet: &mut Packet<'_>, tracks: bool, headers: &Headers, tables: &T) -> Option<Finish> {
    let flow = &headers.flow;
    let listener = match match_listener::run(flow, tables) {
        Ok(listener) => listener,
        Err(finish) => {
            let answer = finish.outcome as u32 == Outcome::NotVip as u32 && tables.is_probing();
            return if answer { None } else { Some(finish) };
        }
    };
    let by_slot = listener.goes_by_slot();
    if !by_slot && (!tracks || listener.guards & Listener::GUARD_RATE != 0) {
        return None;
    }
    if listener.guards & Listener::GUARD_ALLOW != 0
        && let Err(finish) = access::run(listener, &flow.source, Signal::NONE, tables)
    {
        account::refused(listener, finish, tables);
        return Some(finish);
    }
    let place = match select::slot(listener, flow, tables) {
        Ok(place) => place,
        Err(finish) => return Some(finish),
    };
    if !by_slot || !place.slot.is_steady() {
        return if tracks { tracked(packet, headers, listener, place, tables) } else { None };
    }
    Some(send(packet, headers, listener, place.slot.current(), tables))
}

/// The rest of the way of such a packet whose slot alone does not tell its backend.
#[inline(always)]
fn tracked<T: Tables>(
    packet: &mut Packet<'_>,
    headers: &Headers,
    listener: &Listener,
    place: Place,
    tables: &T,
) -> Option<Finish> {
    let headers = tables.keep(headers)?;
    Some(match track_flow(packet, headers, listener, place, tables) {
        Ok(backend) => tables.send(packet, headers, listener, backend),
        Err(finish) => finish,
    })
}

/// Sends a packet to the backend with that index in the pool.
#[inline(always)]
pub fn send<T: Tables>(
    packet: &mut Packet<'_>,
    headers: &Headers,
    listener: &Listener,
    backend: u16,
    tables: &T,
) -> Finish {
    let mut chosen = Chosen::NONE;
    if let Err(finish) = select::backend(listener, backend, &mut chosen, tables) {
        return finish;
    }
    account::chosen(&chosen, headers.length, tables);
    rewrite::run(packet, headers, &chosen, tables)
}

/// Takes any packet through all steps.
#[inline(always)]
pub fn any<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    tables.parse(packet, &mut known.headers);
    let finish = match steps(packet, known, tables) {
        Ok(finish) => {
            account::chosen(&known.chosen, known.headers.length, tables);
            finish
        }
        Err(finish) => answer_to_probe(finish, packet, known, tables),
    };
    account::finish(finish, known.headers.length, tables)
}

/// The way of a packet to its backend (`Ok`), or to an earlier end (`Err`).
#[inline(always)]
fn steps<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Result<Finish, Finish> {
    match known.headers.kind {
        Kind::Flow => choose_for_datagram(packet, known, tables)?,
        Kind::LaterFragment => tables.follow_fragment(&mut known.headers, &mut known.chosen)?,
        Kind::Foreign => return Err(Finish::pass(known.headers.outcome)),
        Kind::Arp | Kind::Discovery | Kind::Echo => return Err(tables.answer(packet, &known.headers)),
        Kind::Flowless => return Err(vip_traffic::flowless(&known.headers, tables)),
    }
    Ok(rewrite::run(packet, &known.headers, &known.chosen, tables))
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
    let listener = match_listener::run(flow, tables)?;
    if listener.guards & Listener::GUARDS_OF_PACKETS != 0 {
        let limited = listener.guards & Listener::GUARD_RATE != 0;
        let signal = if limited { parse::signal(packet, headers) } else { Signal::NONE };
        if let Err(finish) = access::run(listener, &flow.source, signal, tables) {
            account::refused(listener, finish, tables);
            return Err(finish);
        }
    }
    known.place = select::slot(listener, flow, tables)?;
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
    rewrite::run(packet, headers, chosen, tables);
    Finish { verdict: Verdict::Probe, outcome: Outcome::ProbeAnswer }
}

/// The way of a packet from where probes are sent from: to the probe's backend. Nothing else leaves that place.
#[inline(always)]
pub fn send_probe<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    tables.parse(packet, &mut known.headers);
    let Known { headers, chosen, .. } = known;
    match probe::target(packet, headers, chosen, tables) {
        true => rewrite::run(packet, headers, chosen, tables).verdict,
        false => Verdict::Drop,
    }
}
