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
    /// Nothing.
    pub const NOTHING: Self =
        Self { headers: Headers::NONE, listener: Listener::NONE, place: Place::NONE, chosen: Chosen::NONE };
}
