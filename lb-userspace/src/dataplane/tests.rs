//! The data plane in the kernel of the machine that runs the tests: each test in network and mount namespaces of its
//! own, which end with its thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::process::Command;
use std::thread;

use aya::EbpfLoader;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::address::Address;
use lb_common::backend::{Backend, BackendOwner, Segment};
use lb_common::counters::Counters;
use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::limits::{MAX_SLOTS, PIN_PLACES};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::maps::{COUNTERS, PINS_ESTABLISHED, PINS_MORE, PINS_YOUNG, PROGRAM, SESSIONS};
use lb_common::probe::ProbeTarget;
use lb_common::slot::Slot;
use lb_common::track::pin::Timing;
use lb_common::track::place::{FREE, MOST_PROBES, PinPlace, Sought, behind};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::model::{AttachMode, FaultKind, XdpMode};

mod tables;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// An instance whose packets come in by the loopback interface, as those of test runs do.
/// What the programs here are told of their interfaces: the segment is not one that is set.
const STATION: Station = Station { mac: MAC, home: Some(0) };
const INSTANCE: Constants = Constants::new(1, STATION);

/// Runs a test in namespaces of its own, with a BPF file system in an empty folder.
fn isolated(test: impl FnOnce(&Path) + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "this test loads programs into the kernel: run it as root");
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("namespaces");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        let folder = tempfile::tempdir().expect("a folder");
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
        ip("link set lo up");
        test(&folder.path().join("drlb"));
        nix::mount::umount(folder.path()).expect("nothing holds the BPF file system");
    };
    thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip, of iproute2, is needed");
    assert!(done.success(), "ip {arguments}");
}

fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("an interface")
}

/// A listener with one backend behind the loopback interface, which the program takes its test packets from.
fn fill(plane: &mut Dataplane) -> (ListenerKey, Listener) {
    let (vip, owner) = (Ipv4Addr::new(192, 0, 2, 10).into(), Ipv4Addr::new(192, 0, 2, 21).into());
    let key = ListenerKey::new(vip, 17, lb_common::address::Port::from_host(53));
    let listener = Listener {
        id: 3,
        pool: 1,
        slots_base: 16,
        slots_len: 7,
        backends_base: 32,
        backends_len: 16,
        ..Listener::NONE
    };
    let backend = Backend::new(MacAddr([2, 0, 0, 0, 0, 21]), 5);
    let segment = Segment::new(ifindex("lo"), MAC, 0);
    let changes = [
        Change::SetSegment { index: 5, segment },
        Change::TakePlace { place: 33, owner, backend },
        Change::WriteSlots { base: 16, moves: (0..7).map(|index| (index, Slot::steady(1))).collect() },
        Change::PutListener { key, listener, new: true },
        Change::PutVip { address: vip, vip: Vip::default() },
    ];
    for change in &changes {
        plane.change(change).expect("a change");
        plane.change(change).expect("the same again");
    }
    (key, listener)
}

/// A UDP packet to the VIP, as the client sends it to our MAC.
fn packet() -> Vec<u8> {
    let mut packet = Vec::from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 99, 0x08, 0x00]);
    packet.extend([0x45, 0, 0, 36, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]);
    packet.extend([0x9c, 0x40, 0, 53, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    packet
}

#[test]
fn what_is_written_is_read_back_and_outlives_the_agent() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let empty = plane.read().expect("maps");
        assert!(empty.listeners.is_empty() && empty.vips.is_empty() && empty.segments.is_empty());
        let (key, listener) = fill(&mut plane);
        drop(plane);

        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("the pinned data plane");
        let held = plane.read().expect("maps");
        assert_eq!(held.listeners.get(&key), Some(&listener));
        assert_eq!(held.vips.get(&key.vip), Some(&Vip::default()));
        assert_eq!(held.egress.get(&5), Some(&1));
        assert_eq!(held.segments.get(&5).map(|segment| segment.mac), Some(MAC));
        let owner = Ipv4Addr::new(192, 0, 2, 21).into();
        assert_eq!(held.owners_in(0..held.sizes.places).collect::<Vec<_>>(), [(33, owner)]);
        assert_eq!(held.backend(33), Backend::new(MacAddr([2, 0, 0, 0, 0, 21]), 5));
        assert!((16..23).all(|slot| held.slot(slot) == Slot::steady(1)));

        for change in [
            Change::RemoveVip { address: key.vip },
            Change::RemoveListener { key },
            Change::FreePlace { place: 33 },
            Change::ClearSegment { index: 5 },
        ] {
            plane.change(&change).expect("a change");
            plane.change(&change).expect("the same again");
        }
        let held = plane.read().expect("maps");
        assert!(
            held.listeners.is_empty() && held.vips.is_empty() && held.segments.is_empty() && held.egress.is_empty()
        );
        assert_eq!(held.owner(33), None);
    });
}

