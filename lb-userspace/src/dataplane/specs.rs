//! What each map must be like, so that a map that an older drlb pinned is not taken for ours.

use std::path::Path;

use aya::maps::{MapError, MapInfo, MapType};
use lb_common::backend::{BackendOwner, Load};
use lb_common::counters::Counters;
use lb_common::forwarding::Forwarding;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::limits;
use lb_common::maps;
use lb_common::outcome::Refused;
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::rate::SourceKey;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::SlotLine;
use lb_common::track::pin::{Pin, PinKey};
use lb_common::track::place::PinPlaces;

use super::bind::shape_of_counters;
use super::fault::map_fault;
use super::object::possible_cpus;
use crate::model::Fault;

// Flags of linux/bpf.h.
const BPF_F_NO_PREALLOC: u32 = 1 << 0;
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
pub(super) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A map as this version of drlb makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spec {
    name: &'static str,
    map_type: u32,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    flags: u32,
}

const fn array(name: &'static str, value_size: usize, max_entries: u32, flags: u32) -> Spec {
    Spec { name, map_type: MapType::Array as u32, key_size: 4, value_size, max_entries, flags }
}

const fn hash(name: &'static str, key_size: usize, value_size: usize, max_entries: u32) -> Spec {
    Spec { name, map_type: MapType::Hash as u32, key_size, value_size, max_entries, flags: 0 }
}

const fn devmap(name: &'static str, max_entries: u32) -> Spec {
    Spec {
        name,
        map_type: MapType::DevMap as u32,
        key_size: 4,
        // struct bpf_devmap_val of linux/bpf.h: an interface and a program.
        value_size: 8,
        max_entries,
        // The kernel adds this flag by itself (kernel/bpf/devmap.c).
        flags: BPF_F_RDONLY_PROG,
    }
}

const fn per_cpu(name: &'static str, value_size: usize, max_entries: u32) -> Spec {
    Spec { name, map_type: MapType::PerCpuArray as u32, key_size: 4, value_size, max_entries, flags: 0 }
}

const SPECS: [Spec; 22] = [
    array(maps::FORWARDING, size_of::<Forwarding>(), 1, BPF_F_MMAPABLE),
    // Of one CPU.
    array(maps::COUNTERS, size_of::<Counters>(), 1, BPF_F_MMAPABLE),
    array(maps::SLOTS, size_of::<SlotLine>(), limits::MAX_SLOTS / limits::SLOTS_PER_LINE as u32, BPF_F_MMAPABLE),
    array(maps::BACKEND_OWNERS, size_of::<BackendOwner>(), limits::MAX_BACKENDS, BPF_F_MMAPABLE),
    devmap(maps::EGRESS, limits::MAX_SEGMENTS),
    Spec {
        map_type: MapType::LruHash as u32,
        ..hash(maps::PINS_YOUNG, size_of::<PinKey>(), size_of::<Pin>(), limits::MAX_YOUNG_PINS)
    },
    array(maps::PINS_ESTABLISHED, size_of::<PinPlaces>(), 1, BPF_F_MMAPABLE),
    Spec {
        flags: BPF_F_NO_PREALLOC,
        ..hash(maps::PINS_MORE, size_of::<PinKey>(), size_of::<Pin>(), limits::MAX_ESTABLISHED_PINS)
    },
    Spec {
        map_type: MapType::LruHash as u32,
        ..hash(maps::SESSIONS, size_of::<SessionKey>(), size_of::<Session>(), limits::MAX_SESSIONS)
    },
    Spec {
        map_type: MapType::LruHash as u32,
        ..hash(maps::FRAGMENTS, size_of::<DatagramKey>(), size_of::<Trail>(), limits::MAX_FRAGMENTED)
    },
    array(maps::LOADS, size_of::<Load>(), limits::MAX_BACKENDS, BPF_F_MMAPABLE),
    per_cpu(maps::TURNS, size_of::<u32>(), limits::MAX_LISTENERS),
    per_cpu(maps::PIN_OVERFLOWS, size_of::<u64>(), 1),
    array(maps::PINS_CROWDED, size_of::<u64>(), 1, BPF_F_MMAPABLE),
    array(maps::ALLOWED, size_of::<u64>(), limits::MAX_ALLOW_WORDS, BPF_F_MMAPABLE),
    per_cpu(maps::LISTENER_REFUSALS, size_of::<Refused>(), limits::MAX_LISTENERS),
    Spec {
        map_type: MapType::LruHash as u32,
        ..hash(maps::SOURCES, size_of::<SourceKey>(), size_of::<u64>(), limits::MAX_SOURCES)
    },
    array(maps::LISTENER_FLOWS, size_of::<u64>(), limits::MAX_LISTENERS, BPF_F_MMAPABLE),
    Spec {
        name: maps::EVENTS,
        map_type: MapType::RingBuf as u32,
        key_size: 0,
        value_size: 0,
        max_entries: limits::EVENTS_BYTES,
        flags: 0,
    },
    Spec {
        flags: BPF_F_NO_PREALLOC,
        ..hash(maps::PROBES, size_of::<ProbeKey>(), size_of::<ProbeTarget>(), limits::MAX_PROBES)
    },
    devmap(maps::PROBE_LINK, 1),
    array(maps::PROBING, size_of::<u32>(), 1, 0),
];

