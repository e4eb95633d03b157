//! The programs, and what a packet costs in each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData, ProgramArray};
use aya::programs::{ProgramFd, ProgramInfo, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{OWN_MAC, address};
use lb_common::address::{Address, Port};
use lb_common::bench::{Drive, FLOOR_SLOTS, FloorKey};
use lb_common::protocol::{TCP, UDP};
use lb_ebpf::host::HostTables;

use crate::cases::{Case, ROUTER};
use crate::report::{Cost, Instructions, Row};
use crate::tables::{self, Setting, VIP, VIP6};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) packets: u32,
}

/// The name of our program in the tables.
const DRLB: &str = "drlb";
/// The program that does nothing: what the driver costs.
const NULL: &str = "null";
/// The floors that know a case's packets, or any.
const FLOORS: &[(&str, &str, bool)] =
    &[("drop", "discard", false), ("swap", "swap", false), ("floor c", "floor_c", true), ("floor e", "floor_e", true)];

/// The loaded programs.
pub(crate) struct Bench {
    builds: Builds,
    /// Our program, and builds of it that a step is left out of.
    ours: Vec<(String, Program)>,
    object: Ebpf,
    pinned: Vec<(String, ProgramFd)>,
}

impl Bench {
    /// Loads the programs, in namespaces of this process's own.
    pub(crate) fn load(builds: Builds, pinned: &[(String, PathBuf)]) -> Result<Self> {
        // Pins are found before we move away from them.
        let pinned = pinned.iter().map(|(name, path)| Ok((name.clone(), open(path)?))).collect::<Result<_>>()?;
        let ours = builds.load(&tables::tables(&Setting::default()))?;
        Ok(Self { builds, ours, object: floors()?, pinned })
    }

    /// The names of the programs, in the order of the columns.
    pub(crate) fn names(&self) -> Vec<String> {
        let floors = FLOORS.iter().map(|floor| floor.0.to_owned());
        let ours = self.ours.iter().map(|(name, _)| name.clone());
        let pinned = self.pinned.iter().map(|(name, _)| name.clone());
        floors.chain(ours).chain(pinned).collect()
    }

    /// How large our program is.
    pub(crate) fn instructions(&mut self) -> Result<Instructions> {
        let (_, drlb) = self.ours.first_mut().context("no program")?;
        Ok(Instructions { program: drlb.instructions()?, verified: drlb.verified_instructions()? })
    }

    /// Measures a case: nanoseconds a packet, net of the driver, for each program that knows it.
    pub(crate) fn measure(&mut self, case: &Case, rounds: Rounds) -> Result<Row> {
        // Anew, so that no case meets a table that another one filled: what is taken from one that was emptied lies anywhere.
        self.ours = self.builds.load(&tables::tables(&case.setting))?;
        self.object = floors()?;
        let drive = Drive {
            flows_mask: case.flows - 1,
            source: if case.is_ipv6 { 0x0001_0000 } else { address("10.1.0.0").0[3].to_be() },
            vip: if case.is_ipv6 { address(VIP6).0[3] } else { address(VIP).0[3] }.to_be(),
            vips: case.vips,
            network: case.network,
            is_ipv6: case.is_ipv6.into(),
            balancer: OWN_MAC,
            router: ROUTER,
        };
        let mut map: Array<&mut MapData, [u32; 9]> = map(&mut self.object, "DRIVE")?;
        map.set(0, bytemuck::cast::<_, [u32; 9]>(drive), 0)?;

        let mut names = vec![NULL.to_owned()];
        names.extend(
            self.names()
                .into_iter()
                .filter(|name| case.floors || !FLOORS.iter().any(|(floor, _, needs)| floor == name && *needs)),
        );
        for name in &names {
            self.choose(name)?;
            right(name, self.run(&case.packet, 1)?.0, case)?;
        }
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
        for round in 0..rounds.rounds {
            // Each round begins with another program.
            for offset in 0..names.len() {
                let index = (round + offset) % names.len();
                self.choose(&names[index])?;
                self.run(&case.packet, rounds.packets.min(10_000))?;
                let (verdict, nanoseconds) = self.run(&case.packet, rounds.packets)?;
                // The last packet of a round meets what the first did.
                right(&names[index], verdict, case)?;
                times[index].push(f64::from(nanoseconds));
            }
        }
        let driver = Cost::of(&times[0], 0.0);
        let costs = names.into_iter().zip(&times).skip(1).map(|(name, times)| (name, Cost::of(times, driver.min)));
        Ok(Row { case: case.name.to_owned(), driver: driver.min, costs: costs.collect() })
    }