#[test]
fn more_room_is_made_for_slots_and_what_they_hold_stays() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, 16 * 100, &[]).expect("a new data plane");
        let (key, listener) = fill(&mut plane);
        assert_eq!(plane.read().expect("maps").sizes.slots, 1_600);
        ip("link add v0 type veth peer name v1");
        let attached = attach(&mut plane, "v0", AttachMode::Native).expect("attached");
        drop(plane);
        // As if an agent had been killed in the middle of it.
        fs::create_dir(pins.join(LAYOUT).join("making")).expect("a folder");

        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("the pinned data plane");
        let held = plane.read().expect("maps");
        assert_eq!(held.sizes.slots, MAX_SLOTS);
        assert_eq!(held.listeners.get(&key), Some(&listener));
        assert!((16..23).all(|slot| held.slot(slot) == Slot::steady(1)));
        assert_eq!(held.attached.len(), 1, "{attached:?} went on meanwhile");
        assert!(!pins.join(LAYOUT).join("making").exists());
        // What is written beyond the old map's end is what a packet finds.
        let base = MAX_SLOTS - 16;
        let moves = (0..7).map(|index| (index, Slot::steady(1))).collect();
        plane.change(&Change::WriteSlots { base, moves }).expect("a change");
        let moved = Listener { slots_base: base, ..listener };
        plane.change(&Change::PutListener { key, listener: moved, new: false }).expect("a change");
        let mut instance = plane.load(INSTANCE).expect("the program");
        let run = instance.run(&packet()).expect("a run");
        assert_eq!(run.packet[..6], [2, 0, 0, 0, 0, 21], "{run:?}");
        drop(plane);

        // The setting is smaller again: the room stays.
        let mut plane = Dataplane::open(pins, 1_600, &[]).expect("the pinned data plane");
        assert_eq!(plane.read().expect("maps").sizes.slots, MAX_SLOTS);
    });
}

#[test]
fn a_packet_to_a_vip_is_sent_to_the_backend_and_counted() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (_, listener) = fill(&mut plane);
        let mut instance = plane.load(INSTANCE).expect("the program");
        let packet = packet();
        let run = instance.run(&packet).expect("a run");
        // XDP_TX: the backend is on the interface that the packet came in by.
        assert_eq!(run.verdict, 3);
        assert_eq!(run.packet[..12], [2, 0, 0, 0, 0, 21, 2, 0, 0, 0, 0, 1]);
        assert_eq!(run.packet[12..], packet[12..]);
        let once = Counter { packets: 1, bytes: packet.len() as u64 };
        assert_eq!(plane.listener_counter(listener.id), Ok(once));
        assert_eq!(plane.backend_counter(33), Ok(once));
        assert_eq!(plane.outcome_counter(Outcome::Forwarded), Ok(once));

        // What was forwarded for a listener that is gone stays so when another one has its id.
        let key = ListenerKey::new(Ipv4Addr::new(192, 0, 2, 11).into(), 17, lb_common::address::Port::from_host(53));
        plane.change(&Change::PutListener { key, listener, new: true }).expect("a listener");
        assert_eq!(plane.listener_counter(listener.id), Ok(Counter::default()));
        assert_eq!(plane.outcome_counter(Outcome::Forwarded), Ok(once));
        instance.run(&packet).expect("a run");
        assert_eq!(plane.listener_counter(listener.id), Ok(once));
        assert_eq!(plane.outcome_counter(Outcome::Forwarded), Ok(once.plus(once)));
        let once = once.plus(once);

        // A place that moves keeps what was counted, a place that is taken anew does not.
        plane.change(&Change::CopyPlace { from: 33, to: 70 }).expect("a copy");
        assert_eq!(plane.backend_counter(70), Ok(once));
        let owner = BackendOwner::FREE.address;
        let take = Change::TakePlace { place: 33, owner, backend: Backend::UNREACHABLE };
        plane.change(&take).expect("a change");
        assert_eq!(plane.backend_counter(33), Ok(Counter::default()));
    });
}

