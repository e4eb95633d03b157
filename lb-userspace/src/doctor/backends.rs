//! What is wrong with backends.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::questions::{Question, Questions};
use super::seen::{HeldVip, Host, Seen, Told};
use super::{Findings, interfaces};
use crate::engine::Status;
use crate::engine::status::{BackendState, BackendStatus, HealthState, ListenerStatus};
use crate::health::once::Answer;
use crate::neighbour::Unresolved;

/// A backend's MAC may have changed so often in ten minutes without being suspicious.
const MOVES: usize = 2;

/// Examines the listeners and their backends.
pub(super) fn examine(status: &Status, questions: &Questions, seen: &Seen, findings: &mut Findings) {
    duplicates(status, findings);
    for listener in &status.listeners {
        if listener.backends.is_empty() {
            let name = &listener.name;
            findings.problem(
                "no-backend",
                name.to_string(),
                format!(
                    "it has no backend, so its packets are dropped; add one with `drlb backend add {name} ADDRESS`"
                ),
            );
        } else if listener.health.is_none() {
            let name = &listener.name;
            findings.note(
                "unchecked",
                name.to_string(),
                format!(
                    "its backends are not checked, so that one that ceases to serve still gets traffic; run `drlb health set \
                     {name}`"
                ),
            );
        }
        if let Some(fault) = &listener.fault {
            findings.problem(
                "no-room",
                listener.name.to_string(),
                format!("it is not in force, or not as it was changed last: {fault}"),
            );
        }
        for backend in &listener.backends {
            let asked = questions.backends.iter().find(|q| q.listener == listener.name && q.backend == backend.address);
            Examined { status, listener, backend, asked, seen }.examine(findings);
        }
    }
}

/// Backends of one family with one MAC. A server may well have an IPv4 and an IPv6 address.
fn duplicates(status: &Status, findings: &mut Findings) {
    let mut owners: BTreeMap<(&str, &str, bool), Vec<&BackendStatus>> = BTreeMap::new();
    for backend in status.listeners.iter().flat_map(|listener| &listener.backends) {
        if let (Some(mac), Some(interface)) = (&backend.mac, &backend.interface) {
            let same = owners.entry((interface, mac, backend.address.ip().is_ipv4())).or_default();
            if same.iter().all(|other| other.address != backend.address) {
                same.push(backend);
            }
        }
    }
    for ((interface, mac, _), same) in owners {
        if same.len() > 1 {
            let names: Vec<_> = same.iter().map(|backend| backend.address.to_string()).collect();
            findings.problem(
                "duplicate-mac",
                names.join(", "),
                format!(
                    "they have one MAC, {mac} on {interface}: they are one server, or two with the same MAC; remove all but one of \
                     them, or give each server a MAC of its own"
                ),
            );
        }
    }
}

/// A backend of a listener, with all that is known of it.
struct Examined<'a> {
    status: &'a Status,
    listener: &'a ListenerStatus,
    backend: &'a BackendStatus,
    asked: Option<&'a Question>,
    seen: &'a Seen,
}