const _: () = assert!(SPECS.len() == maps::PINNED.len());

/// Checks that the maps that are pinned in a folder are like ours. What is not there is no fault: it will be made.
///
/// # Errors
/// Which map differs, and in what.
pub(super) fn check_pinned(folder: &Path) -> Result<(), Fault> {
    for spec in &SPECS {
        let path = folder.join(spec.name);
        if path.exists() {
            let info = MapInfo::from_pin(&path).map_err(map_fault(spec.name, "opened"))?;
            let found = found(spec.name, &info).map_err(map_fault(spec.name, "examined"))?;
            let (value_size, max_entries) = match spec.name {
                // There may be room for more slots or for less: a setting.
                maps::SLOTS => (spec.value_size, found.max_entries),
                maps::COUNTERS => shape_of_counters(possible_cpus()?),
                _ => (spec.value_size, spec.max_entries),
            };
            compare(&Spec { value_size, max_entries, ..*spec }, &found, &path)?;
        }
    }
    Ok(())
}

fn found(name: &'static str, info: &MapInfo) -> Result<Spec, MapError> {
    Ok(Spec {
        name,
        map_type: info.map_type()? as u32,
        key_size: info.key_size() as usize,
        value_size: info.value_size() as usize,
        max_entries: info.max_entries(),
        flags: info.map_flags(),
    })
}

fn compare(wanted: &Spec, found: &Spec, path: &Path) -> Result<(), Fault> {
    let differs =
        |what: &str, found: u64, wanted: u64| (found != wanted).then(|| format!("{what} {found} instead of {wanted}"));
    let differences: Vec<_> = [
        differs("type", found.map_type.into(), wanted.map_type.into()),
        differs("key size", found.key_size as u64, wanted.key_size as u64),
        differs("value size", found.value_size as u64, wanted.value_size as u64),
        differs("size", found.max_entries.into(), wanted.max_entries.into()),
        differs("flags", found.flags.into(), wanted.flags.into()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let (path, differences) = (path.display(), differences.join(", "));
    Err(Fault::unavailable(format!(
        "the pinned map {path} is not one of this version of drlb ({differences}); run the drlb that made it, or detach \
         all interfaces with that one, stop it and remove the file"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pinned_map_has_its_spec() {
        for name in maps::PINNED {
            assert_eq!(SPECS.iter().filter(|spec| spec.name == *name).count(), 1, "{name}");
        }
    }

    #[test]
    fn each_difference_is_named() {
        let wanted = *SPECS.iter().find(|spec| spec.name == maps::SESSIONS).expect("a map");
        let found = Spec { value_size: 20, max_entries: 10, ..wanted };
        let fault = compare(&wanted, &found, Path::new("/sys/fs/bpf/drlb/v4/SESSIONS")).expect_err("it differs");
        assert!(fault.message.contains("(value size 20 instead of 8, size 10 instead of 262144)"), "{}", fault.message);
    }
}
