//! The VIPs in the snapshot.

use std::collections::BTreeMap;

use super::{RivalStatus, VipStatus};
use crate::announce::{Rival, Watched};
use crate::model::{Desired, Vip, VipOwner};
use crate::reconcile::Held;

/// Each VIP once, with who else has it.
pub(in crate::engine) fn vips(desired: &Desired, held: &Held, watched: &Watched) -> Vec<VipStatus> {
    let owners: BTreeMap<Vip, VipOwner> =
        desired.listeners.values().map(|listener| (listener.vip, listener.vip_owner)).collect();
    let vip = |(address, owner): (Vip, VipOwner)| {
        let ours = owner == VipOwner::Xdp;
        let announced = ours && watched.fault.is_none();
        VipStatus {
            address,
            owner,
            announced_on: if announced { held.attached.keys().cloned().collect() } else { Vec::new() },
            reason: watched.fault.clone().filter(|_| ours),
            rivals: watched.rivals.iter().filter(|rival| rival.vip == address.ip()).map(rival_status).collect(),
        }
    };
    owners.into_iter().map(vip).collect()
}

fn rival_status(rival: &Rival) -> RivalStatus {
    let Rival { vip, mac, interface, claims, seen, frames } = rival;
    let reason = if *claims {
        format!(
            "the host {mac} behind {interface} has {vip}, too, and takes its traffic away; remove the address there, or, if it \
             is a backend, let it hold the VIP silently with what `drlb backend setup --vip {vip}` prints"
        )
    } else {
        format!(
            "the host {mac} behind {interface} wanted {vip} for itself and was told that it is taken; give that host another \
             address"
        )
    };
    RivalStatus {
        mac: mac.to_string(),
        interface: interface.clone(),
        claims: *claims,
        seen: *seen,
        frames: *frames,
        reason,
    }
}
