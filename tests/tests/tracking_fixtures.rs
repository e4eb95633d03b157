//! Fixtures of tracking: sequences of packets over the real program, with what is remembered of their flows after each.

use std::ops::Range;

use drlb_tests::packet::{Frame, Transport, icmp, sctp, tcp, udp};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{self, *};
use lb_common::backend::{Backend, Load};
use lb_common::slot::Slot;
use lb_common::track::pin::Pin;
use lb_common::track::place::MOST_PROBES;
use lb_ebpf::host::{FlowMemory, HostTables};

const CLIENT: &str = "198.51.100.7";
/// The backends of [`CHANGING`]: the one that the slots had, the one that they have, and another.
const OLD: u32 = CHANGING.start;
const NEW: u32 = CHANGING.start + 1;
const THIRD: u32 = CHANGING.start + 2;

/// The program and the tables that its maps were filled from.
struct World {
    program: Program,
    tables: HostTables,
}

impl World {
    fn new() -> Self {
        let tables = sample::tables();
        let program = Program::load(&tables).expect("the program loads");
        Self { program, tables }
    }

    /// The place of the backend that a packet goes to; `None` if it is dropped.
    fn send(&mut self, frame: &Frame) -> Option<u32> {
        let answer = self.program.run(&frame.bytes()).expect("a test run");
        match answer.verdict {
            Action::Drop => None,
            Action::Transmit => Some(u32::from(answer.packet[5])),
            other => panic!("the verdict is {other:?}"),
        }
    }

    fn memory(&mut self) -> FlowMemory {
        self.program.memory().expect("the maps can be read")
    }

    /// What is pinned: the places and states in the young table, and in the established one.
    fn pins(&mut self) -> [Vec<(u32, u8)>; 2] {
        let memory = self.memory();
        let list = |pins: std::collections::HashMap<_, Pin>| {
            let mut pins: Vec<_> =
                pins.values().map(|pin| (CHANGING.start + u32::from(pin.backend), pin.state)).collect();
            pins.sort_unstable();
            pins
        };
        [list(memory.young), list(memory.established)]
    }

    /// Writes all slots of the tables that stand as `before`.
    fn slots(&mut self, before: Slot, after: Slot) {
        for slot in self.tables.slots.iter_mut().filter(|slot| **slot == before) {
            *slot = after;
        }
        self.program.fill(&self.tables).expect("the maps can be written");
    }

    fn backend(&mut self, place: u32, change: impl Fn(Backend) -> Backend) {
        let backend = &mut self.tables.backends[place as usize];
        *backend = change(*backend);
        self.program.fill(&self.tables).expect("the maps can be written");
    }
}

fn to(vip: &str, transport: Transport) -> Frame {
    from(CLIENT, vip, transport)
}

fn from(client: &str, vip: &str, transport: Transport) -> Frame {
    Frame::to(OWN_MAC).ip(client, vip).carry(transport)
}

const NONE: Vec<(u32, u8)> = Vec::new();

#[test]
fn a_steady_slot_stores_nothing_whatever_comes() {
    let mut world = World::new();
    for port in 1..=5_000 {
        world.send(&to(VIP_SPREAD, tcp(port, 80).syn()));
        world.send(&to(VIP_SPREAD, tcp(port, 80).ack()));
        world.send(&to(VIP_SPREAD, udp(port, 80)));
    }
    let memory = world.memory();
    assert_eq!((memory.young.len(), memory.established.len(), memory.overflows), (0, 0, 0));
}

#[test]
fn in_a_moving_slot_a_new_flow_takes_current_and_is_pinned_young_then_established() {
    let mut world = World::new();
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).syn())), Some(NEW));
    assert_eq!(world.pins(), [vec![(NEW, Pin::HANDSHAKE)], NONE]);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).syn())), Some(NEW), "a repeated SYN");
    assert_eq!(world.pins(), [vec![(NEW, Pin::HANDSHAKE)], NONE]);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(NEW));
    assert_eq!(world.pins(), [NONE, vec![(NEW, Pin::ESTABLISHED)]]);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).fin().ack())), Some(NEW));
    assert_eq!(world.pins(), [NONE, vec![(NEW, Pin::CLOSING)]]);
}

