//! `drlb status`: the overview for people.

use super::table::{NOTHING, optional, table};
use super::{Failure, Session, listener, unix_now};
use crate::engine::Status;
use crate::engine::status::{ChecksStatus, TrackingStatus, VipStatus};

pub(super) async fn show(session: &Session) -> Result<(), Failure> {
    let answer = session.client.get(&["status"]).await?;
    session.print(&answer, |status: Status| render(&status, unix_now()))
}

fn render(status: &Status, now: u64) -> String {
    let mut text = format!("drlb {}, maps of layout {}\n\n", status.version, status.layout);
    text.push_str(&interfaces(status));
    text.push_str(&rivals(&status.vips));
    text.push_str(&remembered(&status.tracking));
    if status.checks.late > 0 {
        let ChecksStatus { late, probes, .. } = status.checks;
        text.push_str(&format!(
            "\n{late} of {probes} health checks began late, for want of room; give them longer delays.\n"
        ));
    }
    if status.listeners.is_empty() {
        text.push_str("\nNo listener. Add one with `drlb listener add NAME --vip IP --protocol tcp --port N`.\n");
    }
    for one in &status.listeners {
        text.push('\n');
        text.push_str(&listener::show(one, now));
    }
    text
}

/// What is wrong with the VIPs on their segments, if anything is.
fn rivals(vips: &[VipStatus]) -> String {
    let mut sentences: Vec<&str> = vips.iter().filter_map(|vip| vip.reason.as_deref()).collect();
    sentences.dedup();
    sentences.extend(vips.iter().flat_map(|vip| &vip.rivals).map(|rival| rival.reason.as_str()));
    if sentences.is_empty() {
        return String::new();
    }
    format!("\nVIPs: {}.\n", sentences.join(".\nVIPs: "))
}

/// What is remembered of flows, if anything is, and whether there was room for it.
fn remembered(tracking: &TrackingStatus) -> String {
    let flows = tracking.pins_young + tracking.pins_established;
    let mut text = match (flows, tracking.sessions) {
        (0, 0) => String::new(),
        (flows, sessions) => format!("\nRemembered: {flows} flows, {sessions} sessions.\n"),
    };
    if tracking.overflows > 0 {
        text.push_str(&format!(
            "\nThere was no room to remember a flow at work {} times; such a flow may get another backend.\n",
            tracking.overflows
        ));
    }
    text
}

