//! Five thousand health checks a second.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use drlb_tests::segment::{Family, Legs, Mode, Plan, vip};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::World;
use lb_userspace::engine::status::ChecksStatus;

const BACKENDS: u8 = 50;
const LISTENERS: u16 = 100;

#[test]
#[ignore = "wants two cores for half a minute: cargo test -p drlb-tests --test health_scale -- --ignored --nocapture"]
fn five_thousand_checks_a_second_are_done_in_time_and_a_new_agent_spreads_them() -> Result<()> {
    World::play(Plan { backends: BACKENDS, ..Plan::new(Mode::Generic, Legs::One) }, |world| {
        let mut file = String::from("[[interfaces]]\nname = \"eth0\"\nmode = \"generic\"\n");
        for index in 0..LISTENERS {
            let (address, port) = (vip(Family::V4, 0), 1_000 + index);
            writeln!(
                file,
                "[[listeners]]\nname = \"l{index}\"\nvip = \"{address}\"\nprotocol = \"tcp\"\nport = {port}\nslots = 101"
            )?;
            writeln!(file, "health = {{ type = \"tcp\", port = 80, delay = \"1s\", timeout = \"1s\" }}")?;
            for node in &world.segment.backends {
                writeln!(file, "[[listeners.backends]]\naddress = \"{}\"", node.address(Family::V4))?;
            }
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("drlb.toml");
        std::fs::write(&path, file)?;
        world.agent.tell(&["apply", "-f", &path.to_string_lossy()])?;
        for run in ["first", "restarted"] {
            let before = after(world, 5_000)?;
            let begun = Instant::now();
            let then = after(world, before.probes + 50_000)?;
            let rate = (then.probes - before.probes) as f64 / begun.elapsed().as_secs_f64();
            println!("{run}: {rate:.0} probes a second; {then:?}");
            ensure!(then.checked == u64::from(LISTENERS) * u64::from(BACKENDS), "{then:?}");
            ensure!(then.in_flight <= 1_024, "{then:?}");
            ensure!(then.failed * 100 < then.probes, "more than one in a hundred failed: {then:?}");
            world.agent.kill()?;
            world.agent.start_again()?;
        }
        Ok(())
    })
}

/// Waits until so many probes have ended.
fn after(world: &World, probes: u64) -> Result<ChecksStatus> {
    until("probes to end", SOON, || {
        let checks = world.agent.status().map_err(|error| format!("{error:#}"))?.checks;
        if checks.probes >= probes { Ok(checks) } else { Err(format!("{checks:?}")) }
    })
}