fn pin(slot: u32) -> Pin {
    Pin { backend: 1, state: Pin::ESTABLISHED, reserved: 0, check: 0, seen: Moment(slot), slot }
}

/// All pins of a table, in however many batches.
fn all_pins(plane: &mut Dataplane, table: Table) -> BTreeMap<u32, Pin> {
    let (mut all, mut from) = (BTreeMap::new(), None);
    loop {
        let (pins, next) = plane.pins(table, from).expect("a batch");
        for (key, pin) in pins {
            assert_eq!(all.insert(key.flow().source.0[3], pin), None, "a pin is there twice");
        }
        match next {
            Some(_) => from = next,
            None => return all,
        }
    }
}

/// Gives the pins numbered so to a table of the kernel's.
fn insert_pins(pins: &Path, name: &str, numbers: Range<u32>) {
    let map = MapData::from_pin(pins.join(LAYOUT).join(name)).expect("the pinned map");
    let map = if name == PINS_YOUNG { Map::LruHashMap(map) } else { Map::HashMap(map) };
    let mut map: HashMap<MapData, [u32; 10], [u64; 2]> = map.try_into().expect("a hash map");
    for last in numbers {
        map.insert(bytemuck::cast::<PinKey, [u32; 10]>(pin_key(last)), pin(last).words(), 0).expect("room");
    }
}

fn pin_key(last: u32) -> PinKey {
    PinKey::new(&Flow::without_ports(Address([0, 0, 0xffff_0000, last]), Address([0, 0, 0xffff_0000, 1]), 47), 7)
}

/// A place with that pin, and where its home is.
fn pin_place(last: u32) -> (u32, PinPlace) {
    let sought = Sought::new(hash::flow(hash::DEFAULT_KEY, &pin_key(last).flow()));
    (sought.home, PinPlace { mark: sought.mark, reach: 1, pin: pin(last), key: pin_key(last) })
}

#[test]
fn pins_are_read_and_removed_in_batches() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let mut table = pin_table(pins);
        let mut left = BTreeMap::new();
        for (kind, name, numbers) in [
            (Table::Young, PINS_YOUNG, 0..9_000),
            (Table::Established, PINS_ESTABLISHED, 0..20_000),
            (Table::Established, PINS_MORE, 50_000..70_000),
        ] {
            if name != PINS_MORE {
                left.clear();
            }
            assert_eq!(all_pins(&mut plane, kind), left);
            left.extend(numbers.clone().map(|last| (last, pin(last))));
            if name == PINS_ESTABLISHED {
                for last in numbers.clone() {
                    let (home, place) = pin_place(last);
                    let at = (0..MOST_PROBES).map(|probe| behind(home, probe));
                    match at.clone().find(|at| table.place(*at).mark == FREE) {
                        Some(at) => table.write(at, &PinPlace { reach: table.place(at).reach, ..place }),
                        None => drop(left.remove(&last)),
                    }
                }
                assert!(left.len() > 19_900, "{} of 20,000 found a place", left.len());
            } else {
                insert_pins(pins, name, numbers.clone());
            }
            if name == PINS_MORE {
                assert!(all_pins(&mut plane, kind).len() < 20_000, "before the program says that one is there");
                let at = pin_place(50_000).0;
                table.write(at, &PinPlace { reach: 1 << 31, ..table.place(at) });
            }
            assert_eq!(all_pins(&mut plane, kind), left);
            // Keys that are not there do not keep the others from being removed.
            let even: BTreeSet<u32> = (numbers.start..numbers.end + 10).step_by(2).collect();
            let keys: Vec<PinKey> = even.iter().copied().map(pin_key).collect();
            plane.remove_pins(kind, &keys).expect("removed");
            plane.remove_pins(kind, &keys).expect("once more changes nothing");
            left.retain(|last, _| !even.contains(last));
            assert_eq!(all_pins(&mut plane, kind), left);
        }
        assert_eq!(plane.pin_overflows(), Ok(0));

        // Long after that, places can be taken again.
        let late = Moment(plane.now().0 + Moment::ticks(10_000));
        let found = table.look_through(0..PIN_PLACES, late).len();
        let free = (0..PIN_PLACES).filter(|at| table.place(*at).mark == FREE).count();
        assert!(found > 9_900, "{found} of 10,000 are left");
        assert_eq!(free + found, PIN_PLACES as usize);
    });
}

