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
use crate::select::Chosen;
use crate::tables::Tables;
use crate::{access, account, match_listener, parse, probe, rewrite, select, vip_traffic};

/// Takes a packet through all steps and says what the kernel is to do with it.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
    let verdict = plain(packet, tables).or_else(|| tagged(packet, tables));
    verdict.unwrap_or_else(|| any(packet, known, tables))
}

/// Takes a packet through the steps that is like nearly all packets: it is read in one go, and goes where its slot says. `None`
/// for one that is not, of which nothing was changed, counted or remembered.
#[inline(always)]
pub fn plain<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    let own = tables.own_mac();
    // Not one after the other with what both have in common: each of them is made for its kind of addresses.
    if let Some(headers) = parse::plain::run(packet, own, EtherType::Ipv4) {
        return forward(packet, &headers, tables);
    }
    forward(packet, &parse::plain::run(packet, own, EtherType::Ipv6)?, tables)
}

/// The same for a packet that has a VLAN tag.
#[inline(always)]
pub fn tagged<T: Tables>(packet: &mut Packet<'_>, tables: &T) -> Option<Verdict> {
    let own = tables.own_mac();
    if let Some(headers) = parse::plain::tagged(packet, own, EtherType::Ipv4) {
        return forward(packet, &headers, tables);
    }
    forward(packet, &parse::plain::tagged(packet, own, EtherType::Ipv6)?, tables)
}

#[inline(always)]
fn forward<T: Tables>(packet: &mut Packet<'_>, headers: &Headers, tables: &T) -> Option<Verdict> {
    let mut chosen = Chosen::NONE;
    let finish = match by_slot(headers, &mut chosen, tables)? {
        Ok(()) => {
            account::chosen(&chosen, headers.length, tables);
            rewrite::run(packet, headers, &chosen, tables)
        }
        Err(finish) => finish,
    };
    Some(account::finish(finish, headers.length, tables))
}

/// Chooses the backend that the flow's slot says. `None` if that is not enough: the slot is not steady, the listener remembers
/// flows or counts them, or the packet may be the answer to a probe.
#[inline(always)]
fn by_slot<T: Tables>(headers: &Headers, chosen: &mut Chosen, tables: &T) -> Option<Result<(), Finish>> {
    let flow = &headers.flow;
    let listener = match match_listener::run(flow, tables) {
        Ok(listener) => listener,
        Err(finish) => {
            let answer = finish.outcome as u32 == Outcome::NotVip as u32 && tables.is_probing();
            return if answer { None } else { Some(Err(finish)) };
        }
    };
    if !listener.goes_by_slot() {
        return None;
    }
    if listener.guards & Listener::GUARD_ALLOW != 0
        && let Err(finish) = access::run(listener, &flow.source, Signal::NONE, tables)
    {
        account::refused(listener, finish, tables);
        return Some(Err(finish));
    }
    let place = match select::slot(listener, flow, tables) {
        Ok(place) if !place.slot.is_steady() => return None,
        Ok(place) => place,
        Err(finish) => return Some(Err(finish)),
    };
    Some(select::backend(listener, place.slot.current(), chosen, tables))
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
    let backend = if known.place.slot.is_steady() && !known.listener.pins_every_flow() {
        known.place.slot.current()
    } else {
        tables.track(packet, known)
    };
    let Known { listener, chosen, .. } = known;
    if backend == TOO_MANY_FLOWS {
        let finish = Finish::drop(Outcome::TooManyFlows);
        account::refused(listener, finish, tables);
        return Err(finish);
    }
    select::backend(listener, backend, chosen, tables)
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
