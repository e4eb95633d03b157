//! What the XDP program tells of, as it comes.

use std::io;

use lb_common::event::Event;
use tokio::io::unix::AsyncFd;

use crate::dataplane::EventRing;

/// The events of the program, the oldest first. One that comes while the ring is full is lost.
#[derive(Debug)]
pub struct Events {
    ring: AsyncFd<EventRing>,
}

impl Events {
    /// To be called within a tokio runtime that has its I/O enabled.
    pub(super) fn new(ring: EventRing) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the ring owns its descriptor until it is dropped, which is all that `new` can't know"
        )]
        let ring = AsyncFd::new(ring)?;
        Ok(Self { ring })
    }

    /// Throws away what is there.
    pub fn skip(&mut self) {
        while self.ring.get_mut().read().is_some() {}
    }

    /// The next one. Nothing is lost if this is dropped before it is done.
    ///
    /// # Errors
    /// The kernel's, which would be a bug.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.ring.get_mut().read() {
                return Ok(event);
            }
            let mut ready = self.ring.readable_mut().await?;
            match ready.get_inner_mut().read() {
                Some(event) => return Ok(event),
                None => ready.clear_ready(),
            }
        }
    }
}