#[test]
fn of_a_flow_with_two_pins_the_one_stays_that_packets_follow() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let table = pin_table(pins);
        let (home, place) = pin_place(7);
        let follower = PinPlace { pin: Pin { backend: 2, ..place.pin }, ..place };
        table.write(behind(home, 1), &place);
        table.write(behind(home, 4), &follower);
        // Each is alone with its own. The first says that pins found no place.
        insert_pins(pins, PINS_MORE, 7..9);
        table.write(home, &PinPlace { mark: FREE, reach: 1 << 31 | 1 << 1 | 1 << 4, ..place });
        let expected = BTreeMap::from([(7, pin(7)), (8, pin(8))]);
        assert_eq!(all_pins(&mut plane, Table::Established), expected);
        assert_eq!(table.place(behind(home, 1)), place, "it is still there");
        assert_ne!(table.place(behind(home, 4)).mark, place.mark, "it is taken out");
        table.write(behind(home, 4), &follower);
        plane.remove_pins(Table::Established, &[pin_key(7)]).expect("removed");
        assert_eq!(all_pins(&mut plane, Table::Established), BTreeMap::from([(8, pin(8))]));
    });
}

#[test]
fn a_place_that_was_withdrawn_is_free_after_a_time() {
    isolated(|pins| {
        let plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let mut table = pin_table(pins);
        let (home, place) = pin_place(7);
        table.write(home, &place);
        let now = plane.now();
        table.remove(&pin_key(7), now);
        for (ticks, is_free) in [(0, false), (Timing::GRACE, false), (Timing::GRACE + 1, true)] {
            assert_eq!(table.look_through(0..PIN_PLACES, Moment(now.0 + ticks)), []);
            assert_eq!(table.place(home).mark == FREE, is_free, "{ticks} ticks");
        }
        // One that a packet is writing to is left alone.
        table.write(home, &PinPlace { mark: 1, ..place });
        assert_eq!(table.look_through(0..PIN_PLACES, Moment(now.0 + 1_000)), []);
        assert_eq!(table.place(home).mark, 1);
    });
}

fn pin_table(pins: &Path) -> PinTable {
    let map = MapData::from_pin(pins.join(LAYOUT).join(PINS_ESTABLISHED)).expect("the pinned map");
    PinTable::open(&Map::Array(map)).expect("its places")
}

#[test]
fn sessions_are_read_and_removed_in_batches() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let address = |last: u32| Address([0, 0, 0xffff_0000, last]);
        let map = MapData::from_pin(pins.join(LAYOUT).join(SESSIONS)).expect("the pinned map");
        let mut map: HashMap<MapData, [u32; 5], [u32; 2]> = Map::LruHashMap(map).try_into().expect("a hash map");
        let key = SessionKey::new(&address(9), 128, 7);
        let session = Session { backend: 3, reserved: 0, seen: Moment(5) };
        map.insert(bytemuck::cast::<SessionKey, [u32; 5]>(key), bytemuck::cast::<Session, [u32; 2]>(session), 0)
            .expect("room");
        assert_eq!(plane.sessions(None), Ok((vec![(key, session)], None)));
        plane.remove_sessions(&[key]).expect("removed");
        assert_eq!(plane.sessions(None), Ok((vec![], None)));
    });
}

