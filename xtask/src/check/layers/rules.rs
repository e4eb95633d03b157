//! The rules of the layout.

use super::manifest::Dependencies;
use super::source::{Import, Source};

/// Files or folders that are kept from importing something.
pub(super) struct Rule {
    /// What is to hold, in a sentence.
    says: &'static str,
    /// The files and folders that it is about.
    within: &'static [&'static str],
    /// Files and folders among them that it is not about.
    except: &'static [&'static str],
    /// What they must not import: paths, with everything below.
    forbids: &'static [&'static str],
    /// What they may import, though it is below one of those.
    allows: &'static [&'static str],
    /// True if a type may be imported all the same; what is called is then what is forbidden.
    types_pass: bool,
}

const AGENT: &str = "lb-userspace/src";

/// Pure code: it is told what time it is, and does nothing but answer.
const PURE: &[&str] = &[
    "lb-common/src",
    "lb-ebpf/src",
    "lb-userspace/src/allow.rs",
    "lb-userspace/src/announce/keeper.rs",
    "lb-userspace/src/announce/mod.rs",
    "lb-userspace/src/ethernet/frames.rs",
    "lb-userspace/src/ethernet/questions.rs",
    "lb-userspace/src/config",
    "lb-userspace/src/doctor/backends.rs",
    "lb-userspace/src/doctor/inquiry.rs",
    "lb-userspace/src/doctor/interfaces.rs",
    "lb-userspace/src/doctor/mod.rs",
    "lb-userspace/src/doctor/questions.rs",
    "lb-userspace/src/doctor/seen.rs",
    "lb-userspace/src/doctor/vips.rs",
    "lb-userspace/src/events/health.rs",
    "lb-userspace/src/events/kind.rs",
    "lb-userspace/src/events/limits.rs",
    "lb-userspace/src/events/network.rs",
    "lb-userspace/src/events/ring.rs",
    "lb-userspace/src/health/machine.rs",
    "lb-userspace/src/health/plan.rs",
    "lb-userspace/src/health/ports.rs",
    "lb-userspace/src/health/records.rs",
    "lb-userspace/src/health/room.rs",
    "lb-userspace/src/health/timetable.rs",
    "lb-userspace/src/maglev.rs",
    "lb-userspace/src/model",
    "lb-userspace/src/keystone",
    "lb-userspace/src/neighbour/mod.rs",
    "lb-userspace/src/neighbour/picture.rs",
    "lb-userspace/src/neighbour/roll_call/mod.rs",
    "lb-userspace/src/neighbour/roll_call/roll.rs",
    "lb-userspace/src/octavia",
    "lb-userspace/src/phase.rs",
    "lb-userspace/src/reconcile",
    "lb-userspace/src/tracking",
];

const fn rule(says: &'static str, within: &'static [&'static str], forbids: &'static [&'static str]) -> Rule {
    Rule { says, within, except: &[], forbids, allows: &[], types_pass: false }
}

impl Rule {
    const fn except(self, except: &'static [&'static str]) -> Self {
        Self { except, ..self }
    }

    const fn allowing(self, allows: &'static [&'static str]) -> Self {
        Self { allows, ..self }
    }

    const fn types_pass(self) -> Self {
        Self { types_pass: true, ..self }
    }

    fn is_about(&self, file: &str) -> bool {
        let holds =
            |place: &&str| file == *place || file.strip_prefix(*place).is_some_and(|rest| rest.starts_with('/'));
        self.within.iter().any(holds) && !self.except.iter().any(holds)
    }

    fn is_broken_by(&self, import: &Import) -> bool {
        let below = |path: &&str| {
            let path: Vec<&str> = path.split("::").collect();
            import.path.len() >= path.len() && path.iter().zip(&import.path).all(|(a, b)| a == b)
        };
        let is_type = import.path.last().is_some_and(|name| name.starts_with(char::is_uppercase));
        self.forbids.iter().any(below) && !self.allows.iter().any(below) && !(self.types_pass && is_type)
    }
}

