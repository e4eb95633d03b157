//! Looks: at this host's interfaces, at the hosts on the segments, and at the backends' services, all at once.
//!
//! It takes a second, or as long as the slowest health check may take, and [`LONGEST`] at most.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::Questions;
use super::inquiry::Inquiry;
use super::seen::{DeviceSeen, Seen, Told};
use crate::engine::Status;
use crate::ethernet::device;
use crate::ethernet::socket::PacketSocket;
use crate::health::once::{Answer, Once, Tried};
use crate::model::{BackendAddr, Name};
use crate::neighbour::netlink::device::devices;

/// The longest that trying the backends' services takes; what has not answered then was not tried.
pub const LONGEST: Duration = Duration::from_secs(30);
/// How often a question is asked that nobody answers, and how long its answer may take.
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_millis(350);
/// The room for a frame that came in: what is looked at stands at its beginning.
const FRAME: usize = 256;
/// Frames are sent in bursts of this, so that answers fit into the socket's queue.
const BURST: usize = 64;

/// The numbers of pings. Their upper half, the identifier, is below those that health checks have.
static NUMBERS: AtomicU32 = AtomicU32::new(0);
const IDENTIFIERS: u32 = 1_000;

/// Looks at all that there are questions of.
pub async fn look(questions: Arc<Questions>, status: &Status, probes: &mpsc::Sender<Once>) -> Seen {
    let attached = status.interfaces.iter().map(|interface| interface.name.clone());
    let behind = questions.backends.iter().filter_map(|question| Some(question.place.as_ref()?.interface.clone()));
    let names: BTreeSet<String> = attached.chain(behind).collect();
    let devices = look_at_devices(&names).await;
    let mtus = mtus(&questions, &devices);
    let told = spawn_blocking({
        let questions = Arc::clone(&questions);
        move || ask_hosts(&questions, &mtus)
    });
    let (told, tried) = tokio::join!(told, try_services(&questions, probes));
    let told = match told {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(format!("hosts on the segments cannot be asked: {error}; give the agent CAP_NET_RAW")),
        Err(error) => Err(error.to_string()),
    };
    Seen { devices, told, tried, moved: BTreeMap::new() }
}

async fn look_at_devices(names: &BTreeSet<String>) -> BTreeMap<String, DeviceSeen> {
    let found = match devices(names).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!("the interfaces cannot be asked for: {error}");
            BTreeMap::new()
        }
    };
    let seen = |(name, device): (String, _)| {
        let merges_received = device::merges_received(&name).unwrap_or(false);
        let receive_queues = device::receive_queues(&name);
        (name, DeviceSeen { device, merges_received, receive_queues })
    };
    found.into_iter().map(seen).collect()
}

fn mtus(questions: &Questions, devices: &BTreeMap<String, DeviceSeen>) -> BTreeMap<u32, u32> {
    let places = questions.backends.iter().filter_map(|question| question.place.as_ref());
    places.filter_map(|place| Some((place.port.ifindex, devices.get(&place.interface)?.device.mtu))).collect()
}

/// Asks the hosts on the segments, and listens.
fn ask_hosts(questions: &Questions, mtus: &BTreeMap<u32, u32>) -> io::Result<Told> {
    let socket = PacketSocket::listen()?;
    // As many as there can be, so that two that look at a time have their own.
    let first = NUMBERS.fetch_add(5 * questions.backends.len() as u32 + 1, Ordering::Relaxed);
    let first = (1 << 16) + first % (IDENTIFIERS << 16);
    let mut inquiry = Inquiry::new(questions, mtus, first);
    let mut room = [0; FRAME];
    for _ in 0..ROUNDS {
        let until = Instant::now() + ROUND;
        let frames: Vec<(u32, Vec<u8>)> = inquiry.unanswered().map(|(to, frame)| (to, frame.to_vec())).collect();
        for burst in frames.chunks(BURST) {
            for (ifindex, frame) in burst {
                // An interface that is down has nobody behind it, which is named elsewhere.
                if let Err(error) = socket.send(*ifindex, frame) {
                    tracing::debug!("a question on the interface with index {ifindex} was not sent: {error}");
                }
            }
            take_all(&socket, &mut room, &mut inquiry)?;
        }
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| left.as_millis() > 0) {
            socket.wait(left)?;
            take_all(&socket, &mut room, &mut inquiry)?;
        }
    }
    Ok(inquiry.finish())
}

fn take_all(socket: &PacketSocket, room: &mut [u8], inquiry: &mut Inquiry<'_>) -> io::Result<()> {
    while let Some(received) = socket.receive(room)? {
        inquiry.hear(received.ifindex, received.frame, received.unfinished);
    }
    Ok(())
}

/// Tries each backend's service; a second time where there was no answer, as one packet may be lost.
async fn try_services(questions: &Questions, probes: &mpsc::Sender<Once>) -> BTreeMap<(Name, BackendAddr), Tried> {
    let tries: FuturesUnordered<_> = questions
        .backends
        .iter()
        .filter_map(|question| {
            let check = question.check.clone()?;
            let key = (question.listener.clone(), question.backend);
            Some(async move {
                let first = try_once(probes, check.clone()).await?;
                let tried = match &first.vip {
                    Answer::Wrong(_) => try_once(probes, check).await?,
                    _ => first,
                };
                Some((key, tried))
            })
        })
        .collect();
    let deadline = tokio::time::sleep(LONGEST);
    tries.take_until(deadline).filter_map(std::future::ready).collect().await
}

async fn try_once(probes: &mpsc::Sender<Once>, check: crate::health::Check) -> Option<Tried> {
    let (reply, tried) = oneshot::channel();
    probes.send(Once { check, reply }).await.ok()?;
    tried.await.ok()
}
