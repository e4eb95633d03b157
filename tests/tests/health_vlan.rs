//! Health checks of a backend that stands in a VLAN. The kernel that the tests run on need not have VLAN interfaces: the
//! backend's is a TAP interface with threads that put tags on and take them off, and the number that the agent would read off the
//! balancer's is written into the map by hand.

use std::net::IpAddr;

use anyhow::Result;
use drlb_tests::agent::Agent;
use drlb_tests::host::Host;
use drlb_tests::moody::Moody;
use drlb_tests::segment::Mode;
use drlb_tests::vlan::{VlanPort, set_segment};
use lb_common::address::MacAddr;
use lb_userspace::engine::status::BackendState;

const BALANCER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const BACKEND: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x21]);
/// Listener, VIP, the balancer's own address, the backend's, bits of the network and of an address.
const FAMILIES: [(&str, &str, &str, &str, u8, u8); 2] = [
    ("web", "192.0.2.10", "10.0.0.2", "10.0.0.21", 24, 32),
    ("web6", "2001:db8:1::10", "2001:db8:2::2", "2001:db8:2::21", 64, 128),
];

/// Two hosts at one wire, with one MAC and one address: `untagged` answers for the backend outside the VLAN, where it serves but
/// lacks the VIP, and `tagged` is what it is in the VLAN.
fn the_probes_of_a_backend_in_a_vlan_have_its_tag(mode: Mode) -> Result<()> {
    let (balancer, untagged, tagged) = (Host::new("balancer")?, Host::new("untagged")?, Host::new("tagged")?);
    for host in [&balancer, &untagged, &tagged] {
        host.sysctl(&[
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ])?;
    }
    balancer.ip(&format!(
        "link add eth0 numtxqueues 1 numrxqueues 1 address {BALANCER} type veth \
         peer name eth0 numtxqueues 1 numrxqueues 1 address {BACKEND} netns {}\n",
        untagged.pid()
    ))?;
    let _peer = untagged.attach_pass_program("eth0")?;
    for (_, _, own, backend, network, whole) in FAMILIES {
        let nodad = if whole == 128 { " nodad" } else { "" };
        balancer.ip(&format!("address add {own}/{network} dev eth0{nodad}\nlink set eth0 up\n"))?;
        untagged.ip(&format!("address add {backend}/{network} dev eth0{nodad}\nlink set eth0 up\n"))?;
    }
    let _port = VlanPort::new(&tagged, BACKEND, (&untagged, "eth0"), 100)?;
    for (_, vip, own, backend, network, whole) in FAMILIES {
        let nodad = if whole == 128 { " nodad" } else { "" };
        tagged.ip(&format!(
            "address add {backend}/{network} dev vlan{nodad}\naddress add {vip}/{whole} dev lo{nodad}\n\
             neighbour add {own} lladdr {BALANCER} dev vlan\n"
        ))?;
    }
    let (_without_vip, _with_vip) = (Moody::start(&untagged, 80)?, Moody::start(&tagged, 80)?);
    let agent = Agent::start(&balancer)?;
    agent.tell(&["attach", "eth0", "--mode", mode.word()])?;
    for (name, vip, _, backend, ..) in FAMILIES {
        agent.tell(&["listener", "add", name, "--vip", vip, "--protocol", "tcp", "--port", "80"])?;
        agent.tell(&["backend", "add", name, backend])?;
        agent.tell(&["health", "set", name, "--type", "http", "--delay", "100ms", "--rise", "1", "--fall", "2"])?;
    }
    let all_are = |state| -> Result<()> {
        FAMILIES
            .iter()
            .try_for_each(|(name, _, _, backend, ..)| agent.wait_for_backend(name, backend.parse::<IpAddr>()?, state))
    };
    all_are(BackendState::VipPathBroken)?;
    set_segment(&balancer, "eth0", 100)?;
    all_are(BackendState::Serving)?;
    set_segment(&balancer, "eth0", 101)?;
    all_are(BackendState::VipPathBroken)?;
    set_segment(&balancer, "eth0", 100)?;
    all_are(BackendState::Serving)
}

#[test]
fn the_probes_of_a_backend_in_a_vlan_have_its_tag_in_native_mode() -> Result<()> {
    the_probes_of_a_backend_in_a_vlan_have_its_tag(Mode::Native)
}

#[test]
fn the_probes_of_a_backend_in_a_vlan_have_its_tag_in_generic_mode() -> Result<()> {
    the_probes_of_a_backend_in_a_vlan_have_its_tag(Mode::Generic)
}
