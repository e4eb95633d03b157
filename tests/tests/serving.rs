//! HTTP through a VIP: served, spread by weight, answered by the backends themselves.

use anyhow::{Result, ensure};
use drlb_tests::everywhere;
use drlb_tests::http::{Client, LARGE};
use drlb_tests::load::requests;
use drlb_tests::segment::{Family, Node};
use drlb_tests::world::{WEB, World, none_failed, spreads_like};

fn requests_spread_by_weight_and_backends_answer_past_the_balancer(world: &mut World, family: Family) -> Result<()> {
    let weights = [1, 1, 2];
    let to = world.balance_http(family, &weights)?;
    world.introduce(to)?;
    let watch = world.watch()?;
    let counts = requests(world.client(), to, 600)?;
    none_failed(&counts)?;
    spreads_like(&counts, &weights)?;
    let backends: Vec<_> = world.segment.backends.iter().map(Node::mac).collect();
    watch.finish(&world.segment, to.ip())?.check(&world.segment, &backends)
}
everywhere!(requests_spread_by_weight_and_backends_answer_past_the_balancer);

fn of_a_thousand_consecutive_requests_none_fails(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let counts = requests(world.client(), to, 1_000)?;
    ensure!(counts.ok == 1_000, "{counts}");
    none_failed(&counts)
}
everywhere!(of_a_thousand_consecutive_requests_none_fails);

fn large_bodies_arrive_whole_both_ways(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.client().enter(|| {
        let client = Client::fresh();
        for _ in 0..3 {
            ensure!(client.get(to, "/large")?.len() == LARGE, "an answer was cut short");
            let sent = vec![b'y'; LARGE];
            ensure!(client.post(to, "/length", &sent)? == LARGE.to_string(), "a request was cut short");
        }
        Ok(())
    })
}
everywhere!(large_bodies_arrive_whole_both_ways);

fn jumbo_frames_pass(world: &mut World, family: Family) -> Result<()> {
    world.segment.set_mtu(9_000)?;
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.client().enter(|| {
        let sent = vec![b'z'; LARGE];
        ensure!(Client::fresh().post(to, "/length", &sent)? == LARGE.to_string(), "a request was cut short");
        Ok(())
    })?;
    let counters = world.agent.listener(WEB)?.counters;
    let mean = counters.bytes / counters.packets.max(1);
    ensure!(mean > 3_000, "the frames had {mean} bytes on average, so few were jumbo frames");
    Ok(())
}
everywhere!(jumbo_frames_pass);
