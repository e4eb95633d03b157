//! The bytes of a packet: the only file that follows raw packet pointers.
//!
//! A [`Packet`] gives out [`View`]s: `N` bytes at an offset, checked once against the packet's end, in the form in which
//! the verifier proves the check. What is read or written within a view is checked against `N` when it is compiled.
//!
//! Only the first, linear part of a packet with fragments (a jumbo frame) is seen. Headers always lie there.

use core::marker::PhantomData;

#[cfg(target_arch = "bpf")]
use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
};
use lb_common::address::{Address, MacAddr, Ports, RaisedMac};
#[cfg(target_arch = "bpf")]
use network_types::eth::EthHdr;

/// The farthest offset that a header may begin at; the verifier wants a bound. A mask, too.
const FARTHEST: usize = 16_383;

/// An offset that came through a subprogram's argument, of which the verifier has forgotten the bound.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub const fn offset(argument: u64) -> usize {
    argument as usize & FARTHEST
}

/// A packet from its Ethernet header on.
pub struct Packet<'a> {
    start: *mut u8,
    end: *mut u8,
    #[cfg(not(target_arch = "bpf"))]
    length: usize,
    /// Bytes before `start` that are ours, too.
    #[cfg(not(target_arch = "bpf"))]
    headroom: usize,
    #[cfg(target_arch = "bpf")]
    context: *mut xdp_md,
    bytes: PhantomData<&'a mut [u8]>,
}

#[cfg(target_arch = "bpf")]
impl Packet<'_> {
    /// Moves the beginning of the packet, by so many bytes backward (negative) or forward. False if there is no room.
    #[inline(always)]
    fn adjust(&mut self, by: i32) -> bool {
        // SAFETY: the context is the one of the program that runs. No view is left: they borrow the packet.
        unsafe {
            if bpf_xdp_adjust_head(self.context, by) != 0 {
                return false;
            }
            *self = Self::from_context(self.context);
        }
        true
    }

    /// The packet that a program was called for.
    ///
    /// # Safety
    /// `context` must be what the kernel handed to the program that runs.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_context(context: *mut xdp_md) -> Self {
        // SAFETY: the context is valid; data..data_end is the packet's linear part, the program's own until it returns.
        unsafe {
            Self { start: (*context).data as *mut u8, end: (*context).data_end as *mut u8, context, bytes: PhantomData }
        }
    }

    /// What [`Packet::from_context`] made this packet of, to hand on to a subprogram.
    #[inline(always)]
    #[must_use]
    pub const fn context(&self) -> *mut xdp_md {
        self.context
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Packet<'_> {
    fn adjust(&mut self, by: i32) -> bool {
        let by = by as isize;
        if by < 0 && self.headroom < by.unsigned_abs() {
            return false;
        }
        self.headroom = self.headroom.wrapping_add_signed(by);
        self.start = self.start.wrapping_offset(by);
        self.length = self.length.wrapping_sub(by as usize);
        true
    }
}

impl<'a> Packet<'a> {
    /// A packet that begins behind `headroom` bytes of these, and goes to their end.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn with_headroom(bytes: &'a mut [u8], headroom: usize) -> Self {
        let (_, packet) = bytes.split_at_mut(headroom);
        Self { headroom, ..Self::from_slice(packet) }
    }

    /// The packet as it is now.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `end` are within the slice that the packet was made of, in this order: `adjust` moves `start` at
        // most back to that slice's beginning, and forward by less than the header that it was looked at for.
        unsafe { core::slice::from_raw_parts(self.start, self.end as usize - self.start as usize) }
    }

    /// Makes the packet longer, by so many bytes before its beginning. False if there is no room. What stands there is
    /// not to be relied on.
    #[inline(always)]
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.adjust(-(bytes as i32))
    }

    /// Takes so many bytes from the packet's beginning. False if it has not that many.
    #[inline(always)]
    #[must_use]
    pub fn shrink(&mut self, bytes: usize) -> bool {
        self.adjust(bytes as i32)
    }

    /// A packet that is wholly in `bytes`.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn from_slice(bytes: &'a mut [u8]) -> Self {
        let length = bytes.len();
        let range = bytes.as_mut_ptr_range();
        Self { start: range.start, end: range.end, length, headroom: 0, bytes: PhantomData }
    }

    /// Length of the whole packet in bytes, with what is not in its linear part. On BPF each call asks the kernel.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> usize {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the context is the one of the program that runs.
        return unsafe { bpf_xdp_get_buff_len(self.context) } as usize;
        #[cfg(not(target_arch = "bpf"))]
        return self.length;
    }

    /// Length of the packet's linear part in bytes: all of it, unless it came in fragments (a jumbo frame).
    #[inline(always)]
    #[must_use]
    pub fn linear_length(&self) -> usize {
        (self.end as usize).wrapping_sub(self.start as usize)
    }

    /// The `N` bytes that begin at `at`, or `None` where the packet ends before.
    #[inline(always)]
    #[must_use]
    pub fn view<const N: usize>(&self, at: usize) -> Option<View<'_, N>> {
        if at > FARTHEST {
            return None;
        }
        let start = self.start.wrapping_add(at);
        if start.wrapping_add(N) > self.end {
            return None;
        }
        #[cfg(target_arch = "bpf")]
        if at == 0 && N > EthHdr::LEN {
            // The compiler does not know that a frame with more bytes has those of the Ethernet header, as an addition might
            // overflow: it would look for them again before it writes there.
            // SAFETY: the packet does not end at the end of the address space.
            unsafe { core::hint::assert_unchecked(start.wrapping_add(EthHdr::LEN) <= self.end) };
        }
        Some(View { start, bytes: PhantomData })
    }
}

