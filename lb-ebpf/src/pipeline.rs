//! A packet's whole way, on one page.
//!
//! Each step either goes on or finishes with a verdict and the counter for it. What isn't addressed to a VIP finishes with
//! [`Verdict::Pass`] and not a bit of it changed.

use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::slot::TOO_MANY_FLOWS;
use lb_common::track::signal::Signal;

use crate::finish::{Finish, Verdict};
use crate::packet::Packet;
use crate::parse::{Headers, Kind, Part};
use crate::select::Chosen;
use crate::tables::Tables;
use crate::{access, account, match_listener, parse, probe, rewrite, select, vip_traffic};

/// What is known of a packet on its way. Whoever calls gives the room for it: where the program runs there is little on the
/// stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What its headers say.
    pub headers: Headers,
    /// The backend that was chosen for it.
    pub chosen: Chosen,
}

impl Known {
    /// Nothing.
    pub const NOTHING: Self = Self { headers: Headers::NONE, chosen: Chosen::NONE };
}

/// Takes a packet through all steps and says what the kernel is to do with it.
#[inline(always)]
pub fn run<T: Tables>(packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Verdict {
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
    let Known { headers, chosen } = known;
    match headers.kind {
        Kind::Flow => tables.choose(packet, headers, chosen)?,
        Kind::LaterFragment => tables.follow_fragment(headers, chosen)?,
        Kind::Foreign => return Err(Finish::pass(headers.outcome)),
        Kind::Arp | Kind::Discovery | Kind::Echo => return Err(tables.answer(packet, headers)),
        Kind::Flowless => return Err(vip_traffic::flowless(headers, tables)),
    }
    Ok(rewrite::run(packet, headers, chosen, tables))
}

/// Chooses the backend of a packet whose flow is known.
///
/// # Errors
/// How a packet ends that gets none.
#[inline(always)]
pub fn choose<T: Tables>(
    packet: &Packet<'_>,
    headers: &mut Headers,
    chosen: &mut Chosen,
    tables: &T,
) -> Result<(), Finish> {
    let flow = &headers.flow;
    let first = headers.fragment.part as u32 == Part::First as u32;
    let listener = match match_listener::run(flow, tables) {
        Ok(listener) => listener,
        Err(finish) => {
            // The kernel gets it, so it has to get the rest of the datagram, too.
            if first && finish.outcome as u32 == Outcome::NoListener as u32 {
                *chosen = Chosen::NONE;
                tables.leave_first(headers, chosen);
            }
            return Err(finish);
        }
    };
    if listener.guards & Listener::GUARDS_OF_PACKETS != 0 {
        let limited = listener.guards & Listener::GUARD_RATE != 0;
        let signal = if limited { parse::signal(packet, headers) } else { Signal::NONE };
        if let Err(finish) = access::run(listener, &flow.source, signal, tables) {
            account::refused(listener, finish, tables);
            return Err(finish);
        }
    }
    let place = select::slot(listener, flow, tables)?;
    let backend = if place.slot.is_steady() && !listener.pins_every_flow() {
        place.slot.current()
    } else {
        tables.track(listener, flow, place, parse::signal(packet, headers))
    };
    if backend == TOO_MANY_FLOWS {
        let finish = Finish::drop(Outcome::TooManyFlows);
        account::refused(listener, finish, tables);
        return Err(finish);
    }
    select::backend(listener, backend, chosen, tables)?;
    if first {
        tables.leave_first(headers, chosen);
    }
    Ok(())
}

/// The answer to a probe of a health check is for no VIP, and goes to who sent that. Everything else ends as it would.
#[inline(always)]
fn answer_to_probe<T: Tables>(finish: Finish, packet: &mut Packet<'_>, known: &mut Known, tables: &T) -> Finish {
    let Known { headers, chosen } = known;
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
    let Known { headers, chosen } = known;
    match probe::target(packet, headers, chosen, tables) {
        true => rewrite::run(packet, headers, chosen, tables).verdict,
        false => Verdict::Drop,
    }
}
