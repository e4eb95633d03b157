//! A backup with real stacks: it takes new flows only while none of the others can, and keeps what began there.

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::segment::Family;
use drlb_tests::world::{HTTP, WEB, World, none_failed, spreads_like};
use lb_userspace::engine::status::BackendState;

fn a_backup_takes_new_flows_while_all_others_are_down_and_keeps_them(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1])?;
    let address = |index: usize| world.segment.backends[index].address(family);
    world.agent.tell(&["backend", "add", WEB, &address(2).to_string(), "--backup"])?;
    world.agent.wait_for_backend(WEB, address(2), BackendState::StandingBy)?;
    let text = world.agent.tell(&["backend", "list", WEB])?;
    ensure!(
        text.contains("takes no new flows: it is a backup: it takes new flows when none of the others can"),
        "{text}"
    );
    world.introduce(to)?;
    let counts = requests(world.client(), to, 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 0])?;

    let check = ["--type", "tcp", "--delay", "200ms", "--timeout", "200ms", "--rise", "1", "--fall", "1"];
    world.agent.tell(&[&["health", "set", WEB][..], &check].concat())?;
    world.servers.remove(1);
    world.servers.remove(0);
    for index in 0..2 {
        world.agent.wait_for_backend(WEB, address(index), BackendState::ServiceDown)?;
    }
    world.agent.wait_for_backend(WEB, address(2), BackendState::Serving)?;
    let counts = requests(world.client(), to, 50)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[0, 0, 1])?;

    // One of the others comes back: it gets all that is new, and what the backup has stays with it.
    let kept = Load::start(world.client(), to, 4, Connections::Kept)?;
    kept.wait_for(20)?;
    world.servers.insert(0, drlb_tests::http::Server::start(&world.segment.backends[0].host, HTTP)?);
    world.agent.wait_for_backend(WEB, address(0), BackendState::Serving)?;
    world.agent.wait_for_backend(WEB, address(2), BackendState::StandingBy)?;
    let counts = requests(world.client(), to, 50)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 0, 0])?;
    kept.wait_for(20)?;
    let kept = kept.stop()?;
    none_failed(&kept)?;
    spreads_like(&kept, &[0, 0, 1])?;

    // It survives a restart, and is no backup any more when it is told so.
    world.agent.stop()?;
    world.agent.start_again()?;
    world.agent.wait_for_backend(WEB, address(2), BackendState::StandingBy)?;
    world.agent.tell(&["backend", "set", WEB, &address(2).to_string(), "--no-backup"])?;
    world.agent.wait_for_backend(WEB, address(2), BackendState::Serving)
}
at_two_corners!(a_backup_takes_new_flows_while_all_others_are_down_and_keeps_them);
