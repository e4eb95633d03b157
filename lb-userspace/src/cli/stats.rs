//! `drlb stats`: the counters.

use super::table::table;
use super::{Failure, Session};
use crate::api::types::Stats;

pub(super) async fn show(session: &Session) -> Result<(), Failure> {
    let answer = session.client.get(&["stats"]).await?;
    session.print(&answer, |stats: Stats| render(&stats))
}

fn render(stats: &Stats) -> String {
    let numbers = ["PACKETS", "BYTES"];
    let outcomes = stats.outcomes.iter().map(|outcome| {
        [outcome.name.clone(), outcome.packets.to_string(), outcome.bytes.to_string(), outcome.meaning.clone()]
    });
    let mut text = table(["OUTCOME", "PACKETS", "BYTES", "MEANING"], &numbers, outcomes);
    let backends = stats.listeners.iter().flat_map(|listener| {
        let all = ("all".to_owned(), listener.counters);
        let each = listener.backends.iter().map(|backend| (backend.address.to_string(), backend.counters));
        std::iter::once(all).chain(each).map(|(backend, counters)| {
            [listener.name.to_string(), backend, counters.packets.to_string(), counters.bytes.to_string()]
        })
    });
    text.push('\n');
    text.push_str(&table(["LISTENER", "BACKEND", "PACKETS", "BYTES"], &numbers, backends));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_meaning_and_listeners_their_backends() {
        let stats: Stats = serde_json::from_str(
            r#"{
                "outcomes": [{"name": "forwarded", "meaning": "Sent to a backend.", "packets": 12, "bytes": 900}],
                "listeners": [{"name": "web", "counters": {"packets": 12, "bytes": 900}, "backends": [
                    {"address": "192.0.2.21", "counters": {"packets": 12, "bytes": 900}}
                ]}]
            }"#,
        )
        .expect("counters");
        let expected = "\
OUTCOME    PACKETS  BYTES  MEANING
forwarded       12    900  Sent to a backend.

LISTENER  BACKEND     PACKETS  BYTES
web       all              12    900
web       192.0.2.21       12    900
";
        assert_eq!(render(&stats), expected);
    }
}
