//! Access control: whether a listener takes a packet at all. Listeners without a guard, which most are, cost one look at a byte
//! that was read anyway.

use lb_common::address::Address;
use lb_common::allow::Bits;
use lb_common::listener::Listener;
use lb_common::outcome::Outcome;

use crate::finish::Finish;
use crate::tables::Tables;

/// Goes on, or ends the packet. `source` is the client: of an ICMP error, whom the packet was for that it quotes.
#[inline(always)]
pub fn run<T: Tables>(listener: &Listener, source: &Address, tables: &T) -> Result<(), Finish> {
    if listener.guards & Listener::GUARD_ALLOW != 0 && !tables.allows(listener.allow_root(), Bits::of(source)) {
        return Err(Finish::drop(Outcome::Denied));
    }
    Ok(())
}
