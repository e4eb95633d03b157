//! The engine's thread: takes one request after the other, and compares everything once in a while.

use std::sync::{PoisonError, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use super::{Flows, Mailbox, Newest, Status};
use crate::config::Plan;
use crate::doctor;
use crate::model::{Command, Fault, Name};
use crate::octavia::{self, Refusal, Reply};

/// How long what the API's requests change may show as pending to those who asked before.
const SETTLE: Duration = Duration::from_millis(50);
/// How often everything is compared, against what others may have done to the maps and links.
const FULL_COMPARISON: Duration = Duration::from_secs(60);
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often what is remembered of flows is looked through, while there is something.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is looked whether flows were refused, or could not be remembered.
const LIMITS: Duration = Duration::from_secs(1);
/// The pause after a sweep, in times of what it took: where there is so much that it takes long, sweeps are fewer.
const PAUSE: u32 = 3;
/// How long a command waits for the picture of the network that it needs. The first one takes the kernel some
/// milliseconds, and so does that of an interface that was made just now.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of the engine.
pub(super) enum Request {
    /// Do a command.
    Execute(Command, oneshot::Sender<Result<(), Fault>>),
    /// Answer a request of the OpenStack API, that came at this time.
    Octavia(Box<octavia::Request>, Instant, oneshot::Sender<Result<Reply, Refusal>>),
    /// Give a snapshot.
    Status(oneshot::Sender<Result<Status, Fault>>),
    /// Tell what is remembered of flows, of a listener or of all, so many at most.
    Flows(Option<Name>, usize, oneshot::Sender<Result<Flows, Fault>>),
    /// Compare a file with what is.
    PlanFile(String, oneshot::Sender<Result<Plan, Fault>>),
    /// Write what is as a file.
    Export(oneshot::Sender<String>),
    /// Tell what the doctor is to ask.
    Questions(oneshot::Sender<doctor::Questions>),
    /// There is a new picture of the network, or of the backends' health.
    Look,
    /// Stop, and answer when all is closed.
    Stop(oneshot::Sender<()>),
}

/// A command that waits for a picture of the network.
struct Waiting {
    command: Command,
    reply: oneshot::Sender<Result<(), Fault>>,
    until: Instant,
}

/// Starts the thread.
///
/// # Errors
/// The host has no thread left.
pub(super) fn start(core: Core, requests: mpsc::Receiver<Request>, newest: Mailbox) -> Result<(), Fault> {
    let no_thread = |error| Fault::unavailable(format!("the engine's thread cannot be started: {error}"));
    let (started, has_started) = std_mpsc::sync_channel(1);
    let run = move || {
        // The timer and the queue are tokio's; the work itself blocks this thread, which is there for that.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = match runtime {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                runtime
            }
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let now = Instant::now();
        runtime.block_on(
            Loop {
                core,
                requests,
                newest,
                waiting: Vec::new(),
                compare_at: now,
                sweep_at: now,
                swept_at: now,
                began: now,
                limits_at: now,
                unsettled_since: None,
            }
            .run(),
        );
    };
    thread::Builder::new().name("engine".to_owned()).spawn(run).map_err(no_thread)?;
    has_started.recv().map_err(|_| Fault::internal("the engine's thread ended at once"))?.map_err(no_thread)
}

struct Loop {
    core: Core,
    requests: mpsc::Receiver<Request>,
    newest: Mailbox,
    waiting: Vec<Waiting>,
    compare_at: Instant,
    /// When the next sweep may begin.
    sweep_at: Instant,
    /// When the last one began.
    swept_at: Instant,
    /// When the thread began.
    began: Instant,
    /// When the limits are looked at next.
    limits_at: Instant,
    /// Since when something shows as pending: from before its answer on.
    unsettled_since: Option<Instant>,
}

