//! What `drlb backend setup` prints makes a server a direct-routing backend. No balancer is needed to see that.

use anyhow::{Result, ensure};
use drlb_tests::agent::set_up_backend;
use drlb_tests::http::{self, Server};
use drlb_tests::segment::{Family, Legs, Mode, Plan, Segment, vip};
use drlb_tests::traffic::{is_silent, ping};

#[test]
fn a_backend_serves_a_vip_that_it_does_not_claim_on_the_segment() -> Result<()> {
    let segment = Segment::new(Plan { backends: 2, ..Plan::new(Mode::Generic, Legs::One) })?;
    let client = &segment.clients[0].host;
    let vips = [vip(Family::V4, 0), vip(Family::V6, 0)];
    let mut servers = Vec::new();
    for backend in &segment.backends {
        // It may be run again at any time.
        set_up_backend(&backend.host, &vips)?;
        set_up_backend(&backend.host, &vips)?;
        servers.push(Server::start(&backend.host, 80)?);
    }
    for vip in vips {
        ensure!(is_silent(client, vip, b"is anybody there?")?, "a backend answers for {vip} by itself");
        for backend in &segment.backends {
            // As a balancer would send it: to the VIP, at the backend's MAC.
            client.ip(&format!("neighbour replace {vip} lladdr {} dev eth0 nud permanent\n", backend.mac()))?;
            let name = http::get(client, vip, 80)?;
            ensure!(name == backend.host.name(), "{vip} at the MAC of {} was answered by {name}", backend.host.name());
        }
        client.ip(&format!("neighbour delete {vip} dev eth0\n"))?;
    }
    Ok(())
}

#[test]
fn a_backend_does_not_name_the_vip_when_it_asks_or_opens_connections_itself() -> Result<()> {
    let segment = Segment::new(Plan::new(Mode::Generic, Legs::One))?;
    let (client, backend) = (&segment.clients[0], &segment.backends[0]);
    let vips = [vip(Family::V4, 0), vip(Family::V6, 0)];
    set_up_backend(&backend.host, &vips)?;
    for (family, vip) in [(Family::V4, vips[0]), (Family::V6, vips[1])] {
        let route = backend.host.run("ip", &["route", "get", &client.address(family).to_string()])?;
        ensure!(
            route.split_whitespace().all(|word| word != vip.to_string()),
            "it would use the VIP as its source: {route}"
        );
        ping(&backend.host, client.address(family), b"hello")?;
        let neighbours = client.host.run("ip", &["neighbour", "show", &vip.to_string()])?;
        ensure!(neighbours.is_empty(), "the client learned the VIP from the backend: {neighbours}");
    }
    Ok(())
}
