//! The XDP program: hands the packet and the BPF maps to the pipeline, and the verdict to the kernel.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod left_out;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod subprograms;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;
    use lb_ebpf::packet::Packet;
    use lb_ebpf::{pipeline, steady};

    use crate::maps::{self, BpfTables};
    use crate::subprograms;

    /// One packet in, one verdict out. `frags`: jumbo frames that span several pages are taken, too.
    #[xdp(frags)]
    pub(crate) fn drlb(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let mut packet = unsafe { Packet::from_context(ctx.ctx) };
        match steady::ipv4(&mut packet, &BpfTables) {
            Some(verdict) => maps::action(verdict),
            // SAFETY: the context is the one that the kernel handed to this program.
            None => unsafe { subprograms::other_packet(ctx.ctx) },
        }
    }

    /// Sends a probe of a health check to its backend. Runs on the agent's own interface, not on the balancer's.
    /// `frags`: the kernel wants all programs to be alike in that which redirect by the same map.
    #[xdp(frags)]
    pub(crate) fn drlb_probe(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let mut packet = unsafe { Packet::from_context(ctx.ctx) };
        // SAFETY: nobody else asks for it.
        let Some(known) = (unsafe { maps::known() }) else {
            return xdp_action::XDP_DROP;
        };
        let out = pipeline::send_probe(&mut packet, known, &BpfTables);
        if out.segment().is_some() { maps::action(out) } else { xdp_action::XDP_DROP }
    }

    /// The kernel lets only programs under a GPL-compatible licence call helpers such as `bpf_redirect_map` and accepts
    /// this string for code that is offered under both MIT and the GPL (`license_is_gpl_compatible` in the kernel's
    /// `include/linux/license.h`); it has no string for "MIT OR Apache-2.0", the licence of the source.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Can't be reached: the verifier refuses a program in which it can.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// On the host there is nothing to run: cargo builds the program for BPF.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
