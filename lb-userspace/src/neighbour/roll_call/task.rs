//! The task that calls the roll.
//!
//! | input | depth | what it does |
//! |---|---|---|
//! | the picture of the network; VIPs and interfaces | `watch`: only the latest counts | says who is asked |
//! | answers | the sockets' queues in the kernel; one that does not fit is lost | are taken before each look at what is due |
//! | timer | one deadline, no more often than each [`TICK`] | questions that are due |
//!
//! It has no output but frames. Dropping it at any await loses nothing. While nobody is to be asked it has no sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::places;
use super::roll::{Question, Roll};
use crate::announce::Owned;
use crate::ethernet::questions::{Heard, hear};
use crate::ethernet::socket::{Announcing, PacketSocket};
use crate::model::BackendAddr;
use crate::neighbour::NetworkView;

/// The shortest time between two looks at what is due: those of many backends are sent together, up to
/// [`BURST`](super::roll::BURST).
pub const TICK: Duration = Duration::from_millis(5);
/// How long the task waits when nobody is to be asked: any time will do.
const IDLE: Duration = Duration::from_secs(3_600);
/// The room for an answer: what is looked at stands at its beginning.
const FRAME: usize = 128;

/// Calls the roll until the engine ends.
pub async fn run(mut views: watch::Receiver<Arc<NetworkView>>, mut owned: watch::Receiver<Arc<Owned>>) {
    let start = Instant::now();
    let mut roll = Roll::default();
    let mut ears: Option<Ears> = None;
    let mut has_failed = false;
    loop {
        roll.set(&places(&views.borrow_and_update(), &owned.borrow_and_update()), start.elapsed());
        if roll.is_empty() {
            ears = None;
        } else if ears.is_none() {
            match Ears::open() {
                Ok(opened) => (ears, has_failed) = (Some(opened), false),
                // With the next change of the network it is tried again, and not told again.
                Err(error) => {
                    if !has_failed {
                        warn!("{CANNOT}: {error}; give the agent CAP_NET_RAW");
                    }
                    has_failed = true;
                }
            }
        }
        loop {
            let wake = match &ears {
                Some(ears) => {
                    // Answers first: they may be older than what is due.
                    ears.take(&mut roll, start.elapsed());
                    ears.ask(&roll.due(start.elapsed()));
                    roll.next().map(|next| (start + next).max(Instant::now() + TICK))
                }
                None => None,
            };
            tokio::select! {
                changed = views.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                changed = owned.changed() => match changed {
                    Ok(()) => break,
                    // The engine has ended.
                    Err(_) => return,
                },
                () = sleep_until(wake.unwrap_or_else(|| Instant::now() + IDLE)) => {}
            }
        }
    }
}

/// What it means that there are no sockets.
const CANNOT: &str = "backends cannot be asked whether they are still at their MACs, so that one that moves without a word is \
                      noticed by the kernel alone, within a minute";

/// Where questions go out and answers come in.
struct Ears {
    arp: PacketSocket,
    discovery: PacketSocket,
}

impl Ears {
    fn open() -> io::Result<Self> {
        Ok(Self {
            arp: PacketSocket::listen_to_neighbours(Announcing::Arp)?,
            discovery: PacketSocket::listen_to_neighbours(Announcing::Discovery)?,
        })
    }

    fn ask(&self, questions: &[Question]) {
        for Question { ifindex, frame } in questions {
            // An interface that is down or gone is out of the picture in a moment.
            if let Err(error) = self.arp.send(*ifindex, frame) {
                debug!("a question on the interface with index {ifindex} was not sent: {error}");
            }
        }
    }

    fn take(&self, roll: &mut Roll, now: Duration) {
        let mut room = [0; FRAME];
        for socket in [&self.arp, &self.discovery] {
            loop {
                match socket.receive(&mut room) {
                    Ok(Some(received)) => {
                        if let Some(Heard::Has { address, mac, .. }) = hear(received.frame)
                            && let Ok(backend) = BackendAddr::try_from(address)
                        {
                            roll.hear(backend, mac, now);
                        }
                    }
                    Ok(None) => break,
                    // A link that went down tells so once.
                    Err(error) => {
                        debug!("answers of backends could not be read: {error}");
                        break;
                    }
                }
            }
        }
    }
}
