//! Who else has the VIPs.

use std::collections::BTreeMap;

use super::Findings;
use super::seen::{Claim, Seen};
use crate::engine::Status;
use crate::engine::status::{BackendStatus, RivalStatus, VipStatus};

/// Examines the VIPs: who answers for them now, and who was heard lately.
pub(super) fn examine(status: &Status, seen: &Seen, findings: &mut Findings) {
    let mut owners: BTreeMap<(String, String), &BackendStatus> = BTreeMap::new();
    for backend in status.listeners.iter().flat_map(|listener| &listener.backends) {
        if let (Some(mac), Some(interface)) = (&backend.mac, &backend.interface) {
            owners.entry((interface.clone(), mac.clone())).or_insert(backend);
        }
    }
    if let Err(reason) = &seen.told {
        findings.problem("not-asked", "balancer", reason);
    }
    for vip in &status.vips {
        let address = vip.address.to_string();
        if let Some(reason) = &vip.reason {
            findings.problem("vip-not-announced", &address, reason);
        }
        for (mac, interface) in who_has_it(vip, seen) {
            match owners.get(&(interface.clone(), mac.clone())) {
                Some(backend) => findings.problem(
                    "backend-answers-for-vip",
                    format!("{address} of {}", backend.address),
                    format!(
                        "the backend answers ARP or neighbour solicitations for the VIP, so that clients may go past the balancer; \
                         run there what `drlb backend setup --vip {address}` prints"
                    ),
                ),
                None => findings.problem(
                    "vip-elsewhere",
                    &address,
                    format!(
                        "the host {mac} behind {interface} has it, too, and takes its traffic away; remove the address there"
                    ),
                ),
            }
        }
        for rival in &vip.rivals {
            lately(vip, rival, seen, findings);
        }
    }
}

/// Who says now that it has a VIP, by MAC and interface; who said so lately, where nobody could be asked.
fn who_has_it(vip: &VipStatus, seen: &Seen) -> Vec<(String, String)> {
    match &seen.told {
        Ok(told) => {
            let claims = told.claims.iter().filter(|claim| claim.vip == vip.address.ip());
            claims.map(|Claim { mac, interface, .. }| (mac.to_string(), interface.clone())).collect()
        }
        Err(_) => {
            let claims = vip.rivals.iter().filter(|rival| rival.claims);
            claims.map(|rival| (rival.mac.clone(), rival.interface.clone())).collect()
        }
    }
}

/// What a host did not long ago that it does not do now.
fn lately(vip: &VipStatus, rival: &RivalStatus, seen: &Seen, findings: &mut Findings) {
    let RivalStatus { mac, interface, claims, .. } = rival;
    let has_it_now = who_has_it(vip, seen).iter().any(|(now, behind)| now == mac && behind == interface);
    match claims {
        false => findings.note("vip-wanted", vip.address.to_string(), &rival.reason),
        true if !has_it_now => findings.note(
            "vip-claimed",
            vip.address.to_string(),
            format!(
                "the host {mac} behind {interface} said in the last minutes that it has it, and does not answer for it now; if that \
                 comes again, look at that host's addresses (`drlb events --kind vip-contested`)"
            ),
        ),
        true => {}
    }
}
