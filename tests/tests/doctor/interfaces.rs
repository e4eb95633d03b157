//! The balancer's own interfaces.

use std::fs;

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::world::World;
use lb_userspace::doctor::Severity;
use lb_userspace::ethernet::device::{Feature, switch};

use super::{checked, finds, finds_among_others, says, unchecked};

fn an_interface_that_loses_its_link_is_named_and_followed(world: &mut World, family: Family) -> Result<()> {
    checked(world, family)?;
    let port = world.segment.balancer_ports().remove(0);
    world.segment.switch.ip(&format!("link set {port} down\n"))?;
    let finding = finds_among_others(world, Severity::Problem, "link-down", "eth0")?;
    ensure!(finding.text.contains("ip link set eth0 up"), "{finding:?}");
    world.segment.switch.ip(&format!("link set {port} up\n"))?;
    finds(world, &[]).map(drop)
}
at_two_corners!(an_interface_that_loses_its_link_is_named_and_followed);

/// What native mode on a veth needs of the other end (PLATFORM: nothing tells when it is not so).
fn what_breaks_native_mode_on_a_veth_is_named(legs: Legs) -> Result<()> {
    World::play(Plan::new(Mode::Native, legs), |world| {
        unchecked(world, Family::V4)?;
        // Backends are behind the last leg; frames without a checksum come from where somebody answers.
        let interface = world.segment.balancer_interfaces().last().copied().unwrap_or_default();
        let port = world.segment.balancer_ports().pop().unwrap_or_default();
        world.segment.switch.enter(|| Ok(switch(&port, Feature::SendChecksums, true)?))?;
        let findings = finds(world, &[("veth-checksums", interface)])?;
        says(&findings, "veth-checksums", &["ethtool -K IFNAME tx off", "--mode generic"])?;
        world.segment.switch.enter(|| Ok(switch(&port, Feature::SendChecksums, false)?))?;
        finds(world, &[])?;

        world.segment.take_programs_off();
        let all = world.segment.balancer_interfaces();
        let findings = finds(world, &all.iter().map(|name| ("veth-no-program", *name)).collect::<Vec<_>>())?;
        says(&findings, "veth-no-program", &["attach one there that passes everything", "--mode generic"])
    })
}

#[test]
fn what_breaks_native_mode_on_a_veth_is_named_on_one_leg() -> Result<()> {
    what_breaks_native_mode_on_a_veth_is_named(Legs::One)
}

#[test]
fn what_breaks_native_mode_on_a_veth_is_named_on_two_legs() -> Result<()> {
    what_breaks_native_mode_on_a_veth_is_named(Legs::Two)
}

#[test]
fn a_leg_that_is_gone_and_one_with_too_few_queues_are_named_and_the_right_one_is_taken() -> Result<()> {
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        unchecked(world, Family::V6)?;
        world.segment.remove_front_leg()?;
        let finding = finds_among_others(world, Severity::Problem, "interface-missing", "eth0")?;
        ensure!(finding.text.contains("attaches as soon as there is"), "{finding:?}");
        world.segment.plug_in_front_leg(4)?;
        let finding = finds_among_others(world, Severity::Problem, "veth-queues", "eth0")?;
        ensure!(finding.text.contains("ethtool -L eth0 rx 4"), "{finding:?}");
        world.segment.replace_front_leg(1)?;
        finds(world, &[]).map(drop)
    })
}

#[test]
fn merged_frames_and_different_mtus_are_named_in_generic_mode_on_two_legs() -> Result<()> {
    World::play(Plan::new(Mode::Generic, Legs::Two), |world| {
        unchecked(world, Family::V4)?;
        let merge = |on| world.segment.balancer.enter(|| Ok(switch("eth0", Feature::ReceiveOffload, on)?));
        merge(true)?;
        let findings = finds(world, &[("receive-offload", "eth0")])?;
        says(&findings, "receive-offload", &["ethtool -K eth0 gro off"])?;
        merge(false)?;
        world.segment.balancer.ip("link set eth0 mtu 1400\n")?;
        let findings = finds(world, &[("mtu-mismatch", "eth0")])?;
        says(&findings, "mtu-mismatch", &["its MTU is 1400", "ip link set eth0 mtu 1500"])?;
        world.segment.balancer.ip("link set eth0 mtu 1500\n")?;
        finds(world, &[]).map(drop)
    })
}

#[test]
fn an_interface_without_native_mode_and_one_that_is_taken_are_named() -> Result<()> {
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        unchecked(world, Family::V4)?;
        // A bridge has no native XDP; the other one has somebody else's program.
        let balancer = &world.segment.balancer;
        balancer
            .ip("link add br0 type bridge\nlink set br0 up\nlink add x0 type veth peer name x1\nlink set x0 up\n")?;
        balancer.ip("link set x1 up\nlink set x1 master br0\n")?;
        let _foreign = balancer.attach_pass_program("x0")?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("drlb.toml");
        fs::write(&path, "[[interfaces]]\nname = \"br0\"\nmode = \"auto\"\n[[interfaces]]\nname = \"x0\"\n")?;
        world.agent.tell(&["apply", "-f", &path.to_string_lossy()])?;
        let findings = finds(world, &[("attach-failed", "x0"), ("receive-offload", "br0")])?;
        says(&findings, "attach-failed", &["another XDP program is attached", "ip link set dev x0 xdp off"])?;
        let note = finds_among_others(world, Severity::Note, "generic-mode", "br0")?;
        ensure!(note.text.contains("no native XDP"), "{note:?}");
        Ok(())
    })
}
