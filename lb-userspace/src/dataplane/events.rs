//! The ring of events, from the program to the agent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use lb_common::event::Event;
use lb_common::maps::EVENTS;

use super::maps::typed;
use crate::model::Fault;

/// The events that the program has told of and nobody has read.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

impl EventRing {
    /// Takes the ring out of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Fault> {
        Ok(Self { ring: typed(ebpf, EVENTS)? })
    }

    /// The oldest event that is there.
    pub fn read(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            // A record of another size would be another version's.
            if let Ok(event) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(event);
            }
        }
    }
}

impl AsRawFd for EventRing {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl AsFd for EventRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl std::fmt::Debug for EventRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventRing").finish_non_exhaustive()
    }
}
