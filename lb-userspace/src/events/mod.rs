//! What happened, lately: the log that `drlb events` shows.
//!
//! ```text
//!   engine, announcer, agent ──[News]──▶ EventLog ──▶ ring in memory ──▶ API, `drlb events`, counts in `drlb stats`
//!                                           └──▶ the agent's log
//! ```
//!
//! [`kind`] is the closed list of what can happen, [`ring`] keeps the latest; [`network`], [`health`] and [`limits`] find
//! out what happened by comparing. All these are pure. This file has the clock and those who wait. The ring ends with the
//! agent; what was in it is in the agent's log (the journal, usually).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub mod health;
pub mod kind;
pub mod limits;
pub mod network;
pub mod ring;

pub use kind::{EventKind, Severity};
pub use ring::{Event, EventCount, Events, MOST_EVENTS, News, Query};

use ring::Ring;

/// A handle to the events. Clones tell and show the same.
#[derive(Clone, Debug)]
pub struct EventLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// The number of the newest event; `None` when nobody is to wait any more.
    newest: watch::Sender<Option<u64>>,
}

impl Default for EventLog {
    /// A log in which nothing has happened yet. Numbers begin at the time in microseconds, so that they grow from one
    /// agent to the next.
    fn default() -> Self {
        let ring = Ring::new(since_1970().as_micros() as u64);
        let newest = watch::Sender::new(Some(ring.newest()));
        Self { inner: Arc::new(Inner { ring: Mutex::new(ring), newest }) }
    }
}

impl EventLog {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that something happened: it is kept, logged, and shown to those who wait for it.
    pub fn tell(&self, news: News) {
        match news.kind.severity() {
            Severity::Info => tracing::info!("{}: {}", news.kind, news.text),
            Severity::Warning => tracing::warn!("{}: {}", news.kind, news.text),
        }
        let newest = self.ring().push(news, since_1970().as_millis() as u64).number;
        self.inner.newest.send_if_modified(|known| {
            let waits = known.is_some();
            *known = known.map(|_| newest);
            waits
        });
    }

    /// Tells that several things happened, in their order.
    pub fn tell_all(&self, news: impl IntoIterator<Item = News>) {
        news.into_iter().for_each(|news| self.tell(news));
    }

    /// How often each kind of thing happened.
    #[must_use]
    pub fn counts(&self) -> Vec<EventCount> {
        self.ring().counts()
    }

    /// The events that are asked for. If there is none, waits until there is, but no longer than `patience`.
    pub async fn ask(&self, mut query: Query, patience: Duration) -> Events {
        let deadline = Instant::now() + patience;
        let mut newest = self.inner.newest.subscribe();
        loop {
            let is_open = newest.borrow_and_update().is_some();
            let answer = self.ring().ask(&query);
            if !answer.events.is_empty() || !is_open {
                return answer;
            }
            // What was looked at need not be looked at again.
            query.after = Some(answer.next);
            if !matches!(timeout_at(deadline, newest.changed()).await, Ok(Ok(()))) {
                return answer;
            }
        }
    }

    /// Sends home all who wait, now and from now on: the agent ends.
    pub fn close(&self) {
        self.inner.newest.send_replace(None);
    }
}

pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
