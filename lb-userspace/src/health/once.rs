//! Probes that are asked for once, by the doctor: sent as those of checks are, by the VIP and by the backend's own address, and
//! without a standing that would follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};

use super::Check;
use super::probe::Failed;

/// How many may wait to be begun: whoever asks for more waits with them.
const WAITING: usize = 64;

/// What is asked.
#[derive(Debug)]
pub struct Once {
    /// What is sent, and where.
    pub check: Check,
    /// Where the answer goes. Nobody need wait for it.
    pub reply: oneshot::Sender<Tried>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// By the VIP, on the backend's MAC.
    pub vip: Answer,
    /// By the backend's own address, as any host speaks to it.
    pub own: Answer,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The right answer.
    Right,
    /// Another one, or none.
    Wrong(String),
    /// It was not sent.
    NotSent(String),
}

impl From<Result<(), Failed>> for Answer {
    fn from(result: Result<(), Failed>) -> Self {
        match result {
            Ok(()) => Self::Right,
            Err(Failed::There(why)) => Self::Wrong(why),
            Err(Failed::Here(why)) => Self::NotSent(why),
        }
    }
}

/// A channel for questions.
#[must_use]
pub fn channel() -> (mpsc::Sender<Once>, mpsc::Receiver<Once>) {
    mpsc::channel(WAITING)
}

/// A question and what is known of its answer.
#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Tried>,
    source: Option<IpAddr>,
    vip: Option<Answer>,
    own: Option<Answer>,
}

/// The questions that are being answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pending: BTreeMap<u64, Pending>,
}

impl Questions {
    /// Takes up a question, whose probe is sent from this address of the balancer.
    pub(super) fn begin(&mut self, number: u64, reply: oneshot::Sender<Tried>, source: Option<IpAddr>) {
        self.pending.insert(number, Pending { reply, source, vip: None, own: None });
    }

    /// Notes what came of the probe by the VIP.
    pub(super) fn by_vip(&mut self, number: u64, answer: Answer) {
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.vip = Some(answer);
            self.answer(number);
        }
    }

    /// Notes what came of the probe of the own address.
    pub(super) fn by_own_address(&mut self, number: u64, answer: Answer) {
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.own = Some(answer);
            self.answer(number);
        }
    }

    /// Answers a question when both are known.
    fn answer(&mut self, number: u64) {
        let is_known = |pending: &Pending| pending.vip.is_some() && pending.own.is_some();
        if self.pending.get(&number).is_some_and(is_known)
            && let Some(Pending { reply, vip: Some(vip), own: Some(own), .. }) = self.pending.remove(&number)
        {
            let _ = reply.send(Tried { vip, own });
        }
    }

    /// The addresses that are sent from.
    pub(super) fn sources(&self) -> BTreeSet<IpAddr> {
        self.pending.values().filter(|pending| pending.vip.is_none()).filter_map(|pending| pending.source).collect()
    }
}
