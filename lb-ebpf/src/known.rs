//! What is known of a packet that is not like nearly all of them, from step to step.

use lb_common::listener::Listener;

use crate::parse::Headers;
use crate::select::{Chosen, Place};

/// What is known of a packet on its way. Whoever calls gives the room for it: where the program runs there is little on the
/// stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What its headers say.
    pub headers: Headers,
    /// The listener that it is for.
    pub listener: Listener,
    /// The slot of its flow.
    pub place: Place,
    /// The backend that was chosen for it.
    pub chosen: Chosen,
}

impl Known {
    /// Notes the listener.
    #[inline(always)]
    pub fn note_listener(&mut self, listener: &Listener) {
        // An assignment would be a `memmove`, which on BPF is a loop over its bytes and costs more than the look-up.
        // SAFETY: both are valid, and a listener in its table is no part of what is known of a packet.
        unsafe { core::ptr::copy_nonoverlapping(listener, &mut self.listener, 1) };
    }

    /// Nothing.
    pub const NOTHING: Self =
        Self { headers: Headers::NONE, listener: Listener::NONE, place: Place::NONE, chosen: Chosen::NONE };
}