impl Examined<'_> {
    fn about(&self) -> String {
        format!("{} {}", self.listener.name, self.backend.address)
    }

    fn told(&self) -> Option<&Told> {
        self.seen.told.as_ref().ok()
    }

    fn host(&self) -> Option<&Host> {
        self.told()?.hosts.get(&self.backend.address)
    }

    fn vip(&self) -> IpAddr {
        self.listener.vip.ip()
    }

    fn examine(&self, findings: &mut Findings) {
        let reason = self.backend.reason.clone().unwrap_or_default();
        match self.backend.state {
            BackendState::AdminDown | BackendState::Drained => return,
            BackendState::Unresolved => {
                // The code and the text are of one moment: whether the kernel is still asking changes by the second.
                let why = self.asked.and_then(|asked| asked.unresolved.as_ref());
                return findings.problem(unresolved(why), self.about(), why.map_or(reason, Unresolved::to_string));
            }
            BackendState::NoInterface => return findings.problem("backend-interface", self.about(), reason),
            BackendState::ServiceDown
            | BackendState::VipPathBroken
            | BackendState::Unproven
            | BackendState::Serving
            | BackendState::Draining
            | BackendState::NoWeight
            | BackendState::StandingBy => {}
        }
        self.service(findings);
        self.address(findings);
        self.health(findings);
    }

    /// Whether it serves now, by the VIP.
    fn service(&self, findings: &mut Findings) {
        let key = (self.listener.name.clone(), self.backend.address);
        let held = self.host().and_then(|host| host.vips.get(&self.vip())).copied().unwrap_or_default();
        if held.expired {
            return findings.problem("vip-forwarded", self.about(), self.forwarded());
        }
        let Some(tried) = self.seen.tried.get(&key) else { return self.as_checked(findings) };
        match (&tried.vip, &tried.own) {
            (Answer::Right, _) => self.coming_up(findings),
            (Answer::NotSent(why), _) => {
                findings.problem("not-tried", self.about(), format!("it cannot be tried by the VIP: {why}"));
            }
            (Answer::Wrong(why), Answer::Right) => self.vip_path(why, held, findings),
            (Answer::Wrong(_), Answer::Wrong(why)) => findings.problem(
                "service-down",
                self.about(),
                format!("its service answers neither at the VIP nor at its own address: {why}; start it, or mend it"),
            ),
            (Answer::Wrong(why), Answer::NotSent(_)) => {
                findings.problem("service-down", self.about(), format!("its service does not answer: {why}"));
            }
        }
    }

    /// It serves by its own address, and not by the VIP.
    fn vip_path(&self, why: &str, held: HeldVip, findings: &mut Findings) {
        let (vip, about) = (self.vip(), self.about());
        let behind = self.backend.interface.as_deref().unwrap_or_default();
        if interfaces::leaves_checksums(self.status, self.seen, behind) {
            // Named there: its answers come, and are unreadable.
            return;
        }
        // It answers questions, but not those of the VIP.
        let seems_to_have_it = match vip {
            IpAddr::V4(_) => self.host().is_some_and(|host| !host.macs.is_empty()),
            IpAddr::V6(_) => held.told_beside,
        };
        let eaten = "a cloud's source/destination check or port security (allow its port to send from the VIP, as an allowed \
                     address pair), a filter, or `rp_filter`";
        if held.told_vip {
            findings.problem(
                "vip-missing",
                about,
                format!(
                    "it does not have the VIP {vip}, so it drops what it gets; run there what `drlb backend setup --vip {vip}` \
                     prints"
                ),
            );
        } else if held.echoed {
            findings.problem(
                "vip-not-served",
                about,
                format!(
                    "it has the VIP {vip} and answers pings there, but its service answers at its own address only: {why}; let \
                     the service listen on the VIP, or on all addresses, and look at the server's filters"
                ),
            );
        } else if seems_to_have_it {
            findings.problem(
                "replies-lost",
                about,
                format!(
                    "it seems to have the VIP {vip}, and it serves by its own address, but nothing comes back from the VIP: {why}; \
                     something eats what comes from the VIP, or what goes to it: {eaten}"
                ),
            );
        } else {
            findings.problem(
                "vip-path-broken",
                about,
                format!(
                    "it serves by its own address, and not by the VIP {vip}: {why}; see that it has the VIP (`drlb backend setup \
                     --vip {vip}`), and if so, what eats its replies: {eaten}"
                ),
            );
        }
    }

    fn forwarded(&self) -> String {
        let vip = self.vip();
        format!(
            "it does not have the VIP {vip}, and as it forwards packets, it sends those for the VIP back to the balancer, where they \
             go round until their TTL is over; run there what `drlb backend setup --vip {vip}` prints, and switch forwarding off \
             (`sysctl net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0`) if the server is no router"
        )
    }

    /// What its health checks found, where it could not be tried now.
    fn as_checked(&self, findings: &mut Findings) {
        let reason = self.backend.reason.clone().unwrap_or_default();
        match self.backend.state {
            BackendState::ServiceDown => findings.problem("service-down", self.about(), reason),
            BackendState::VipPathBroken => findings.problem("vip-path-broken", self.about(), reason),
            _ => {}
        }
    }

    /// It serves now, but its checks have not found it well for long enough.
    fn coming_up(&self, findings: &mut Findings) {
        if matches!(self.backend.state, BackendState::ServiceDown | BackendState::VipPathBroken) {
            let reason = self.backend.reason.clone().unwrap_or_default();
            findings.problem(
                "service-down",
                self.about(),
                format!("it takes no traffic yet, though it answers now; its health checks said: {reason}"),
            );
        }
    }

    /// Whether its address and the way to it are as they should be.
    fn address(&self, findings: &mut Findings) {
        let address = self.backend.address;
        if let Some(times) = self.seen.moved.get(&address) {
            let text = format!(
                "its MAC changed {times} time{} in the last ten minutes (`drlb events --kind neighbour-moved --backend {address}`)",
                if *times == 1 { "" } else { "s" }
            );
            match *times > MOVES {
                true => findings.problem(
                    "mac-moved",
                    address.to_string(),
                    format!(
                        "{text}: two hosts may have its address, or a port of the switch flaps; give each host its own"
                    ),
                ),
                false => findings.note(
                    "mac-moved",
                    address.to_string(),
                    format!("{text}; nothing is to be done if that was meant"),
                ),
            }
        }
        let Some(host) = self.host() else { return };
        if host.macs.len() > 1 {
            let macs: Vec<_> = host.macs.iter().map(ToString::to_string).collect();
            findings.problem(
                "address-twice",
                address.to_string(),
                format!(
                    "several hosts say that they have it, with the MACs {}, and packets go to whichever spoke last; give each host \
                     an address of its own",
                    macs.join(" and ")
                ),
            );
        }
        if address.ip().is_ipv4() && !host.macs.is_empty() && !host.off_link {
            findings.problem(
                "rp-filter",
                address.to_string(),
                "it answers hosts of its own segment and not those from elsewhere: it has no way back to them by the interface \
                 that packets come in by, and `rp_filter` drops them; give it a default route there, or set \
                 `net.ipv4.conf.all.rp_filter` and that of the interface to 0 or 2 (if it has `arp_ignore` at 2, this cannot be told: \
                 1 is enough)",
            );
        }
        if host.small && !host.wide {
            let behind = self.backend.interface.as_deref().unwrap_or("its interface");
            let mtu = self.seen.devices.get(behind).map_or(0, |seen| seen.device.mtu);
            findings.problem(
                "mtu-mismatch",
                address.to_string(),
                format!(
                    "it answers small pings and not one of {mtu} bytes, which {behind} sends: the MTU of the server, or of a switch on \
                     the way, is lower, and larger packets are lost there without a word; give all of the segment the same MTU"
                ),
            );
        }
    }

    fn health(&self, findings: &mut Findings) {
        let Some(health) = &self.backend.health else { return };
        if health.flapping {
            findings.problem(
                "flapping",
                self.about(),
                "it keeps going down and coming up; look at what its health checks say in `drlb status`, and give it more room with \
                 a longer timeout or a higher fall",
            );
        }
        let not_down = matches!(health.state, HealthState::Up | HealthState::Unproven);
        if not_down && let Some(reason) = &health.reason {
            findings.problem("check-fails", self.about(), reason);
        }
    }
}

/// The code for a backend without a MAC.
fn unresolved(why: Option<&Unresolved>) -> &'static str {
    match why {
        Some(Unresolved::BehindRouter(_)) => "backend-behind-router",
        Some(Unresolved::NoRoute) => "backend-off-link",
        Some(Unresolved::OwnAddress) => "backend-is-balancer",
        Some(Unresolved::NoAnswer) => "backend-silent",
        _ => "backend-unresolved",
    }
}
