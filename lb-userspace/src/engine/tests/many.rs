//! A change costs what it changes, however much else there is.

use super::host::Host;
use super::*;
use crate::model::HealthChange;
use crate::model::ProbeType;
use crate::reconcile::work;

/// A listener of its own with a pool of three backends, for each number.
fn pools(core: &mut Core, count: u16) {
    for number in 0..count {
        let text = format!("pool-{number}");
        let [high, low] = number.to_be_bytes();
        let vip = format!("198.18.{high}.{low}");
        let mut commands = vec![add_listener_at(&text, &vip, 80)];
        commands.extend((21..24).map(|last| add_backend(&text, last, 1)));
        for command in commands {
            core.execute(&command).unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        }
    }
}

fn add_listener_at(text: &str, vip: &str, port: u16) -> Command {
    let Command::AddListener(new) = add_listener(text, port) else { unreachable!("it is one") };
    Command::AddListener(NewListener { vip: vip.parse().expect("a VIP"), slots: Some(13), ..new })
}

/// Commands of each sort, to the pool with that number and to a new one.
fn changes(number: u16) -> Vec<Command> {
    let text = format!("pool-{number}");
    let listener = name(&text);
    let weight = BackendChange { weight: Some(5), ..BackendChange::default() };
    let down = BackendChange { admin_up: Some(false), ..BackendChange::default() };
    let up = BackendChange { admin_up: Some(true), ..BackendChange::default() };
    let algorithm = ListenerChange { algorithm: Some(Algorithm::RoundRobin), ..ListenerChange::default() };
    let out = ListenerChange { admin_up: Some(false), ..ListenerChange::default() };
    let back = ListenerChange { admin_up: Some(true), ..ListenerChange::default() };
    let health = HealthChange { kind: Some(ProbeType::Tcp), ..HealthChange::default() };
    let set = |change| Command::SetBackend { listener: listener.clone(), address: address(21), change };
    let set_listener = |change| Command::SetListener { name: listener.clone(), change };
    vec![
        set(weight),
        set(down),
        set(up),
        add_backend(&text, 40, 1),
        Command::DrainBackend { listener: listener.clone(), address: address(22), deadline: None },
        Command::RemoveBackend { listener: listener.clone(), address: address(40) },
        set_listener(algorithm),
        set_listener(out),
        set_listener(back),
        Command::SetHealth { listener: listener.clone(), change: health },
        Command::UnsetHealth { listener: listener.clone() },
        add_listener_at("another", "203.0.113.1", 443),
        add_backend("another", 21, 1),
        Command::RemoveListener { name: name("another") },
        Command::RemoveListener { name: listener },
    ]
}

/// How much work each of the commands is: the pools that were planned, the changes of the maps, and those of the store.
fn work_of(count: u16) -> Vec<(usize, usize, usize)> {
    let host = Host::of(Sizes { slots: 32_768, places: 16_384, listeners: 2_048, segments: 4, allowed: 64 });
    let mut core = host.start();
    core.execute(&attach("eth1")).expect("an interface");
    host.plane().checks = false;
    pools(&mut core, count);
    host.plane().checks = true;
    let mut work = Vec::new();
    for command in changes(count / 2) {
        let planned = work::pools_planned();
        host.plane().changes.clear();
        host.store.lock().expect("entries").changed = 0;
        core.execute(&command).unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        let changed = host.store.lock().expect("entries").changed;
        work.push((work::pools_planned() - planned, host.plane().changes.len(), changed));
        nothing_was_missed(&mut core);
    }
    work
}

#[test]
fn a_change_is_as_much_work_with_a_thousand_pools_as_with_one() {
    let one = work_of(1);
    assert!(one.iter().all(|(planned, ..)| *planned <= 1), "no command plans more than its own pool: {one:?}");
    assert_eq!(work_of(1_000), one);
}
