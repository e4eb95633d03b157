//! Tracking in the XDP program against the host build of the same steps: random schedules of packets, changes of slots and
//! backends, switches of the algorithm, and sweeps. Each packet must go to the same backend, and all that is remembered
//! must be the same after each step.

use std::cell::RefCell;

use drlb_tests::packet::{Frame, Transport, icmp, tcp, udp};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{self, *};
use lb_common::backend::Backend;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::pin::{Moment, Table};
use lb_ebpf::host::{FlowMemory, HostTables};
use lb_ebpf::known::Known;
use lb_ebpf::packet::Packet;
use lb_ebpf::pipeline;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// Schedules, each of up to [`STEPS`] steps. The seed is fixed, so that a red run can be repeated.
const SCHEDULES: u32 = 150;
const STEPS: usize = 80;
const SEED: u64 = 0x0074_7261_636b;

const VIPS: &[&str] = &[VIP_MOVING, VIP_SETTLING, VIP_TURNS, VIP_LEAST, VIP_SESSIONS, VIP_SPREAD, VIP_SOURCE];
const PLACES: std::ops::Range<u32> = SPREAD.start..SESSIONS6.end;

#[derive(Clone, Debug)]
enum Step {
    /// A packet of the client and port with that number to a VIP.
    Packet { vip: &'static str, client: u8, port: u16, kind: Kind },
    /// All slots of a VIP's tables get this word.
    Slots { vip: &'static str, slot: Slot },
    /// A backend dies, recovers or drains.
    Backend { place: u32, state: u8 },
    /// The algorithm of a VIP's listeners, what was hashed before, and persistence.
    Algorithm { vip: &'static str, algorithm: u8, before: u8, persistence: u8 },
    /// A sweep takes the pins and sessions whose place in the order of keys is a multiple of this number.
    Sweep { every: usize },
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Syn,
    Ack,
    Fin,
    Rst,
    Udp,
    QuicInitial,
    Error,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = prop_oneof![4 => 0_u16..4, 1 => Just(NO_BACKEND)];
    let slot = (index.clone(), index, 0..3).prop_map(|(a, b, state)| match state {
        0 => Slot::steady(a),
        1 => Slot::settling(a),
        _ if a == NO_BACKEND || a == b => Slot::settling(b),
        _ => Slot::moving(a, b),
    });
    let kinds = [Kind::Syn, Kind::Ack, Kind::Ack, Kind::Fin, Kind::Rst, Kind::Udp, Kind::QuicInitial, Kind::Error];
    let packet = (select(VIPS), 1_u8..4, 1_u16..4, select(kinds.to_vec()))
        .prop_map(|(vip, client, port, kind)| Step::Packet { vip, client, port, kind });
    let algorithm = (select(VIPS), 0_u8..4, 0_u8..3, select(&[0_u8, 0, 128, 120][..]))
        .prop_map(|(vip, algorithm, before, persistence)| Step::Algorithm { vip, algorithm, before, persistence });
    let step = prop_oneof![
        24 => packet,
        4 => (select(VIPS), slot).prop_map(|(vip, slot)| Step::Slots { vip, slot }),
        2 => (PLACES, 0_u8..3).prop_map(|(place, state)| Step::Backend { place, state }),
        1 => algorithm,
        1 => (1_usize..4).prop_map(|every| Step::Sweep { every }),
    ];
    vec(step, 1..STEPS)
}

fn frame(vip: &str, client: u8, port: u16, kind: Kind) -> Vec<u8> {
    let client = format!("198.51.100.{client}");
    let to_us = || Frame::to(OWN_MAC);
    let segment = |flag: fn(Transport) -> Transport| to_us().ipv4(&client, vip).carry(flag(tcp(port, 80)));
    let initial = [&[0xc0, 0, 0, 0, 1][..], &[0; 1_195]].concat();
    match kind {
        Kind::Syn => segment(Transport::syn),
        Kind::Ack => segment(Transport::ack),
        Kind::Fin => segment(Transport::fin),
        Kind::Rst => segment(Transport::rst),
        Kind::Udp => to_us().ipv4(&client, vip).carry(udp(port, 80).payload("x")),
        Kind::QuicInitial => to_us().ipv4(&client, vip).carry(udp(port, 80).payload(initial)),
        Kind::Error => {
            let sent = to_us().ipv4(vip, &client).carry(tcp(80, port).ack()).network();
            to_us().ipv4("203.0.113.1", vip).carry(icmp(3, 4, 1_400).payload(&sent[..28]))
        }
    }
    .bytes()
}

/// What the host remembers, as the maps are read: without the moments and the turns, which are the machine's own.
fn comparable(memory: &FlowMemory) -> FlowMemory {
    let mut memory = memory.clone();
    memory.turns.clear();
    memory.loads.retain(|_, load| *load != lb_common::backend::Load::default());
    memory
}

struct World {
    program: Program,
    tables: HostTables,
}

impl World {
    fn of(tables: &HostTables, vip: &str) -> Vec<ListenerKey> {
        tables.listeners.keys().filter(|key| key.vip == address(vip)).copied().collect()
    }

    /// Back to the beginning, with nothing remembered but whose turn it is.
    fn reset(&mut self) -> anyhow::Result<()> {
        self.sweep(1)?;
        let turns = std::mem::take(&mut self.tables.memory.get_mut().turns);
        self.tables = sample::tables();
        self.tables.memory.get_mut().turns = turns;
        for place in 0..PLACES.end {
            self.tables.memory.get_mut().loads.entry(place).or_default();
        }
        self.program.fill(&self.tables)
    }

    fn sweep(&mut self, every: usize) -> anyhow::Result<()> {
        let memory = self.tables.memory.get_mut();
        for (table, pins) in [(Table::Young, &mut memory.young), (Table::Established, &mut memory.established)] {
            let mut keys: Vec<_> = pins.keys().copied().collect();
            keys.sort_unstable_by_key(|key| bytemuck::cast::<_, [u32; 10]>(*key));
            for key in keys.iter().step_by(every) {
                pins.remove(key);
                self.program.forget_pin(table, key)?;
            }
        }
        let mut keys: Vec<_> = memory.sessions.keys().copied().collect();
        keys.sort_unstable_by_key(|key| (key.client, key.pool));
        for key in keys.iter().step_by(every) {
            memory.sessions.remove(key);
            self.program.forget_session(key)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let broken = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
        match step {
            Step::Packet { vip, client, port, kind } => {
                let packet = frame(vip, *client, *port, *kind);
                let answer = self.program.run(&packet).map_err(broken)?;
                let mut bytes = packet;
                let verdict = Action::from(pipeline::run(
                    &mut Packet::from_slice(&mut bytes),
                    &mut { Known::NOTHING },
                    &self.tables,
                ));
                prop_assert_eq!(answer.verdict, verdict);
                prop_assert_eq!(&answer.packet[..12], &bytes[..12], "sent to another backend");
            }
            Step::Slots { vip, slot } => {
                for key in Self::of(&self.tables, vip) {
                    let listener = self.tables.listeners[&key];
                    let slots = listener.slots_base as usize..(listener.slots_base + listener.slots_len) as usize;
                    self.tables.slots[slots].fill(*slot);
                }
                self.fill().map_err(broken)?;
            }
            Step::Backend { place, state } => {
                let up = sample::tables().backends[*place as usize];
                self.tables.backends[*place as usize] = match state {
                    0 => up,
                    1 => up.draining(),
                    _ => Backend::UNREACHABLE,
                };
                self.fill().map_err(broken)?;
            }
            Step::Algorithm { vip, algorithm, before, persistence } => {
                for key in Self::of(&self.tables, vip) {
                    self.tables.listeners.entry(key).and_modify(|listener: &mut Listener| {
                        (listener.algorithm, listener.before, listener.persistence) =
                            (*algorithm, *before, *persistence);
                    });
                }
                self.fill().map_err(broken)?;
            }
            Step::Sweep { every } => self.sweep(*every).map_err(broken)?,
        }
        let remembered = self.program.memory().map_err(broken)?;
        prop_assert_eq!(remembered, comparable(&self.tables.memory.borrow()));
        Ok(())
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        self.program.fill(&self.tables)
    }
}

#[test]
fn the_program_and_the_host_build_remember_the_same_under_every_schedule() {
    // Whose turn it is, is known per CPU.
    let mut one = CpuSet::new();
    one.set(0).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &one).expect("the thread may choose its CPU");
    let tables = sample::tables();
    tables.now.set(Moment(0));
    let program = Program::load(&tables).expect("the program loads");
    let world = RefCell::new(World { program, tables });
    let seen = RefCell::new(FlowMemory::default());
    let config =
        Config { cases: SCHEDULES, rng_seed: RngSeed::Fixed(SEED), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let mut world = world.borrow_mut();
        world.reset().map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        for step in &steps {
            world.step(step)?;
        }
        let memory = world.tables.memory.borrow();
        let mut seen = seen.borrow_mut();
        seen.young.extend(&memory.young);
        seen.established.extend(&memory.established);
        seen.sessions.extend(&memory.sessions);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    // A mix that fills none of the tables would prove nothing.
    let seen = seen.into_inner();
    let counts = [seen.young.len(), seen.established.len(), seen.sessions.len()];
    assert!(counts.iter().all(|count| *count > 10), "pins and sessions that were seen: {counts:?}");
}
