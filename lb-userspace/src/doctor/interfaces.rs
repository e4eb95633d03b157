//! What is wrong with this host's interfaces.

use super::Findings;
use super::seen::{DeviceSeen, Seen, Told};
use crate::engine::Status;
use crate::engine::status::{InterfaceState, InterfaceStatus};
use crate::model::{AttachMode, XdpMode};

/// Examines the interfaces that drlb is to run on.
pub(super) fn examine(status: &Status, seen: &Seen, findings: &mut Findings) {
    if status.interfaces.is_empty() && !status.listeners.is_empty() {
        findings.problem(
            "not-attached",
            "balancer",
            "drlb runs on no interface, so nothing is forwarded; run `drlb attach IFNAME`",
        );
    }
    for interface in &status.interfaces {
        let device = seen.devices.get(&interface.name);
        state(interface, device, findings);
        if let Some(device) = device {
            pair(interface, device, seen, findings);
        }
        if status.interfaces.len() > 1
            && interface.mode == Some(XdpMode::Generic)
            && device.is_some_and(|device| device.merges_received)
        {
            let name = &interface.name;
            findings.problem(
                "receive-offload",
                name,
                format!(
                    "it puts received frames together (GRO or LRO), and in generic mode the kernel does not hand on to another \
                     interface what is larger than that one's MTU; switch that off with `ethtool -K {name} gro off lro off`"
                ),
            );
        }
    }
    mtus(status, seen, findings);
}

fn state(interface: &InterfaceStatus, device: Option<&DeviceSeen>, findings: &mut Findings) {
    let (name, reason) = (&interface.name, interface.reason.clone().unwrap_or_default());
    match interface.state {
        InterfaceState::Attached => {}
        InterfaceState::Down => findings.problem("link-down", name, reason),
        InterfaceState::Missing => findings.problem("interface-missing", name, reason),
        InterfaceState::Failed => match device.filter(|_| reason.contains(NO_SPACE)).and_then(too_few_queues) {
            Some((own, peers)) => findings.problem(
                "veth-queues",
                name,
                format!(
                    "drlb cannot be attached in native mode: it receives on fewer queues ({own}) than its other end may send on \
                     ({peers}); run `ethtool -L {name} rx {peers}` here, or `ethtool -L` with fewer `tx` at the other end, or \
                     attach with `--mode generic`"
                ),
            ),
            None => findings.problem("attach-failed", name, reason),
        },
    }
    if interface.mode == Some(XdpMode::Generic) && interface.configured_mode == AttachMode::Auto {
        findings.note(
            "generic-mode",
            name,
            "its driver has no native XDP, so the program runs in the kernel's network stack, which is slower",
        );
    }
}

/// How the kernel says that an interface has too few queues (`veth_xdp_set` in drivers/net/veth.c): ENOSPC. The other end's are
/// known by how many it can have, not by how many it has.
const NO_SPACE: &str = "(os error 28)";

/// The queues of an interface and of its other end, if it has fewer than native mode may need.
fn too_few_queues(device: &DeviceSeen) -> Option<(u32, u32)> {
    let (own, peers) = (device.receive_queues?, device.device.peer.as_ref()?.transmit_queues);
    (own < peers).then_some((own, peers))
}

/// True if frames that come in by an interface have no checksum, so that no backend takes them in native mode.
pub(super) fn leaves_checksums(status: &Status, seen: &Seen, name: &str) -> bool {
    let is_native = |interface: &InterfaceStatus| interface.name == name && interface.mode == Some(XdpMode::Native);
    status.interfaces.iter().any(|interface| is_native(interface) && is_unfinished(interface, seen))
}

fn is_unfinished(interface: &InterfaceStatus, seen: &Seen) -> bool {
    let heard = |told: &Told| interface.ifindex.is_some_and(|ifindex| told.unfinished.contains(&ifindex));
    seen.told.as_ref().is_ok_and(heard)
}

/// What native mode needs of the other end of a pair of virtual interfaces.
fn pair(interface: &InterfaceStatus, seen_device: &DeviceSeen, seen: &Seen, findings: &mut Findings) {
    let (name, device) = (&interface.name, &seen_device.device);
    if interface.state != InterfaceState::Attached || interface.mode != Some(XdpMode::Native) {
        return;
    }
    if device.peer.as_ref().is_some_and(|peer| !peer.has_program) {
        findings.problem(
            "veth-no-program",
            name,
            "its other end runs no XDP program, and without one the kernel drops what drlb sends out of a veth interface in \
             native mode; attach one there that passes everything, or use `--mode generic`",
        );
    }
    if is_unfinished(interface, seen) {
        findings.problem(
            "veth-checksums",
            name,
            "its other end leaves checksums to a card that is not there, and in native mode nobody puts them right, so that \
             backends drop what they get; run `ethtool -K IFNAME tx off` on the other end, or use `--mode generic` here",
        );
    }
}

fn mtus(status: &Status, seen: &Seen, findings: &mut Findings) {
    let mtu = |name| Some((name, seen.devices.get(name)?.device.mtu));
    let known: Vec<(&String, u32)> =
        status.interfaces.iter().map(|interface| &interface.name).filter_map(mtu).collect();
    let (least, most) = (known.iter().min_by_key(|(_, mtu)| *mtu), known.iter().max_by_key(|(_, mtu)| *mtu));
    if let (Some((narrow, least)), Some((wide, most))) = (least, most)
        && least < most
    {
        findings.problem(
            "mtu-mismatch",
            *narrow,
            format!(
                "its MTU is {least}, and that of {wide} is {most}: what is larger than {least} bytes is lost when it is sent from \
                 {wide} to {narrow}, without a word to the sender; give both the same (`ip link set {narrow} mtu {most}`)"
            ),
        );
    }
    for (name, mtu) in known {
        let peer = seen.devices.get(name).and_then(|device| device.device.peer.as_ref());
        if let Some(peer) = peer.filter(|peer| peer.mtu != mtu) {
            findings.problem(
                "mtu-mismatch",
                name,
                format!(
                    "its MTU is {mtu}, and that of its other end is {}: larger frames are lost on the way between them; give \
                     both the same",
                    peer.mtu
                ),
            );
        }
    }
}
