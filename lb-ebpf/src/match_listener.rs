//! Step 2, match: the listener that a flow is for.

use lb_common::address::Port;
use lb_common::flow::Flow;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::Outcome;

use crate::finish::Finish;
use crate::tables::Tables;

/// The most exact listener: (VIP, protocol, port), then (VIP, protocol, every port), then (VIP, every protocol).
///
/// The VIP tells which of the last two exist, so that a packet that is not for a VIP costs two look-ups, not three.
#[inline(always)]
pub fn run<T: Tables>(flow: &Flow, tables: &T) -> Result<Listener, Finish> {
    let protocol_wildcard = Vip::wildcard_of(flow.protocol);
    // Only protocols with ports can have an exact listener.
    if protocol_wildcard != 0
        && let Some(listener) = tables.listener(&ListenerKey::exact(flow))
    {
        return Ok(listener);
    }
    let Some(vip) = tables.vip(&flow.destination) else {
        return Err(Finish::pass(Outcome::NotVip));
    };
    if vip.wildcards & protocol_wildcard != 0
        && let Some(listener) = tables.listener(&ListenerKey::new(flow.destination, flow.protocol, Port::ANY))
    {
        return Ok(listener);
    }
    if vip.wildcards & Vip::WILDCARD_ANY != 0
        && let Some(listener) = tables.listener(&ListenerKey::any_protocol(flow.destination))
    {
        return Ok(listener);
    }
    Err(Finish::pass(Outcome::NoListener))
}