    /// Lets the driver call a program.
    fn choose(&mut self, name: &str) -> Result<()> {
        let floor = FLOORS.iter().find(|(floor, ..)| *floor == name).map(|floor| floor.1);
        let descriptor: ProgramFd = match floor.or((name == NULL).then_some("null")) {
            Some(program) => {
                let program: &Xdp = self.object.program(program).context("no such floor")?.try_into()?;
                program.fd()?.try_clone()?
            }
            None if let Some((_, program)) = self.ours.iter_mut().find(|(own, _)| own == name) => {
                program.descriptor()?.try_clone()?
            }
            None => {
                let (_, program) = self.pinned.iter().find(|(pinned, _)| pinned == name).context("no such program")?;
                program.try_clone()?
            }
        };
        let mut target: ProgramArray<&mut MapData> = map(&mut self.object, "TARGET")?;
        Ok(target.set(0, &descriptor, 0)?)
    }

    /// Runs the driver on a packet so many times. The last verdict, and the mean nanoseconds.
    fn run(&mut self, packet: &[u8], repeat: u32) -> Result<(u32, u32)> {
        let driver: &mut Xdp = self.object.program_mut("drive").context("no driver")?.try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = repeat;
        let result = driver.test_run(options)?;
        Ok((result.return_value, result.duration.as_nanos() as u32))
    }
}

/// What our program is loaded from.
#[derive(Clone, Debug)]
pub(crate) struct Builds {
    /// An object, in place of the one that is shipped.
    pub(crate) ours: Option<PathBuf>,
    /// Objects of other builds of it, with what is left out of each.
    pub(crate) without: Vec<(String, PathBuf)>,
}

impl Builds {
    /// Loads each, with these tables: our program first. With their names.
    pub(crate) fn load(&self, tables: &HostTables) -> Result<Vec<(String, Program)>> {
        let of_object = |path: &Path| {
            let object = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            Program::load_object(&object, tables)
        };
        let ours = match &self.ours {
            Some(path) => of_object(path)?,
            None => Program::load(tables)?,
        };
        let mut programs = vec![(DRLB.to_owned(), ours)];
        for (name, path) in &self.without {
            programs.push((format!("without {name}"), of_object(path)?));
        }
        Ok(programs)
    }
}

/// The floors and the driver, loaded, with their tables filled.
fn floors() -> Result<Ebpf> {
    let path = std::env::var_os("DRLB_BENCH_OBJECT").context("run it as `cargo xtask bench`")?;
    let mut object = EbpfLoader::new().load_file(Path::new(&path))?;
    let names: Vec<_> = FLOORS.iter().map(|floor| floor.1).chain(["null", "drive"]).collect();
    for name in names {
        let program: &mut Xdp = object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
    }
    let mut vips: HashMap<&mut MapData, [u8; 24], u32> = map(&mut object, "FLOOR_VIPS")?;
    let first = address(VIP).0[3].to_be();
    let all = (0..8_000).map(|index| Address::from_v4_word((first + index).to_be())).chain([address(VIP6)]);
    for (number, vip) in all.enumerate() {
        for (protocol, port) in [(TCP, 80), (UDP, 53)] {
            let key = FloorKey { vip, port: Port::from_host(port), protocol, reserved: [0; 5] };
            vips.insert(bytemuck::cast::<_, [u8; 24]>(key), number as u32, 0)?;
        }
    }
    let mut backends: Array<&mut MapData, u64> = map(&mut object, "FLOOR_BACKENDS")?;
    for slot in 0..FLOOR_SLOTS {
        backends.set(slot, 0x0000_be02_u64 | u64::from(slot % 100) << 32, 0)?;
    }
    Ok(object)
}

fn map<'a, T: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>>(
    object: &'a mut Ebpf,
    name: &str,
) -> Result<T> {
    Ok(T::try_from(object.map_mut(name).with_context(|| format!("no map {name}"))?)?)
}

fn open(path: &Path) -> Result<ProgramFd> {
    let program = ProgramInfo::from_pin(path).and_then(|program| program.fd());
    program.map_err(|error| anyhow::anyhow!("{} is no pinned program: {error:#}", path.display()))
}

/// Fails if a program answers what it must not.
fn right(name: &str, verdict: u32, case: &Case) -> Result<()> {
    ensure!(name != DRLB || verdict == code(case.verdict), "drlb answers {verdict}, and {:?} is due", case.verdict);
    ensure!(verdict != 0, "{name} was not called: is it a program for packets in fragments (XDP frags)?");
    Ok(())
}

fn code(verdict: Action) -> u32 {
    match verdict {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect => 4,
    }
}
