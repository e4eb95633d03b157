//! A client behind a router whose link to it has a smaller MTU than all others: what routers say of the replies reaches
//! the backend that sent them.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::set_up_backend;
use drlb_tests::host::Host;
use drlb_tests::http::{Client, LARGE};
use drlb_tests::segment::{Family, Legs, Mode, Net, Plan, vip};
use drlb_tests::traffic::{Echo, ask_udp, hop, ping};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::World;

/// The MTU of the link between router and client.
const NARROW: u16 = 1_300;
/// The router's number on the front.
const ROUTER: u8 = 3;

/// The router and the client behind it.
struct Far {
    _router: Host,
    client: Host,
}

impl Far {
    /// Plugs the router in, and routes the client's network over it at the backends.
    fn new(world: &World) -> Result<Self> {
        let (router, client) = (Host::new("edge")?, Host::new("far")?);
        world.segment.plug_in(&router, ROUTER)?;
        let quiet = [("ipv6/conf/default/accept_dad", "0"), ("ipv4/conf/all/rp_filter", "0")];
        client.sysctl(&quiet)?;
        router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        router.ip(&format!(
            "link add eth1 type veth peer name eth0 netns {}\n\
             address add 203.0.113.1/24 dev eth1\naddress add 2001:db8:3::1/64 dev eth1 nodad\nlink set eth1 up\n",
            client.pid()
        ))?;
        // The client's own side keeps its 1,500 bytes, so that it asks for segments that do not fit through the link.
        client.ip(
            "address add 203.0.113.9/24 dev eth0\naddress add 2001:db8:3::9/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via 203.0.113.1\nroute add ::/0 via 2001:db8:3::1\n",
        )?;
        router.ip(&format!("link set eth1 mtu {NARROW}\n"))?;
        let (v4, v6) = (Net::Front.address(Family::V4, ROUTER), Net::Front.address(Family::V6, ROUTER));
        for backend in &world.segment.backends {
            backend.host.ip(&format!("route add 203.0.113.0/24 via {v4}\nroute add 2001:db8:3::/64 via {v6}\n"))?;
        }
        Ok(Self { _router: router, client })
    }

    fn address(family: Family) -> IpAddr {
        match family {
            Family::V4 => [203, 0, 113, 9].into(),
            Family::V6 => "2001:db8:3::9".parse().expect("an address"),
        }
    }
}

/// The backends that have learned that the way to the far client is narrow.
fn who_knows(world: &World, family: Family) -> Result<Vec<String>> {
    let to = Far::address(family).to_string();
    let mut knowing = Vec::new();
    for backend in &world.segment.backends {
        let route = backend.host.run("ip", &["route", "get", &to])?;
        if route.contains(&format!("mtu {NARROW}")) {
            knowing.push(backend.host.name().to_owned());
        }
    }
    Ok(knowing)
}

fn a_download_gets_through_a_narrow_link(mode: Mode, family: Family) -> Result<()> {
    World::play(Plan::new(mode, Legs::One), |world| {
        let far = Far::new(world)?;
        let to = world.balance_http(family, &[1, 1, 1])?;
        let name = far.client.enter(|| {
            let client = Client::keep_alive();
            // One connection, so one backend.
            let name = client.get(to, "/")?;
            let body = client.get(to, "/large").context("the download stalls: the way's MTU is not learned")?;
            ensure!(body.len() == LARGE, "the download was cut short");
            Ok(name)
        })?;
        let knowing = who_knows(world, family)?;
        ensure!(
            knowing == [name.clone()],
            "{name} sent the large packets, and who knows of the narrow link is {knowing:?}"
        );
        Ok(())
    })
}

#[test]
fn ipv4_download_in_native_mode() -> Result<()> {
    a_download_gets_through_a_narrow_link(Mode::Native, Family::V4)
}

#[test]
fn ipv6_download_in_native_mode() -> Result<()> {
    a_download_gets_through_a_narrow_link(Mode::Native, Family::V6)
}

#[test]
fn ipv4_download_in_generic_mode() -> Result<()> {
    a_download_gets_through_a_narrow_link(Mode::Generic, Family::V4)
}

#[test]
fn ipv6_download_in_generic_mode() -> Result<()> {
    a_download_gets_through_a_narrow_link(Mode::Generic, Family::V6)
}

/// A backend cuts a long answer into fragments of 1,500 bytes (IPv6 lets nobody else do that), and the router says that these
/// are too large: the error quotes a fragment.
#[test]
fn an_error_about_a_fragment_reaches_its_backend() -> Result<()> {
    let family = Family::V6;
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        let far = Far::new(world)?;
        let to = SocketAddr::new(vip(family, 0), 5_000);
        world.add_listener("long", to.ip(), "udp", Some(to.port()))?;
        let mut servers = Vec::new();
        for backend in &world.segment.backends {
            servers.push(Echo::udp(&backend.host, to.ip(), to.port())?);
            world.add_backend("long", backend.address(family), 1)?;
        }
        world.agent.wait_until_serving("long")?;
        // The question fits into the client's link in fragments, which its own kernel cuts for a path of 1,280 bytes.
        let far_route = format!("route change ::/0 via 2001:db8:3::1 mtu {NARROW}\n");
        far.client.ip(&far_route)?;
        let name = ask_udp(&far.client, to, &"x".repeat(5_000))?;
        let knowing = who_knows(world, family)?;
        ensure!(knowing == [name.clone()], "{name} answered, and who knows of the narrow link is {knowing:?}");
        Ok(())
    })
}

fn each_hop_on_the_way_to_a_vip_answers(mode: Mode, family: Family) -> Result<()> {
    World::play(Plan::new(mode, Legs::One), |world| {
        let far = Far::new(world)?;
        let to = vip(family, 1);
        world.add_listener("all", to, "ip", None)?;
        for backend in &world.segment.backends {
            set_up_backend(&backend.host, &[to])?;
            world.add_backend("all", backend.address(family), 1)?;
        }
        world.agent.wait_until_serving("all")?;
        let router: IpAddr = match family {
            Family::V4 => [203, 0, 113, 1].into(),
            Family::V6 => "2001:db8:3::1".parse().expect("an address"),
        };
        // As `traceroute -I`: the router is the first hop, the VIP the second; the balancer is none of its own.
        ensure!(hop(&far.client, to, 1)? == router, "the first hop is not the router");
        ensure!(hop(&far.client, to, 2)? == to, "the second hop is not the VIP");
        ping(&far.client, to, b"and with any number of hops")?;
        // As `traceroute` with UDP: a backend says that nobody has the port, and says so as the VIP.
        far.client.enter(|| {
            let any = SocketAddr::new(if family == Family::V4 { [0, 0, 0, 0].into() } else { [0_u16; 8].into() }, 0);
            let probe = UdpSocket::bind(any)?;
            probe.connect(SocketAddr::new(to, 33_434))?;
            probe.set_ttl(2)?;
            probe.set_nonblocking(true)?;
            until("the VIP to say that nobody has the port", SOON, || {
                match probe.send(b"probe").and_then(|_| probe.recv(&mut [0; 16])) {
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
        })?;
        Ok(())
    })
}

#[test]
fn ipv4_traceroute() -> Result<()> {
    each_hop_on_the_way_to_a_vip_answers(Mode::Native, Family::V4)
}

#[test]
fn ipv6_traceroute() -> Result<()> {
    each_hop_on_the_way_to_a_vip_answers(Mode::Generic, Family::V6)
}
