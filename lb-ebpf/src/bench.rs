//! What the bench measures the XDP program against: a driver that sends it packets of many flows, and floors, programs that
//! do a part of its work and no more. An object of its own; drlb does not ship it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
    use aya_ebpf::programs::XdpContext;
    use lb_common::address::{Address, MacAddr};
    use lb_common::bench::{Drive, FLOOR_SLOTS, FloorKey, LAP, LAPS, MOST_FLOOR_FLOWS, MOST_FLOOR_VIPS};
    use lb_common::flow::Flow;
    use lb_common::outcome::Counter;
    use lb_common::track::pin::PinKey;
    use lb_common::{hash, protocol};
    use lb_ebpf::packet::Packet;

    /// How the driver makes the next packet.
    #[map]
    static DRIVE: Array<Drive> = Array::with_max_entries(1, 0);
    /// How many packets the driver has made.
    #[map]
    static COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
    /// When it had made a multiple of [`LAP`]: nanoseconds of the kernel's clock.
    #[map]
    static TIMES: Array<u64> = Array::with_max_entries(LAPS, 0);
    /// The program that is measured.
    #[map]
    static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
    #[map]
    static FLOOR_VIPS: HashMap<FloorKey, u32> = HashMap::with_max_entries(MOST_FLOOR_VIPS, 0);
    #[map]
    static FLOOR_BACKENDS: Array<u64> = Array::with_max_entries(FLOOR_SLOTS, 0);
    #[map]
    static FLOOR_FLOWS: LruHashMap<PinKey, u64> = LruHashMap::with_max_entries(MOST_FLOOR_FLOWS, 0);
    #[map]
    static FLOOR_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(MOST_FLOOR_VIPS, 0);

    /// Makes of the packet of the last round the one of the next, and hands it to the program that is measured.
    #[xdp(frags)]
    pub(crate) fn drive(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let packet = unsafe { Packet::from_context(ctx.ctx) };
        if let Some(drive) = DRIVE.get(0) {
            next(&packet, drive);
        }
        // SAFETY: the map holds XDP programs, as this one is.
        unsafe { TARGET.tail_call(&ctx, 0) };
        xdp_action::XDP_ABORTED
    }

    #[inline(always)]
    fn next(packet: &Packet<'_>, drive: &Drive) {
        let Some(ethernet) = packet.view::<12>(0) else { return };
        let (to, from) = (MacAddr(drive.balancer).to_word(), MacAddr(drive.router).to_word());
        ethernet.set_wire64::<0>(to | from << 48);
        ethernet.set_wire32::<8>((from >> 16) as u32);
        let Some(count) = COUNT.get_ptr_mut(0) else { return };
        // SAFETY: the element is this CPU's own.
        let number = unsafe {
            *count += 1;
            *count
        };
        if number % LAP == 0
            && let Some(time) = TIMES.get_ptr_mut((number / LAP) as u32 % LAPS)
        {
            // SAFETY: nobody else writes there, and the bench reads when the packets are through.
            unsafe { time.write(bpf_ktime_get_ns()) };
        }
        // An odd factor goes through all flows in an order that no prefetcher foresees.
        let flow = (number as u32).wrapping_mul(0x9e37_79b1) & drive.flows_mask;
        let source = (drive.source + (flow >> 14)).to_be();
        let port = (1_024 + (flow & 0x3fff) as u16).to_be();
        let vip =
            (drive.vip + ((u64::from(flow.wrapping_mul(0x85eb_ca6b)) * u64::from(drive.vips)) >> 32) as u32).to_be();
        let at = drive.network as usize;
        if drive.is_ipv6 != 0 {
            if let Some(view) = packet.view::<44>(at) {
                // In the largest pieces that a program may read, or it would wait for what was written in smaller ones.
                view.set_wire64::<16>(u64::from(view.wire32::<16>()) | u64::from(source) << 32);
                view.set_wire64::<32>(u64::from(view.wire32::<32>()) | u64::from(vip) << 32);
                view.set_wire32::<40>(ports(port, view.wire16::<42>()));
            }
        } else if drive.vips != 0
            && let Some(view) = packet.view::<24>(at)
        {
            view.set_wire32::<12>(source);
            view.set_wire32::<16>(vip);
            view.set_wire32::<20>(ports(port, view.wire16::<22>()));
        }
    }

    /// Two ports as they stand in a packet, as one word.
    #[inline(always)]
    const fn ports(source: u16, destination: u16) -> u32 {
        (destination as u32) << 16 | source as u32
    }

    /// Nothing.
    #[xdp(frags)]
    pub(crate) fn null(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// A drop after a look at the Ethernet header.
    #[xdp(frags)]
    pub(crate) fn discard(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let packet = unsafe { Packet::from_context(ctx.ctx) };
        match packet.view::<14>(0) {
            Some(ethernet) if ethernet.u16::<12>() != 0 => xdp_action::XDP_DROP,
            _ => xdp_action::XDP_PASS,
        }
    }

    /// The MACs change places.
    #[xdp(frags)]
    pub(crate) fn swap(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let packet = unsafe { Packet::from_context(ctx.ctx) };
        let Some(ethernet) = packet.view::<12>(0) else { return xdp_action::XDP_PASS };
        let (destination, source) = (ethernet.mac::<0>(), ethernet.mac::<6>());
        ethernet.set_mac::<0>(source);
        ethernet.set_mac::<6>(destination);
        xdp_action::XDP_TX
    }

    /// Floor c: parse, one lookup in a hash map, one in an array, rewrite.
    #[xdp(frags)]
    pub(crate) fn floor_c(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let packet = unsafe { Packet::from_context(ctx.ctx) };
        floor(&packet, false).unwrap_or(xdp_action::XDP_PASS)
    }

    /// Floor e: the same, with an LRU table of flows and counters.
    #[xdp(frags)]
    pub(crate) fn floor_e(ctx: XdpContext) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this program.
        let packet = unsafe { Packet::from_context(ctx.ctx) };
        floor(&packet, true).unwrap_or(xdp_action::XDP_PASS)
    }

    #[inline(always)]
    fn floor(packet: &Packet<'_>, tracks: bool) -> Option<u32> {
        let (flow, signal) = parse(packet)?;
        let key = FloorKey {
            vip: flow.destination,
            port: flow.ports.destination(),
            protocol: flow.protocol,
            reserved: [0; 5],
        };
        // SAFETY: nothing removes entries while the bench runs.
        let vip = *unsafe { FLOOR_VIPS.get(key) }?;
        let begins = flow.protocol == protocol::TCP && signal & 0x12 == 0x02;
        let pin = PinKey::new(&flow, 0);
        let known = if tracks && !begins { FLOOR_FLOWS.get_ptr(pin) } else { None };
        let backend = match known {
            // SAFETY: a value of this map stays readable while the program runs.
            Some(backend) => unsafe { *backend },
            None => {
                let slot = hash::reduce(hash::flow(hash::DEFAULT_KEY, &flow), FLOOR_SLOTS);
                let backend = *FLOOR_BACKENDS.get(slot)?;
                if tracks && !begins {
                    let _ = FLOOR_FLOWS.insert(pin, backend, 0);
                }
                backend
            }
        };
        if tracks && let Some(counter) = FLOOR_COUNTERS.get_ptr_mut(vip) {
            // SAFETY: the element is this CPU's own.
            unsafe {
                (*counter).packets += 1;
                (*counter).bytes += 64;
            }
        }
        let ethernet = packet.view::<12>(0)?;
        ethernet.set_mac::<6>(ethernet.mac::<0>());
        let [a, b, c, d, e, f, _, _] = backend.to_le_bytes();
        ethernet.set_mac::<0>(MacAddr([a, b, c, d, e, f]));
        Some(xdp_action::XDP_TX)
    }

    /// The 5-tuple and the TCP flags of a plain packet.
    #[inline(always)]
    fn parse(packet: &Packet<'_>) -> Option<(Flow, u8)> {
        let ethernet = packet.view::<14>(0)?;
        let (source, destination, protocol, transport) = match ethernet.u16::<12>() {
            0x0800 => {
                let ip = packet.view::<20>(14)?;
                if ip.u8::<0>() != 0x45 || ip.u16::<6>() & 0x3fff != 0 {
                    return None;
                }
                (ip.ipv4::<12>(), ip.ipv4::<16>(), ip.u8::<9>(), 34)
            }
            0x86dd => {
                let ip = packet.view::<40>(14)?;
                (ip.ipv6::<8>(), ip.ipv6::<24>(), ip.u8::<6>(), 54)
            }
            _ => return None,
        };
        let (ports, flags) = match protocol {
            protocol::TCP => {
                let tcp = packet.view::<20>(transport)?;
                (tcp.ports::<0>(), tcp.u8::<13>())
            }
            protocol::UDP => {
                let udp = packet.view::<8>(transport)?;
                (udp.ports::<0>(), 0)
            }
            _ => return None,
        };
        Some((Flow { source, destination, ports, protocol }, flags))
    }

    /// What [`Address`] is used for in keys has no padding.
    const _: () = assert!(size_of::<FloorKey>() == 24 && size_of::<Address>() == 16);

    /// As in `main.rs`.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Can't be reached: the verifier refuses a program in which it can.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// On the host there is nothing to run: cargo builds the programs for BPF.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
