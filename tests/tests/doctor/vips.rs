//! Who else has a VIP.

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::segment::Family;
use drlb_tests::wire::Wire;
use drlb_tests::world::World;
use lb_common::address::MacAddr;
use lb_userspace::doctor::Severity;
use lb_userspace::ethernet::frames::probe;

use super::{at_once, finds, finds_among_others, says, unchecked, whole};

fn a_backend_that_answers_for_the_vip_and_another_host_that_has_it_are_named(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = unchecked(world, family)?;
    let (vip, node) = (to.ip().to_string(), &world.segment.backends[0]);
    // Without what `drlb backend setup` sets, Linux answers ARP for any address that it has. With IPv6, an address of the
    // interface does that.
    let whole = format!("{vip}/{}", whole(family));
    match family {
        Family::V4 => node.host.sysctl(&[("ipv4/conf/all/arp_ignore", "0")])?,
        Family::V6 => node.host.ip(&format!("address add {whole} dev eth0 nodad\n")).map(drop)?,
    }
    world.client().ip(&format!("address add {whole} dev eth0{}\n", at_once(family)))?;
    let backend = format!("{vip} of {}", node.address(family));
    let findings = finds(world, &[("backend-answers-for-vip", &backend), ("vip-elsewhere", &vip)])?;
    says(&findings, "backend-answers-for-vip", &[&format!("drlb backend setup --vip {vip}")])?;
    says(&findings, "vip-elsewhere", &[&world.segment.clients[0].mac().to_string(), "remove the address there"])?;

    match family {
        Family::V4 => node.host.sysctl(&[("ipv4/conf/all/arp_ignore", "1")])?,
        Family::V6 => node.host.ip(&format!("address del {whole} dev eth0\n")).map(drop)?,
    }
    world.client().ip(&format!("address del {whole} dev eth0\n"))?;
    // Mended at once; that it was so is known for a while.
    let findings = finds(world, &[])?;
    ensure!(findings.iter().any(|finding| finding.code == "vip-claimed" && finding.about == vip), "{findings:#?}");
    // A third one, that asks whether it is free, has not got it.
    let newcomer = MacAddr([2, 0, 0, 0, 0x88, 0x88]);
    Wire::open(world.client(), "eth0")?.send(&probe(to.ip(), newcomer))?;
    finds_among_others(world, Severity::Note, "vip-wanted", &vip)?;
    finds(world, &[]).map(drop)
}
at_two_corners!(a_backend_that_answers_for_the_vip_and_another_host_that_has_it_are_named);