impl Loop {
    async fn run(mut self) {
        self.compare_at = Instant::now() + FULL_COMPARISON;
        let stop = loop {
            let wake = self.wake();
            let request = tokio::select! {
                // Between two steps of a sweep or of a comparison, requests come first.
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => request,
                    // Nobody is left who could ask anything.
                    None => break None,
                },
                () = sleep_until(wake) => Request::Look,
            };
            self.look();
            match request {
                Request::Execute(command, reply) => {
                    let until = Instant::now() + PATIENCE;
                    self.waiting.push(Waiting { command, reply, until });
                }
                Request::Octavia(request, came_at, reply) => {
                    // Who asks after any of the changes that are pending was answered finds them carried out. Who asked before
                    // is the second of two that change the same, and is refused if it is so.
                    if self.core.is_unsettled() && self.unsettled_since.is_none_or(|since| came_at > since) {
                        self.settle();
                    }
                    let answered = self.core.octavia(&request);
                    if self.core.is_unsettled() {
                        self.unsettled_since.get_or_insert_with(Instant::now);
                    }
                    let _ = reply.send(answered);
                }
                Request::Status(reply) => {
                    let _ = reply.send(self.core.status());
                }
                Request::Flows(listener, limit, reply) => {
                    let _ = reply.send(self.core.flows(listener.as_ref(), limit));
                }
                Request::PlanFile(text, reply) => {
                    let _ = reply.send(self.core.plan_file(&text));
                }
                Request::Export(reply) => {
                    let _ = reply.send(self.core.export());
                }
                Request::Questions(reply) => {
                    let _ = reply.send(self.core.questions());
                }
                Request::Look => {}
                Request::Stop(reply) => break Some(reply),
            }
            self.settle_if_due();
            self.execute_what_can_be();
            self.compare_if_due();
            self.sweep_if_due();
            self.look_at_limits_if_due();
        };
        self.core.stop();
        // Closes the store and the maps before anyone hears that they are closed.
        drop(self.core);
        if let Some(reply) = stop {
            let _ = reply.send(());
        }
    }

    /// When there is something to do though nobody asks.
    fn wake(&self) -> Instant {
        if self.core.is_sweeping() || self.core.is_comparing() {
            return Instant::now();
        }
        let sweep = self.core.has_flows().then_some(self.sweep_at);
        let waiting = self.waiting.iter().map(|waiting| waiting.until);
        waiting.chain(sweep).fold(self.compare_at.min(self.limits_at), Instant::min)
    }

    fn look_at_limits_if_due(&mut self) {
        let now = Instant::now();
        if now >= self.limits_at {
            self.core.look_at_limits(now - self.began);
            self.limits_at = now + LIMITS;
        }
    }

    fn sweep_if_due(&mut self) {
        let now = Instant::now();
        if !self.core.is_sweeping() {
            if !self.core.has_flows() || now < self.sweep_at {
                return;
            }
            self.swept_at = now;
        }
        self.core.sweep();
        let end = Instant::now();
        self.sweep_at = (self.swept_at + SWEEP).max(end + (end - self.swept_at) * PAUSE);
    }

    fn look(&mut self) {
        let Newest { network, health } =
            std::mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner));
        let network = network.map_or(Ok(()), |view| self.core.network_changed(view));
        let health = health.map_or(Ok(()), |view| self.core.health_changed(view));
        if network.and(health).is_err() {
            self.compare_at = Instant::now() + RETRY;
        }
    }

    /// Nothing shows as pending when all who asked meanwhile are answered, or for long.
    fn settle_if_due(&mut self) {
        if !self.core.is_unsettled() {
            self.unsettled_since = None;
            return;
        }
        let since = *self.unsettled_since.get_or_insert_with(Instant::now);
        if self.requests.is_empty() || since.elapsed() >= SETTLE {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.unsettled_since = None;
        // What goes may have made room.
        if self.core.settle().is_err() || self.core.leaves_out() {
            self.compare_at = self.compare_at.min(Instant::now() + RETRY);
        }
    }

    fn execute_what_can_be(&mut self) {
        let now = Instant::now();
        for Waiting { command, reply, until } in std::mem::take(&mut self.waiting) {
            if self.core.can_execute(&command) || now >= until {
                let _ = reply.send(self.core.execute(&command));
                if self.core.leaves_out() {
                    self.compare_at = self.compare_at.min(now + RETRY);
                }
            } else {
                self.waiting.push(Waiting { command, reply, until });
            }
        }
    }

    fn compare_if_due(&mut self) {
        let done = if self.core.is_comparing() {
            self.core.compare_some()
        } else if Instant::now() >= self.compare_at {
            self.compare_at = Instant::now() + FULL_COMPARISON;
            self.core.begin_comparison()
        } else {
            Ok(())
        };
        if done.is_err() {
            self.compare_at = Instant::now() + RETRY;
        }
    }
}
