//! How much work plans are, for tests to count.

use std::cell::Cell;

thread_local! {
    static POOLS: Cell<usize> = const { Cell::new(0) };
}

/// A pool is planned.
pub(super) fn plans_a_pool() {
    POOLS.set(POOLS.get() + 1);
}

/// How many pools this thread has planned.
pub(crate) fn pools_planned() -> usize {
    POOLS.get()
}
