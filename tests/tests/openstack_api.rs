//! Many clients of the OpenStack API at once, and an agent that is killed while it serves them. There is no data plane.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use anyhow::{Context, Result, ensure};
use drlb_tests::control::{Agent, SUBNET};
use drlb_tests::wait::{SOON, until};
use serde_json::{Value, json};

fn load_balancer(name: &str) -> Value {
    json!({ "loadbalancer": { "name": name, "vip_subnet_id": SUBNET } })
}

#[test]
fn a_thousand_clients_at_once_each_with_its_own_objects() -> Result<()> {
    let agent = Agent::start()?;
    let begin = Arc::new(Barrier::new(1_000));
    let clients: Vec<_> = (0..1_000)
        .map(|number| {
            let (client, begin) = (agent.client(), Arc::clone(&begin));
            let life = move || -> Result<String> {
                begin.wait();
                let lb = client.make("loadbalancers", &load_balancer(&format!("lb-{number}")))?;
                let listener = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 0, "name": "dr" });
                let listener = client.make("listeners", &json!({ "listener": listener }))?;
                let pool = json!({ "listener_id": listener, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" });
                let pool = client.make("pools", &json!({ "pool": pool }))?;
                let member = json!({ "member": { "address": "192.0.2.21", "protocol_port": 0 } });
                client.make(&format!("pools/{pool}/members"), &member)?;
                let (status, shown) = client.get(&format!("loadbalancers/{lb}"))?;
                ensure!(status == 200 && shown["loadbalancer"]["provisioning_status"] == "ACTIVE", "{shown}");
                Ok(lb)
            };
            thread::Builder::new().stack_size(256 << 10).spawn(life)
        })
        .collect::<std::io::Result<_>>()?;
    let mut made = BTreeSet::new();
    for client in clients {
        made.insert(client.join().expect("a client does not panic")?);
    }
    ensure!(made.len() == 1_000, "{} load balancers", made.len());
    let client = agent.client();
    ensure!(client.ids("loadbalancers")? == made, "the list has others");
    for list in ["listeners", "pools"] {
        ensure!(client.ids(list)?.len() == 1_000, "not a thousand {list}");
    }
    Ok(())
}

#[test]
fn of_two_that_change_one_object_at_once_one_is_refused_and_no_change_is_lost() -> Result<()> {
    let agent = Agent::start()?;
    let client = agent.client();
    let lb = client.make("loadbalancers", &load_balancer("lb"))?;
    let mut refused = 0;
    for round in 0..200 {
        let begin = Arc::new(Barrier::new(2));
        let writers = ["a", "b"].map(|writer| {
            let (client, begin, path) = (agent.client(), Arc::clone(&begin), format!("loadbalancers/{lb}"));
            let name = format!("{writer}{round}");
            thread::spawn(move || -> Result<(String, u16, Value)> {
                // The connection is there before, so that both requests come together.
                client.get(&path)?;
                begin.wait();
                let (status, body) = client.put(&path, &json!({ "loadbalancer": { "name": name } }))?;
                Ok((name, status, body))
            })
        });
        let mut done = Vec::new();
        for writer in writers {
            let (name, status, body) = writer.join().expect("a writer does not panic")?;
            match status {
                200 => done.push(name),
                409 => {
                    let text = format!("Invalid state PENDING_UPDATE of loadbalancer resource {lb}");
                    ensure!(body["faultstring"] == text, "{body}");
                    refused += 1;
                }
                other => anyhow::bail!("{other} {body}"),
            }
        }
        let (_, shown) = client.get(&format!("loadbalancers/{lb}"))?;
        let name = shown["loadbalancer"]["name"].as_str().context("a name")?;
        ensure!(done.iter().any(|done| done == name), "the name is {name}, and {done:?} were set");
    }
    ensure!(refused > 0, "of 200 pairs, none met");
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_agent_is_killed() -> Result<()> {
    let mut agent = Agent::start()?;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    for _ in 0..5 {
        let ending = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (client, ending, acknowledged) = (agent.client(), Arc::clone(&ending), Arc::clone(&acknowledged));
                thread::spawn(move || {
                    // Ends with the agent, in the middle of whatever it does.
                    while !ending.load(Ordering::Relaxed) {
                        let Ok(id) = client.make("loadbalancers", &load_balancer("lb")) else { return };
                        acknowledged.lock().expect("no writer panics").insert(id);
                    }
                })
            })
            .collect();
        let before = acknowledged.lock().expect("no writer panics").len();
        until("some load balancers to be made", SOON, || {
            let now = acknowledged.lock().expect("no writer panics").len();
            if now >= before + 40 { Ok(()) } else { Err(format!("{} are", now - before)) }
        })?;
        agent.kill_and_start_again()?;
        ending.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no writer panics");
        }
        let there = agent.client().ids("loadbalancers")?;
        let lost: Vec<_> = acknowledged.lock().expect("no writer panics").difference(&there).cloned().collect();
        ensure!(lost.is_empty(), "lost: {lost:?}");
    }
    Ok(())
}

/// Among many writers the next change may take the last one to the disk; here there is none.
#[test]
fn the_last_acknowledged_change_is_not_lost_when_the_agent_is_killed_at_once() -> Result<()> {
    let mut agent = Agent::start()?;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        acknowledged.insert(agent.client().make("loadbalancers", &load_balancer("lb"))?);
        agent.kill_and_start_again()?;
        let there = agent.client().ids("loadbalancers")?;
        ensure!(there == acknowledged, "acknowledged: {acknowledged:?}, there: {there:?}");
    }
    Ok(())
}
