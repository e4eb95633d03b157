use proptest::prelude::*;

use super::*;
use crate::model::{
    AttachMode, BackendAddr, BackendChange, Command, Desired, FaultKind, HealthChange, HealthCheck, Interface, Name,
    ProbeType,
};

const FULL: &str = r#"[[interfaces]]
name = "eth1"

[[interfaces]]
name = "eth2"
mode = "generic"

[[listeners]]
name = "web"
vip = "192.0.2.10"
protocol = "tcp"
port = 80
algorithm = "source-ip"
persistence = { timeout = "10m", ipv4-prefix = 24 }
idle = { established = "1h", udp = "90s" }
slots = 101
vip-owner = "host"
source-rate = { rate = 20, burst = 100, ipv4-prefix = 24 }
max-flows = 5000
up = false
allow = [
    "198.51.100.0/24",
    "203.0.113.7/32",
]
health = { type = "https", port = 8443, delay = "2500ms", timeout = "1s", rise = 1, path = '/a"b', expect = "200-299,401", verify = true, sni = "www.example.com" }

[[listeners.backends]]
address = "192.0.2.21"
weight = 10
monitor-address = "192.0.2.121"
monitor-port = 81

[[listeners.backends]]
address = "192.0.2.22"
up = false
backup = true

[[listeners]]
name = "all"
vip = "2001:db8::10"
protocol = "ip"

[[listeners.backends]]
address = "2001:db8::21"
"#;

fn apply(desired: &mut Desired, plan: &Plan) {
    let edits = desired.check(&Command::All(plan.commands.clone()), 0).expect("a plan can be done");
    desired.edit_all(edits);
}

/// The state that a file makes of nothing.
fn state_of(text: &str) -> Desired {
    let mut desired = Desired::default();
    let plan = plan(&read(text).expect("a file"), &desired, 0).expect("a plan");
    apply(&mut desired, &plan);
    desired
}

fn lines(text: &str, desired: &Desired) -> Vec<String> {
    plan(&read(text).expect("a file"), desired, 0).expect("a plan").lines
}

#[test]
fn what_is_written_is_what_was_read() {
    let desired = state_of(FULL);
    let text = write(&Wanted::of(&desired));
    // Listeners come in the order of their names.
    let mut again = read(&text).expect("a file");
    again.listeners.reverse();
    assert_eq!(write(&again), FULL);
    assert_eq!(lines(&text, &desired), [""; 0]);
    assert_eq!(lines(FULL, &desired), [""; 0]);
}

#[test]
fn a_file_makes_what_it_says() {
    let desired = state_of(FULL);
    assert_eq!(desired.interfaces["eth1"], Interface { name: "eth1".into(), mode: AttachMode::Native });
    assert_eq!(desired.interfaces["eth2"].mode, AttachMode::Generic);
    let web = &desired.listeners[&"web".parse::<Name>().expect("a name")];
    assert_eq!((web.describe().as_str(), web.allowed.len()), ("tcp port 80 of 192.0.2.10", 2));
    let pool = desired.pool_of(web).expect("a pool");
    assert_eq!((pool.slots, pool.timeouts.established, pool.timeouts.udp, pool.timeouts.other), (101, 3_600, 90, 300));
    let check = pool.health.as_ref().expect("a check");
    assert_eq!((check.delay_ms, check.timeout_ms, check.port), (2_500, 1_000, Some(8_443)));
    let backends: Vec<_> =
        pool.backends.values().map(|backend| (backend.weight, backend.admin_up, backend.backup)).collect();
    assert_eq!(backends, [(10, true, false), (1, false, true)]);
}

#[test]
fn the_difference_is_told_and_made() {
    let mut desired = state_of(FULL);
    let changed = FULL
        .replace("weight = 10\n", "weight = 20\n")
        .replace("up = false\n", "")
        .replace("algorithm = \"source-ip\"", "algorithm = \"round-robin\"")
        .replace("established = \"1h\", ", "")
        .replace("    \"203.0.113.7/32\",\n", "")
        .replace("type = \"https\", port = 8443", "type = \"http\"")
        .replace(", verify = true, sni = \"www.example.com\"", "")
        .replace("vip-owner = \"host\"\n", "")
        .replace("mode = \"generic\"", "mode = \"auto\"")
        .replace("\"2001:db8::21\"\n", "\"2001:db8::22\"\n");
    assert_eq!(
        lines(&changed, &desired),
        [
            "- interface eth2 in mode generic",
            "+ interface eth2 in mode auto",
            "~ listener web: algorithm source-ip → round-robin, idle time established 1h → 15m, allowed prefixes 2 → 1, VIP owner host → xdp",
            "~ listener web: up",
            "~ listener web: health check of type http",
            "~ listener web: backend 192.0.2.21: weight 10 → 20",
            "~ listener web: backend 192.0.2.22: up",
            "- listener all: backend 2001:db8::21",
            "+ listener all: backend 2001:db8::22 of weight 1",
        ]
    );
    let plan = plan(&read(&changed).expect("a file"), &desired, 0).expect("a plan");
    apply(&mut desired, &plan);
    assert_eq!(lines(&changed, &desired), [""; 0]);
    assert_eq!(desired, state_of(&changed));
}

