//! A segment with drlb on it and servers behind it: where most scenarios begin.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lb_common::address::MacAddr;

use crate::agent::{self, Agent};
use crate::capture::{Capture, Kind, Seen};
use crate::host::Host;
use crate::http::{self, Server};
use crate::load::Counts;
use crate::segment::{Family, Plan, Segment, vip};
use crate::traffic::ping;

/// The port of the HTTP servers.
pub const HTTP: u16 = 80;
/// The name of the HTTP listener.
pub const WEB: &str = "web";

/// A segment whose backends hold the first VIP of each family and serve HTTP, and whose balancer runs an agent that is
/// attached to every leg. Nothing is balanced yet.
#[derive(Debug)]
pub struct World {
    // In the order in which they have to end.
    /// The agent.
    pub agent: Agent,
    /// The HTTP servers.
    pub servers: Vec<Server>,
    /// The segment.
    pub segment: Segment,
}

impl World {
    /// Builds it.
    ///
    /// # Errors
    /// What does not work, in words.
    pub fn new(plan: Plan) -> Result<Self> {
        let segment = Segment::new(plan)?;
        let vips = [vip(Family::V4, 0), vip(Family::V6, 0)];
        let mut servers = Vec::new();
        for backend in &segment.backends {
            agent::set_up_backend(&backend.host, &vips)?;
            servers.push(Server::start(&backend.host, HTTP)?);
        }
        let agent = Agent::start(&segment.balancer)?;
        let world = Self { agent, servers, segment };
        for interface in world.segment.balancer_interfaces() {
            world.told(world.agent.tell(&["attach", interface, "--mode", plan.mode.word()]))?;
        }
        Ok(world)
    }

    /// Builds it and plays a scenario in it. When that fails, what the agent knows and logged is added to the error.
    ///
    /// # Errors
    /// As [`World::new`], and whatever the scenario says.
    pub fn play(plan: Plan, scenario: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut world = Self::new(plan)?;
        let outcome = scenario(&mut world);
        world.told(outcome)
    }

    /// Adds what the agent knows and logged to an error.
    fn told<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let status = self.agent.tell(&["status"]).unwrap_or_else(|error| format!("{error:#}"));
            anyhow::anyhow!("{error:#}\n--- drlb status\n{status}\n--- the agent's log\n{}", self.agent.log())
        })
    }

    /// The first client.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.segment.clients[0].host
    }

    /// Balances HTTP of the first VIP of a family over the backends with these weights, first backend first, and waits
    /// until all of them serve. Backends beyond the weights are not added.
    ///
    /// # Errors
    /// `drlb` refuses, or a backend does not come to serve.
    pub fn balance_http(&self, family: Family, weights: &[u16]) -> Result<SocketAddr> {
        let to = SocketAddr::new(vip(family, 0), HTTP);
        self.add_listener(WEB, to.ip(), "tcp", Some(HTTP))?;
        for (index, weight) in weights.iter().enumerate() {
            self.add_backend(WEB, self.segment.backends[index].address(family), *weight)?;
        }
        self.agent.wait_until_serving(WEB)?;
        Ok(to)
    }

    /// Adds a listener.
    ///
    /// # Errors
    /// `drlb` refuses.
    pub fn add_listener(&self, name: &str, vip: IpAddr, protocol: &str, port: Option<u16>) -> Result<()> {
        let (vip, port) = (vip.to_string(), port.map(|port| port.to_string()));
        let mut arguments = vec!["listener", "add", name, "--vip", &vip, "--protocol", protocol];
        if let Some(port) = &port {
            arguments.extend(["--port", port]);
        }
        self.agent.tell(&arguments).map(drop)
    }

    /// Adds a backend.
    ///
    /// # Errors
    /// `drlb` refuses.
    pub fn add_backend(&self, listener: &str, address: IpAddr, weight: u16) -> Result<()> {
        self.agent.tell(&["backend", "add", listener, &address.to_string(), "--weight", &weight.to_string()]).map(drop)
    }

    /// Asks once, so that switch and hosts know where everybody is. Before a switch knows it sends a frame everywhere, and
    /// the balancer would see replies that are not addressed to it.
    ///
    /// # Errors
    /// The request fails.
    pub fn introduce(&self, to: SocketAddr) -> Result<String> {
        for node in self.segment.backends.iter().chain(&self.segment.clients) {
            for family in [Family::V4, Family::V6] {
                ping(&node.host, self.segment.balancer_address(node.net, family), b"hello")?;
            }
        }
        http::get(self.client(), to.ip(), to.port())
    }

    /// Starts captures at the first client, on the switch and in the balancer.
    ///
    /// # Errors
    /// A capture cannot be started.
    pub fn watch(&self) -> Result<Watch> {
        Ok(Watch {
            client: Capture::start(self.client())?,
            switch: Capture::start(&self.segment.switch)?,
            balancer: Capture::start(&self.segment.balancer)?,
        })
    }
}

