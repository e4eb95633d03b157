//! Step 5, rewrite: the Ethernet addresses, and nothing else.

use core::mem::offset_of;

use lb_common::outcome::Outcome;
use network_types::eth::EthHdr;

use crate::finish::{Finish, Verdict};
use crate::packet::Packet;
use crate::select::Chosen;
use crate::tables::Tables;

/// Addresses the frame to the backend, from us, and says which way it goes out.
#[inline(always)]
pub fn run<T: Tables>(packet: &Packet<'_>, chosen: &Chosen, tables: &T) -> Finish {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN }>(0) else {
        return Finish::pass(Outcome::NotIp);
    };
    ethernet.set_mac::<{ offset_of!(EthHdr, dst_addr) }>(chosen.backend.mac());
    ethernet.set_mac::<{ offset_of!(EthHdr, src_addr) }>(chosen.segment.mac);
    if chosen.segment.ifindex == tables.ingress_ifindex() {
        Finish { verdict: Verdict::Transmit, outcome: Outcome::Forwarded }
    } else {
        Finish { verdict: Verdict::Redirect(chosen.backend.segment()), outcome: Outcome::Redirected }
    }
}