#[test]
fn only_what_came_from_a_file_goes_with_it() {
    let mut desired = state_of(FULL);
    let by_hand = "[[listeners]]\nname = \"mine\"\nvip = \"192.0.2.11\"\nprotocol = \"udp\"\nport = 53\n";
    for command in plan(&read(by_hand).expect("a file"), &Desired::default(), 0).expect("a plan").commands {
        if let Command::AddListener(_) = command {
            let edits = desired.check(&command, 0).expect("room");
            desired.edit_all(edits);
        }
    }
    let expected = [
        "- listener all: every protocol of 2001:db8::10",
        "- listener web: tcp port 80 of 192.0.2.10",
        "- interface eth1",
        "- interface eth2",
    ];
    assert_eq!(lines("", &desired), expected);
    let plan = plan(&read("").expect("a file"), &desired, 0).expect("a plan");
    apply(&mut desired, &plan);
    let left: Vec<_> = desired.listeners.keys().map(Name::as_str).collect();
    assert_eq!((left.as_slice(), desired.interfaces.len()), (&["mine"][..], 0));
    assert_eq!(lines("", &desired), [""; 0]);
}

#[test]
fn what_can_only_be_made_anew_is_told_and_frees_its_place_first() {
    let mut desired = state_of(FULL);
    // The two listeners change places.
    let swapped = FULL.replace("vip = \"192.0.2.10\"", "vip = \"192.0.2.11\"").replace("slots = 101", "slots = 103");
    let told = lines(&swapped, &desired);
    assert_eq!(told[0], "- listener web: tcp port 80 of 192.0.2.10, to be made anew; its flows end");
    assert_eq!(told[1], "+ listener web: tcp port 80 of 192.0.2.11");
    let plan = plan(&read(&swapped).expect("a file"), &desired, 0).expect("a plan");
    apply(&mut desired, &plan);
    assert_eq!(desired, state_of(&swapped));
}

#[test]
fn a_drain_goes_on_when_a_file_is_applied() {
    let mut desired = state_of(FULL);
    let (listener, address): (Name, BackendAddr) = ("web".parse().expect("a name"), "192.0.2.21".parse().expect("one"));
    let edits = desired.check(&Command::DrainBackend { listener, address, deadline: None }, 7).expect("a drain");
    desired.edit_all(edits);
    assert_eq!(lines(FULL, &desired), [""; 0]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("[[listener]\n", "line 1, column 12: unclosed"),
        ("[[listeners]]\nname = \"a\"\nvip = \"x\"\n", "line 3, column 7: VIP `x` is not an IP address"),
        (
            "\n[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"tcp\"\n",
            "line 2, column 1: listener `a` of tcp has no `port`",
        ),
        ("[[interfaces]]\nname = \"é\"\nmodus = 1\n", "line 3, column 1: unknown field `modus`"),
        (
            "[[interfaces]]\nname = \"eth1\"\n[[interfaces]]\nname = \"eth1\"\n",
            "line 3, column 1: the interface `eth1` is there twice",
        ),
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"icmp\"\n",
            "line 4, column 12: unknown variant `icmp`, expected one of",
        ),
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\nidle = { udp = \"soon\" }\n",
            "line 5, column 16: `soon` is not a span of time; write it as 90, 90s, 5m, 2h or 1d",
        ),
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\nhealth = { type = \"icmp\", path = \"/\" }\n",
            "line 5, column 10: a health check of type icmp has no `path`",
        ),
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\n[[listeners.backends]]\naddress = \"192.0.2.21\"\nweight = \"2\"\n",
            "line 7, column 10: invalid type: string \"2\", expected u16",
        ),
    ] {
        let flaw = read(text).expect_err(text).to_string();
        assert!(flaw.starts_with(expected), "{text}: {flaw}");
    }
    for (text, expected) in [
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\n\n  [[listeners.backends]]\n  address = \"2001:db8::21\"\n",
            "line 6, column 3: backend 2001:db8::21 is IPv6",
        ),
        (
            "[[listeners]]\nname = \"a\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\n[[listeners]]\nname = \"b\"\nvip = \"192.0.2.10\"\nprotocol = \"ip\"\n",
            "line 5, column 1: listener `a` already takes every protocol of 192.0.2.10",
        ),
        ("[[interfaces]]\nname = \"e/1\"\n", "line 1, column 1: the interface name `e/1`"),
    ] {
        let wanted = read(text).expect(text);
        let flaw = plan(&wanted, &Desired::default(), 0).expect_err(text).to_string();
        assert!(flaw.starts_with(expected), "{text}: {flaw}");
    }
}

