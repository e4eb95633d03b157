//! `drlb flows`: what is remembered of flows, one by one.

use std::net::{IpAddr, SocketAddr};

use super::args::FlowsArgs;
use super::table::{NOTHING, span, table};
use super::{Failure, Session};
use crate::api::types::MOST_FLOWS;
use crate::engine::status::{FlowStatus, Flows};

pub(super) async fn show(session: &Session, args: FlowsArgs) -> Result<(), Failure> {
    let limit = args.limit.to_string();
    let mut parameters = vec![("limit", limit.as_str())];
    parameters.extend(args.listener.as_ref().map(|listener| ("listener", listener.as_str())));
    let answer = session.client.query(&["flows"], &parameters).await?;
    session.print(&answer, |flows: Flows| render(&flows))
}

fn render(flows: &Flows) -> String {
    if flows.flows.is_empty() {
        return "No flow is remembered.\n".into();
    }
    let rows = flows.flows.iter().map(|flow| {
        [
            flow.listener.to_string(),
            protocol(flow.protocol),
            end(flow, flow.source, flow.source_port),
            end(flow, flow.destination, flow.destination_port),
            flow.backend.map_or(NOTHING.into(), |backend| backend.to_string()),
            flow.state.name().to_owned(),
            span(flow.idle_ms / 1_000),
        ]
    });
    let heading = ["LISTENER", "PROTOCOL", "CLIENT", "VIP", "BACKEND", "STATE", "IDLE"];
    let mut text = table(heading, &["IDLE"], rows);
    if flows.cut {
        let shown = flows.flows.len();
        let more = if shown < MOST_FLOWS { format!("; --limit N shows up to {MOST_FLOWS}") } else { String::new() };
        text.push_str(&format!("There are more than these {shown}{more}.\n"));
    }
    text
}

/// The name of a protocol (IANA's "Protocol Numbers"), or the number of one that is seldom met.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        4 => "ipip".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        41 => "ipv6".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    }
}

/// An end of a flow: with its port, if the protocol has ports.
fn end(flow: &FlowStatus, address: IpAddr, port: u16) -> String {
    if flow.source_port == 0 && flow.destination_port == 0 {
        address.to_string()
    } else {
        SocketAddr::new(address, port).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_shown_with_their_backends() {
        let flows: Flows = serde_json::from_str(
            r#"{
                "flows": [
                    {"listener": "web", "protocol": 6, "source": "198.51.100.7", "source_port": 40000,
                     "destination": "192.0.2.10", "destination_port": 80, "backend": "192.0.2.21",
                     "state": "established", "idle_ms": 1999},
                    {"listener": "all", "protocol": 47, "source": "2001:db8::7", "source_port": 0,
                     "destination": "2001:db8::10", "destination_port": 0, "backend": null,
                     "state": "other", "idle_ms": 125000}
                ],
                "cut": true
            }"#,
        )
        .expect("flows");
        let expected = "\
LISTENER  PROTOCOL  CLIENT              VIP            BACKEND     STATE         IDLE
web       tcp       198.51.100.7:40000  192.0.2.10:80  192.0.2.21  established     1s
all       gre       2001:db8::7         2001:db8::10   -           other        2m 5s
There are more than these 2; --limit N shows up to 10000.
";
        assert_eq!(render(&flows), expected);
        assert_eq!(render(&Flows::default()), "No flow is remembered.\n");
    }
}
