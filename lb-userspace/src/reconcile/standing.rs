//! Whether frames can be sent to a backend.

use lb_common::backend::Backend;

use super::segments::SegmentsByInterface;
use crate::model::{self, BackendAddr};
use crate::neighbour::{NetworkView, Reach, Unresolved};

/// What keeps frames from a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its MAC is not known.
    Unresolved(Unresolved),
    /// It is behind an interface that drlb is not attached to.
    NotAttached {
        /// The interface's index.
        ifindex: u32,
    },
}

/// Where to send a backend's frames, given where they are sent now.
///
/// While the kernel asks for a MAC, what was known stays good: after a restart of the agent, the first picture of the
/// network often has no answer yet, and forwarding must go on. When nobody answers, it ends.
///
/// # Errors
/// What keeps frames from it.
pub fn reach(
    address: BackendAddr,
    view: &NetworkView,
    segments: &SegmentsByInterface,
    now: Backend,
) -> Result<Backend, Obstacle> {
    match view.backends.get(&address) {
        Some(Reach::Resolved { mac, ifindex }) => match segments.get(ifindex) {
            Some(segment) => Ok(Backend::new(*mac, *segment)),
            None => Err(Obstacle::NotAttached { ifindex: *ifindex }),
        },
        None | Some(Reach::Unresolved { why: Unresolved::Asking }) => {
            let known = now.is_reachable() && segments.values().any(|segment| *segment == now.segment());
            if known {
                Ok(Backend::new(now.mac(), now.segment()))
            } else {
                Err(Obstacle::Unresolved(Unresolved::Asking))
            }
        }
        Some(Reach::Unresolved { why }) => Err(Obstacle::Unresolved(why.clone())),
    }
}

/// The word of a backend's place: nothing is sent to one that is out of service, is down by its health checks, was drained
/// or cannot be reached; one that is draining, has no weight or stands by for others keeps its flows and takes no new ones.
pub(super) fn word_of(
    backend: &model::Backend,
    reached: &Result<Backend, Obstacle>,
    is_up: bool,
    stands_by: bool,
) -> Backend {
    match (reached, backend.drain) {
        (Err(_), _) => Backend::UNREACHABLE,
        _ if !backend.admin_up || !is_up => Backend::UNREACHABLE,
        (_, Some(drain)) if drain.drained => Backend::UNREACHABLE,
        (Ok(word), Some(_)) => word.draining(),
        (Ok(word), None) if backend.weight == 0 || stands_by => word.draining(),
        (Ok(word), None) => *word,
    }
}
