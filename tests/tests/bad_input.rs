//! Bad input: each case is answered with its exit status and a sentence that says what, where and what to do, and leaves
//! the state as it was.

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::{self, Answer, binary};
use drlb_tests::host::Host;
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::world::World;
use serde_json::Value;

/// Done.
const DONE: i32 = 0;
/// Refused or failed.
const REFUSED: i32 = 1;
/// Wrong usage.
const USAGE: i32 = 2;

/// A command that is to be refused.
struct Case {
    /// What is wrong with it.
    what: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    /// Pieces of the sentence: what is wrong, where, and what to do.
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        what: "an unknown interface",
        arguments: &["attach", "nowhere0"],
        code: REFUSED,
        says: &["nowhere0", "no interface", "there are: eth0"],
    },
    Case {
        what: "an interface that drlb is attached to already",
        arguments: &["attach", "eth0"],
        code: REFUSED,
        says: &["already attached", "eth0", "drlb detach eth0"],
    },
    Case {
        what: "an interface with another program's XDP program",
        arguments: &["attach", "taken0"],
        code: REFUSED,
        says: &["taken0", "another", "XDP program"],
    },
    Case {
        what: "a driver without XDP, in native mode",
        arguments: &["attach", "plain0", "--mode", "native"],
        code: REFUSED,
        says: &["plain0", "native", "--mode auto"],
    },
    Case {
        what: "detaching what is not attached",
        arguments: &["detach", "taken0"],
        code: REFUSED,
        says: &["not attached", "taken0", "eth0"],
    },
    Case {
        what: "a VIP that is not an address",
        arguments: &["listener", "add", "other", "--vip", "192.0.2.300", "--protocol", "tcp", "--port", "80"],
        code: USAGE,
        says: &["192.0.2.300", "--vip"],
    },
    Case {
        what: "a listener of a name that there is",
        arguments: &["listener", "add", "web", "--vip", "192.0.2.19", "--protocol", "tcp", "--port", "80"],
        code: REFUSED,
        says: &["already", "`web`", "another name"],
    },
    Case {
        what: "a listener on what another one takes",
        arguments: &["listener", "add", "other", "--vip", "192.0.2.10", "--protocol", "tcp", "--port", "80"],
        code: REFUSED,
        says: &["`web`", "already", "192.0.2.10", "another"],
    },
    Case {
        what: "a listener of protocol ip with a port",
        arguments: &["listener", "add", "other", "--vip", "192.0.2.19", "--protocol", "ip", "--port", "80"],
        code: REFUSED,
        says: &["every port", "80"],
    },
    Case {
        what: "a limit of no flows",
        arguments: &["listener", "set", "web", "--max-flows", "0"],
        code: REFUSED,
        says: &["0 flows", "1 to 1048576"],
    },
    Case {
        what: "a rate that is none",
        arguments: &["listener", "set", "web", "--source-rate", "fast"],
        code: USAGE,
        says: &["`fast`", "RATE:BURST/PREFIX"],
    },
    Case {
        what: "a source of more bits than an IPv4 address has",
        arguments: &["listener", "set", "web", "--source-rate", "5/64"],
        code: REFUSED,
        says: &["IPv4", "64 bits", "1 to 32"],
    },
    Case {
        what: "a VIP with two owners",
        arguments: &[
            "listener",
            "add",
            "other",
            "--vip",
            "192.0.2.10",
            "--protocol",
            "udp",
            "--port",
            "53",
            "--vip-owner",
            "host",
        ],
        code: REFUSED,
        says: &["192.0.2.10", "owner xdp", "drlb listener set web --vip-owner host"],
    },
    Case {
        what: "an allow-list of another family than the VIP",
        arguments: &["listener", "set", "web", "--allow", "2001:db8::/32"],
        code: REFUSED,
        says: &["2001:db8::/32", "192.0.2.10", "IPv4"],
    },
    Case {
        what: "a prefix that is none",
        arguments: &["listener", "set", "web", "--allow", "192.0.2.0/33"],
        code: USAGE,
        says: &["192.0.2.0/33", "0 to 32 bits"],
    },
    Case {
        what: "an allow-list from a file that is empty",
        arguments: &["listener", "set", "web", "--allow-file", "/dev/null"],
        code: REFUSED,
        says: &["/dev/null", "no prefix", "everywhere"],
    },
    Case {
        what: "a list and no list at once",
        arguments: &["listener", "set", "web", "--allow", "192.0.2.0/24", "--allow-any"],
        code: USAGE,
        says: &["--allow-any"],
    },
    Case {
        what: "a backend of another family than the VIP",
        arguments: &["backend", "add", "web", "2001:db8:1::29"],
        code: REFUSED,
        says: &["2001:db8:1::29", "IPv6", "192.0.2.10", "IPv4"],
    },
    Case {
        what: "a backend that is there already",
        arguments: &["backend", "add", "web", "192.0.2.21"],
        code: REFUSED,
        says: &["192.0.2.21", "already", "drlb backend set"],
    },
    Case {
        what: "the VIP as a backend",
        arguments: &["backend", "add", "web", "192.0.2.10"],
        code: REFUSED,
        says: &["192.0.2.10", "VIP", "own address"],
    },
    Case {
        what: "a backend of a listener that there is not",
        arguments: &["backend", "add", "nothing", "192.0.2.29"],
        code: REFUSED,
        says: &["nothing", "no listener", "web"],
    },
    Case {
        what: "a backend that is not an address",
        arguments: &["backend", "add", "web", "backend-1"],
        code: USAGE,
        says: &["backend-1"],
    },
    Case {
        what: "a weight above the range",
        arguments: &["backend", "add", "web", "192.0.2.29", "--weight", "257"],
        code: USAGE,
        says: &["257", "256", "--weight"],
    },
    Case {
        what: "a weight below the range",
        arguments: &["backend", "set", "web", "192.0.2.21", "--weight=-1"],
        code: USAGE,
        says: &["-1", "256", "--weight"],
    },
    Case {
        what: "a backend that is not there",
        arguments: &["backend", "remove", "web", "192.0.2.29"],
        code: REFUSED,
        says: &["192.0.2.29", "`web`", "192.0.2.21"],
    },
    Case {
        what: "a drain of a backend that is not there",
        arguments: &["backend", "drain", "web", "192.0.2.29", "--wait"],
        code: REFUSED,
        says: &["192.0.2.29", "`web`", "192.0.2.21"],
    },
    Case {
        what: "a deadline that is not a time",
        arguments: &["backend", "drain", "web", "192.0.2.21", "--deadline", "soon"],
        code: USAGE,
        says: &["soon", "--deadline", "5m"],
    },
    Case {
        what: "an algorithm that there is not",
        arguments: &["listener", "set", "web", "--algorithm", "fair"],
        code: USAGE,
        says: &["fair", "source-ip-port, source-ip, round-robin, least-connections"],
    },
    Case {
        what: "sessions by more bits than an address has",
        arguments: &["listener", "set", "web", "--persistence", "source-ip:5m/64"],
        code: REFUSED,
        says: &["64", "1 to 32"],
    },
    Case {
        what: "sessions by something else",
        arguments: &["listener", "set", "web", "--persistence", "cookie"],
        code: USAGE,
        says: &["cookie", "source-ip:TIME/PREFIX"],
    },
    Case {
        what: "an idle time above the range",
        arguments: &["listener", "set", "web", "--idle", "udp=8d"],
        code: REFUSED,
        says: &["`udp`", "604800"],
    },
    Case {
        what: "an idle time of an unknown kind",
        arguments: &["listener", "set", "web", "--idle", "tcp=5m"],
        code: USAGE,
        says: &["tcp", "handshake, established, closing, udp, other"],
    },
    Case {
        what: "an idle time given twice",
        arguments: &["listener", "set", "web", "--idle", "udp=5m", "--idle", "udp=6m"],
        code: USAGE,
        says: &["udp", "twice"],
    },
    Case {
        what: "the flows of a listener that there is not",
        arguments: &["flows", "nothing"],
        code: REFUSED,
        says: &["no listener", "nothing"],
    },
    Case { what: "an unknown command", arguments: &["balance"], code: USAGE, says: &["balance", "--help"] },
];

