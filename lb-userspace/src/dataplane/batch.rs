//! Many elements of a hash map by one system call. A look-up in batches holds the lock of each bucket that it reads, so it
//! misses no element that is there all the while; walking from key to key may.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use bytemuck::Pod;

// Of `enum bpf_cmd` in linux/bpf.h.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// The part of `union bpf_attr` (linux/bpf.h) that the commands on batches take.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Elements of a map, and where the next are looked up from; `None` after the last.
pub(super) type Batch<K, V> = (Vec<(K, V)>, Option<u32>);

/// Looks up to `limit` elements up, from where the batch before ended; `None` begins.
///
/// # Errors
/// The kernel's. `ENOSPC`: one bucket has more elements than `limit`.
pub(super) fn look_up<K: Pod, V: Pod>(map: BorrowedFd<'_>, from: Option<u32>, limit: usize) -> io::Result<Batch<K, V>> {
    let (mut keys, mut values) = (vec![K::zeroed(); limit], vec![V::zeroed(); limit]);
    let mut next = 0_u32;
    let mut attributes = Attributes {
        in_batch: from.as_ref().map_or(0, |from| (&raw const *from) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: limit as u32,
        ..Attributes::default()
    };
    // SAFETY: keys and values have room for `count` elements of the map, whose sizes the caller's types have, any bytes are
    // valid for them, and the places in the map are words.
    let done = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, map, &mut attributes) };
    let more = match done {
        Ok(()) => true,
        // The end of the map; what was found up to there is in the batch.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    let found = keys.into_iter().zip(values).take(attributes.count as usize).collect();
    Ok((found, more.then_some(next)))
}

/// Removes elements; one that is gone already is no fault.
///
/// # Errors
/// The kernel's.
pub(super) fn remove<K: Pod>(map: BorrowedFd<'_>, mut keys: &[K]) -> io::Result<()> {
    while !keys.is_empty() {
        let count = keys.len() as u32;
        let mut attributes = Attributes { keys: keys.as_ptr() as u64, count, ..Attributes::default() };
        // SAFETY: there are `count` keys of the map's size, which are only read.
        match unsafe { bpf(BPF_MAP_DELETE_BATCH, map, &mut attributes) } {
            Ok(()) => return Ok(()),
            // It stops at a key that is not there, after as many as it says.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                keys = keys.get(attributes.count as usize + 1..).unwrap_or(&[]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The system call.
///
/// # Safety
/// The attributes' pointers must be such as the command reads and writes by.
unsafe fn bpf(command: libc::c_int, map: BorrowedFd<'_>, attributes: &mut Attributes) -> io::Result<()> {
    attributes.map_fd = map.as_raw_fd() as u32;
    let size = size_of::<Attributes>() as libc::c_uint;
    // SAFETY: the attributes are as long as we say; for what they point to, the caller's promise.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
