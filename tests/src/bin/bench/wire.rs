//! End to end over a veth: frames come in by one end, the program that is measured sends them back out of it, and a sink at the
//! other end takes them. As a ratio to a program that only swaps the MACs.
//!
//! The driver makes the frames, as in the other cases, and the kernel sends what it makes (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`). All of a frame's way is on one CPU: made, sent, received, looked at, sent back, dropped.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use drlb_tests::packet::{Frame, udp};
use drlb_tests::program::Program;
use drlb_tests::sample::{OWN_MAC, address};
use drlb_tests::wait::{SOON, until};
use lb_common::bench::{Drive, LAP, LAPS};
use lb_common::outcome::Outcome;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::cases::ROUTER;
use crate::measure::{Builds, Rounds};
use crate::report::Cost;
use crate::tables::{self, Setting, VIP};

/// Where the program that is measured is.
const NEAR: &str = "b0";
/// Its index, which the program has to know before there are namespaces to make it in.
const NEAR_INDEX: u32 = 10;
/// Where frames come from, and come back to.
const FAR: &str = "b1";
/// Flows that the frames are of.
const FLOWS: u32 = 1 << 14;
/// Frames that the kernel sends at a time, fewer than a veth's ring takes.
const BATCH: u32 = 64;

/// How many times as many rounds as are asked for: a program's turn is short, and comes often, so that each gets its share of the
/// moments in which the machine does nothing else.
const TURNS: usize = 4;
/// The laps of a turn at least.
const SHORTEST: u32 = 4;

/// Measures [`TURNS`] times so many rounds of so many frames, and prints the ratio of ours, and of other builds of it, to a swap.
/// A round is measured in laps of [`LAP`] frames: how the kernel begins and ends is no part of a frame's way.
pub(crate) fn run(builds: &Builds, Rounds { rounds, packets }: Rounds) -> Result<()> {
    let rounds = rounds.saturating_mul(TURNS);
    let frames = packets.clamp(SHORTEST * LAP as u32, (LAPS - 1) * LAP as u32);
    let mut wire = Wire::new(builds)?;
    let programs = wire.ours.len() + 1;
    let mut laps = vec![Vec::new(); programs];
    for round in 0..rounds {
        for offset in 0..programs {
            let index = (round + offset) % programs;
            wire.measure(index, 20_000)?;
            laps[index].push(wire.measure(index, frames)?);
        }
    }
    println!(
        "frames over a veth, {FLOWS} flows, nanoseconds a frame for the whole way (min, median of the laps of {LAP} frames):"
    );
    let names = ["swap"].into_iter().chain(wire.ours.iter().map(|(name, _)| name.as_str()));
    let costs: Vec<Cost> = laps.iter().map(|rounds| Cost::of(&rounds.concat(), 0.0)).collect();
    for (name, cost) in names.clone().zip(&costs) {
        let rate = 1_000.0 / cost.median;
        println!("{name:>8} {:>8.1} {:>8.1}   {rate:.2} million frames a second", cost.min, cost.median);
    }
    for (index, name) in names.enumerate().skip(1) {
        // What else the machine does changes from second to second, and all of a round meet the same.
        let median = |laps: &Vec<f64>| Cost::of(laps, 0.0).median;
        let pairs: Vec<f64> = laps[0].iter().zip(&laps[index]).map(|(swap, own)| median(swap) / median(own)).collect();
        let ratio = Cost::of(&pairs, 0.0);
        let best = costs[0].min / costs[index].min;
        println!(
            "{name} : swap, by frames a second: {best:.3} (the best laps), {:.3} (median of each round's, {:.3} to {:.3})",
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
        let mut tables = tables::tables(&Setting::default());
        tables.ingress_ifindex = NEAR_INDEX;
        tables.segments[0].ifindex = NEAR_INDEX;
        let ours = builds.load(&tables)?;
        ip(&["link", "set", "lo", "up"])?;
        // A host that says nothing by itself: each frame is one of ours.
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        ip(&["link", "add", NEAR, "index", &NEAR_INDEX.to_string(), "type", "veth", "peer", "name", FAR])?;
        for end in [NEAR, FAR] {
            ip(&["link", "set", end, "up", "arp", "off"])?;
        }
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

    /// Nanoseconds a frame with the swap (0), or one of ours, in each lap. Every frame has come back, and, where ours is measured,
    /// gone to a backend.
    fn measure(&mut self, index: usize, frames: u32) -> Result<Vec<f64>> {
        let sent_before = self.sent()?;
        let link = match index.checked_sub(1) {
            None => Attached::Swap(program(&mut self.object, "swap")?.attach(NEAR, XdpMode::Driver)?),
            Some(own) => Attached::Own(own, self.ours[own].1.attach(NEAR)?),
        };
        self.forget_frames()?;
        let before = received()?;
        let mut context = [0_u32; 6];
        // struct xdp_md of linux/bpf.h: `data_end` and `ingress_ifindex`.
        (context[1], context[3]) = (u32::try_from(self.frame.len())?, self.far);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.ctx_in = Some(bytemuck::cast_slice(&context));
        options.repeat = frames;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        program(&mut self.object, "drive")?.test_run(options)?;
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
        let times: Array<&mut MapData, u64> = self.object.map_mut("TIMES").context("no TIMES")?.try_into()?;
        let times = (1..=frames / LAP as u32).map(|lap| times.get(&lap, 0)).collect::<Result<Vec<_>, _>>()?;
        Ok(times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / LAP as f64).collect())
    }

    /// The driver counts from the beginning again.
    fn forget_frames(&mut self) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?;
        let mut count: PerCpuArray<&mut MapData, u64> = self.object.map_mut("COUNT").context("no COUNT")?.try_into()?;
        Ok(count.set(0, PerCpuValues::try_from(vec![0; cpus])?, 0)?)
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