fn interfaces(status: &Status) -> String {
    if status.interfaces.is_empty() {
        return "Attached to no interface, so nothing is forwarded. Attach to one with `drlb attach IFNAME`.\n".into();
    }
    let rows = status.interfaces.iter().map(|interface| {
        [
            interface.name.clone(),
            interface.mode.map_or(NOTHING, |mode| mode.name()).to_owned(),
            interface.state.name().to_owned(),
            optional(interface.mac.as_deref()),
        ]
    });
    let mut text = table(["INTERFACE", "MODE", "STATE", "MAC"], &[], rows);
    for interface in &status.interfaces {
        if let Some(reason) = &interface.reason {
            text.push_str(&format!("{}: {reason}.\n", interface.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{
        "version": "0.1.0", "layout": "v3",
        "interfaces": [
            {"name": "eth1", "configured_mode": "native", "mode": "native", "ifindex": 2, "mac": "02:00:00:00:00:01",
             "state": "attached", "reason": null},
            {"name": "eth2", "configured_mode": "auto", "mode": null, "ifindex": null, "mac": null,
             "state": "missing", "reason": "there is no such interface"}
        ],
        "listeners": [
            {"name": "all", "vip": "192.0.2.11", "protocol": "ip", "port": 0, "algorithm": "source-ip",
             "persistence": null,
             "timeouts": {"handshake": 60, "established": 900, "closing": 30, "udp": 120, "other": 300},
             "slots": 7, "slot_states": {"steady": 7, "moving": 0, "settling": 0},
             "counters": {"packets": 0, "bytes": 0}, "backends": []},
            {"name": "web", "vip": "192.0.2.10", "protocol": "tcp", "port": 80, "algorithm": "source-ip-port",
             "persistence": {"timeout": 3600, "ipv6_prefix": 128, "ipv4_prefix": 24},
             "timeouts": {"handshake": 60, "established": 300, "closing": 30, "udp": 120, "other": 300},
             "slots": 7, "slot_states": {"steady": 4, "moving": 3, "settling": 0},
             "counters": {"packets": 12, "bytes": 900}, "backends": [
                {"address": "192.0.2.21", "weight": 3, "admin_up": true, "state": "serving", "reason": null,
                 "mac": "02:00:00:00:00:21", "interface": "eth1", "slots": 7, "flows": 40,
                 "drain": null, "counters": {"packets": 12, "bytes": 900}},
                {"address": "192.0.2.22", "weight": 1, "admin_up": true, "state": "unresolved",
                 "reason": "its MAC is being asked for", "mac": null, "interface": null, "slots": 0,
                 "flows": 0, "drain": null, "counters": {"packets": 0, "bytes": 0}},
                {"address": "192.0.2.23", "weight": 1, "admin_up": true, "state": "draining",
                 "reason": null, "mac": "02:00:00:00:00:23", "interface": "eth1", "slots": 0,
                 "flows": 3, "drain": {"since": 1000, "deadline": 1300, "flows": 3},
                 "counters": {"packets": 2, "bytes": 150}}
             ]}
        ],
        "outcomes": [],
        "tracking": {"pins_young": 0, "pins_established": 43, "sessions": 12, "overflows": 2, "unsteady_slots": 3,
                     "last_sweep_ms": 1}
    }"#;

    #[test]
    fn the_overview_names_what_takes_no_traffic_and_why() {
        let status: Status = serde_json::from_str(SNAPSHOT).expect("a snapshot");
        let expected = "\
drlb 0.1.0, maps of layout v3

INTERFACE  MODE    STATE     MAC
eth1       native  attached  02:00:00:00:00:01
eth2       -       missing   -
eth2: there is no such interface.

Remembered: 43 flows, 12 sessions.

There was no room to remember a flow at work 2 times; such a flow may get another backend.

all: every protocol of 192.0.2.11, by source-ip, 7 slots
It has no backend, so its packets are dropped; add one with `drlb backend add all ADDRESS`.

web: tcp port 80 of 192.0.2.10, by source-ip-port, sessions of 1h 0m for each /24, 7 slots
Idle times: established 5m 0s; the others are the defaults.
A change is under way: 3 of 7 slots are moving.
BACKEND     WEIGHT  STATE        SHARE  MAC                INTERFACE  FLOWS  PACKETS  BYTES
192.0.2.21       3  serving     100.0%  02:00:00:00:00:21  eth1          40       12    900
192.0.2.22       1  unresolved    0.0%  -                  -              0        0      0
192.0.2.23       1  draining      0.0%  02:00:00:00:00:23  eth1           3        2    150
192.0.2.22 takes no traffic: its MAC is being asked for.
192.0.2.23 is draining: 3 flows left, 1m 40s until the deadline.
";
        assert_eq!(render(&status, 1_200), expected);
    }

    #[test]
    fn an_empty_balancer_says_what_to_do_first() {
        let status: Status = serde_json::from_str(
            r#"{"version": "0.1.0", "layout": "v3", "interfaces": [], "listeners": [], "outcomes": [],
                "tracking": {"pins_young": 0, "pins_established": 0, "sessions": 0, "overflows": 0, "unsteady_slots": 0,
                             "last_sweep_ms": null}}"#,
        )
        .expect("a snapshot");
        let text = render(&status, 0);
        assert!(text.contains("`drlb attach IFNAME`") && text.contains("`drlb listener add NAME"), "{text}");
    }
}
