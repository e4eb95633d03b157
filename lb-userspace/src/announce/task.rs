//! The task that announces and defends the VIPs.
//!
//! | input | depth | what it does |
//! |---|---|---|
//! | what is owned | `watch`: only the latest counts | what is new is announced |
//! | events of the program | a ring in the kernel; what does not fit is lost | rivals are named and answered |
//! | timer | one deadline | announcements that are due |
//!
//! Its output is a `watch` with the latest [`Watched`]. Dropping it at any await loses nothing but time.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::keeper::{Happened, Keeper, Sending, What};
use super::{Owned, Watched};
use crate::engine::Events;
use crate::ethernet::socket::PacketSocket;
use crate::events::{EventKind, EventLog, News};
use crate::model::Vip;

/// How long the task waits when nothing is due: any time will do.
const IDLE: Duration = Duration::from_secs(3_600);

/// Announces what is owned and answers events, until the engine ends.
///
/// # Errors
/// The events cannot be read.
pub async fn run(
    mut owned: watch::Receiver<Arc<Owned>>,
    mut events: Events,
    watched: watch::Sender<Arc<Watched>>,
    log: EventLog,
) -> io::Result<()> {
    let start = Instant::now();
    let (socket, fault) = match PacketSocket::open() {
        Ok(socket) => (Some(socket), None),
        Err(error) => {
            let fault = format!("VIPs can't be announced: {error}; give the agent CAP_NET_RAW");
            warn!("{fault}");
            (None, Some(fault))
        }
    };
    // What was told while no agent ran is old news.
    events.skip();
    let mut keeper = Keeper::default();
    keeper.owns(Owned::clone(&owned.borrow_and_update()), start.elapsed());
    loop {
        let now = start.elapsed();
        send(socket.as_ref(), &keeper.due(now));
        // Without a socket, nothing is announced or defended.
        let is_heard = |one: &Happened| socket.is_some() || matches!(one.what, What::Contested(_) | What::Wanted(_));
        log.tell_all(keeper.take_happened().into_iter().filter(is_heard).filter_map(news_of));
        let rivals = keeper.rivals(now, unix_now());
        let latest = Watched { rivals, fault: fault.clone() };
        watched.send_if_modified(|known| {
            let changed = **known != latest;
            *known = Arc::new(latest);
            changed
        });
        let next = start + keeper.next().unwrap_or(now + IDLE);
        tokio::select! {
            changed = owned.changed() => match changed {
                Ok(()) => keeper.owns(Owned::clone(&owned.borrow_and_update()), start.elapsed()),
                // The engine has ended.
                Err(_) => return Ok(()),
            },
            event = events.next() => {
                let answers = keeper.hear(&event?, start.elapsed());
                send(socket.as_ref(), &answers);
            }
            () = sleep_until(next) => {}
        }
    }
}

/// What happened to a VIP, for the log.
fn news_of(Happened { what, vip, interface }: Happened) -> Option<News> {
    let (kind, text) = match what {
        What::Announced => (EventKind::VipAnnounced, format!("{vip} is announced on {interface}")),
        What::Contested(mac) => {
            (EventKind::VipContested, format!("the host {mac} behind {interface} says that it has {vip}"))
        }
        What::Wanted(mac) => {
            (EventKind::VipWanted, format!("the host {mac} behind {interface} wanted {vip} for itself"))
        }
        What::Defended(mac) => {
            (EventKind::VipDefended, format!("{vip} was announced on {interface} against the host {mac}"))
        }
    };
    Some(News::new(kind, text).of_vip(Vip::try_from(vip).ok()?).on(interface))
}

fn send(socket: Option<&PacketSocket>, frames: &[Sending]) {
    let Some(socket) = socket else { return };
    for Sending { ifindex, frame } in frames {
        // An interface that is down or gone has nobody behind it that could hear.
        if let Err(error) = socket.send(*ifindex, frame) {
            tracing::debug!("an announcement on the interface with index {ifindex} was not sent: {error}");
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
