//! The task that follows the kernel's links, routes and neighbours. The only home of netlink.
//!
//! # The task
//! [`follow`] is one task. It owns the picture and nobody else touches it.
//!
//! | input | depth | what it does |
//! |---|---|---|
//! | targets | `watch`: only the latest set counts | looks up the routes of the new ones, lets go of the old ones |
//! | kernel events | the socket's queue in the kernel | changes the picture; overrun means reading all anew |
//! | timer | one deadline | route lookups that were put off, and a new attempt after a failure |
//!
//! Its output is a `watch` with the latest [`NetworkView`], sent only when it differs from the last one. The first view
//! is sent when all links and neighbours were read once and the backends had a moment to answer.
//!
//! It writes to the kernel in one way: it makes the neighbour entry of each on-link target *managed* (`NTF_EXT_MANAGED`,
//! Linux 5.16), so that the kernel itself resolves it and asks again before it grows stale. So a backend's MAC is known
//! before the first packet, without probes of our own. Entries that the operator made permanent are left alone.
//!
//! # Cancel safety
//! Dropping the future of [`follow`] at any await leaves nothing half done: what it changes in the kernel is one request
//! each, and whichever entries are managed then stay so, marked as drlb's. That is wanted when the agent stops or
//! dies, as the data plane goes on. The next run takes them over, and releases those that are no targets any more;
//! [`release_all`] does it when nothing is attached any longer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::events::{Event, Events};
use self::requests::{Kernel, RequestError};
use super::picture::{Action, NeighbourState, Picture};
use super::{NetworkView, Targets};

mod decode;
pub mod device;
mod events;
pub mod probe_link;
mod requests;

/// Route lookups for all targets are at least this far apart, so that a host whose routing table churns has time left.
const BETWEEN_LOOKUPS: Duration = Duration::from_millis(200);
/// How long the first view waits for backends that the kernel is asking for. After a restart their flows go on by what
/// the maps hold; a view that calls them unresolved just because nobody had asked would take the flows away.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);
/// How long to wait after the first failed attempt; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Follows the kernel in this thread's network namespace until the sender of `targets` is dropped.
///
/// # Errors
/// When netlink sockets cannot be opened or read. A request that the kernel refuses is logged and tried again.
pub async fn follow(
    mut targets: watch::Receiver<Arc<Targets>>,
    views: watch::Sender<Arc<NetworkView>>,
) -> io::Result<()> {
    let mut events = Events::subscribe()?;
    let mut follower = Follower::new(Kernel::connect()?);
    // The first picture is told even if it shows nothing, as on a host with no link up: somebody waits for it.
    let mut told = false;
    loop {
        let current = targets.borrow_and_update().clone();
        follower.catch_up(&current).await?;
        if follower.may_speak(&current) {
            let view = follower.picture.view(&current);
            views.send_if_modified(|last| {
                let differs = !told || **last != view;
                if differs {
                    *last = Arc::new(view);
                }
                differs
            });
            told = true;
        }
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return Ok(()) },
            batch = events.next_batch() => batch?.into_iter().for_each(|event| follower.apply(event)),
            () = sleep_until(follower.wake_at()) => {}
        }
    }
}

