//! More room for lookup tables than the maps of slots and glances have that are pinned.
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
use lb_common::address::MacAddr;
use lb_common::limits::{GLANCES_PER_LINE, SLOTS_PER_LINE};
use lb_common::maps::{GLANCES, PINNED, SLOTS};
use lb_common::slot::{Glance, Slot};

use super::fault::{map_fault, pin_fault};
use super::maps::{glances_of, slots_of};
use super::object::object_with_room;
use crate::model::Fault;

/// Folder of the maps that are being made.
const MAKING: &str = "making";

/// Makes room for so many slots, if there is a map with less.
///
/// # Errors
/// The kernel refused it; the maps are as before.
pub(super) fn make(folder: &Path, slots: u32) -> Result<(), Fault> {
    let making = folder.join(MAKING);
    // What an agent left that was killed.
    clear(&making)?;
    // The glances are made of the slots, so these come first.
    for (name, lines) in [(SLOTS, slots / SLOTS_PER_LINE as u32), (GLANCES, slots.div_ceil(GLANCES_PER_LINE as u32))] {
        let pinned = folder.join(name);
        if !pinned.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&pinned).map_err(map_fault(name, "opened"))?;
        if info.max_entries() >= lines {
            continue;
        }
        fs::create_dir(&making).map_err(|error| pin_fault(&making, "made", &error))?;
        let made = replace(name, folder, &making, slots);
        clear(&making)?;
        made?;
        tracing::info!("there is room for {slots} slots of lookup tables now, in {name}");
    }
    Ok(())
}

fn replace(name: &str, folder: &Path, making: &Path, slots: u32) -> Result<(), Fault> {
    let mut object = object_with_room(making, MacAddr::default(), slots)?;
    let mut made = |name: &str| {
        object.take_map(name).ok_or_else(|| Fault::internal(format!("the embedded object has no map {name}")))
    };
    let pinned = folder.join(SLOTS);
    let before = MapData::from_pin(&pinned).map_err(map_fault(SLOTS, "opened"))?;
    let before = slots_of(&Map::Array(before))?;
    let words = before.words().iter().map(|word| word.load(Ordering::Relaxed));
    if name == SLOTS {
        let after = slots_of(&made(SLOTS)?)?;
        words.zip(after.words()).for_each(|(word, after)| after.store(word, Ordering::Relaxed));
    } else {
        let after = glances_of(&made(GLANCES)?)?;
        words.zip(after.words()).for_each(|(word, after)| after.store(Glance::of(Slot(word)).0, Ordering::Relaxed));
    }
    let pinned = folder.join(name);
    fs::rename(making.join(name), &pinned).map_err(|error| pin_fault(&pinned, "replaced", &error))
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