#[test]
fn what_is_refused_is_told_in_a_sentence_and_changes_nothing() -> Result<()> {
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        let balancer = &world.segment.balancer;
        // Two more interfaces: one that runs somebody else's program, one whose driver has no XDP.
        balancer.ip(
            "link add taken0 numtxqueues 1 numrxqueues 1 up type veth peer name taken1 numtxqueues 1 numrxqueues 1\n\
             link add plain0 up type bridge\n",
        )?;
        let _taken = balancer.attach_pass_program("taken0")?;
        world.balance_http(Family::V4, &[1, 1, 1])?;
        let before = state(world)?;
        let mut wrong = Vec::new();
        for case in CASES {
            let answer = world.agent.ask(case.arguments)?;
            if let Err(error) = check(&answer, case.code, case.says) {
                wrong.push(format!("{}: `drlb {}`: {error:#}", case.what, case.arguments.join(" ")));
            }
            if state(world)? != before {
                wrong.push(format!("{}: `drlb {}` changed the state", case.what, case.arguments.join(" ")));
            }
        }
        ensure!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    })
}

#[test]
fn without_xdp_in_the_driver_auto_falls_back_to_generic() -> Result<()> {
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        world.segment.balancer.ip("link add plain0 up type bridge\n")?;
        world.agent.tell(&["attach", "plain0", "--mode", "auto"])?;
        let interface = world.agent.status()?.interfaces.into_iter().find(|interface| interface.name == "plain0");
        let mode = interface.context("the status has no `plain0`")?.mode;
        ensure!(mode.is_some_and(|mode| mode.name() == "generic"), "it runs in {mode:?}");
        Ok(())
    })
}