#[test]
fn in_a_moving_slot_a_flow_that_began_before_keeps_its_backend() {
    let mut world = World::new();
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD));
    assert_eq!(world.pins(), [NONE, vec![(OLD, Pin::ESTABLISHED)]]);
    world.slots(Slot::moving(0, 1), Slot::settling(1));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD), "when the slot has settled");
    assert_eq!(world.send(&to(VIP_MOVING, tcp(2_000, 80).ack())), Some(NEW), "a flow that did not show itself");
    world.slots(Slot::settling(1), Slot::moving(1, 2));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD), "when the slot moves on");
    assert_eq!(world.send(&to(VIP_MOVING, tcp(2_000, 80).ack())), Some(NEW));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(3_000, 80).syn())), Some(THIRD));
}

#[test]
fn a_pin_that_finds_no_place_is_in_the_other_table_and_followed_there() {
    let mut world = World::new();
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD));
    world.program.crowd(|_| true);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(2_000, 80).ack())), Some(OLD));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(3_000, 80).syn())), Some(NEW));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(3_000, 80).ack())), Some(NEW), "from the young table");
    assert_eq!(world.program.spilt().expect("a count"), 2);
    world.program.crowd(|_| false);
    world.slots(Slot::moving(0, 1), Slot::moving(1, 2));
    for (port, place) in [(1_000, OLD), (2_000, OLD), (3_000, NEW)] {
        assert_eq!(world.send(&to(VIP_MOVING, tcp(port, 80).ack())), Some(place), "port {port}");
        assert_eq!(world.send(&to(VIP_MOVING, tcp(port, 80).fin().ack())), Some(place), "port {port}");
    }
    let memory = world.memory();
    assert_eq!((memory.established.len(), memory.overflows), (3, 0));
    assert!(memory.established.values().all(|pin| pin.state == Pin::CLOSING));
    assert_eq!(world.program.spilt().expect("a count"), 2, "those that are there stay there");
    assert_eq!(world.send(&to(VIP_MOVING, tcp(4_000, 80).ack())), Some(NEW));
    assert_eq!(world.program.spilt().expect("a count"), 2, "there are places again");
}

#[test]
fn a_pin_stands_in_any_of_its_places_and_is_followed_there() {
    let mut world = World::new();
    // Each pin has two places, some at their homes, others behind; and all of them in the end.
    world.program.crowd(|at| at % (MOST_PROBES / 2) != 3);
    let flows = || (1..=200).map(|port| to(VIP_MOVING, tcp(port, 80).ack()));
    assert!(flows().all(|packet| world.send(&packet) == Some(OLD)));
    world.slots(Slot::moving(0, 1), Slot::moving(1, 2));
    world.program.crowd(|_| false);
    assert!(flows().all(|packet| world.send(&packet) == Some(OLD)));
    let fin = |port| to(VIP_MOVING, tcp(port, 80).fin().ack());
    assert!((1..=200).all(|port| world.send(&fin(port)) == Some(OLD)));
    let memory = world.memory();
    assert_eq!((memory.established.len(), memory.overflows), (200, 0));
    assert!(memory.established.values().all(|pin| pin.state == Pin::CLOSING), "each is written where it stands");
    assert_eq!(world.program.spilt().expect("a count"), 0);
}

#[test]
fn in_a_settling_slot_flows_that_are_not_pinned_take_current_and_stay_so() {
    let mut world = World::new();
    for packet in [tcp(1_000, 80).syn(), tcp(1_000, 80).ack(), tcp(2_000, 80).ack(), udp(3_000, 80)] {
        assert_eq!(world.send(&to(VIP_SETTLING, packet)), Some(NEW));
    }
    assert_eq!(world.pins(), [NONE, NONE]);
}

