//! Step 6, account: counts what happened. It can't change a verdict.

use lb_common::listener::Listener;
use lb_common::outcome::Outcome;

use crate::finish::{Finish, Verdict};
use crate::select::Chosen;
use crate::tables::Tables;

/// Counts the packet with the listener and the backend that it went to, and as sent.
#[inline(always)]
pub fn sent<T: Tables>(chosen: &Chosen, outcome: Outcome, bytes: usize, tables: &T) {
    tables.count_sent(chosen, outcome, bytes);
}

/// Counts the packet with the listener that refused it.
#[inline(always)]
pub fn refused<T: Tables>(listener: &Listener, finish: Finish, tables: &T) {
    tables.count_refusal(listener.id, finish.outcome);
}

/// Counts the packet, which was not sent, with its outcome, and hands on the verdict.
#[inline(always)]
pub fn finish<T: Tables>(finish: Finish, bytes: usize, tables: &T) -> Verdict {
    tables.count_outcome(finish.outcome, bytes);
    finish.verdict
}