#[test]
fn where_each_cpu_has_an_element_a_packet_looks_its_counters_up() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (_, listener) = fill(&mut plane);
        // As on a host with more CPUs than one element takes.
        let folder = pins.join(LAYOUT);
        fs::remove_file(folder.join(COUNTERS)).expect("a pin");
        let cpus = object::possible_cpus().expect("a number");
        let shape = (size_of::<Counters>(), cpus as u32);
        let bound = Bound::counting(shape, OBJECT, &folder, INSTANCE).expect("the object");
        let mut ebpf = EbpfLoader::new().default_map_pin_directory(&folder).load(&bound.object).expect("its maps");
        let program: &mut Xdp = ebpf.program_mut(PROGRAM).expect("the program").try_into().expect("a program of XDP");
        program.load().expect("the kernel takes it");
        let (packet, mut out) = (packet(), [0; 256]);
        let options = TestRunOptions { data_in: Some(&packet), data_out: Some(&mut out), ..TestRunOptions::default() };
        assert_eq!(program.test_run(options).expect("a run").return_value, 3);
        let map = MapData::from_pin(folder.join(COUNTERS)).expect("the pinned map");
        let counters = CounterMap::open(&Map::Array(map)).expect("counters");
        let once = Counter { packets: 1, bytes: packet.len() as u64 };
        assert_eq!((counters.listener(listener.id), counters.backend(33)), (once, once));
    });
}

#[test]
fn the_clock_is_the_one_that_pins_are_marked_by() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (key, listener) = fill(&mut plane);
        let moving = (0..7).map(|index| (index, Slot::moving(1, 2))).collect();
        plane.change(&Change::WriteSlots { base: listener.slots_base, moves: moving }).expect("a change");
        let mut instance = plane.load(INSTANCE).expect("the program");
        let before = plane.now();
        assert_eq!(instance.run(&packet()).expect("a run").verdict, 3);
        let pins = [Table::Young, Table::Established].map(|table| plane.pins(table, None).expect("a batch").0).concat();
        let [(pinned, pin)] = pins.as_slice() else { panic!("{pins:?}") };
        assert_eq!((pinned.flow().destination, pinned.pool(), pin.backend), (key.vip, listener.pool, 1));
        assert!(pin.seen.since(before) <= 1 && plane.now().since(pin.seen) <= 1, "{before:?}, {pin:?}");
    });
}

#[test]
fn a_pinned_map_of_another_shape_is_refused() {
    isolated(|pins| {
        let folder = pins.join(LAYOUT);
        std::fs::create_dir_all(&folder).expect("a folder");
        let other = aya::maps::HashMap::<aya::maps::MapData, u32, u32>::create(10, 0).expect("a map");
        other.pin(folder.join("SLOTS")).expect("a pin");
        let Err(fault) = Dataplane::open(pins, MAX_SLOTS, &[]) else { panic!("it was opened") };
        assert!(fault.message.contains("SLOTS is not one of this version"), "{}", fault.message);
        assert!(fault.message.contains("type 1 instead of 2"), "{}", fault.message);
    });
}

fn attach(plane: &mut Dataplane, name: &str, mode: AttachMode) -> Result<Option<Attached>, Fault> {
    let (name, ifindex) = (name.to_owned(), ifindex(name));
    plane.link(&LinkChange::Attach { name, ifindex, station: STATION, mode })
}

