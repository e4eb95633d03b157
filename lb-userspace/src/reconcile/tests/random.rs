//! What is drawn at random.

use super::*;

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|name| name.parse().expect("a name"))
}

fn vip() -> impl Strategy<Value = Vip> {
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into();
    let v4 = |last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
    prop::sample::select(vec![v4(10), v4(10), v4(11), v6]).prop_map(|ip| ip.try_into().expect("a VIP"))
}

fn address() -> impl Strategy<Value = BackendAddr> {
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, last));
    let v4 = |last: u16| IpAddr::from(Ipv4Addr::new(192, 0, 2, 100 + last as u8));
    prop_oneof![4 => (0_u16..24).prop_map(v4), 1 => (0_u16..3).prop_map(v6)]
        .prop_map(|ip| ip.try_into().expect("a backend"))
}

fn interface() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["eth1", "eth2"]).prop_map(str::to_owned)
}

fn new_listener() -> impl Strategy<Value = NewListener> {
    let protocol = prop::sample::select(Protocol::ALL);
    let port = prop::sample::select(vec![0, 80]);
    (name(), vip(), protocol, port, prop::sample::select(vec![7, 13, 29, 41])).prop_map(
        |(name, vip, protocol, port, slots)| NewListener {
            name,
            vip,
            protocol,
            port: if protocol == Protocol::Ip { 0 } else { port },
            algorithm: Algorithm::SourceIpPort,
            persistence: None,
            timeouts: TIMEOUTS,
            allowed: AllowList::default(),
            vip_owner: None,
            source_rate: None,
            max_flows: None,
            slots: Some(slots),
        },
    )
}

fn allowed() -> impl Strategy<Value = AllowList> {
    let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "198.51.100.0/25", "203.0.113.0/24"];
    let prefixes = prefixes.map(|text| text.parse::<Prefix>().expect(text)).to_vec();
    prop::sample::subsequence(prefixes, 0..=5).prop_map(AllowList::from)
}

fn command() -> impl Strategy<Value = Command> {
    let weight = || 0_u16..4;
    let (flag, backup) = (prop::option::of(any::<bool>()), prop::option::weighted(0.3, any::<bool>()));
    let change = (prop::option::of(weight()), flag, backup).prop_map(|(weight, admin_up, backup)| BackendChange {
        weight,
        admin_up,
        backup,
        ..BackendChange::default()
    });
    let algorithm = prop::option::of(prop::sample::select(Algorithm::ALL));
    let session = Persistence { timeout: 2, ipv6_prefix: 64, ipv4_prefix: 32 };
    let persistence = prop::option::weighted(0.2, prop::option::of(Just(session)));
    let max_flows = prop::option::weighted(0.2, prop::option::of(Just(1_000)));
    prop_oneof![
        1 => interface().prop_map(|interface| Command::Attach { interface, mode: AttachMode::Native }),
        1 => interface().prop_map(|interface| Command::Detach { interface }),
        3 => new_listener().prop_map(Command::AddListener),
        3 => (name(), algorithm, persistence, max_flows).prop_map(|(name, algorithm, persistence, max_flows)| Command::SetListener { name, change: ListenerChange { algorithm, persistence, max_flows, ..ListenerChange::default() } }),
        3 => (name(), allowed()).prop_map(|(name, allowed)| Command::SetListener { name, change: ListenerChange { allowed: Some(allowed), ..ListenerChange::default() } }),
        3 => (name(), address()).prop_map(|(listener, address)| Command::DrainBackend { listener, address, deadline: None }),
        1 => name().prop_map(|name| Command::RemoveListener { name }),
        12 => (name(), address(), weight()).prop_map(|(listener, address, weight)| Command::AddBackend { listener, address, weight }),
        3 => (name(), address(), change).prop_map(|(listener, address, change)| Command::SetBackend { listener, address, change }),
        4 => (name(), address()).prop_map(|(listener, address)| Command::RemoveBackend { listener, address }),
    ]
}

fn any_reach() -> impl Strategy<Value = Reach> {
    let resolved = (0_u8..3, 2_u32..5)
        .prop_map(|(last, ifindex)| Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, last]), ifindex });
    let why = prop::sample::select(vec![Unresolved::Asking, Unresolved::NoAnswer, Unresolved::NoRoute]);
    prop_oneof![6 => resolved, 2 => why.prop_map(|why| Reach::Unresolved { why })]
}

