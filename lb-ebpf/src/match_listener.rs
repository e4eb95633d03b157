//! Step 2, match: the listener that a flow is for.

use lb_common::address::Port;
use lb_common::flow::Flow;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::Outcome;
use lb_common::protocol;

use crate::finish::Finish;
use crate::tables::Tables;

/// The most exact listener: (VIP, protocol, port), then (VIP, protocol, every port), then (VIP, every protocol).
///
/// The VIP tells which of the last two exist, so that a packet that is not for a VIP costs two look-ups, not three.
#[inline(always)]
pub fn run<'t, T: Tables>(flow: &Flow, has_ports: bool, tables: &'t T) -> Result<&'t Listener, Finish> {
    let mut key = ListenerKey::exact(flow);
    // Only protocols with ports can have an exact listener.
    if has_ports && let Some(listener) = tables.listener(&key) {
        return Ok(listener);
    }
    let Some(vip) = tables.vip(&key.vip) else {
        return Err(Finish::pass(Outcome::NotVip));
    };
    key.port = Port::ANY;
    if vip.flags & Vip::wildcard_of(flow.protocol) != 0
        && let Some(listener) = tables.listener(&key)
    {
        return Ok(listener);
    }
    key.protocol = protocol::ANY;
    if vip.flags & Vip::WILDCARD_ANY != 0
        && let Some(listener) = tables.listener(&key)
    {
        return Ok(listener);
    }
    Err(Finish::pass(Outcome::NoListener))
}