/// All rules on imports.
pub(super) const RULES: &[Rule] = &[
    rule("the model imports no sibling", &["lb-userspace/src/model"], &["crate"]).allowing(&["crate::model"]),
    rule("the configuration's file knows the model alone", &["lb-userspace/src/config"], &["crate"])
        .allowing(&["crate::model", "crate::config"]),
    rule("only dataplane/ imports aya", &[AGENT], &["aya", "aya_log", "aya_obj"])
        .except(&["lb-userspace/src/dataplane"]),
    rule(
        "only neighbour/netlink imports netlink",
        &[AGENT],
        &["rtnetlink", "netlink_packet_core", "netlink_packet_route", "netlink_sys"],
    )
    .except(&["lb-userspace/src/neighbour/netlink.rs", "lb-userspace/src/neighbour/netlink"]),
    rule("only api/ serves HTTP", &[AGENT], &["axum"]).except(&["lb-userspace/src/api"]),
    rule("only api/ and the HTTP probe speak HTTP", &[AGENT], &["hyper", "hyper_util", "http_body_util"])
        .except(&["lb-userspace/src/api", "lb-userspace/src/health/probe/http.rs"]),
    rule("only api/ and the TLS probe speak TLS", &[AGENT], &["rustls", "tokio_rustls"])
        .except(&["lb-userspace/src/api", "lb-userspace/src/health/probe/tls.rs"]),
    rule("only the announcements, the roll call and the doctor send raw frames", &[AGENT], &["crate::ethernet::socket"])
        .except(&[
            "lb-userspace/src/announce/task.rs",
            "lb-userspace/src/doctor/look.rs",
            "lb-userspace/src/neighbour/roll_call/task.rs",
        ]),
    rule(
        "the OpenStack API's objects and users know the model alone",
        &["lb-userspace/src/octavia", "lb-userspace/src/keystone"],
        &["crate"],
    )
    .allowing(&["crate::keystone", "crate::model", "crate::octavia"]),
    rule("only store/sqlite.rs knows SQLite", &[AGENT], &["rusqlite"]).except(&["lb-userspace/src/store/sqlite.rs"]),
    rule("only the engine owns the store and the data plane", &[AGENT], &["crate::store", "crate::dataplane"])
        .except(&["lb-userspace/src/engine", "lb-userspace/src/store", "lb-userspace/src/dataplane"]),
    rule(
        "the command line knows the agent by its API alone",
        &["lb-userspace/src/cli"],
        &["crate::engine", "crate::neighbour", "crate::reconcile"],
    )
    .allowing(&["crate::engine::Status", "crate::engine::status"]),
    rule("pure code imports no runtime and no BPF", PURE, &["tokio", "aya"]),
    rule("pure code is told the time", PURE, &["std::time"]).allowing(&["std::time::Duration"]),
    rule(
        "only main.rs, maps.rs, subprograms.rs, packet.rs and the walks over extension headers and quoted packets meet the kernel's BPF interface",
        &["lb-ebpf/src"],
        &["aya_ebpf"],
    )
    .except(&[
        "lb-ebpf/src/bench.rs",
        "lb-ebpf/src/main.rs",
        "lb-ebpf/src/maps.rs",
        "lb-ebpf/src/maps",
        "lb-ebpf/src/subprograms.rs",
        "lb-ebpf/src/packet.rs",
        "lb-ebpf/src/parse/extensions.rs",
        "lb-ebpf/src/parse/quoted.rs",
    ]),
    rule(
        "only those who run the pipeline know it, and only the program the BPF maps",
        &["lb-ebpf/src"],
        &["crate::pipeline", "crate::maps"],
    )
    .except(&[
        "lb-ebpf/src/main.rs",
        "lb-ebpf/src/maps.rs",
        "lb-ebpf/src/maps",
        "lb-ebpf/src/subprograms.rs",
        "lb-ebpf/src/host.rs",
    ]),
    step(
        &["lb-ebpf/src/parse"],
        &[
            "crate::match_listener",
            "crate::select",
            "crate::fragments",
            "crate::rewrite",
            "crate::account",
            "crate::vip_traffic",
        ],
    ),
    step(
        &["lb-ebpf/src/fragments.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::match_listener", "crate::select", "crate::rewrite", "crate::account"],
    ),
    step(
        &["lb-ebpf/src/vip_traffic.rs"],
        &["crate::parse", "crate::match_listener", "crate::select", "crate::fragments", "crate::rewrite", "crate::account"],
    ),
    step(
        &["lb-ebpf/src/probe.rs"],
        &[
            "crate::parse",
            "crate::vip_traffic",
            "crate::match_listener",
            "crate::select",
            "crate::rewrite",
            "crate::account",
        ],
    ),
    step(
        &["lb-ebpf/src/match_listener.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::select", "crate::rewrite", "crate::account", "crate::fragments"],
    ),
    step(
        &["lb-ebpf/src/access.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::match_listener", "crate::select", "crate::rewrite", "crate::account"],
    ),
    step(
        &["lb-ebpf/src/select.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::match_listener", "crate::rewrite", "crate::account", "crate::fragments"],
    ),
    step(
        &["lb-ebpf/src/rewrite.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::match_listener", "crate::select", "crate::account", "crate::fragments"],
    ),
    step(
        &["lb-ebpf/src/account.rs"],
        &["crate::parse", "crate::vip_traffic", "crate::match_listener", "crate::select", "crate::rewrite", "crate::fragments"],
    ),
];

