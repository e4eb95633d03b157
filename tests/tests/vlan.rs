//! Frames with VLAN tags on real wires: in by one tag, out by another. The kernel that the tests run on need not have VLAN
//! interfaces, so the segment's VLAN, which the agent would read off one, is written into the map by hand.

use anyhow::{Result, ensure};
use drlb_tests::agent::Agent;
use drlb_tests::host::Host;
use drlb_tests::packet::{Frame, udp};
use drlb_tests::segment::Mode;
use drlb_tests::tap::Tap;
use drlb_tests::vlan::set_segment;
use lb_common::address::MacAddr;

const BALANCER: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 1, 2]];
const PEER: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x21], [2, 0, 0, 0, 1, 0x21]];
/// What the packets carry, to tell them from what is said of VIPs meanwhile.
const PAYLOAD: [u8; 100] = [0xd6; 100];
/// The VIP whose backend is on the first wire, and the one whose backend is on the second. Packets come by the first.
const VIPS: [&str; 2] = ["192.0.2.10", "192.0.2.11"];

/// A balancer with a host at the other end of each of its two wires. No switch: one would take the tags off.
struct World {
    agent: Agent,
    balancer: Host,
    wires: [Tap; 2],
    _peers: Vec<(Host, std::os::fd::OwnedFd)>,
}

impl World {
    fn new(mode: Mode) -> Result<Self> {
        let balancer = Host::new("balancer")?;
        let mut peers = Vec::new();
        for (index, name) in ["near", "far"].into_iter().enumerate() {
            let host = Host::new(name)?;
            let [mac, peer] = [BALANCER[index], PEER[index]].map(MacAddr);
            balancer.ip(&format!(
                "link add eth{index} numtxqueues 1 numrxqueues 1 address {mac} type veth \
                 peer name eth0 numtxqueues 1 numrxqueues 1 address {peer} netns {}\n\
                 address add 10.0.{index}.2/24 dev eth{index}\nlink set eth{index} up\n",
                host.pid()
            ))?;
            host.ip(&format!("address add 10.0.{index}.21/24 dev eth0\nlink set eth0 up\n"))?;
            let program = host.attach_pass_program("eth0")?;
            peers.push((host, program));
        }
        let wires = [Tap::open(&peers[0].0, "eth0")?, Tap::open(&peers[1].0, "eth0")?];
        let agent = Agent::start(&balancer)?;
        for interface in ["eth0", "eth1"] {
            agent.tell(&["attach", interface, "--mode", mode.word()])?;
        }
        for (index, vip) in VIPS.into_iter().enumerate() {
            let name = format!("vip-{index}");
            agent.tell(&["listener", "add", &name, "--vip", vip, "--protocol", "ip"])?;
            agent.tell(&["backend", "add", &name, &format!("10.0.{index}.21")])?;
            agent.wait_until_serving(&name)?;
        }
        Ok(Self { agent, balancer, wires, _peers: peers })
    }

    /// Sends a packet for a VIP in by the first wire, and fails unless it comes out at the VIP's backend with these tags.
    fn check(&self, vip: usize, port: u16, says: &str, tags: [fn(Frame) -> Frame; 2]) -> Result<()> {
        let frame = |to, from, tag: fn(Frame) -> Frame| {
            let packet = udp(port, 9).payload(PAYLOAD);
            tag(Frame::to(to).from(from)).ipv4("10.0.0.21", VIPS[vip]).carry(packet).bytes()
        };
        self.wires[0].send(&frame(BALANCER[0], PEER[0], tags[0]))?;
        let expected = frame(PEER[vip], BALANCER[vip], tags[1]);
        let is_ours = |frame: &Vec<u8>| frame.ends_with(&PAYLOAD);
        let came: Vec<_> = self.wires[vip].received()?.into_iter().filter(is_ours).collect();
        ensure!(came == [expected.clone()], "{says}: what came is\n{came:02x?}\nand not\n{expected:02x?}");
        Ok(())
    }
}

fn none(frame: Frame) -> Frame {
    frame
}

fn seven(frame: Frame) -> Frame {
    frame.vlan_with_priority(7, 3)
}

fn hundred(frame: Frame) -> Frame {
    frame.vlan(100)
}

fn hundred_of_priority(frame: Frame) -> Frame {
    frame.vlan_with_priority(100, 3)
}

fn packets_change_their_vlan(mode: Mode) -> Result<()> {
    let world = World::new(mode)?;
    for vip in 0..2 {
        world.check(vip, 1, "no VLAN, to none", [none, none])?;
        world.check(vip, 2, "VLAN 7, to none: taken", [seven, none])?;
        set_segment(&world.balancer, &format!("eth{vip}"), 100)?;
        world.check(vip, 3, "no VLAN, to 100: added", [none, hundred])?;
        world.check(vip, 4, "VLAN 7, to 100: set", [seven, hundred_of_priority])?;
        world.check(vip, 5, "VLAN 100, to 100: kept", [hundred, hundred])?;
        world.check(
            vip,
            6,
            "QinQ: the outer tag stays",
            [|frame| frame.service_tag(9).vlan(7), |frame| frame.service_tag(9).vlan(100)],
        )?;
        world.check(
            vip,
            7,
            "a service tag alone: added within",
            [|frame| frame.service_tag(9), |frame| frame.service_tag(9).vlan(100)],
        )?;
        let name = format!("vip-{vip}");
        let packets = world.agent.listener(&name)?.counters.packets;
        ensure!(packets == 7, "{name} counted {packets} packets of 7");
    }
    Ok(())
}

#[test]
fn in_native_mode() -> Result<()> {
    packets_change_their_vlan(Mode::Native)
}

#[test]
fn in_generic_mode() -> Result<()> {
    packets_change_their_vlan(Mode::Generic)
}