#[test]
fn links_are_attached_found_again_renewed_and_detached() {
    isolated(|pins| {
        ip("link add eth1.7 type veth peer name peer");
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        for (name, mode) in [("eth1.7", XdpMode::Native), ("lo", XdpMode::Generic)] {
            let wanted = if mode == XdpMode::Native { AttachMode::Native } else { AttachMode::Generic };
            let attached = attach(&mut plane, name, wanted).expect("attached").expect("a link");
            assert_eq!(attached, Attached { ifindex: ifindex(name), station: Some(STATION), mode });
        }
        drop(plane);

        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("the pinned data plane");
        let held = plane.read().expect("links");
        // The MAC of a program that another agent loaded is not known.
        let found = |mode, name| Some(Attached { ifindex: ifindex(name), station: None, mode });
        assert_eq!(held.attached.get("eth1.7").cloned(), found(XdpMode::Native, "eth1.7"));
        assert_eq!(held.attached.get("lo").cloned(), found(XdpMode::Generic, "lo"));

        let renew = LinkChange::Renew { name: "eth1.7".to_owned(), station: STATION };
        let renewed = plane.link(&renew).expect("renewed").expect("a link");
        assert_eq!(renewed.station, Some(STATION));
        assert_eq!(plane.read().expect("links").attached["eth1.7"].station, Some(STATION));

        for name in ["eth1.7", "lo"] {
            let detach = LinkChange::Detach { name: name.to_owned() };
            assert_eq!(plane.link(&detach), Ok(None));
            assert_eq!(plane.link(&detach), Ok(None), "once more changes nothing");
        }
        assert!(plane.read().expect("links").attached.is_empty());
        let shown = Command::new("ip").args(["link", "show"]).output().expect("ip").stdout;
        assert!(!String::from_utf8_lossy(&shown).contains("xdp"), "a program is left");
        plane.remove_maps().expect("nothing is attached");
        assert!(!pins.exists());
    });
}

#[test]
fn the_program_that_is_loaded_first_is_the_one_of_the_first_interface_that_is_there() {
    isolated(|pins| {
        ip("link add eth1 address 02:00:00:00:00:01 type veth peer name peer");
        let interfaces = ["gone", "eth1", "lo"].map(str::to_owned);
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &interfaces).expect("a new data plane");
        fill(&mut plane);
        // Its packets go back out of the interface that it is for.
        let segment = Segment::new(ifindex("eth1"), MAC, 0);
        plane.change(&Change::SetSegment { index: 5, segment }).expect("a change");
        let kept = |plane: &Dataplane| plane.links.kept.as_ref().map(|(constants, _)| *constants);
        let first = Some(Constants::new(ifindex("eth1"), STATION));
        assert_eq!(kept(&plane), first);
        let (_, program) = plane.links.kept.as_mut().expect("one is kept");
        let (ours, mut others) = (packet(), packet());
        others[5] = 9;
        assert_eq!(program.run(&ours).expect("a run").verdict, 3, "it is sent on");
        assert_eq!(program.run(&others).expect("a run").verdict, 2, "what is sent to another MAC is none of ours");

        let station = Station { mac: MacAddr([2, 0, 0, 0, 0, 9]), ..STATION };
        let mode = AttachMode::Native;
        let to_peer = LinkChange::Attach { name: "peer".to_owned(), ifindex: ifindex("peer"), station, mode };
        plane.link(&to_peer).expect("attached");
        assert_eq!(kept(&plane), first, "another interface has another program");
        let attached = attach(&mut plane, "eth1", mode).expect("attached").expect("a link");
        assert_eq!((attached.station, kept(&plane)), (Some(STATION), None));
        drop(plane);

        let mut plane = Dataplane::open(pins, MAX_SLOTS, &interfaces).expect("the pinned data plane");
        let renew = LinkChange::Renew { name: "eth1".to_owned(), station: STATION };
        let renewed = plane.link(&renew).expect("renewed").expect("a link");
        assert_eq!((renewed.station, kept(&plane)), (Some(STATION), None));
        let plane = Dataplane::open(&pins.join("other"), MAX_SLOTS, &["gone".to_owned()]).expect("a data plane");
        assert_eq!(kept(&plane), None, "it is for nobody");
    });
}

