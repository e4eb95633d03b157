//! End to end over a veth: frames come in by one end, the program that is measured sends them back out of it, and a sink at the
//! other end takes them. As a ratio to a program that only swaps the MACs.
//!
//! The driver makes the frames, as in the other cases, and the kernel sends what it makes (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`). All of a frame's way is on one CPU: made, sent, received, looked at, sent back, dropped.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use drlb_tests::packet::{Frame, udp};
use drlb_tests::program::Program;
use drlb_tests::sample::{OWN_MAC, address};
use drlb_tests::wait::{SOON, until};
use lb_common::bench::Drive;
use lb_common::outcome::Outcome;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::cases::ROUTER;
use crate::measure::{Builds, Rounds};
use crate::report::Cost;
use crate::tables::{self, Setting, VIP};

/// Where the program that is measured is.
const NEAR: &str = "b0";
/// Where frames come from, and come back to.
const FAR: &str = "b1";
/// Flows that the frames are of.
const FLOWS: u32 = 1 << 14;
/// Frames that the kernel sends at a time, fewer than a veth's ring takes.
const BATCH: u32 = 64;

/// How many times as many frames as packets are asked for. The kernel ends a run with a tick of its clock (some milliseconds), which
/// has to be little of it.
const FRAMES: u32 = 4;

/// Measures so many rounds of [`FRAMES`] times so many frames, and prints the ratio of ours, and of other builds of it, to a swap.
pub(crate) fn run(builds: &Builds, Rounds { rounds, packets }: Rounds) -> Result<()> {
    let frames = packets.saturating_mul(FRAMES);
    let mut wire = Wire::new(builds)?;
    let programs = wire.ours.len() + 1;
    let mut times = vec![Vec::new(); programs];
    for round in 0..rounds {
        for offset in 0..programs {
            let index = (round + offset) % programs;
            wire.measure(index, frames.min(20_000))?;
            times[index].push(wire.measure(index, frames)?);
        }
    }
    println!("frames over a veth, {FLOWS} flows, nanoseconds a frame for the whole way (min, median):");
    let names = ["swap"].into_iter().chain(wire.ours.iter().map(|(name, _)| name.as_str()));
    for (name, times) in names.clone().zip(&times) {
        let cost = Cost::of(times, 0.0);
        let rate = 1_000.0 / cost.median;
        println!("{name:>8} {:>8.1} {:>8.1}   {rate:.2} million frames a second", cost.min, cost.median);
    }
    for (name, own) in names.zip(&times).skip(1) {
        // What else the machine does changes from second to second, and all of a round meet the same.
        let pairs: Vec<f64> = times[0].iter().zip(own).map(|(swap, own)| swap / own).collect();
        let ratio = Cost::of(&pairs, 0.0);
        let best = Cost::of(&times[0], 0.0).min / Cost::of(own, 0.0).min;
        println!(
            "{name} : swap, by frames a second: {best:.3} (the best rounds), {:.3} (median of each round's, {:.3} to {:.3})",
            ratio.median, ratio.min, ratio.max
        );
    }
    Ok(())
}

struct Wire {
    /// Our program, and other builds of it.
    ours: Vec<(String, Program)>,
    object: Ebpf,
    far: u32,
    frame: Vec<u8>,
}