#[test]
fn the_flows_of_a_dead_backend_take_current_at_once_and_stay_there_when_it_recovers() {
    let mut world = World::new();
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD));
    let place = world.tables.backends[OLD as usize];
    world.backend(OLD, |_| Backend::UNREACHABLE);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(NEW), "pinned");
    assert_eq!(world.send(&to(VIP_MOVING, tcp(2_000, 80).ack())), Some(NEW), "not pinned");
    world.backend(OLD, |_| place);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(NEW));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(2_000, 80).ack())), Some(NEW));
    world.backend(NEW, |_| Backend::UNREACHABLE);
    assert_eq!(world.send(&to(VIP_MOVING, tcp(3_000, 80).syn())), None, "nobody is left for a new flow");
}

#[test]
fn a_flow_with_the_same_ports_as_one_that_ended_is_a_new_one() {
    let mut world = World::new();
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).ack())), Some(OLD));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).syn())), Some(OLD), "a SYN within a living flow");
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).rst())), Some(OLD));
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).syn())), Some(NEW));
}

#[test]
fn first_packets_are_told_by_what_each_protocol_says() {
    let mut world = World::new();
    let quic = |first: u8, version: u32, length: usize| {
        let mut payload = vec![first];
        payload.extend_from_slice(&version.to_be_bytes());
        payload.resize(length, 0);
        payload
    };
    let sctp_chunk = |kind: u8| {
        let mut bytes = [5_000_u16.to_be_bytes(), 9_u16.to_be_bytes()].concat();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[kind, 0, 0, 4]);
        Transport::protocol(132, bytes)
    };
    for (says, transport, place) in [
        ("TCP SYN", tcp(1, 80).syn(), NEW),
        ("TCP SYN and ACK", tcp(2, 80).syn().ack(), OLD),
        ("TCP ACK", tcp(3, 80).ack(), OLD),
        ("QUIC Initial, version 1", udp(4, 443).payload(quic(0xc0, 1, 1_200)), NEW),
        ("QUIC Initial, version 2", udp(5, 443).payload(quic(0xd0, 0x6b33_43cf, 1_200)), NEW),
        ("QUIC with a short header", udp(6, 443).payload(quic(0x40, 1, 1_200)), OLD),
        ("QUIC Handshake", udp(7, 443).payload(quic(0xe0, 1, 1_200)), OLD),
        ("plain UDP", udp(8, 53).payload("query"), OLD),
        ("SCTP INIT", sctp(9, 9), NEW),
        ("SCTP DATA", sctp_chunk(0), OLD),
    ] {
        assert_eq!(world.send(&to(VIP_MOVING, transport)), Some(place), "{says}");
    }
}

#[test]
fn an_icmp_error_goes_where_its_flow_is_pinned_and_leaves_no_trace() {
    let mut world = World::new();
    let error = |port: u16| {
        let sent = Frame::to(OWN_MAC).ipv4(VIP_MOVING, CLIENT).carry(tcp(80, port).ack()).network();
        from("203.0.113.1", VIP_MOVING, icmp(3, 4, 1_400).payload(&sent[..28]))
    };
    assert_eq!(world.send(&to(VIP_MOVING, tcp(1_000, 80).syn())), Some(NEW));
    assert_eq!(world.send(&error(1_000)), Some(NEW));
    assert_eq!(world.send(&error(2_000)), Some(OLD), "about a flow that began before");
    assert_eq!(world.pins(), [vec![(NEW, Pin::HANDSHAKE)], NONE]);
}

#[test]
fn a_syn_flood_in_moving_slots_pushes_out_no_flow_that_is_at_work() {
    let mut world = World::new();
    for port in 1..=1_000 {
        assert_eq!(world.send(&to(VIP_MOVING, tcp(port, 80).ack())), Some(OLD));
    }
    // Twice as many as the young table holds.
    let flood = 2 * lb_common::limits::MAX_YOUNG_PINS;
    let mut syn = from("10.0.0.0", VIP_MOVING, tcp(1, 80).syn()).bytes();
    for number in 0..flood {
        syn[26..30].copy_from_slice(&(0x0a00_0000 + number).to_be_bytes());
        world.program.run(&syn).expect("a test run");
    }
    let memory = world.memory();
    assert!(memory.young.len() <= lb_common::limits::MAX_YOUNG_PINS as usize);
    assert_eq!(memory.established.len(), 1_000);
    world.slots(Slot::moving(0, 1), Slot::settling(1));
    for port in 1..=1_000 {
        assert_eq!(world.send(&to(VIP_MOVING, tcp(port, 80).ack())), Some(OLD), "the flow from port {port} was moved");
    }
}

