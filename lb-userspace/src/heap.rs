//! Memory that was freed, and that glibc's allocator keeps unless it is told.
//!
//! A start reads the kernel's type information, the store and a file, and a large command makes its edits, records and plan:
//! tens of megabytes that are needed once.

/// Has large blocks given back as soon as they are freed. Otherwise, with each one that is freed, glibc keeps blocks up to twice
/// that size, at last 64 MB a thread.
pub(crate) fn keep_no_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without pointers, that any thread may make at any time (mallopt(3)). The value is the threshold that there
    // is at first; what is set stays.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Gives back what was freed and lies between what is in use. Takes some milliseconds where there is much.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without pointers, that any thread may make at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