const fn step(within: &'static [&'static str], others: &'static [&'static str]) -> Rule {
    rule("steps never call each other, only pipeline.rs does", within, others).types_pass()
}

/// Files with `unsafe` code. Everything else is safe.
pub(super) const UNSAFE: &[&str] = &[
    "lb-ebpf/src/bench.rs",
    "lb-ebpf/src/known.rs",
    "lb-ebpf/src/main.rs",
    "lb-ebpf/src/maps.rs",
    "lb-ebpf/src/maps/instructions.rs",
    "lb-ebpf/src/maps/established.rs",
    "lb-ebpf/src/maps/search.rs",
    "lb-ebpf/src/maps/tables.rs",
    "lb-ebpf/src/packet.rs",
    "lb-ebpf/src/parse/extensions.rs",
    "lb-ebpf/src/parse/quoted.rs",
    "lb-ebpf/src/subprograms.rs",
    "lb-userspace/src/dataplane/batch.rs",
    "lb-userspace/src/dataplane/detach.rs",
    "lb-userspace/src/dataplane/mmap.rs",
    "lb-userspace/src/ethernet/socket.rs",
    "lb-userspace/src/ethernet/device.rs",
    "lb-userspace/src/heap.rs",
    "tests/src/sys.rs",
];

/// What each crate may depend on.
pub(super) const MANIFESTS: &[(&str, Dependencies)] = &[
    ("lb-common", Dependencies::Among(&["bytemuck"])),
    ("lb-ebpf", Dependencies::Among(&["aya-ebpf", "aya-log-ebpf", "lb-common", "network-types"])),
    ("fuzz", Dependencies::Among(&["bytemuck", "lb-common", "lb-ebpf", "proptest"])),
    // The agent's for its lookup tables.
    ("tests/simulator", Dependencies::Among(&["clap", "lb-common", "lb-userspace", "smallvec"])),
    ("lb-userspace", Dependencies::Without(&["drlb-tests", "lb-ebpf"])),
    // serde_json reads cargo's messages.
    ("xtask", Dependencies::Among(&["anyhow", "serde_json"])),
];

/// What a file does that it must not.
pub(super) fn broken_by(source: &Source) -> Vec<String> {
    let Source { file, imports, unsafe_lines } = source;
    let mut wrong = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.is_about(file)) {
        for import in imports.iter().filter(|import| rule.is_broken_by(import)) {
            wrong.push(format!("{file}:{}: uses {}, but {}", import.line, import.path.join("::"), rule.says));
        }
    }
    if !UNSAFE.contains(&file.as_str()) {
        let says = "is unsafe, but not among the files that may be (UNSAFE in xtask's rules of the layout)";
        wrong.extend(unsafe_lines.iter().map(|line| format!("{file}:{line}: {says}")));
    }
    wrong
}

