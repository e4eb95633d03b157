//! What the control plane costs: lookup tables, commands and starts, with few and many pools, and the agent's memory. Run it as
//! `cargo xtask bench control`; `docs/performance.md` has the figures.
//!
//! The engine is the real one, on a store in memory and on maps in the kernel, in namespaces of this process's own. The network
//! is made up: every backend has a MAC, behind one interface.

mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use drlb_tests::agent::Agent;
use drlb_tests::host::Host;
use lb_common::address::Address;
use lb_common::limits::DEFAULT_SLOTS;
use lb_userspace::maglev;

use crate::world::{Size, World};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| {
        chosen.is_empty() || chosen.iter().any(|part| part.starts_with(name) || name.starts_with(part.as_str()))
    };
    if is_chosen("memory") {
        memory().expect("agents");
    }
    world::isolate().expect("namespaces, as root");
    tables(&mut criterion);
    for pools in [1, 100, 1_000] {
        if is_chosen(&format!("change/{pools}")) {
            changes(&mut criterion, pools);
        }
    }
    for listeners in [1, 100, 10_000] {
        if is_chosen(&format!("start/{listeners}")) {
            starts(&mut criterion, listeners);
        }
    }
    criterion.final_summary();
}

/// Building a lookup table of the default size.
fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for count in [4_u32, 100, 1_000] {
        for (sort, weights) in [("equal", &[1_u16][..]), ("mixed", &[1, 2, 5, 10])] {
            let backends: Vec<(Address, u16)> = (0..count)
                .map(|index| {
                    (Address::from_v4_word((0x0ac8_0000 + index).to_be()), weights[index as usize % weights.len()])
                })
                .collect();
            group.bench_function(BenchmarkId::new(sort, count), |bencher| {
                bencher.iter(|| black_box(maglev::table(black_box(&backends), DEFAULT_SLOTS)));
            });
        }
    }
    group.finish();
}

/// One backend's change in one of so many pools of 100 backends, by a command and by the OpenStack API: all of it, and its part
/// from the disk to the maps.
fn changes(criterion: &mut Criterion, pools: u32) {
    let world = World::new(Size { listeners: pools, backends: 100, slots: DEFAULT_SLOTS }).expect("an engine");
    let mut group = criterion.benchmark_group("change");
    group.sample_size(20);
    let member = world.member(pools / 2, 7).expect("a member");
    let by_command = |weight| world.set_weight(pools / 2, 7, weight).expect("a change");
    let by_openstack = |weight| world.set_weight_of(&member, weight).expect("a change");
    let ways: [(&str, &dyn Fn(u16)); 2] = [("command", &by_command), ("OpenStack request", &by_openstack)];
    for (way, set_weight) in ways {
        let mut weight = 1;
        let mut change = || {
            weight = 3 - weight;
            set_weight(weight);
        };
        group.bench_function(format!("{pools} pools: {way}"), |bencher| bencher.iter(&mut change));
        group.bench_function(format!("{pools} pools: {way}, from the disk to the maps"), |bencher| {
            bencher.iter_custom(|times| {
                let once = |_| {
                    change();
                    world.took_for_the_maps()
                };
                (0..times).map(once).sum::<Duration>()
            });
        });
    }
    let mut there = false;
    group.bench_function(format!("{pools} pools: a backend comes or goes"), |bencher| {
        bencher.iter(|| {
            there = !there;
            world.come_or_go(pools / 2, there).expect("a change");
        });
    });
    group.finish();
}

/// A start with so many listeners, each with a pool of 4 backends: of an agent on the maps that another one left, and of one
/// that finds no maps.
fn starts(criterion: &mut Criterion, listeners: u32) {
    let mut world = Some(World::new(Size { listeners, backends: 4, slots: 251 }).expect("an engine"));
    let mut group = criterion.benchmark_group("start");
    group.sample_size(10);
    for (how, fresh) in [("maps are there", false), ("maps are made", true)] {
        group.bench_function(format!("{listeners} listeners: {how}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut sum = Duration::ZERO;
                for _ in 0..times {
                    let (again, took) = world.take().expect("a world").start_again(fresh).expect("a start");
                    world = Some(again);
                    sum += took;
                }
                sum
            });
        });
    }
    group.finish();
}

/// The memory of an agent with so many listeners, each with a pool of so many backends and slots.
fn memory() -> anyhow::Result<()> {
    let usual = |listeners| Size { listeners, backends: 4, slots: 251 };
    let more_backends = Size { backends: 16, ..usual(1_000) };
    let more_slots = Size { slots: 4_093, ..usual(1_000) };
    for size in [usual(1), usual(100), usual(1_000), usual(10_000), more_backends, more_slots] {
        let host = Host::new("balancer")?;
        host.ip("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up\naddress add 10.0.0.1/8 dev v0")?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("drlb.toml");
        std::fs::write(&file, world::configuration(size))?;
        let agent = Agent::start_with(&host, &["--config", &file.to_string_lossy()])?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            // Of 1,024 bytes each.
            let kilobytes = line.split_whitespace().next().and_then(|count| count.parse::<f64>().ok());
            kilobytes.unwrap_or(0.0) * 1.024 / 1_000.0
        };
        let (anonymous, shared) = (of("RssAnon:"), of("RssShmem:") + of("RssFile:"));
        println!("memory: {size:?}: {anonymous:.1} MB of its own, {shared:.1} MB of the program and of mapped maps");
    }
    Ok(())
}
