//! `drlb stats`: the counters.

use super::table::{NOTHING, table};
use super::{Failure, Session};
use crate::api::types::Stats;
use crate::engine::status::{RefusedStatus, TrackingStatus};

pub(super) async fn show(session: &Session) -> Result<(), Failure> {
    let answer = session.client.get(&["stats"]).await?;
    session.print(&answer, |stats: Stats| render(&stats))
}

fn render(stats: &Stats) -> String {
    let numbers = ["PACKETS", "BYTES", "FLOWS", "COUNT", "DENIED", "TOO MANY NEW", "TOO MANY"];
    let outcomes = stats.outcomes.iter().map(|outcome| {
        [outcome.name.clone(), outcome.packets.to_string(), outcome.bytes.to_string(), outcome.meaning.clone()]
    });
    let mut text = table(["OUTCOME", "PACKETS", "BYTES", "MEANING"], &numbers, outcomes);
    let backends = stats.listeners.iter().flat_map(|listener| {
        let flows = listener.backends.iter().filter_map(|backend| backend.flows).reduce(|all, flows| all + flows);
        let all = ("all".to_owned(), flows, listener.counters);
        let each =
            listener.backends.iter().map(|backend| (backend.address.to_string(), backend.flows, backend.counters));
        std::iter::once(all).chain(each).map(|(backend, flows, counters)| {
            let flows = flows.map_or(NOTHING.into(), |flows| flows.to_string());
            [listener.name.to_string(), backend, counters.packets.to_string(), counters.bytes.to_string(), flows]
        })
    });
    text.push('\n');
    text.push_str(&table(["LISTENER", "BACKEND", "PACKETS", "BYTES", "FLOWS"], &numbers, backends));
    let refused = stats.listeners.iter().filter(|listener| listener.refused != RefusedStatus::default());
    let refused = refused.map(|listener| {
        let RefusedStatus { denied, too_many_new_flows, too_many_flows } = listener.refused;
        [listener.name.to_string(), denied.to_string(), too_many_new_flows.to_string(), too_many_flows.to_string()]
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        text.push('\n');
        text.push_str(&table(["LISTENER", "DENIED", "TOO MANY NEW", "TOO MANY"], &numbers, refused));
    }
    text.push('\n');
    text.push_str(&table(["REMEMBERED", "COUNT", "MEANING"], &numbers, remembered(&stats.tracking)));
    let happened: Vec<_> = stats.events.iter().filter(|event| event.count > 0).collect();
    if !happened.is_empty() {
        let rows = happened
            .into_iter()
            .map(|event| [event.kind.code().to_owned(), event.count.to_string(), event.kind.meaning().to_owned()]);
        text.push('\n');
        text.push_str(&table(["EVENT", "COUNT", "MEANING"], &numbers, rows));
    }
    text
}

fn remembered(tracking: &TrackingStatus) -> [[String; 3]; 5] {
    let TrackingStatus { pins_young, pins_established, sessions, overflows, unsteady_slots, last_sweep_ms: _ } =
        *tracking;
    [
        ("pins-young", pins_young, "Flows that only their first packet was seen of."),
        ("pins-established", pins_established, "Flows at work."),
        ("sessions", sessions, "Clients whose new flows go to the backend of their last one."),
        ("unsteady-slots", unsteady_slots, "Slots that a change has moved, and whose flows are remembered therefore."),
        (
            "overflows",
            overflows,
            "Times that there was no room to remember a flow at work; it may get another backend.",
        ),
    ]
    .map(|(name, count, meaning)| [name.to_owned(), count.to_string(), meaning.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_meaning_and_listeners_their_backends() {
        let stats: Stats = serde_json::from_str(
            r#"{
                "outcomes": [{"name": "forwarded", "meaning": "Sent to a backend.", "packets": 12, "bytes": 900}],
                "tracking": {"pins_young": 1, "pins_established": 20, "sessions": 3, "overflows": 0,
                             "unsteady_slots": 64, "last_sweep_ms": 2},
                "events": [{"kind": "link-up", "count": 0}, {"kind": "link-down", "count": 3}],
                "listeners": [{"name": "web", "counters": {"packets": 12, "bytes": 900}, "refused": {"denied": 7, "too_many_flows": 5}, "backends": [
                    {"address": "192.0.2.21", "flows": 21, "counters": {"packets": 12, "bytes": 900}},
                    {"address": "192.0.2.22", "flows": null, "counters": {"packets": 0, "bytes": 0}}
                ]}]
            }"#,
        )
        .expect("counters");
        let expected = "\
OUTCOME    PACKETS  BYTES  MEANING
forwarded       12    900  Sent to a backend.

LISTENER  BACKEND     PACKETS  BYTES  FLOWS
web       all              12    900     21
web       192.0.2.21       12    900     21
web       192.0.2.22        0      0      -

LISTENER  DENIED  TOO MANY NEW  TOO MANY
web            7             0         5

REMEMBERED        COUNT  MEANING
pins-young            1  Flows that only their first packet was seen of.
pins-established     20  Flows at work.
sessions              3  Clients whose new flows go to the backend of their last one.
unsteady-slots       64  Slots that a change has moved, and whose flows are remembered therefore.
overflows             0  Times that there was no room to remember a flow at work; it may get another backend.

EVENT      COUNT  MEANING
link-down      3  A link went down, or lost its carrier.
";
        assert_eq!(render(&stats), expected);
    }
}
