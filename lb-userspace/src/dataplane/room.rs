//! More room for lookup tables than the map of slots has that is pinned.
//!
//! A map cannot grow, so another one takes its place, with what the old one holds. It is made beside the old one and then
//! renamed over it: whenever the agent is killed, there is the one or the other, whole. The programs on the interfaces go on
//! with the old one, which nobody changes any more, until the agent replaces each of them, as it does when it starts and before
//! it changes a slot.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use aya::maps::{Map, MapData, MapInfo};
use lb_common::limits::SLOTS_PER_LINE;
use lb_common::maps::{PINNED, SLOTS};

use super::NOWHERE;
use super::fault::{map_fault, pin_fault};
use super::maps::slots_of;
use super::object::Object;
use crate::model::Fault;

/// Folder of the maps that are being made.
const MAKING: &str = "making";

/// Makes room for so many slots, if there is a map with less.
///
/// # Errors
/// The kernel refused it; the map is as before.
pub(super) fn make(folder: &Path, slots: u32) -> Result<(), Fault> {
    let making = folder.join(MAKING);
    // What an agent left that was killed.
    clear(&making)?;
    let pinned = folder.join(SLOTS);
    if !pinned.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(&pinned).map_err(map_fault(SLOTS, "opened"))?;
    if info.max_entries() >= slots / SLOTS_PER_LINE as u32 {
        return Ok(());
    }
    fs::create_dir(&making).map_err(|error| pin_fault(&making, "made", &error))?;
    let made = replace(&pinned, &making, slots);
    clear(&making)?;
    made?;
    tracing::info!("there is room for {slots} slots of lookup tables now");
    Ok(())
}

fn replace(pinned: &Path, making: &Path, slots: u32) -> Result<(), Fault> {
    let mut object = Object::with_room(making, slots, NOWHERE)?;
    let made = object
        .ebpf
        .take_map(SLOTS)
        .ok_or_else(|| Fault::internal(format!("the embedded object has no map {SLOTS}")))?;
    let before = MapData::from_pin(pinned).map_err(map_fault(SLOTS, "opened"))?;
    let (before, after) = (slots_of(&Map::Array(before))?, slots_of(&made)?);
    for (before, after) in before.words().iter().zip(after.words()) {
        after.store(before.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    fs::rename(making.join(SLOTS), pinned).map_err(|error| pin_fault(pinned, "replaced", &error))
}

fn clear(making: &Path) -> Result<(), Fault> {
    if !making.exists() {
        return Ok(());
    }
    for name in PINNED {
        let path = making.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(pin_fault(&path, "removed", &error)),
            _ => {}
        }
    }
    fs::remove_dir(making).map_err(|error| pin_fault(making, "removed", &error))
}
