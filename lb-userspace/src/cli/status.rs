//! `drlb status`: the overview for people.

use super::table::{NOTHING, optional, table};
use super::{Failure, Session, listener};
use crate::engine::Status;

pub(super) async fn show(session: &Session) -> Result<(), Failure> {
    let answer = session.client.get(&["status"]).await?;
    session.print(&answer, |status: Status| render(&status))
}

fn render(status: &Status) -> String {
    let mut text = format!("drlb {}, maps of layout {}\n\n", status.version, status.layout);
    text.push_str(&interfaces(status));
    if status.listeners.is_empty() {
        text.push_str("\nNo listener. Add one with `drlb listener add NAME --vip IP --protocol tcp --port N`.\n");
    }
    for one in &status.listeners {
        text.push('\n');
        text.push_str(&listener::show(one));
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
        "version": "0.1.0", "layout": "v1",
        "interfaces": [
            {"name": "eth1", "configured_mode": "native", "mode": "native", "ifindex": 2, "mac": "02:00:00:00:00:01",
             "state": "attached", "reason": null},
            {"name": "eth2", "configured_mode": "auto", "mode": null, "ifindex": null, "mac": null,
             "state": "missing", "reason": "there is no such interface"}
        ],
        "listeners": [
            {"name": "all", "vip": "192.0.2.11", "protocol": "ip", "port": 0, "algorithm": "source-ip", "slots": 7,
             "counters": {"packets": 0, "bytes": 0}, "backends": []},
            {"name": "web", "vip": "192.0.2.10", "protocol": "tcp", "port": 80, "algorithm": "source-ip-port", "slots": 7,
             "counters": {"packets": 12, "bytes": 900}, "backends": [
                {"address": "192.0.2.21", "weight": 3, "admin_up": true, "state": "serving", "reason": null,
                 "mac": "02:00:00:00:00:21", "interface": "eth1", "slots": 7, "counters": {"packets": 12, "bytes": 900}},
                {"address": "192.0.2.22", "weight": 1, "admin_up": true, "state": "unresolved",
                 "reason": "its MAC is being asked for", "mac": null, "interface": null, "slots": 0,
                 "counters": {"packets": 0, "bytes": 0}}
             ]}
        ],
        "outcomes": []
    }"#;

    #[test]
    fn the_overview_names_what_takes_no_traffic_and_why() {
        let status: Status = serde_json::from_str(SNAPSHOT).expect("a snapshot");
        let expected = "\
drlb 0.1.0, maps of layout v1

INTERFACE  MODE    STATE     MAC
eth1       native  attached  02:00:00:00:00:01
eth2       -       missing   -
eth2: there is no such interface.

all: every protocol of 192.0.2.11, by source-ip, 7 slots
It has no backend, so its packets are dropped; add one with `drlb backend add all ADDRESS`.

web: tcp port 80 of 192.0.2.10, by source-ip-port, 7 slots
BACKEND     WEIGHT  STATE        SHARE  MAC                INTERFACE  PACKETS  BYTES
192.0.2.21       3  serving     100.0%  02:00:00:00:00:21  eth1            12    900
192.0.2.22       1  unresolved    0.0%  -                  -                0      0
192.0.2.22 takes no traffic: its MAC is being asked for.
";
        assert_eq!(render(&status), expected);
    }

    #[test]
    fn an_empty_balancer_says_what_to_do_first() {
        let status: Status = serde_json::from_str(
            r#"{"version": "0.1.0", "layout": "v1", "interfaces": [], "listeners": [], "outcomes": []}"#,
        )
        .expect("a snapshot");
        let text = render(&status);
        assert!(text.contains("`drlb attach IFNAME`") && text.contains("`drlb listener add NAME"), "{text}");
    }
}
