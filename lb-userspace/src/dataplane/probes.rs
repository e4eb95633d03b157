//! What the program knows of probes of health checks, and the program that sends them.

use std::path::Path;

use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, MapData};
use aya::programs::xdp::XdpMode as AyaMode;
use lb_common::maps::{PROBE_LINK, PROBE_PROGRAM, PROBES, PROBING};
use lb_common::probe::{PROBE_MAC, ProbeKey, ProbeTarget};

use super::bind::Constants;
use super::fault::{chain, map_fault, program_fault};
use super::maps::typed;
use super::object::Object;
use crate::health::ProbePlane;
use crate::model::Fault;
use crate::reconcile::Station;

/// The maps and the program of probes. The program's link isn't pinned: it ends with this.
pub struct Probes {
    probes: HashMap<MapData, [u32; 5], [u64; 4]>,
    probing: Array<MapData, u32>,
    link: DevMap<MapData>,
    object: Object,
}

impl Probes {
    /// Opens the maps that are pinned in a folder, and forgets the probes of an agent that was killed.
    ///
    /// # Errors
    /// The kernel refused it.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let mut object = Object::open(folder, Constants::new(0, Station { mac: PROBE_MAC, home: None }))?;
        let mut opened = Self {
            probes: typed(&mut object.ebpf, PROBES)?,
            probing: typed(&mut object.ebpf, PROBING)?,
            link: typed(&mut object.ebpf, PROBE_LINK)?,
            object,
        };
        opened.switch(false)?;
        opened.forget_all()?;
        Ok(opened)
    }

    /// How many probes are known.
    #[cfg(test)]
    pub(super) fn count(&self) -> Result<usize, Fault> {
        self.probes.keys().try_fold(0, |count, key| key.map(|_| count + 1)).map_err(map_fault(PROBES, "read"))
    }

    fn forget_all(&mut self) -> Result<(), Fault> {
        let keys: Vec<_> = self.probes.keys().collect::<Result<_, _>>().map_err(map_fault(PROBES, "read"))?;
        // One that is gone already is as good.
        keys.iter().for_each(|key| drop(self.probes.remove(key)));
        Ok(())
    }
}

impl ProbePlane for Probes {
    fn join(&mut self, outer: u32) -> Result<(), Fault> {
        let program = self.object.program(PROBE_PROGRAM)?;
        program.load().map_err(program_fault)?;
        program.attach_to_if_index(outer, AyaMode::Skb).map_err(|error| {
            Fault::unavailable(format!("the program that sends health checks cannot be attached: {}", chain(error)))
        })?;
        self.link.set(0, outer, None, 0).map_err(|error| {
            Fault::unavailable(format!("the BPF map {PROBE_LINK} cannot be written: {}", chain(error)))
        })
    }

    fn switch(&mut self, on: bool) -> Result<(), Fault> {
        self.probing.set(0, u32::from(on), 0).map_err(map_fault(PROBING, "written"))
    }

    fn put(&mut self, key: ProbeKey, target: ProbeTarget) -> Result<(), Fault> {
        let (key, target): ([u32; 5], [u64; 4]) = (bytemuck::cast(key), bytemuck::cast(target));
        self.probes.insert(key, target, 0).map_err(map_fault(PROBES, "written"))
    }

    fn remove(&mut self, key: ProbeKey) {
        // One that is gone already is as good.
        let _ = self.probes.remove(&bytemuck::cast::<_, [u32; 5]>(key));
    }
}