#[test]
fn a_list_of_commands_is_done_whole_or_not_at_all() {
    let mut desired = state_of(FULL);
    let before = desired.clone();
    let remove = Command::RemoveListener { name: "web".parse().expect("a name") };
    let edits = desired.check(&Command::All(vec![remove.clone()]), 0).expect("it can be removed");
    assert!(!edits.is_empty());
    let fault = desired.check(&Command::All(vec![remove.clone(), remove]), 0).expect_err("not twice");
    assert_eq!(desired, before, "what is only checked changes nothing");
    assert_eq!(fault.kind, FaultKind::NotFound);
}

fn command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["web", "all"]).prop_map(|name| name.parse::<Name>().expect("a name"));
    let address = prop::sample::select(vec!["192.0.2.21", "192.0.2.22", "2001:db8::21", "2001:db8::22"]);
    let address = move || address.clone().prop_map(|text| text.parse::<BackendAddr>().expect("an address"));
    let check = |kind| {
        let mut check = HealthCheck::new(kind);
        (check.delay_ms, check.fall) = (1_500, 7);
        HealthChange::exactly(&check)
    };
    let kinds = [ProbeType::Tcp, ProbeType::Http, ProbeType::Https, ProbeType::Tls, ProbeType::Icmp, ProbeType::Udp];
    prop_oneof![
        (name(), address(), 0_u16..4).prop_map(|(listener, address, weight)| Command::AddBackend {
            listener,
            address,
            weight
        }),
        (name(), address()).prop_map(|(listener, address)| Command::RemoveBackend { listener, address }),
        (name(), address(), any::<bool>()).prop_map(|(listener, address, up)| {
            let change = BackendChange { admin_up: Some(up), ..BackendChange::default() };
            Command::SetBackend { listener, address, change }
        }),
        (name(), prop::sample::select(kinds.to_vec()))
            .prop_map(move |(listener, kind)| Command::SetHealth { listener, change: check(kind) }),
        name().prop_map(|listener| Command::UnsetHealth { listener }),
        name().prop_map(|name| Command::RemoveListener { name }),
        Just(Command::Detach { interface: "eth1".into() }),
    ]
}

proptest! {
    #[test]
    fn any_state_is_written_as_a_file_that_makes_it(commands in prop::collection::vec(command(), 0..20)) {
        let mut desired = state_of(FULL);
        for command in &commands {
            if let Ok(edits) = desired.check(command, 0) {
                desired.edit_all(edits);
            }
        }
        let text = write(&Wanted::of(&desired));
        prop_assert_eq!(lines(&text, &desired), Vec::<String>::new());
        let mut made = state_of(&text);
        made.from_file = desired.from_file.clone();
        prop_assert_eq!(made, desired.clone());
        // And back to the file of the beginning, from anywhere.
        let plan = plan(&read(FULL).expect("a file"), &desired, 0).expect("a plan");
        apply(&mut desired, &plan);
        prop_assert_eq!(desired, state_of(FULL));
    }
}

#[test]
fn the_agents_own_settings_are_none_of_this_files_objects() {
    // The sections of crate::settings::file, which may be in the same file.
    let text = "[api]\nlisten = \"192.0.2.2:9876\"\n[[projects]]\nname = \"p\"\n[[users]]\nname = \"u\"\n[[networks]]\nname = \"n\"\n\
                [[ports]]\nname = \"p\"\n[tables]\nroom = 1\n[[interfaces]]\nname = \"eth1\"\n";
    let wanted = read(text).unwrap_or_else(|flaw| panic!("{flaw}"));
    assert_eq!((wanted.interfaces.len(), wanted.listeners.len()), (1, 0));
}
