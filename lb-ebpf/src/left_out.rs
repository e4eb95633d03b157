//! What is left out of a packet's way in the bench's builds, one step at a time, to see what the step costs. Nothing, in the
//! program that is shipped: `cargo xtask bench steps` sets the variable that says what.

use lb_common::address::{Address, Port};
use lb_common::listener::ListenerKey;
use lb_common::protocol;

/// The search for the listener: all packets are for [`LISTENER`].
pub(crate) const MATCH: bool = is_left_out("match");
/// The hash of the flow and the look at its slot: all flows have the first backend.
pub(crate) const SELECT: bool = is_left_out("select");
/// The look-ups of the backend and of the segment that it stands on.
pub(crate) const BACKEND: bool = is_left_out("backend");
/// All counters.
pub(crate) const COUNT: bool = is_left_out("count");

/// The listener of the bench's cases that steps are left out of: TCP port 80 of 192.0.2.10. It stands at its home.
pub(crate) const LISTENER: ListenerKey =
    ListenerKey::new(Address::from_v4_word(u32::from_ne_bytes([192, 0, 2, 10])), protocol::TCP, Port::from_host(80));

/// True if that step, or each, is left out of this build.
const fn is_left_out(step: &str) -> bool {
    match option_env!("DRLB_BENCH_WITHOUT") {
        Some(left_out) => is(left_out, step) || is(left_out, "each"),
        None => false,
    }
}

const fn is(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}