/// Captures at the three places that show the way of the replies.
#[derive(Debug)]
pub struct Watch {
    client: Capture,
    switch: Capture,
    balancer: Capture,
}

/// The way that the replies of a VIP took.
#[derive(Clone, Debug)]
pub struct ReplyPaths {
    /// Reply frames that reached the client, by the MAC that they came from.
    pub at_client: BTreeMap<MacAddr, u64>,
    /// Reply frames that left a backend, by its MAC.
    pub from_backends: BTreeMap<MacAddr, u64>,
    /// Request frames that went into the balancer on its wires.
    pub requests_into_balancer: u64,
    /// Request frames that came out of it.
    pub requests_out_of_balancer: u64,
    /// Reply frames on the balancer's wires or in the balancer, each with its kind. There should be none.
    pub across_balancer: Vec<(Kind, u64)>,
}

impl Watch {
    /// Ends the captures and tells which way the replies of a VIP took. Echo replies are not meant: those are the
    /// balancer's own.
    ///
    /// # Errors
    /// A capture lost frames.
    pub fn finish(self, segment: &Segment, vip: IpAddr) -> Result<ReplyPaths> {
        let is_reply = |kind: &Kind| kind.source == vip && kind.is_service();
        let (client, switch, balancer) = (self.client.finish()?, self.switch.finish()?, self.balancer.finish()?);
        let ports = |names: Vec<String>| -> Result<Vec<u32>> {
            names.iter().map(|name| segment.switch.ifindex(name)).collect()
        };
        let backend_ports = ports(segment.backend_ports())?;
        let balancer_ports = ports(segment.balancer_ports())?;
        let crossed = |seen: &Seen, wires: Option<&[u32]>| {
            let on_wire = |kind: &Kind| wires.is_none_or(|wires| wires.contains(&kind.ifindex));
            seen.0.iter().filter(|(kind, _)| is_reply(kind) && on_wire(kind)).map(|(k, n)| (*k, *n)).collect::<Vec<_>>()
        };
        let requests = |into: bool| {
            switch.count(|kind| {
                kind.destination == vip
                    && kind.is_service()
                    && kind.sent == into
                    && balancer_ports.contains(&kind.ifindex)
            })
        };
        Ok(ReplyPaths {
            requests_into_balancer: requests(true),
            requests_out_of_balancer: requests(false),
            at_client: client.source_macs(|kind| is_reply(kind) && !kind.sent),
            from_backends: switch
                .source_macs(|kind| is_reply(kind) && !kind.sent && backend_ports.contains(&kind.ifindex)),
            across_balancer: [crossed(&switch, Some(&balancer_ports)), crossed(&balancer, None)].concat(),
        })
    }
}

impl ReplyPaths {
    /// Fails unless replies came from each of these backends, and from nobody else, and none crossed the balancer.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn check(&self, segment: &Segment, backends: &[MacAddr]) -> Result<()> {
        let expected: Vec<_> = backends.to_vec();
        let from: Vec<_> = self.from_backends.keys().copied().collect();
        ensure!(from == expected, "replies left {from:?}, and the backends are {expected:?}");
        let allowed = segment.macs_that_answer_clients();
        for mac in self.at_client.keys() {
            ensure!(allowed.contains(mac), "a reply reached the client from {mac}; only {allowed:?} should send any");
        }
        ensure!(!self.at_client.is_empty(), "no reply reached the client");
        // The captures do see the balancer's wires, both ways: what follows is not true for want of looking.
        let (into, out) = (self.requests_into_balancer, self.requests_out_of_balancer);
        ensure!(into > 0 && out > 0, "{into} request frames went into the balancer and {out} came out");
        if let Some((kind, frames)) = self.across_balancer.first() {
            anyhow::bail!("replies crossed the balancer: {frames} frames were {kind}");
        }
        Ok(())
    }
}

