//! `drlb events`: what happened lately, and what happens.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::args::{EventsArgs, Output};
use super::{Failure, Session, print_text};
use crate::api::client::{Answer, ClientError};
use crate::api::types::LONGEST_WAIT;
use crate::events::{Event, Events, MOST_EVENTS, Severity};
use crate::model::FaultKind;
use crate::octavia::timestamp;

/// For how long an agent that does not answer is asked again while its events are followed: it may be restarting.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn show(session: &Session, args: EventsArgs) -> Result<(), Failure> {
    let EventsArgs { follow, kinds, listener, vip, backend, interface, limit } = args;
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.code()).collect();
    let given = [
        ("kind", (!kinds.is_empty()).then(|| kinds.join(","))),
        ("listener", listener.map(|listener| listener.to_string())),
        ("vip", vip.map(|vip| vip.to_string())),
        ("backend", backend.map(|backend| backend.to_string())),
        ("interface", interface),
    ];
    let filter: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let first = ask(session, &filter, &[("limit", limit.to_string())]).await?;
    if follow {
        return self::follow(session, &filter, first.parse()?).await;
    }
    session.print(&first, |events: Events| render(&events))
}

async fn ask(
    session: &Session,
    filter: &[(&'static str, String)],
    more: &[(&'static str, String)],
) -> Result<Answer, ClientError> {
    let parameters: Vec<_> = filter.iter().chain(more).map(|(name, value)| (*name, value.as_str())).collect();
    session.client.query(&["events"], &parameters).await
}

/// Shows events as they happen, also those of the agents that come after this one.
async fn follow(session: &Session, filter: &[(&'static str, String)], mut events: Events) -> Result<(), Failure> {
    loop {
        if events.lost > 0 {
            eprintln!("{} events were pushed out by newer ones before they could be shown", events.lost);
        }
        for event in &events.events {
            let line = match session.output {
                Output::Json => serde_json::to_string(event)
                    .map_err(|error| Failure::Other(format!("an event has no JSON form: {error}")))?,
                Output::Table => line(event),
            };
            print_text(&format!("{line}\n"))?;
        }
        let after = events.next;
        let more =
            [("after", after.to_string()), ("limit", MOST_EVENTS.to_string()), ("wait", LONGEST_WAIT.to_string())];
        let mut away: Option<Instant> = None;
        let asked = Instant::now();
        events = loop {
            match ask(session, filter, &more).await {
                Ok(answer) => break answer.parse()?,
                Err(error) if !is_away(&error) || away.is_some_and(|since| since.elapsed() >= PATIENCE) => {
                    return Err(error.into());
                }
                Err(_) => away = away.or_else(|| Some(Instant::now())),
            }
            sleep(PAUSE).await;
        };
        if events.events.is_empty() && asked.elapsed() < PAUSE {
            // An agent that ends lets nobody wait.
            sleep(PAUSE).await;
        }
    }
}

/// True if the agent is not there, or about to go.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::BrokenOff { .. } => true,
        ClientError::Fault(fault) => fault.kind == FaultKind::Unavailable,
        ClientError::NotAllowed { .. } | ClientError::NotUnderstood { .. } => false,
    }
}

fn render(events: &Events) -> String {
    if events.events.is_empty() {
        return "Nothing of that kind has happened since the agent started.\n".into();
    }
    events.events.iter().map(|event| format!("{}\n", line(event))).collect()
}

/// An event in a line: when, how much it matters, what, and a sentence.
fn line(event: &Event) -> String {
    let mark = if event.severity == Severity::Warning { '!' } else { ' ' };
    let (time, millis) = (timestamp(event.time_ms / 1_000), event.time_ms % 1_000);
    format!("{time}.{millis:03}Z {mark} {}: {}", event.kind, event.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_with_their_time() {
        let events: Events = serde_json::from_str(
            r#"{"events": [
                {"number": 7, "time_ms": 1795496405007, "kind": "link-down", "severity": "warning",
                 "text": "link eth1 is down", "listeners": [], "vips": [], "backends": [], "interface": "eth1", "object": null},
                {"number": 8, "time_ms": 1795496405120, "kind": "backend-up", "severity": "info",
                 "text": "backend 192.0.2.21 of `web` is up", "listeners": ["web"], "vips": ["192.0.2.10"],
                 "backends": ["192.0.2.21"], "interface": null, "object": null}
            ], "next": 8, "lost": 0}"#,
        )
        .expect("events");
        let expected = "\
2026-11-24T05:00:05.007Z ! link-down: link eth1 is down
2026-11-24T05:00:05.120Z   backend-up: backend 192.0.2.21 of `web` is up
";
        assert_eq!(render(&events), expected);
        assert_eq!(render(&Events::default()), "Nothing of that kind has happened since the agent started.\n");
    }
}