impl Wire {
    /// In namespaces of this thread's own: nothing is left when it ends.
    fn new(builds: &Builds) -> Result<Self> {
        stay_on_this_cpu()?;
        let mut ours = builds.load(&tables::tables(&Setting::default()))?;
        ip(&["link", "set", "lo", "up"])?;
        // A host that says nothing by itself: each frame is one of ours.
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        ip(&["link", "add", NEAR, "type", "veth", "peer", "name", FAR])?;
        for end in [NEAR, FAR] {
            ip(&["link", "set", end, "up", "arp", "off"])?;
        }
        let mut tables = tables::tables(&Setting::default());
        tables.segments[0].ifindex = nix::net::if_::if_nametoindex(NEAR)?;
        ours.iter_mut().try_for_each(|(_, program)| program.fill(&tables))?;

        let path = std::env::var_os("DRLB_BENCH_OBJECT").context("run it as `cargo xtask bench wire`")?;
        let mut object = EbpfLoader::new().load_file(Path::new(&path))?;
        for name in ["swap", "discard", "drive"] {
            program(&mut object, name)?.load().map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
        }
        program(&mut object, "discard")?.attach(FAR, XdpMode::Driver)?;
        // The driver hands its packet to the swap, which sends it: so it writes the MACs the other way round.
        let drive = Drive {
            flows_mask: FLOWS - 1,
            source: address("10.1.0.0").0[3].to_be(),
            vip: address(VIP).0[3].to_be(),
            vips: 1,
            network: 14,
            is_ipv6: 0,
            balancer: ROUTER,
            router: OWN_MAC,
        };
        let mut map: Array<&mut MapData, [u32; 9]> = object.map_mut("DRIVE").context("no DRIVE")?.try_into()?;
        map.set(0, bytemuck::cast::<_, [u32; 9]>(drive), 0)?;
        let swap: ProgramFd = program(&mut object, "swap")?.fd()?.try_clone()?;
        let mut target: ProgramArray<&mut MapData> = object.map_mut("TARGET").context("no TARGET")?.try_into()?;
        target.set(0, &swap, 0)?;
        let frame = Frame::to(OWN_MAC).from(ROUTER).ip("10.1.0.1", VIP).carry(udp(4_000, 53).payload([0; 18])).bytes();
        Ok(Self { ours, object, far: nix::net::if_::if_nametoindex(FAR)?, frame })
    }

    /// Nanoseconds a frame with the swap (0), or one of ours. Every frame has come back, and, where ours is measured, gone to a
    /// backend.
    fn measure(&mut self, index: usize, frames: u32) -> Result<f64> {
        let sent_before = self.sent()?;
        let link = match index.checked_sub(1) {
            None => Attached::Swap(program(&mut self.object, "swap")?.attach(NEAR, XdpMode::Driver)?),
            Some(own) => Attached::Own(own, self.ours[own].1.attach(NEAR)?),
        };
        let before = received()?;
        let mut context = [0_u32; 6];
        // struct xdp_md of linux/bpf.h: `data_end` and `ingress_ifindex`.
        (context[1], context[3]) = (u32::try_from(self.frame.len())?, self.far);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.ctx_in = Some(bytemuck::cast_slice(&context));
        options.repeat = frames;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let begin = Instant::now();
        program(&mut self.object, "drive")?.test_run(options)?;
        let took = begin.elapsed();
        until("the last frame", SOON, || match received().map(|now| now - before) {
            Ok(came) if came >= u64::from(frames) => Ok(()),
            Ok(came) => Err(format!("{came} of {frames} frames have come back")),
            Err(error) => Err(error.to_string()),
        })?;
        match link {
            Attached::Swap(link) => program(&mut self.object, "swap")?.detach(link)?,
            Attached::Own(own, link) => self.ours[own].1.detach(link)?,
        }
        let due = if index == 0 { 0 } else { u64::from(frames) };
        let sent = self.sent()? - sent_before;
        ensure!(sent == due, "ours have sent {sent} frames to backends, and {due} are due");
        Ok(took.as_nanos() as f64 / f64::from(frames))
    }

    /// Frames that ours have sent to backends.
    fn sent(&mut self) -> Result<u64> {
        let mut sum = 0;
        for (_, program) in &mut self.ours {
            sum += program.counters()?.outcomes.get(&Outcome::Forwarded).map_or(0, |counter| counter.packets);
        }
        Ok(sum)
    }
}

enum Attached {
    Swap(aya::programs::xdp::XdpLinkId),
    Own(usize, aya::programs::xdp::XdpLinkId),
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// Keeps this thread where it is: the kernel takes in a veth's frames on the CPU that sent them, and a sender that moves away leaves
/// it behind, with more of them than its ring takes.
fn stay_on_this_cpu() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::this(), &here)?)
}

/// Frames that have come back to the far end.
fn received() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{FAR}:")).map(str::to_owned));
    let packets = line.as_deref().and_then(|line| line.split_whitespace().nth(1)).context("the far end is gone")?;
    Ok(packets.parse()?)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(arguments).status().context("`ip`, of iproute2, is needed")?;
    ensure!(done.success(), "`ip {}` failed", arguments.join(" "));
    Ok(())
}