/// `N` bytes of a packet that are known to be there.
pub struct View<'a, const N: usize> {
    start: *mut u8,
    bytes: PhantomData<&'a mut [u8; N]>,
}

impl<const N: usize> View<'_, N> {
    #[inline(always)]
    fn read<T: Copy, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= N, "read beyond the view") }
        // SAFETY: as was just asserted.
        unsafe { self.load(AT) }
    }

    #[inline(always)]
    fn write<T: Copy, const AT: usize>(&self, value: T) {
        const { assert!(AT + size_of::<T>() <= N, "write beyond the view") }
        // SAFETY: as was just asserted.
        unsafe { self.store(AT, value) };
    }

    /// Reads an integer, or an array of them, at `at`.
    ///
    /// # Safety
    /// It must end within the view.
    #[inline(always)]
    unsafe fn load<T: Copy>(&self, at: usize) -> T {
        let field = self.start.wrapping_add(at).cast::<T>();
        // On BPF an unaligned read would become one load a byte; the machine itself has no such need, and the verifier
        // refuses the program on one that has.
        #[cfg(target_arch = "bpf")]
        // SAFETY: the view's N bytes are within the packet, and what is read is within them.
        unsafe {
            field.read_volatile()
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as above.
        unsafe {
            field.read_unaligned()
        }
    }

    /// Writes an integer at `at`.
    ///
    /// # Safety
    /// It must end within the view.
    #[inline(always)]
    unsafe fn store<T: Copy>(&self, at: usize, value: T) {
        let field = self.start.wrapping_add(at).cast::<T>();
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `load`; the packet is ours alone.
        unsafe {
            field.write_volatile(value);
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as in `load`; the packet is ours alone.
        unsafe {
            field.write_unaligned(value);
        }
    }

    /// The byte at `AT`.
    #[inline(always)]
    #[must_use]
    pub fn u8<const AT: usize>(&self) -> u8 {
        self.read::<u8, AT>()
    }

    /// The 16 bits at `AT`, in host order.
    #[inline(always)]
    #[must_use]
    pub fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be(self.wire16::<AT>())
    }

    /// The 16 bits at `AT`, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub fn wire16<const AT: usize>(&self) -> u16 {
        self.read::<u16, AT>()
    }

    /// The 32 bits at `AT`, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub fn wire32<const AT: usize>(&self) -> u32 {
        self.read::<u32, AT>()
    }

    /// The 64 bits at `AT`, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub fn wire64<const AT: usize>(&self) -> u64 {
        self.read::<u64, AT>()
    }

    /// The two ports at `AT`.
    #[inline(always)]
    #[must_use]
    pub fn ports<const AT: usize>(&self) -> Ports {
        Ports::from_wire(self.wire32::<AT>())
    }

    /// True if the six bytes at `AT` are this MAC. The view has to have two more.
    #[inline(always)]
    #[must_use]
    pub fn has_mac<const AT: usize>(&self, mac: RaisedMac) -> bool {
        mac.is_first_in(self.wire64::<AT>())
    }

    /// The IPv4 address at `AT`.
    #[inline(always)]
    #[must_use]
    pub fn ipv4<const AT: usize>(&self) -> Address {
        Address::from_v4_word(self.wire32::<AT>())
    }

    /// The IPv6 address at `AT`.
    #[inline(always)]
    #[must_use]
    pub fn ipv6<const AT: usize>(&self) -> Address {
        const { assert!(AT + 16 <= N, "read beyond the view") }
        // SAFETY: as was just asserted.
        Address::from_halves(unsafe { [self.load(AT), self.load(AT + size_of::<u64>())] })
    }

    /// The MAC at `AT`.
    #[inline(always)]
    #[must_use]
    pub fn mac<const AT: usize>(&self) -> MacAddr {
        const { assert!(AT + 6 <= N, "read beyond the view") }
        // SAFETY: as was just asserted.
        let (first, last) = unsafe { (self.load(AT), self.load(AT + size_of::<u32>())) };
        MacAddr::from_halves(first, last)
    }

    /// Sets the byte at `AT`.
    #[inline(always)]
    pub fn set_u8<const AT: usize>(&self, value: u8) {
        self.write::<u8, AT>(value);
    }

    /// Sets the 16 bits at `AT`, given as they shall stand in the packet.
    #[inline(always)]
    pub fn set_wire16<const AT: usize>(&self, value: u16) {
        self.write::<u16, AT>(value);
    }

    /// Sets the 32 bits at `AT`, given as they shall stand in the packet.
    #[inline(always)]
    pub fn set_wire32<const AT: usize>(&self, value: u32) {
        self.write::<u32, AT>(value);
    }

    /// Sets the 64 bits at `AT`, given as they shall stand in the packet.
    #[inline(always)]
    pub fn set_wire64<const AT: usize>(&self, value: u64) {
        self.write::<u64, AT>(value);
    }

    /// Sets the IPv4 address at `AT`; of an IPv6 one its last word.
    #[inline(always)]
    pub fn set_ipv4<const AT: usize>(&self, address: &Address) {
        self.set_wire32::<AT>(address.0[3]);
    }

    /// Sets the IPv6 address at `AT`.
    #[inline(always)]
    pub fn set_ipv6<const AT: usize>(&self, address: &Address) {
        self.write::<[u32; 4], AT>(address.0);
    }

    /// Sets the two MACs that begin at `AT`; the first comes as a word.
    #[inline(always)]
    pub fn set_macs<const AT: usize>(&self, first: u64, second: RaisedMac) {
        const { assert!(AT + 12 <= N, "write beyond the view") }
        let (begins, ends) = (first | second.0 << 32, (second.0 >> 32) as u32);
        // SAFETY: as was just asserted.
        unsafe {
            self.store(AT, begins.to_le());
            self.store(AT + size_of::<u64>(), ends.to_le());
        }
    }

    /// Sets the MAC at `AT`.
    #[inline(always)]
    pub fn set_mac<const AT: usize>(&self, mac: MacAddr) {
        const { assert!(AT + 6 <= N, "write beyond the view") }
        let (first, last) = mac.halves();
        // SAFETY: as was just asserted.
        unsafe {
            self.store(AT, first);
            self.store(AT + size_of::<u32>(), last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_ends_where_the_packet_ends() {
        let mut bytes = [1, 2, 3, 4, 5, 6];
        let packet = Packet::from_slice(&mut bytes);
        assert!(packet.view::<6>(0).is_some());
        assert!(packet.view::<2>(4).is_some());
        assert!(packet.view::<2>(5).is_none());
        assert!(packet.view::<1>(usize::MAX).is_none());
        assert_eq!(packet.view::<4>(1).expect("four bytes").u16::<1>(), 0x0304);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = [0; 22];
        let packet = Packet::from_slice(&mut bytes);
        let view = packet.view::<22>(0).expect("22 bytes");
        let mac = MacAddr([2, 0, 0, 0xaa, 0xbb, 0xcc]);
        view.set_mac::<0>(mac);
        assert_eq!(view.mac::<0>(), mac);
        let address = Address([1, 2, 3, 4]);
        view.set_ipv6::<6>(&address);
        assert_eq!(view.ipv6::<6>(), address);
        assert_eq!(&bytes[..6], &mac.0);

        let mut bytes = [7; 14];
        let from = MacAddr([2, 1, 2, 3, 4, 5]);
        let packet = Packet::from_slice(&mut bytes);
        packet.view::<13>(0).expect("13 bytes").set_macs::<1>(mac.to_word(), RaisedMac::new(from));
        assert_eq!(bytes, [7, 2, 0, 0, 0xaa, 0xbb, 0xcc, 2, 1, 2, 3, 4, 5, 7]);
    }
}
