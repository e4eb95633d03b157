//! What packets are forwarded by ([`lb_common::forwarding`]), in this process's memory.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use aya::maps::Map;
use lb_common::backend::{Backend, Segment};
use lb_common::forwarding::Forwarding;
use lb_common::limits::{MAX_BACKENDS, MAX_GLANCES, MAX_SEGMENTS};
use lb_common::maps::FORWARDING;
use lb_common::slot::{Glance, GlancePair, Slot};
use lb_common::table::{ListenerEntry, VipEntry};

use super::mmap::{Mapping, Word};
use super::table::MatchTable;
use crate::model::Fault;

/// Words of a [`Segment`]: the MAC, and interface and VLAN.
const SEGMENT_WORDS: usize = size_of::<Segment>() / size_of::<u64>();

/// The parts of the map `FORWARDING`. What is stored here, packets read at once.
pub struct ForwardingMap {
    backends: Mapping<AtomicU64>,
    /// By the index of the slot.
    glances: Mapping<AtomicU8>,
    /// By half the index of the slot.
    pairs: Mapping<AtomicU8>,
    /// [`SEGMENT_WORDS`] each.
    segments: Mapping<AtomicU64>,
}

impl ForwardingMap {
    /// Maps what is in the map `FORWARDING`, but for the tables that packets are matched in.
    ///
    /// # Errors
    /// It is another map, or there is no memory.
    pub fn open(map: &Map) -> Result<Self, Fault> {
        Ok(Self {
            backends: part(map, offset_of!(Forwarding, backends), MAX_BACKENDS as usize * size_of::<Backend>())?,
            glances: part(map, offset_of!(Forwarding, glances), MAX_GLANCES as usize * size_of::<Glance>())?,
            pairs: part(map, offset_of!(Forwarding, pairs), MAX_GLANCES as usize / 2)?,
            segments: part(map, offset_of!(Forwarding, segments), MAX_SEGMENTS as usize * size_of::<Segment>())?,
        })
    }

    /// The table of listeners in the map `FORWARDING`.
    ///
    /// # Errors
    /// As [`ForwardingMap::open`].
    pub fn listeners(map: &Map) -> Result<MatchTable<ListenerEntry>, Fault> {
        part(map, offset_of!(Forwarding, listeners), MatchTable::<ListenerEntry>::BYTES).map(MatchTable::take)
    }

    /// The table of VIPs there.
    ///
    /// # Errors
    /// As [`ForwardingMap::open`].
    pub fn vips(map: &Map) -> Result<MatchTable<VipEntry>, Fault> {
        part(map, offset_of!(Forwarding, vips), MatchTable::<VipEntry>::BYTES).map(MatchTable::take)
    }

    /// The backend at a place of all places.
    #[must_use]
    pub fn backend(&self, place: u32) -> Backend {
        let word = self.backends.words().get(place as usize);
        word.map_or(Backend::UNREACHABLE, |word| Backend(word.load(Ordering::Acquire)))
    }

    /// Writes the backend of a place.
    pub fn set_backend(&self, place: u32, backend: Backend) {
        if let Some(word) = self.backends.words().get(place as usize) {
            // Release: a slot that is stored later is not seen before this.
            word.store(backend.0, Ordering::Release);
        }
    }

    /// What a glance at a slot tells; `None` for one that is not glanced at.
    #[must_use]
    pub fn glance(&self, index: u32) -> Option<Glance> {
        self.glances.words().get(index as usize).map(|glance| Glance(glance.load(Ordering::Acquire)))
    }

    /// What a glance at the pair tells that a slot is of.
    #[must_use]
    pub fn pair(&self, index: u32) -> Option<GlancePair> {
        self.pairs.words().get(index as usize / 2).map(|pair| GlancePair(pair.load(Ordering::Acquire)))
    }

    /// Writes what a glance at a slot tells, alone and in its pair. Slots behind the first [`MAX_GLANCES`] are not glanced at.
    pub fn set_glance(&self, index: u32, slot: Slot) {
        let told = Glance::of(slot);
        // Most stay as they are, and their cache lines shared.
        if self.glance(index).is_some_and(|glance| glance != told) {
            self.glances.words()[index as usize].store(told.0, Ordering::Release);
        }
        // Nobody else writes there.
        if let Some(word) = self.pairs.words().get(index as usize / 2) {
            let pair = GlancePair(word.load(Ordering::Relaxed));
            let changed = pair.with(index, slot);
            if changed != pair {
                word.store(changed.0, Ordering::Release);
            }
        }
    }

    /// The segment with an index; all zero if there is none.
    #[must_use]
    pub fn segment(&self, index: u16) -> Segment {
        let mut words = [0; SEGMENT_WORDS];
        for (word, place) in words.iter_mut().zip(self.words_of(index)) {
            *word = place.load(Ordering::Acquire);
        }
        bytemuck::cast(words)
    }

    /// Writes a segment. Interface and VLAN change in one store, so a packet meets those of before or of after.
    pub fn set_segment(&self, index: u16, segment: Segment) {
        let words: [u64; SEGMENT_WORDS] = bytemuck::cast(segment);
        for (word, place) in words.iter().zip(self.words_of(index)) {
            place.store(*word, Ordering::Release);
        }
    }

    fn words_of(&self, index: u16) -> &[AtomicU64] {
        let start = usize::from(index) * SEGMENT_WORDS;
        self.segments.words().get(start..start + SEGMENT_WORDS).unwrap_or(&[])
    }
}

/// So many bytes of the map `FORWARDING`, from an offset on.
fn part<W: Word>(map: &Map, offset: usize, bytes: usize) -> Result<Mapping<W>, Fault> {
    Mapping::of_array(map, FORWARDING, offset, bytes)
}