fn link() -> impl Strategy<Value = Option<Link>> {
    let parent = prop::option::weighted(0.3, 2_u32..5);
    let link = (2_u32..5, 0_u8..2, parent).prop_map(|(ifindex, last, parent)| Link {
        ifindex,
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        up: true,
        xdp_program: None,
        // The kernel has each VLAN of an interface once.
        vlan: parent.filter(|parent| *parent != ifindex).map(|parent| Vlan { parent, id: 100 + ifindex as u16 }),
    });
    prop::option::weighted(0.8, link)
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let share = (name(), vip(), 1_u16..3).prop_map(|(pool, vip, port)| Step::Share { pool, vip, port });
    let many = (name(), 10_u8..24).prop_map(|(listener, count)| Step::AddMany { listener, count });
    prop_oneof![
        1 => many,
        20 => command().prop_map(Step::Command),
        1 => share,
        10 => (address(), any_reach()).prop_map(|(address, reach)| Step::Reach(address, reach)),
        2 => (interface(), link()).prop_map(|(name, link)| Step::Link(name, link)),
        1 => Just(Step::Restart),
        10 => (0_u32..12).prop_map(Step::Time),
        10 => (1_u8..12).prop_map(Step::Sweep),
        25 => packets::sent().prop_map(Step::Send),
    ]
}

/// A listener for every protocol of one VIP, with four backends that serve.
pub(super) fn a_pool_at_work() -> World {
    let mut world = World::new();
    let link = Link { ifindex: 3, mac: MacAddr([2, 0, 0, 0, 0, 1]), up: true, xdp_program: None, vlan: None };
    world.step(Step::Link("eth1".to_owned(), Some(link)));
    world.step(Step::Command(Command::Attach { interface: "eth1".to_owned(), mode: AttachMode::Native }));
    for last in 0..6 {
        let reach = Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, last]), ifindex: 3 };
        world.step(Step::Reach(pool_address(last), reach));
    }
    let vip = IpAddr::from(Ipv4Addr::new(192, 0, 2, 10)).try_into().expect("a VIP");
    world.step(Step::Command(Command::AddListener(NewListener {
        name: "a".parse().expect("a name"),
        vip,
        protocol: Protocol::Tcp,
        port: 80,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: TIMEOUTS,
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: Some(13),
    })));
    for last in 0..4 {
        let listener = "a".parse().expect("a name");
        world.step(Step::Command(Command::AddBackend { listener, address: pool_address(last), weight: 1 }));
    }
    world.settle();
    world
}

pub(super) fn pool_address(last: u8) -> BackendAddr {
    IpAddr::from(Ipv4Addr::new(192, 0, 2, 100 + last)).try_into().expect("a backend")
}

/// What happens to the one pool of [`a_pool_at_work`].
pub(super) fn step_at_work() -> impl Strategy<Value = Step> {
    let listener = || -> Name { "a".parse().expect("a name") };
    let address = || (0_u8..6).prop_map(pool_address);
    let set = move |(address, change)| Step::Command(Command::SetBackend { listener: listener(), address, change });
    let change = prop_oneof![
        (1_u16..4).prop_map(|weight| BackendChange { weight: Some(weight), ..BackendChange::default() }),
        prop::bool::weighted(0.8).prop_map(|up| BackendChange { admin_up: Some(up), ..BackendChange::default() }),
        any::<bool>().prop_map(|backup| BackendChange { backup: Some(backup), ..BackendChange::default() }),
    ];
    let session = Persistence { timeout: 2, ipv6_prefix: 64, ipv4_prefix: 32 };
    let persistence = prop::option::weighted(0.3, prop::option::of(Just(session)));
    let algorithm = prop::option::of(prop::sample::select(Algorithm::ALL));
    // A limit that no test reaches: what it changes is that every flow is pinned.
    let max_flows = prop::option::weighted(0.3, prop::option::of(Just(1_000)));
    let switch = move |(algorithm, persistence, max_flows)| {
        let change = ListenerChange { algorithm, persistence, max_flows, ..ListenerChange::default() };
        Step::Command(Command::SetListener { name: listener(), change })
    };
    let add = move |address| Step::Command(Command::AddBackend { listener: listener(), address, weight: 1 });
    let remove = move |address| Step::Command(Command::RemoveBackend { listener: listener(), address });
    let drain = move |address| Step::Command(Command::DrainBackend { listener: listener(), address, deadline: None });
    prop_oneof![
        2 => (address(), change).prop_map(set),
        2 => (algorithm, persistence, max_flows).prop_map(switch),
        2 => address().prop_map(add),
        1 => address().prop_map(remove),
        1 => address().prop_map(drain),
        1 => Just(Step::Restart),
        8 => (0_u32..12).prop_map(Step::Time),
        8 => (1_u8..24).prop_map(Step::Sweep),
        40 => packets::sent_to_one().prop_map(Step::Send),
    ]
}
