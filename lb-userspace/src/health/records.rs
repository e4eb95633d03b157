//! What is known of each backend that is checked. Pure: it is told the time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::{Machine, Step};
use super::{BackendHealth, Cause, Check, CheckKey, Checks, HealthView, Standing};

#[derive(Clone, Debug)]
struct Record {
    machine: Machine,
    cause: Cause,
    /// What the last probe that failed said, or why none can be sent.
    reason: Option<String>,
    since: Option<u64>,
    /// The probe that is under way; those before it don't count any more.
    round: u64,
    /// True if a probe has come to an end, or it is known that none can be sent.
    looked: bool,
}

/// The records, and whether they have changed since they were last told.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    records: BTreeMap<CheckKey, Record>,
    news: bool,
}

impl Records {
    /// Takes up a check. True if it is new. If it is not, and whoever asks for it believes it to stand otherwise, as when it
    /// was taken away and came back so fast that nobody here saw it go, then what is known is told again.
    pub(super) fn put(&mut self, key: &CheckKey, check: &Check, now: Duration) -> bool {
        if let Some(record) = self.records.get(key) {
            self.news |= record.looked && record.machine.standing() != check.first;
            return false;
        }
        let machine = Machine::new(check.first, now);
        let record = Record { machine, cause: Cause::Service, reason: None, since: None, round: 0, looked: false };
        self.records.insert(key.clone(), record);
        true
    }

    /// Forgets a check.
    pub(super) fn remove(&mut self, key: &CheckKey) {
        self.news |= self.records.remove(key).is_some();
    }

    /// Notes that a probe has begun.
    pub(super) fn began(&mut self, key: &CheckKey, round: u64) {
        if let Some(record) = self.records.get_mut(key) {
            record.round = round;
        }
    }

    /// True if that probe is the one that counts.
    pub(super) fn is_current(&self, key: &CheckKey, round: u64) -> bool {
        self.records.get(key).is_some_and(|record| record.round == round)
    }

    /// Takes what a probe found.
    pub(super) fn probed(
        &mut self,
        key: &CheckKey,
        check: &Check,
        result: Result<(), String>,
        now: Duration,
        unix: u64,
    ) {
        let Some(record) = self.records.get_mut(key) else { return };
        let before = (record.machine.is_flapping(), record.machine.needed(&check.spec));
        let step = record.machine.probed(result.is_ok(), &check.spec, now);
        if step != Step::Same {
            record.since = Some(unix);
            record.cause = Cause::Service;
        }
        let reason = match result {
            Err(why) => Some(why),
            // Until it is up, what was wrong is worth knowing.
            Ok(()) if record.machine.standing() == Standing::Down => record.reason.clone(),
            Ok(()) => None,
        };
        let after = (record.machine.is_flapping(), record.machine.needed(&check.spec));
        self.news |= step != Step::Same || before != after || record.reason != reason || !record.looked;
        (record.reason, record.looked) = (reason, true);
    }

    /// Takes whether a backend that is down answers by its own address.
    pub(super) fn own_address(&mut self, key: &CheckKey, answers: bool) {
        if let Some(record) = self.records.get_mut(key).filter(|record| record.machine.standing() == Standing::Down) {
            let cause = if answers { Cause::VipPath } else { Cause::Service };
            self.news |= record.cause != cause;
            record.cause = cause;
        }
    }

    /// Takes that no probe can be sent, and why: the standing stays.
    pub(super) fn skipped(&mut self, key: &CheckKey, reason: String) {
        if let Some(record) = self.records.get_mut(key) {
            self.news |= record.reason.as_ref() != Some(&reason) || !record.looked;
            (record.reason, record.looked) = (Some(reason), true);
        }
    }

    /// True if a backend is down.
    pub(super) fn is_down(&self, key: &CheckKey) -> bool {
        self.records.get(key).is_some_and(|record| record.machine.standing() == Standing::Down)
    }

    /// True if there is something that was not told.
    pub(super) const fn has_news(&self) -> bool {
        self.news
    }

    /// What is to be told.
    pub(super) fn view(&mut self, checks: &Checks) -> HealthView {
        self.news = false;
        let health = |(key, record): (&CheckKey, &Record)| {
            let spec = &checks.checks.get(key)?.spec;
            let health = BackendHealth {
                standing: record.machine.standing(),
                cause: record.cause,
                reason: record.reason.clone(),
                since: record.since,
                flapping: record.machine.is_flapping(),
                needed: record.machine.needed(spec),
            };
            record.looked.then(|| (key.clone(), health))
        };
        HealthView { backends: self.records.iter().filter_map(health).collect() }
    }
}