/// Makes the kernel treat every neighbour that drlb manages as any other again: for when nothing is attached any more.
///
/// # Errors
/// When the kernel cannot be asked, or refuses.
pub async fn release_all() -> io::Result<()> {
    let kernel = Kernel::connect()?;
    let mut picture = Picture::default();
    picture.set_all_neighbours(kernel.neighbours().await.map_err(io::Error::other)?);
    for action in picture.actions(&Targets::default()) {
        if let Action::Release { key } = action {
            kernel.release(key).await.map_err(io::Error::other)?;
        }
    }
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The picture, and what has to be done to make it true again.
struct Follower {
    kernel: Kernel,
    picture: Picture,
    /// Until when the first view waits for answers; not set before links and neighbours were read, and after that view.
    first_view_by: Option<Instant>,
    /// True when the first view may be, or was, sent.
    speaks: bool,
    /// Links and neighbours must be read anew.
    must_resync: bool,
    /// The routes of all targets must be looked up anew.
    must_look_up: bool,
    /// When the routes of all targets may be looked up again.
    next_look_up: Instant,
    /// After a failure: when to try again, and how long the wait after the next one is.
    retry_at: Option<Instant>,
    retry_after: Duration,
}

impl Follower {
    fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            picture: Picture::default(),
            first_view_by: None,
            speaks: false,
            must_resync: true,
            must_look_up: true,
            next_look_up: Instant::now(),
            retry_at: None,
            retry_after: FIRST_RETRY,
        }
    }

    /// When there is something to do even if nothing happens. After a failure nothing is done before its retry.
    fn wake_at(&self) -> Option<Instant> {
        let retry_or_look_up = self.retry_at.or(self.must_look_up.then_some(self.next_look_up));
        retry_or_look_up.into_iter().chain(self.first_view_by).min()
    }

    /// True if a view can be sent: all was read, and the first one has waited for the backends' answers.
    fn may_speak(&mut self, targets: &Targets) -> bool {
        if let Some(deadline) = self.first_view_by
            && (Instant::now() >= deadline || !self.picture.is_asking(targets))
        {
            self.first_view_by = None;
            self.speaks = true;
        }
        self.speaks
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Link(ifindex, facts) => {
                self.picture.links.insert(ifindex, facts);
                // A link that goes up or down changes what a lookup answers, also where no route is announced for it.
                self.must_look_up = true;
            }
            Event::LinkGone(ifindex) => {
                self.picture.remove_link(ifindex);
                self.must_look_up = true;
            }
            Event::Neighbour(key, entry) => {
                self.picture.set_neighbour(key, entry);
            }
            Event::NeighbourGone(key) => self.picture.remove_neighbour(key),
            Event::Routes => self.must_look_up = true,
            Event::Missed(why) => {
                self.picture.missed.times += 1;
                self.picture.missed.why = Some(why);
                self.must_resync = true;
            }
        }
    }

    /// Does what is due, and plans another attempt if the kernel refused something.
    async fn catch_up(&mut self, targets: &Targets) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        match self.try_to_catch_up(targets).await {
            Ok(()) => {
                self.retry_at = None;
                self.retry_after = FIRST_RETRY;
                Ok(())
            }
            Err(error) if error.is_broken_connection() => Err(io::Error::other(error)),
            Err(error) => {
                tracing::warn!("{error}; the next attempt is in {} s", self.retry_after.as_secs());
                self.must_resync = true;
                self.retry_at = Some(Instant::now() + self.retry_after);
                self.retry_after = (self.retry_after * 2).min(LAST_RETRY);
                Ok(())
            }
        }
    }

    async fn try_to_catch_up(&mut self, targets: &Targets) -> Result<(), RequestError> {
        if self.must_resync {
            self.picture.links = self.kernel.links().await?;
            self.picture.set_all_neighbours(self.kernel.neighbours().await?);
            self.must_resync = false;
            self.must_look_up = true;
            if !self.speaks {
                self.first_view_by.get_or_insert(Instant::now() + FIRST_ANSWERS);
            }
        }
        self.look_up(targets).await?;
        // One neighbour that the kernel refuses (its table is full, say) must not keep the others from being resolved.
        let mut first_error = None;
        for action in self.picture.actions(targets) {
            if let Err(error) = self.perform(action).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Looks up the routes that are missing, and all of them when that is due.
    async fn look_up(&mut self, targets: &Targets) -> Result<(), RequestError> {
        let all = self.must_look_up && Instant::now() >= self.next_look_up;
        for &backend in &targets.backends {
            if all || !self.picture.routes.contains_key(&backend) {
                let route = self.kernel.route(backend.ip()).await?;
                self.picture.routes.insert(backend, route);
            }
        }
        if all {
            self.picture.addresses = self.kernel.addresses().await?;
            self.must_look_up = false;
            self.next_look_up = Instant::now() + BETWEEN_LOOKUPS;
        }
        self.picture.forget_all_but(targets);
        Ok(())
    }

    async fn perform(&mut self, action: Action) -> Result<(), RequestError> {
        let key = match action {
            Action::Manage { key, exists: true } => {
                self.kernel.manage_known(key).await?;
                key
            }
            Action::Manage { key, exists: false } => {
                // The kernel does not announce an entry before it is resolved, so there can be one that the picture
                // does not have. It is looked at first, as it may be the operator's.
                if !self.kernel.manage_new(key).await?
                    && let Some(entry) = self.kernel.neighbour(key).await?
                    && entry.state != NeighbourState::Fixed
                {
                    self.kernel.manage_known(key).await?;
                }
                key
            }
            Action::Release { key } => {
                self.kernel.release(key).await?;
                key
            }
        };
        match self.kernel.neighbour(key).await? {
            Some(entry) => self.picture.set_neighbour(key, entry),
            None => self.picture.remove_neighbour(key),
        }
        Ok(())
    }
}
