//! Array maps in this process's memory, so that a slot or a backend is written by one store instead of a system call.
//!
//! The XDP program reads these words while they are written. Each is stored whole, so a packet meets the old word or
//! the new one.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use aya::maps::{Map, MapData};

use super::fault::map_fault;
use crate::model::Fault;

/// Words that a map can be taken as.
///
/// # Safety
/// Every bit pattern must be a valid value, and the type must allow changes through shared references, by this process
/// and by the kernel.
pub(super) unsafe trait Word {}

// SAFETY: an atomic integer has no invalid value and is changed through shared references.
unsafe impl Word for AtomicU8 {}
// SAFETY: as above.
unsafe impl Word for AtomicU32 {}
// SAFETY: as above.
unsafe impl Word for AtomicU64 {}

/// Elements of an array map that was made with `BPF_F_MMAPABLE`, as words.
#[derive(Debug)]
pub(super) struct Mapping<W: Word> {
    words: NonNull<W>,
    count: usize,
    bytes: usize,
}

impl<W: Word> Mapping<W> {
    /// Maps `bytes` bytes of an array map, from an offset on that is a multiple of the size of a page.
    ///
    /// # Errors
    /// It is no array, was made without `BPF_F_MMAPABLE`, or is smaller.
    pub(super) fn of_array(map: &Map, name: &str, offset: usize, bytes: usize) -> Result<Self, Fault> {
        let map = array(map, name)?.fd().as_fd();
        Self::new(map, offset, bytes)
            .map_err(|error| Fault::unavailable(format!("the BPF map {name} cannot be mapped: {error}")))
    }

    /// Maps all of an array map, however many elements of so many bytes it has.
    ///
    /// # Errors
    /// As [`Mapping::of_array`].
    pub(super) fn whole_array(map: &Map, name: &str, element: usize) -> Result<Self, Fault> {
        let elements = array(map, name)?.info().map_err(map_fault(name, "examined"))?.max_entries();
        Self::of_array(map, name, 0, elements as usize * element)
    }

    fn new(map: BorrowedFd<'_>, offset: usize, bytes: usize) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, map.as_raw_fd(), offset) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(address.cast::<W>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { words, count: bytes / size_of::<W>(), bytes })
    }

    /// The words.
    pub(super) fn words(&self) -> &[W] {
        // SAFETY: the mapping is `count` words long, page-aligned and lives as long as `self`. `Word` says that any
        // bytes are valid and that they may change meanwhile.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

fn array<'a>(map: &'a Map, name: &str) -> Result<&'a MapData, Fault> {
    match map {
        Map::Array(map) => Ok(map),
        _ => Err(Fault::internal(format!("the map {name} is not an array"))),
    }
}

impl<W: Word> Drop for Mapping<W> {
    fn drop(&mut self) {
        // SAFETY: the address and length are those of the mapping, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and its words are atomic.
unsafe impl<W: Word + Send> Send for Mapping<W> {}
// SAFETY: as above.
unsafe impl<W: Word + Sync> Sync for Mapping<W> {}

/// Lets what was written reach all CPUs before what is written next. A packet reads an entry's mark before the rest, and
/// x86-64 does so in this order. Other CPUs may read the rest first: there, all that run a program now are waited for.
pub(super) fn settle() {
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: a system call without pointers (membarrier(2), MEMBARRIER_CMD_GLOBAL).
    unsafe {
        libc::syscall(libc::SYS_membarrier, 1, 0, 0);
    }
}
