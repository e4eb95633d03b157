//! What is wrong on the segment, and how to mend it: `drlb doctor`. Pure: it reads a snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Status;
use crate::engine::status::{
    BackendState, BackendStatus, HealthState, InterfaceState, InterfaceStatus, ListenerStatus, VipStatus,
};
use crate::model::{AttachMode, XdpMode};

/// Something that is wrong, or worth knowing. Serialised, it is the documented JSON of `drlb doctor -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A name that programs can act on.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: an interface, a VIP, a listener, or a listener and its backend.
    pub about: String,
    /// What is wrong and what to do, without a full stop at the end.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Traffic is lost, or goes where it should not, or will.
    Problem,
    /// It works.
    Note,
}

/// All that a snapshot, and the MTUs of this host's interfaces by their names, show to be wrong: problems first.
#[must_use]
pub fn examine(status: &Status, mtus: &BTreeMap<String, u32>) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.interfaces(status, mtus);
    let mut owners: BTreeMap<(&str, &str), Vec<&BackendStatus>> = BTreeMap::new();
    for backend in status.listeners.iter().flat_map(|listener| &listener.backends) {
        if let (Some(mac), Some(interface)) = (&backend.mac, &backend.interface) {
            let same = owners.entry((interface, mac)).or_default();
            if same.iter().all(|other| other.address != backend.address) {
                same.push(backend);
            }
        }
    }
    for ((interface, mac), same) in &owners {
        if same.len() > 1 {
            let names: Vec<_> = same.iter().map(|backend| backend.address.to_string()).collect();
            findings.problem(
                "duplicate-mac",
                names.join(", "),
                format!(
                    "they have one MAC, {mac} on {interface}: they are one server, or two with the same MAC; remove all but one \
                     of them, or give each server a MAC of its own"
                ),
            );
        }
    }
    for vip in &status.vips {
        findings.vip(vip, &owners);
    }
    for listener in &status.listeners {
        findings.listener(listener);
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn problem(&mut self, code: &str, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Problem, code, about.into(), text.into());
    }

    fn note(&mut self, code: &str, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Note, code, about.into(), text.into());
    }

    fn add(&mut self, severity: Severity, code: &str, about: String, text: String) {
        self.0.push(Finding { code: code.to_owned(), severity, about, text });
    }

    fn interfaces(&mut self, status: &Status, mtus: &BTreeMap<String, u32>) {
        if status.interfaces.is_empty() && !status.listeners.is_empty() {
            self.problem(
                "not-attached",
                "balancer",
                "drlb runs on no interface, so nothing is forwarded; run `drlb attach IFNAME`",
            );
        }
        for interface in &status.interfaces {
            self.interface(interface);
        }
        let mtu = |interface: &InterfaceStatus| Some((interface.name.clone(), *mtus.get(&interface.name)?));
        let known: Vec<_> = status.interfaces.iter().filter_map(mtu).collect();
        let (least, most) = (known.iter().min_by_key(|(_, mtu)| *mtu), known.iter().max_by_key(|(_, mtu)| *mtu));
        if let (Some((narrow, least)), Some((wide, most))) = (least, most)
            && least < most
        {
            self.problem(
                "mtu-mismatch",
                narrow.clone(),
                format!(
                    "its MTU is {least}, and that of {wide} is {most}: what is larger than {least} bytes is lost when it is sent \
                     from {wide} to {narrow}, without a word to the sender; give both the same (`ip link set {narrow} mtu {most}`)"
                ),
            );
        }
    }

    fn interface(&mut self, interface: &InterfaceStatus) {
        let (name, reason) = (&interface.name, interface.reason.clone().unwrap_or_default());
        match interface.state {
            InterfaceState::Attached => {}
            InterfaceState::Down => self.problem("link-down", name, reason),
            InterfaceState::Missing => self.problem("interface-missing", name, reason),
            InterfaceState::Failed => self.problem("attach-failed", name, reason),
        }
        if interface.mode == Some(XdpMode::Generic) && interface.configured_mode == AttachMode::Auto {
            self.note(
                "generic-mode",
                name,
                "its driver has no native XDP, so the program runs in the kernel's network stack, which is slower",
            );
        }
    }

    fn vip(&mut self, vip: &VipStatus, owners: &BTreeMap<(&str, &str), Vec<&BackendStatus>>) {
        if let Some(reason) = &vip.reason {
            self.problem("vip-not-announced", vip.address.to_string(), reason);
        }
        for rival in &vip.rivals {
            let backend = owners.get(&(rival.interface.as_str(), rival.mac.as_str())).and_then(|same| same.first());
            match (backend, rival.claims) {
                (Some(backend), true) => self.problem(
                    "backend-answers-for-vip",
                    format!("{} of {}", vip.address, backend.address),
                    format!(
                        "the backend answers ARP or neighbour solicitations for the VIP, so that clients may go past the \
                         balancer; run there what `drlb backend setup --vip {}` prints",
                        vip.address
                    ),
                ),
                (None, true) => self.problem("vip-elsewhere", vip.address.to_string(), &rival.reason),
                (_, false) => self.note("vip-wanted", vip.address.to_string(), &rival.reason),
            }
        }
    }

    fn listener(&mut self, listener: &ListenerStatus) {
        let name = &listener.name;
        if listener.backends.is_empty() {
            self.problem(
                "no-backend",
                name.to_string(),
                format!(
                    "it has no backend, so its packets are dropped; add one with `drlb backend add {name} ADDRESS`"
                ),
            );
        } else if listener.health.is_none() {
            self.note(
                "unchecked",
                name.to_string(),
                format!(
                    "its backends are not checked, so one that lacks the VIP or does not serve is not noticed; run `drlb health set \
                     {name}`"
                ),
            );
        }
        for backend in &listener.backends {
            self.backend(&format!("{name} {}", backend.address), backend);
        }
    }

    fn backend(&mut self, about: &str, backend: &BackendStatus) {
        let reason = backend.reason.clone().unwrap_or_default();
        match backend.state {
            BackendState::Unresolved => self.problem("backend-unresolved", about, reason),
            BackendState::NoInterface => self.problem("backend-interface", about, reason),
            BackendState::ServiceDown => self.problem("service-down", about, reason),
            BackendState::VipPathBroken => self.problem("vip-path-broken", about, reason),
            BackendState::Unproven
            | BackendState::Serving
            | BackendState::AdminDown
            | BackendState::Draining
            | BackendState::Drained
            | BackendState::NoWeight
            | BackendState::StandingBy => {}
        }
        let Some(health) = &backend.health else { return };
        if health.flapping {
            self.problem(
                "flapping",
                about,
                "it keeps going down and coming up; look at what its health checks say in `drlb status`, and give it more room \
                 with a longer timeout or a higher fall",
            );
        }
        let not_down = matches!(health.state, HealthState::Up | HealthState::Unproven);
        if not_down && let Some(reason) = &health.reason {
            self.problem("check-fails", about, reason);
        }
    }
}
