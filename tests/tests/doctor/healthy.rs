//! Nothing is found where nothing is wrong.

use anyhow::{Result, ensure};
use drlb_tests::everywhere;
use drlb_tests::segment::Family;
use drlb_tests::world::{WEB, World};

use super::{QUICK, diagnose, finds};

fn nothing_is_found_on_a_healthy_segment(world: &mut World, family: Family) -> Result<()> {
    // Nothing is balanced yet; and then it is, without a check and with one.
    finds(world, &[])?;
    world.balance_http(family, &[1, 1, 1])?;
    let findings = finds(world, &[])?;
    ensure!(findings.len() == 1 && findings[0].code == "unchecked", "{findings:#?}");
    world.agent.tell(&[&["health", "set", WEB], QUICK].concat())?;
    world.agent.wait_until_serving(WEB)?;
    let (findings, code) = diagnose(world)?;
    ensure!(findings.is_empty() && code == Some(0), "{findings:#?}, status {code:?}");
    ensure!(world.agent.tell(&["doctor"])? == "Nothing is wrong.\n");
    // It leaves nothing behind, and the balancer's own checks go on.
    ensure!(world.agent.status()?.checks.failed == 0, "checks failed while it looked");
    Ok(())
}
everywhere!(nothing_is_found_on_a_healthy_segment);