/// Fails unless requests spread over the backends as their weights say, as far as chance allows.
///
/// Each request is a new connection from a port of its own, so with a good hash it is a draw in which a backend of share
/// `p` comes with probability `p`. Of `n` draws it gets `n·p` with a deviation of `√(n·p·(1-p))`; the table itself gives a
/// backend its share to within one percent of it (Maglev paper, section 5.3). Six deviations and one percent are allowed:
/// for a right balancer, chance goes beyond that once in 500 million times.
///
/// # Errors
/// A backend got too few or too many, or a request went elsewhere.
pub fn spreads_like(counts: &Counts, weights: &[u16]) -> Result<()> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let requests = counts.ok as f64;
    let mut known = 0;
    for (index, weight) in weights.iter().enumerate() {
        let share = f64::from(*weight) / total;
        let expected = requests * share;
        let allowed = 6.0 * (expected * (1.0 - share)).sqrt() + 0.01 * expected;
        let name = format!("backend-{}", index + 1);
        let got = counts.of(&name);
        known += got;
        ensure!(
            (got as f64 - expected).abs() <= allowed,
            "{name} of weight {weight} answered {got} of {requests} requests; {expected:.0} ± {allowed:.0} are due"
        );
    }
    ensure!(known == counts.ok, "others answered, too: {:?}", counts.by_backend);
    Ok(())
}

/// Fails unless every request was answered.
///
/// # Errors
/// How many were not, and what the first few said.
pub fn none_failed(counts: &Counts) -> Result<()> {
    ensure!(counts.total() > 0, "no request was sent");
    if counts.failed > 0 { Err(anyhow::anyhow!("{counts}")).context("none may fail") } else { Ok(()) }
}

/// Makes a test of a scenario for each family, in each mode, on one leg and on two.
///
/// The scenario is a function that takes the world, the family, and answers a `Result`.
#[macro_export]
macro_rules! everywhere {
    ($scenario:ident) => {
        mod $scenario {
            use drlb_tests::segment::{Family, Legs, Mode, Plan};
            use drlb_tests::world::World;

            fn play(family: Family, mode: Mode, legs: Legs) -> anyhow::Result<()> {
                World::play(Plan::new(mode, legs), |world| super::$scenario(world, family))
            }

            #[test]
            fn ipv4_native_on_one_leg() -> anyhow::Result<()> {
                play(Family::V4, Mode::Native, Legs::One)
            }

            #[test]
            fn ipv4_native_on_two_legs() -> anyhow::Result<()> {
                play(Family::V4, Mode::Native, Legs::Two)
            }

            #[test]
            fn ipv4_generic_on_one_leg() -> anyhow::Result<()> {
                play(Family::V4, Mode::Generic, Legs::One)
            }

            #[test]
            fn ipv4_generic_on_two_legs() -> anyhow::Result<()> {
                play(Family::V4, Mode::Generic, Legs::Two)
            }

            #[test]
            fn ipv6_native_on_one_leg() -> anyhow::Result<()> {
                play(Family::V6, Mode::Native, Legs::One)
            }

            #[test]
            fn ipv6_native_on_two_legs() -> anyhow::Result<()> {
                play(Family::V6, Mode::Native, Legs::Two)
            }

            #[test]
            fn ipv6_generic_on_one_leg() -> anyhow::Result<()> {
                play(Family::V6, Mode::Generic, Legs::One)
            }

            #[test]
            fn ipv6_generic_on_two_legs() -> anyhow::Result<()> {
                play(Family::V6, Mode::Generic, Legs::Two)
            }
        }
    };
}

/// Makes a test of a scenario at two opposite corners of what [`everywhere!`] covers: for what the way of attaching has
/// little to do with.
#[macro_export]
macro_rules! at_two_corners {
    ($scenario:ident) => {
        mod $scenario {
            use drlb_tests::segment::{Family, Legs, Mode, Plan};
            use drlb_tests::world::World;

            #[test]
            fn ipv4_native_on_one_leg() -> anyhow::Result<()> {
                World::play(Plan::new(Mode::Native, Legs::One), |world| super::$scenario(world, Family::V4))
            }

            #[test]
            fn ipv6_generic_on_two_legs() -> anyhow::Result<()> {
                World::play(Plan::new(Mode::Generic, Legs::Two), |world| super::$scenario(world, Family::V6))
            }
        }
    };
}
