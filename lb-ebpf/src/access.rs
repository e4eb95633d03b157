//! Access control: whether a listener takes a packet at all. Listeners without a guard, which most are, cost one look at a byte
//! that was read anyway. The limit of flows at once is not here: whether a packet begins one is for tracking to know.

use lb_common::address::Address;
use lb_common::allow::Bits;
use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::track::signal::Signal;

use crate::finish::Finish;
use crate::tables::Tables;

/// Goes on, or ends the packet. `source` is the client: of an ICMP error, whom the packet was for that it quotes. `signal` is what
/// the packet says of its flow's life, read where the listener limits new flows.
#[inline(always)]
pub fn run<T: Tables>(listener: &Listener, source: &Address, signal: Signal, tables: &T) -> Result<(), Finish> {
    if listener.guards & Listener::GUARD_ALLOW != 0 && !tables.allows(listener.allow_root(), Bits::of(source)) {
        return Err(Finish::drop(Outcome::Denied));
    }
    let begins = listener.guards & Listener::GUARD_RATE != 0 && signal.has(Signal::FIRST);
    if begins && !tables.source_may_begin(listener, source) {
        return Err(Finish::drop(Outcome::TooManyNewFlows));
    }
    Ok(())
}
