//! A packet's whole way, on one page.
//!
//! Each step either goes on or finishes with a verdict and the counter for it. What isn't addressed to a VIP finishes with
//! [`Verdict::Pass`] and not a bit of it changed.

use crate::finish::{Finish, Verdict};
use crate::packet::Packet;
use crate::parse::{Headers, Kind};
use crate::select::Chosen;
use crate::tables::Tables;
use crate::{access, account, match_listener, parse, rewrite, select, vip_traffic};

/// Takes a packet through all steps and says what the kernel is to do with it. `headers` is room for what it says: whoever
/// calls gives it, because where the program runs there is little on the stack.
#[inline(always)]
pub fn run<T: Tables>(packet: &Packet<'_>, headers: &mut Headers, tables: &T) -> Verdict {
    tables.parse(packet, headers);
    match steps(packet, headers, tables) {
        Ok((finish, chosen)) => {
            account::chosen(&chosen, headers.length, tables);
            account::finish(finish, headers.length, tables)
        }
        Err(finish) => account::finish(finish, headers.length, tables),
    }
}

/// The way of a packet to its backend (`Ok`), or to an earlier end (`Err`).
#[inline(always)]
fn steps<T: Tables>(packet: &Packet<'_>, headers: &Headers, tables: &T) -> Result<(Finish, Chosen), Finish> {
    match headers.kind {
        Kind::Flow => {}
        Kind::Foreign => return Err(Finish::pass(headers.outcome)),
        Kind::Arp | Kind::Solicitation | Kind::Echo => return Err(tables.answer(packet, headers)),
        Kind::Flowless => return Err(vip_traffic::flowless(headers, tables)),
    }
    let flow = &headers.flow;
    let listener = match_listener::run(flow, tables)?;
    if listener.guards != 0
        && let Err(finish) = access::run(listener, &flow.source, tables)
    {
        account::refused(listener, finish, tables);
        return Err(finish);
    }
    let place = select::slot(listener, flow, tables)?;
    let backend = if place.slot.is_steady() && !listener.pins_every_flow() {
        place.slot.current()
    } else {
        tables.track(listener, flow, place, parse::signal(packet, headers))
    };
    let chosen = select::backend(listener, backend, tables)?;
    let finish = rewrite::run(packet, &chosen, tables);
    Ok((finish, chosen))
}