/// How many of these flows each place of a pool gets.
fn spread(world: &mut World, pool: Range<u32>, frames: impl Iterator<Item = Frame>) -> Vec<usize> {
    let mut counts = vec![0; pool.len()];
    for frame in frames {
        let place = world.send(&frame).expect("a backend");
        counts[(place - pool.start) as usize] += 1;
    }
    counts
}

#[test]
fn round_robin_gives_new_flows_in_turn_by_weight_and_each_flow_stays() {
    let mut world = World::new();
    let syns = || (1..=400).map(|port| to(VIP_TURNS, tcp(port, 80).syn()));
    assert_eq!(spread(&mut world, TURNS, syns()), [100, 200, 100]);
    let first: Vec<_> = (1..=400).map(|port| world.send(&to(VIP_TURNS, tcp(port, 80).ack()))).collect();
    let again: Vec<_> = (1..=400).map(|port| world.send(&to(VIP_TURNS, tcp(port, 80).ack().payload("x")))).collect();
    assert_eq!(first, again);
    assert_eq!(world.memory().established.len(), 400);
    let datagrams = (1..=400).map(|port| to(VIP_TURNS, udp(port, 80)));
    assert_eq!(spread(&mut world, TURNS, datagrams), [100, 200, 100], "UDP has turns of its own");
}

#[test]
fn least_connections_fills_up_who_has_less_to_do() {
    let mut world = World::new();
    let busy = LEAST.start;
    let tables = &mut world.tables;
    tables.memory.get_mut().loads.insert(busy, Load { flows: 1_000, weight: 1 });
    world.program.fill(&world.tables).expect("the maps can be written");
    let syns = (1..=600).map(|port| to(VIP_LEAST, tcp(port, 80).syn()));
    let counts = spread(&mut world, LEAST, syns);
    // The busy one gets a flow only where both choices fall on it: one in nine.
    assert!(counts[0] < 120, "the busy backend got {} of 600", counts[0]);
    assert!(counts[1].abs_diff(counts[2]) < 60, "the others are not even: {counts:?}");
    let loads = world.memory().loads;
    assert_eq!(loads[&busy].flows as usize, 1_000 + counts[0]);
}

#[test]
fn a_session_brings_a_client_back_to_its_backend_until_that_drains() {
    let mut world = World::new();
    let place = world.send(&to(VIP_SESSIONS, tcp(1_000, 80).syn())).expect("a backend");
    for port in 2_000..2_200 {
        assert_eq!(world.send(&to(VIP_SESSIONS, tcp(port, 80).syn())), Some(place), "port {port}");
    }
    world.backend(place, Backend::draining);
    assert_eq!(world.send(&to(VIP_SESSIONS, tcp(1_000, 80).ack())), Some(place), "its flows stay");
    // The hash may still name the draining one here: the agent takes it out of the table, which this test does not.
    let others =
        (3_000..3_200).filter(|port| world.send(&to(VIP_SESSIONS, tcp(*port, 80).syn())) != Some(place)).count();
    assert!(others > 0, "the session kept bringing new flows to a draining backend");

    let network: Vec<_> = (1..=50)
        .map(|host| world.send(&from(&format!("2001:db8:c:1::{host}"), VIP6_SESSIONS, tcp(host, 80).syn())))
        .collect();
    assert!(network.iter().all(|place| *place == network[0]), "a /64 was split: {network:?}");
    let networks: std::collections::BTreeSet<_> = (1..=50)
        .map(|net| world.send(&from(&format!("2001:db8:c:{net:x}::1"), VIP6_SESSIONS, tcp(net, 80).syn())))
        .collect();
    assert_eq!(networks.len(), SESSIONS6.len(), "50 networks did not reach all backends");
}
