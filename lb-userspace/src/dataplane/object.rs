//! The XDP program that is embedded in the agent, and how it gets into the kernel.

use std::path::Path;

use aya::maps::MapData;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::limits::{MAX_SLOTS, SLOTS_PER_LINE};
use lb_common::maps::{PROGRAM, SLOTS};

use super::bind::{Bound, Constants};
use super::fault::{chain, object_fault, program_fault};
use crate::model::Fault;

/// The object that the build script built from `lb-ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/drlb.bpf.o"));

/// The program, loaded into the kernel for one interface. All instances share the pinned maps.
#[derive(Debug)]
pub struct Instance {
    object: Object,
}

/// The object with its maps, of which programs can be loaded.
#[derive(Debug)]
pub(super) struct Object {
    /// The object.
    pub(super) ebpf: Ebpf,
    /// The maps that its instructions name by their descriptors.
    _named: Vec<MapData>,
}

/// What the program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The verdict, an `enum xdp_action` of linux/bpf.h: 1 is XDP_DROP, 2 XDP_PASS, 3 XDP_TX, 4 XDP_REDIRECT.
    pub verdict: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

impl Instance {
    /// Loads the program for an interface, on the maps that are pinned in a folder; maps that are not there yet are made and
    /// pinned.
    ///
    /// # Errors
    /// The kernel refused the maps or the program.
    pub(super) fn load(pins: &Path, constants: Constants) -> Result<Self, Fault> {
        Self::of(Object::open(pins, constants)?)
    }

    /// The same; a map of slots that is not there yet is made with this many.
    ///
    /// # Errors
    /// As [`Instance::load`].
    pub(super) fn with_room(pins: &Path, slots: u32, constants: Constants) -> Result<Self, Fault> {
        Self::of(Object::with_room(pins, slots, constants)?)
    }

    fn of(mut object: Object) -> Result<Self, Fault> {
        object.program(PROGRAM)?.load().map_err(program_fault)?;
        Ok(Self { object })
    }

    /// Runs the program on a packet, without an interface: `BPF_PROG_TEST_RUN`. It reads and counts in the same maps
    /// as a packet from the wire. The packet comes in by the loopback interface of this network namespace, index 1.
    ///
    /// # Errors
    /// The kernel refused the packet: it takes Ethernet frames of 14 bytes and more.
    pub fn run(&mut self, packet: &[u8]) -> Result<Run, Fault> {
        // Room for what the program may put in front, such as a VLAN tag.
        let mut out = vec![0; packet.len() + 64];
        let options = TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self
            .program()?
            .test_run(options)
            .map_err(|error| Fault::unavailable(format!("the program cannot be run on a packet: {}", chain(error))))?;
        out.truncate(result.data_size_out as usize);
        Ok(Run { verdict: result.return_value, packet: out })
    }

    /// The program.
    pub(super) fn program(&mut self) -> Result<&mut Xdp, Fault> {
        self.object.program(PROGRAM)
    }

    /// The maps, to be taken out one by one.
    pub(super) const fn maps(&mut self) -> &mut Ebpf {
        &mut self.object.ebpf
    }
}

impl Object {
    /// Makes the maps of the object, on those that are pinned in a folder. No program is loaded yet.
    ///
    /// # Errors
    /// The kernel refused the maps.
    pub(super) fn open(pins: &Path, constants: Constants) -> Result<Self, Fault> {
        Self::with_room(pins, MAX_SLOTS, constants)
    }

    /// The same; a map of slots that is not there yet is made with this many.
    ///
    /// # Errors
    /// As [`Object::open`].
    pub(super) fn with_room(pins: &Path, slots: u32, constants: Constants) -> Result<Self, Fault> {
        let Bound { object, maps } = Bound::new(OBJECT, pins, constants)?;
        let ebpf = EbpfLoader::new()
            .map_max_entries(SLOTS, slots / SLOTS_PER_LINE as u32)
            .default_map_pin_directory(pins)
            .load(&object)
            .map_err(object_fault)?;
        Ok(Self { ebpf, _named: maps })
    }

    /// One of its programs.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn program(&mut self, name: &str) -> Result<&mut Xdp, Fault> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| Fault::internal(format!("the embedded object has no program {name}")))?;
        program.try_into().map_err(program_fault)
    }
}

/// How many CPUs this host could have: the numbers of its CPUs are below that.
pub(super) fn possible_cpus() -> Result<usize, Fault> {
    aya::util::nr_cpus()
        .map_err(|(path, error)| Fault::unavailable(format!("the number of CPUs cannot be read from {path}: {error}")))
}
