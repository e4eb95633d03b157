//! The events that are kept, and how they are asked for. Pure: it is told the time.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::kind::{EventKind, Severity};
use crate::model::{BackendAddr, Name, Vip};

/// The most events that are kept; the oldest make way.
pub const MOST_EVENTS: usize = 8_192;
/// The most listeners, VIPs and backends that all kept events together name. An event about a backend names the listeners that it
/// serves, which may be many; so the memory of all events is bounded, to some 10 MB.
pub const MOST_NAMES: usize = 65_536;

/// Something that happened, with what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What.
    pub kind: EventKind,
    /// A sentence about it, without a full stop at the end.
    pub text: String,
    /// The listeners that it is about.
    pub listeners: BTreeSet<Name>,
    /// The VIPs that it is about.
    pub vips: BTreeSet<Vip>,
    /// The backends that it is about: one, but for those that have one MAC.
    pub backends: BTreeSet<BackendAddr>,
    /// The interface that it is about.
    pub interface: Option<String>,
    /// The object of the OpenStack API that it is about, by its id.
    pub object: Option<String>,
}

impl News {
    /// Something that is about the agent itself.
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            listeners: BTreeSet::new(),
            vips: BTreeSet::new(),
            backends: BTreeSet::new(),
            interface: None,
            object: None,
        }
    }

    /// The same about an interface.
    #[must_use]
    pub fn on(self, interface: impl Into<String>) -> Self {
        Self { interface: Some(interface.into()), ..self }
    }

    /// The same about a backend.
    #[must_use]
    pub fn of_backend(mut self, backend: BackendAddr) -> Self {
        self.backends.insert(backend);
        self
    }

    /// The same about listeners, and so about their VIPs.
    #[must_use]
    pub fn of_listeners<'a>(mut self, listeners: impl IntoIterator<Item = &'a crate::model::Listener>) -> Self {
        for listener in listeners {
            self.listeners.insert(listener.name.clone());
            self.vips.insert(listener.vip);
        }
        self
    }

    /// The same about a VIP.
    #[must_use]
    pub fn of_vip(mut self, vip: Vip) -> Self {
        self.vips.insert(vip);
        self
    }
}

/// An event that is kept. Serialised, it is the documented JSON of `drlb events -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: greater than that of every earlier event, also of earlier agents.
    pub number: u64,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// How much it matters.
    pub severity: Severity,
    /// A sentence about it, without a full stop at the end.
    pub text: String,
    /// The listeners that it is about.
    pub listeners: BTreeSet<Name>,
    /// The VIPs that it is about.
    pub vips: BTreeSet<Vip>,
    /// The backends that it is about: one, but for those that have one MAC.
    pub backends: BTreeSet<BackendAddr>,
    /// The interface that it is about.
    pub interface: Option<String>,
    /// The object of the OpenStack API that it is about, by its id.
    pub object: Option<String>,
}

impl Event {
    fn names(&self) -> usize {
        self.listeners.len() + self.vips.len() + self.backends.len()
    }
}

/// Which events are asked for: those that are about all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only those after the one with this number, the oldest of them first. Without, the newest.
    pub after: Option<u64>,
    /// So many at most.
    pub limit: usize,
    /// Only of these kinds; empty for all.
    pub kinds: BTreeSet<EventKind>,
    /// Only those about this listener.
    pub listener: Option<Name>,
    /// Only those about this VIP.
    pub vip: Option<Vip>,
    /// Only those about this backend.
    pub backend: Option<BackendAddr>,
    /// Only those about this interface.
    pub interface: Option<String>,
}

impl Query {
    fn takes(&self, event: &Event) -> bool {
        self.after.is_none_or(|after| event.number > after)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.listener.as_ref().is_none_or(|name| event.listeners.contains(name))
            && self.vip.as_ref().is_none_or(|vip| event.vips.contains(vip))
            && self.backend.as_ref().is_none_or(|backend| event.backends.contains(backend))
            && (self.interface.is_none() || self.interface == event.interface)
    }
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// Give this as `after` to get those that come next.
    pub next: u64,
    /// How many of this agent's events after the one that was asked for were pushed out by newer ones, whatever they
    /// were about.
    pub lost: u64,
}

/// How often something of a kind happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// The kind.
    pub kind: EventKind,
    /// How often, since this agent started.
    pub count: u64,
}

/// The latest events.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Event>,
    names: usize,
    /// The number before the first event's.
    begin: u64,
    /// The number of the newest event.
    newest: u64,
    counts: Vec<u64>,
}

impl Ring {
    /// No event yet. Their numbers begin after `begin`.
    #[must_use]
    pub fn new(begin: u64) -> Self {
        Self { events: VecDeque::new(), names: 0, begin, newest: begin, counts: vec![0; EventKind::ALL.len()] }
    }

    /// Keeps an event, and lets old ones go for which there is no room.
    pub fn push(&mut self, news: News, time_ms: u64) -> &Event {
        let News { kind, text, listeners, vips, backends, interface, object } = news;
        self.newest += 1;
        self.counts[kind as usize] += 1;
        let (number, severity) = (self.newest, kind.severity());
        let event = Event { number, time_ms, kind, severity, text, listeners, vips, backends, interface, object };
        self.names += event.names();
        while self.events.len() >= MOST_EVENTS || self.names > MOST_NAMES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.names -= oldest.names();
        }
        self.events.push_back(event);
        &self.events[self.events.len() - 1]
    }

    /// The number of the newest event.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// The events that are asked for.
    #[must_use]
    pub fn ask(&self, query: &Query) -> Events {
        let found = self.events.iter().filter(|event| query.takes(event));
        let kept_from = self.newest - self.events.len() as u64;
        match query.after {
            None => {
                let mut events: Vec<Event> = found.rev().take(query.limit).cloned().collect();
                events.reverse();
                Events { events, next: self.newest, lost: 0 }
            }
            Some(after) => {
                let mut found = found.peekable();
                let events: Vec<Event> = found.by_ref().take(query.limit).cloned().collect();
                let is_whole = found.peek().is_none();
                let last = events.last().map(|event| event.number);
                let next = if is_whole { self.newest.max(after) } else { last.unwrap_or(after) };
                Events { events, next, lost: kept_from.saturating_sub(after.max(self.begin)) }
            }
        }
    }

    /// How often each kind of thing happened, in the order of [`EventKind::ALL`].
    #[must_use]
    pub fn counts(&self) -> Vec<EventCount> {
        let count = |(kind, count): (&EventKind, &u64)| EventCount { kind: *kind, count: *count };
        EventKind::ALL.iter().zip(&self.counts).map(count).collect()
    }
}

#[cfg(test)]
mod tests;