#[test]
fn without_an_agent_a_command_says_so_and_how_to_start_one() -> Result<()> {
    let host = Host::new("lonely")?;
    for arguments in [&["status"][..], &["attach", "lo"], &["listener", "list"]] {
        let answer = agent::ask(&host, arguments)?;
        check(&answer, REFUSED, &["agent", "/run/drlb.sock", "drlb agent"])
            .with_context(|| format!("`drlb {}`", arguments.join(" ")))?;
    }
    Ok(())
}

#[test]
fn without_permission_a_command_says_so() -> Result<()> {
    let host = Host::new("guarded")?;
    let agent = agent::Agent::start(&host)?;
    let binary = binary()?.display().to_string();
    let output = host.command("setpriv").args(as_nobody(&[&binary, "status"])).output()?;
    let answer = Answer {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    check(&answer, REFUSED, &["permi", "/run/drlb.sock", "root"])?;
    agent.status().map(drop)
}

#[test]
fn without_permission_the_agent_says_so() -> Result<()> {
    let binary = binary()?.display().to_string();
    agent_fails(&Host::new("guarded")?, "setpriv", &as_nobody(&[&binary, "agent"]), &["root"])
}

#[test]
fn a_kernel_that_is_too_old_is_refused() -> Result<()> {
    let binary = binary()?.display().to_string();
    // The kernel then calls itself 2.6.x (personality(2), UNAME26).
    agent_fails(&Host::new("old")?, "setarch", &["--uname-2.6", &binary, "agent"], &["runs 2.6", "Linux 6.0 or newer"])
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() -> Result<()> {
    let host = Host::new("crowded")?;
    let first = agent::Agent::start(&host)?;
    let binary = binary()?.display().to_string();
    agent_fails(&host, &binary, &["agent"], &["another agent", "/var/lib/drlb", "--state-dir"])?;
    first.status().map(drop)
}

/// Starts an agent that is to end with a sentence.
fn agent_fails(host: &Host, program: &str, arguments: &[&str], says: &[&str]) -> Result<()> {
    let mut agent = host.spawn(program, arguments)?;
    let status = agent.wait()?;
    let log = agent.log();
    // Before its last word an agent may have logged what it did.
    let last = log.lines().last().unwrap_or_default().to_owned();
    check(&Answer { code: status.code(), stdout: String::new(), stderr: last }, REFUSED, says)
        .with_context(|| format!("the whole log:\n{log}"))
}

#[test]
fn a_valid_command_is_done_without_a_word_on_standard_error() -> Result<()> {
    World::play(Plan::new(Mode::Generic, Legs::One), |world| {
        let answer =
            world.agent.ask(&["listener", "add", "web", "--vip", "192.0.2.10", "--protocol", "tcp", "--port", "80"])?;
        ensure!(answer.code == Some(DONE) && answer.stderr.is_empty(), "{answer:?}");
        Ok(())
    })
}

/// What makes setpriv(1) run a command as the user that has no rights.
fn as_nobody<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&["--reuid", "65534", "--regid", "65534", "--clear-groups"], command].concat()
}

fn check(answer: &Answer, code: i32, says: &[&str]) -> Result<()> {
    let said = answer.stderr.trim();
    ensure!(answer.code == Some(code), "status {:?} and not {code}: {said}", answer.code);
    ensure!(answer.stdout.is_empty(), "it printed `{}` on its standard output", answer.stdout.trim());
    for piece in says {
        ensure!(said.contains(piece), "no `{piece}` in: {said}");
    }
    if code == REFUSED {
        ensure!(said.lines().count() == 1, "not one sentence on one line: {said}");
        ensure!(!said.contains("Error {") && !said.contains("panicked"), "not for people: {said}");
    }
    Ok(())
}

/// The status without what goes on by itself (its counters, and what is remembered of flows) and without the counts of events:
/// that an interface could not be attached is told.
fn state(world: &World) -> Result<Value> {
    /// Names of what is left out.
    const MOVING: &[&str] = &["packets", "bytes", "flows", "slot_states", "tracking", "events"];

    fn without_counters(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !MOVING.contains(&name.as_str()));
                fields.values_mut().for_each(without_counters);
            }
            Value::Array(items) => items.iter_mut().for_each(without_counters),
            _ => {}
        }
    }
    let mut state = serde_json::from_str(&world.agent.tell(&["status", "-o", "json"])?)?;
    without_counters(&mut state);
    Ok(state)
}