/// Places that the rules name and that are not there, or no longer unsafe: a rule without effect is a mistake.
pub(super) fn without_effect(sources: &[Source]) -> Vec<String> {
    let there = |place: &str| {
        let below = |file: &str| file.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
        sources.iter().any(|source| source.file == place || below(&source.file))
    };
    let named = RULES.iter().flat_map(|rule| rule.within.iter().chain(rule.except));
    let mut gone: Vec<&str> = named.copied().filter(|place| !there(place)).collect();
    gone.sort_unstable();
    gone.dedup();
    let gone = gone.into_iter().map(|place| format!("{place}: a rule of the layout names it, and it is not there"));
    let is_unsafe = |file: &str| sources.iter().any(|source| source.file == file && !source.unsafe_lines.is_empty());
    let safe = UNSAFE.iter().filter(|file| !is_unsafe(file));
    gone.chain(safe.map(|file| format!("{file}: may be unsafe by the rules of the layout, and is not"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a file of the workspace if it had that text.
    fn wrong(file: &str, text: &str) -> Vec<String> {
        let folder = file.split_inclusive("src").next().unwrap_or_default();
        broken_by(&Source::read(file, folder, text))
    }

    #[track_caller]
    fn is_wrong(file: &str, text: &str, says: &str) {
        let wrong = wrong(file, text);
        assert!(wrong.len() == 1 && wrong[0].contains(says), "{file} with {text:?} gives {wrong:?}");
    }

    #[track_caller]
    fn is_right(file: &str, text: &str) {
        assert_eq!(wrong(file, text), [""; 0], "{file} with {text:?}");
    }

    #[test]
    fn only_the_data_plane_may_import_aya() {
        is_wrong("lb-userspace/src/engine/mod.rs", "use aya::Ebpf;", "only dataplane/ imports aya");
        is_wrong("lb-userspace/src/agent.rs", "fn f(x: aya::maps::Map) {}", "only dataplane/ imports aya");
        is_right("lb-userspace/src/dataplane/object.rs", "use aya::Ebpf;");
        is_right("lb-userspace/src/agent.rs", "use crate::model::aya;");
    }

    #[test]
    fn only_one_module_may_import_netlink() {
        is_wrong("lb-userspace/src/neighbour/mod.rs", "use rtnetlink::Handle;", "only neighbour/netlink");
        is_right("lb-userspace/src/neighbour/netlink.rs", "use rtnetlink::Handle;");
        is_right("lb-userspace/src/neighbour/netlink/events.rs", "use netlink_packet_route::link::X;");
    }

    #[test]
    fn only_the_api_may_import_the_http_server() {
        is_wrong("lb-userspace/src/agent.rs", "use axum::Router;", "only api/ serves HTTP");
        is_wrong("lb-userspace/src/health/task.rs", "use hyper::Request;", "only api/ and the HTTP probe speak HTTP");
        is_right("lb-userspace/src/health/probe/http.rs", "use hyper::Request;");
        is_right("lb-userspace/src/api/server.rs", "use axum::Router;");
    }

    #[test]
    fn only_the_engine_may_import_store_and_data_plane() {
        is_wrong("lb-userspace/src/api/server.rs", "use crate::dataplane::Dataplane;", "only the engine owns");
        is_wrong("lb-userspace/src/reconcile/apply.rs", "use crate::store::Store;", "only the engine owns");
        is_right("lb-userspace/src/engine/mod.rs", "use crate::{dataplane, store::Store};");
    }

    #[test]
    fn the_command_line_may_import_the_status_of_the_engine_only() {
        is_wrong("lb-userspace/src/cli/status.rs", "use crate::engine::Engine;", "by its API alone");
        is_right("lb-userspace/src/cli/status.rs", "use crate::engine::{Status, status::BackendState};");
    }

    #[test]
    fn the_model_may_import_itself_only() {
        is_wrong("lb-userspace/src/model/desired.rs", "use crate::engine::Engine;", "the model imports no sibling");
        is_wrong(
            "lb-userspace/src/model/desired.rs",
            "use super::super::engine::Engine;",
            "the model imports no sibling",
        );
        is_right("lb-userspace/src/model/desired.rs", "use super::Name;\nuse crate::model::Vip;");
        is_right("lb-userspace/src/model/mod.rs", "use self::name::Name;");
    }

    #[test]
    fn pure_code_may_import_neither_runtime_nor_clock() {
        is_wrong("lb-userspace/src/reconcile/plan.rs", "use tokio::sync::watch;", "pure code imports no runtime");
        is_wrong("lb-userspace/src/maglev.rs", "fn f() { std::time::Instant::now(); }", "pure code is told the time");
        is_wrong("lb-userspace/src/maglev.rs", "use std::time;", "pure code is told the time");
        is_right("lb-userspace/src/maglev.rs", "use std::time::Duration;");
    }

    #[test]
    fn a_step_may_import_another_ones_types_but_not_call_it() {
        is_right("lb-ebpf/src/rewrite.rs", "use crate::select::Chosen;");
        is_wrong("lb-ebpf/src/rewrite.rs", "use crate::select;", "steps never call each other");
        is_wrong("lb-ebpf/src/rewrite.rs", "fn f() { crate::select::run() }", "steps never call each other");
        is_wrong("lb-ebpf/src/parse/mod.rs", "use crate::account::finish;", "steps never call each other");
        is_wrong("lb-ebpf/src/select.rs", "use crate::pipeline::run;", "run the pipeline know it");
    }

    #[test]
    fn unsafe_code_stands_where_it_is_allowed() {
        is_wrong("lb-userspace/src/engine/mod.rs", "fn f() { unsafe { g() } }", "is unsafe");
        is_right("lb-ebpf/src/maps.rs", "fn f() { unsafe { g() } }");
    }

    #[test]
    fn a_rule_about_a_file_that_is_gone_is_a_mistake() {
        let sources = [Source::read("lb-ebpf/src/maps.rs", "lb-ebpf/src", "fn safe() {}")];
        let wrong = without_effect(&sources);
        assert!(wrong.iter().any(|line| line.starts_with("lb-userspace/src/maglev.rs:")), "{wrong:?}");
        assert!(wrong.iter().any(|line| line.starts_with("lb-ebpf/src/maps.rs: may be unsafe")), "{wrong:?}");
    }
}
