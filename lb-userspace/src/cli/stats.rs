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
