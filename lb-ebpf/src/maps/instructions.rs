//! Instructions of BPF that Rust has no name for on this target.
//!
//! Words that several CPUs write at once are changed in one step by its atomic operations (Linux 5.12;
//! Documentation/bpf/standardization/instruction-set.rst). Each of these returns what was there, and so is a full barrier, too.

use core::arch::asm;

/// Writes `new` if `old` is there. True if it was.
///
/// # Safety
/// The pointer must be to a word of a map's element.
#[inline(always)]
pub(super) unsafe fn swap_if(word: *mut u32, old: u32, new: u32) -> bool {
    let found;
    // SAFETY: the caller's promise; the operation has `old`, and then what was there, in w0.
    unsafe {
        asm!("w0 = cmpxchg32_32({word} + 0, w0, {new})", word = in(reg) word, new = in(wreg) new, inout("w0") old => found);
    }
    let found: u32 = found;
    found == old
}

/// Writes a word, after all that was written before.
///
/// # Safety
/// As for [`swap_if`].
#[inline(always)]
pub(super) unsafe fn publish(word: *mut u32, new: u32) {
    // SAFETY: the caller's promise.
    unsafe { asm!("{new} = xchg32_32({word} + 0, {new})", word = in(reg) word, new = inout(wreg) new => _) }
}

/// Sets these bits of a word.
///
/// # Safety
/// As for [`swap_if`].
#[inline(always)]
pub(super) unsafe fn set_bits(word: *mut u32, bits: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{bits} = atomic_fetch_or((u32 *)({word} + 0), {bits})", word = in(reg) word, bits = inout(wreg) bits => _)
    }
}

/// The same value, of which the compiler knows nothing: it would leave out the mask of what it knows to be small, which the
/// verifier, who does not, wants to see.
#[inline(always)]
pub(super) fn unknown(mut value: u64) -> u64 {
    // SAFETY: the value stays what it is. It has to be an instruction: the kernel refuses a line of the source without one.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}
