//! What is not addressed to a VIP passes: the same random frames before and after drlb is attached, byte by byte.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use drlb_tests::agent::Agent;
use drlb_tests::host::Host;
use drlb_tests::random::{PORTS, Random};
use drlb_tests::segment::Mode;
use drlb_tests::tap::{Tap, tally};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const FRAMES: usize = 20_000;
/// Frames that are sent before those that came are read.
const BATCH: usize = 1_000;
const SEED: u64 = 0x7061_7373;
/// Longest frame that the wire takes: an MTU of 1,500.
const LONGEST: usize = 1_514;
const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The VIPs are senders, never receivers, and no damage of one byte makes a VIP of another address.
const RANDOM: Random = Random {
    own: BALANCER_MAC,
    from: [&["192.0.2.10", "10.1.1.1", "0.0.0.0"], &["2001:db8::10", "fd00::1", "::"]],
    to: [&["10.77.77.77", "10.0.0.2", "255.255.255.255", "224.0.0.1"], &["fd77::77", "fd00::2", "ff02::1:ff00:7777"]],
    ports: PORTS,
};

/// The frames that came in at the balancer, of those that were sent.
fn pass(frames: &[Vec<u8>], sender: &Tap, receiver: &Tap) -> Result<BTreeMap<Vec<u8>, u32>> {
    let mut received = Vec::new();
    for batch in frames.chunks(BATCH) {
        for frame in batch {
            sender.send(frame)?;
        }
        received.extend(receiver.received()?);
    }
    Ok(tally(received))
}

fn nothing_but_a_vips_traffic_changes(mode: Mode) -> Result<()> {
    let (sender, balancer) = (Host::new("sender")?, Host::new("balancer")?);
    // Nobody speaks by itself.
    for host in [&sender, &balancer] {
        host.sysctl(&[("ipv6/conf/default/disable_ipv6", "1"), ("ipv6/conf/all/disable_ipv6", "1")])?;
    }
    balancer.sysctl(&[("ipv4/conf/all/arp_ignore", "8"), ("ipv4/conf/default/arp_ignore", "8")])?;
    sender.ip(&format!(
        "link add eth0 numtxqueues 1 numrxqueues 1 type veth \
         peer name eth0 numtxqueues 1 numrxqueues 1 address 02:00:00:00:00:02 netns {}\nlink set eth0 up\n",
        balancer.pid()
    ))?;
    balancer.ip("link set eth0 up\n")?;
    let (from, to) = (Tap::open(&sender, "eth0")?, Tap::open(&balancer, "eth0")?);

    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(SEED), ..Config::default() });
    let packet = RANDOM.packet();
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        let tree = packet.new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?;
        frames.extend(Some(tree.current()).filter(|frame| frame.len() <= LONGEST));
    }
    let before = pass(&frames, &from, &to)?;

    let agent = Agent::start(&balancer)?;
    agent.tell(&["attach", "eth0", "--mode", mode.word()])?;
    for (name, vip) in [("v4", "192.0.2.10"), ("v6", "2001:db8::10")] {
        agent.tell(&["listener", "add", name, "--vip", vip, "--protocol", "ip"])?;
    }
    let counted =
        |agent: &Agent| -> Result<u64> { Ok(agent.status()?.outcomes.iter().map(|outcome| outcome.packets).sum()) };
    let seen = counted(&agent)?;
    let after = pass(&frames, &from, &to)?;
    let seen = counted(&agent)? - seen;

    ensure!(seen as usize >= FRAMES, "the program saw {seen} of {FRAMES} frames");
    let passed: u32 = before.values().sum();
    // The kernel itself throws away what ends within a VLAN tag.
    ensure!(passed as usize > FRAMES * 98 / 100, "only {passed} of {FRAMES} frames came in before drlb was there");
    if let Some((frame, count)) = before.iter().find(|(frame, count)| after.get(*frame) != Some(count)) {
        anyhow::bail!("a frame came {count} times before and {:?} times after: {frame:02x?}", after.get(frame));
    }
    ensure!(after == before, "a frame came that was not sent");
    Ok(())
}

#[test]
fn in_native_mode() -> Result<()> {
    nothing_but_a_vips_traffic_changes(Mode::Native)
}

#[test]
fn in_generic_mode() -> Result<()> {
    nothing_but_a_vips_traffic_changes(Mode::Generic)
}