#[test]
fn the_pin_of_an_interface_that_is_gone_is_removed() {
    isolated(|pins| {
        ip("link add eth1 type veth peer name peer");
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        attach(&mut plane, "eth1", AttachMode::Native).expect("attached");
        ip("link delete eth1");
        assert!(plane.read().expect("links").attached.is_empty());
        assert!(!pins.join("v2/links/eth1").exists());
        // Its successor of the same name can be attached.
        ip("link add eth1 type veth peer name peer");
        attach(&mut plane, "eth1", AttachMode::Native).expect("attached");
    });
}

#[test]
fn auto_takes_generic_mode_where_the_driver_has_no_native_one() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let fault = attach(&mut plane, "lo", AttachMode::Native).expect_err("lo has no native XDP");
        assert_eq!(fault.message, "the driver of lo has no native XDP; use --mode generic or --mode auto");
        let attached = attach(&mut plane, "lo", AttachMode::Auto).expect("attached").expect("a link");
        assert_eq!(attached.mode, XdpMode::Generic);
    });
}

#[test]
fn another_program_is_left_alone() {
    isolated(|pins| {
        let mut first = Dataplane::open(&pins.join("first"), MAX_SLOTS, &[]).expect("a data plane");
        attach(&mut first, "lo", AttachMode::Generic).expect("attached");
        let mut second = Dataplane::open(&pins.join("second"), MAX_SLOTS, &[]).expect("another data plane");
        for mode in [AttachMode::Generic, AttachMode::Auto] {
            let fault = attach(&mut second, "lo", mode).expect_err("it is taken");
            assert!(fault.message.starts_with("another XDP program is attached to lo"), "{}", fault.message);
            assert_eq!(fault.kind, FaultKind::Conflict);
        }
        assert_eq!(first.read().expect("links").attached.len(), 1);
        assert!(second.read().expect("links").attached.is_empty());
    });
}

#[test]
fn the_objects_functions_are_in_one_section() {
    // aya takes a function of another section for the one at the same offset of the first.
    assert!(!OBJECT.windows(6).any(|bytes| bytes == b".text."), "the object has a section `.text.…` beside `.text`");
}

#[test]
fn a_folder_elsewhere_is_refused() {
    isolated(|_| {
        let Err(fault) = Dataplane::open(Path::new("/tmp/drlb"), MAX_SLOTS, &[]) else { panic!("it was opened") };
        assert!(
            fault.message.contains(&format!("/tmp/drlb/{LAYOUT} is not on a BPF file system")),
            "{}",
            fault.message
        );
        assert!(!Path::new("/tmp/drlb").exists());
    });
}

#[test]
fn the_bpf_file_system_is_mounted_where_it_is_missing() {
    isolated(|_| {
        let none = None::<&str>;
        // An empty /sys/fs/bpf, as on a host without one mounted.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("another /sys");
        Dataplane::open(Path::new("/sys/fs/bpf/drlb"), MAX_SLOTS, &[]).expect("a data plane");
        assert!(Path::new("/sys/fs/bpf/drlb").join(LAYOUT).join("FORWARDING").exists());
    });
}

#[test]
fn the_program_of_probes_is_attached_and_what_an_agent_that_was_killed_left_is_forgotten() {
    use crate::health::{ProbePlane as _, ports};
    isolated(|pins| {
        let plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a data plane");
        ip("link add out type veth peer name probe");
        let source: std::net::IpAddr = Ipv4Addr::new(192, 0, 2, 2).into();
        let target = ProbeTarget::new(Backend::UNREACHABLE, source.into(), lb_common::address::Port::ANY);
        let mut probes = plane.probes().expect("the maps of probes");
        probes.join(ifindex("out")).expect("the program is attached");
        probes.put(ports::key(6, source, 1_024), target).expect("room for a probe");
        probes.switch(true).expect("switched on");
        assert_eq!(probes.count().expect("the probes"), 1);
        drop(probes);
        let probes = plane.probes().expect("the maps of probes");
        assert_eq!(probes.count().expect("the probes"), 0);
    });
}
