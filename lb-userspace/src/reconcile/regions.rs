//! Which parts of a map are taken, and where there is room: pure.
//!
//! [`Regions`] is what is taken now. A plan takes more of it in an [`Overlay`], which costs what the plan takes and not what
//! is taken already.

use std::collections::{BTreeMap, BTreeSet};

/// What is free, by place and by length.
#[derive(Clone, Debug, Default)]
struct Gaps {
    by_start: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
}

impl Gaps {
    fn insert(&mut self, start: u32, len: u32) {
        if len > 0 {
            self.by_start.insert(start, len);
            self.by_len.insert((len, start));
        }
    }

    fn remove(&mut self, start: u32) -> Option<u32> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        Some(len)
    }

    /// The gap that holds a place.
    fn around(&self, place: u32) -> Option<(u32, u32)> {
        let (start, len) = self.by_start.range(..=place).next_back()?;
        (place - start < *len).then_some((*start, *len))
    }

    /// The gap that holds a place, or the next one.
    fn from(&self, place: u32) -> Option<(u32, u32)> {
        self.around(place).or_else(|| self.by_start.range(place..).next().map(|(start, len)| (*start, *len)))
    }

    /// The gaps that are long enough, the smallest first.
    fn fitting(&self, len: u32) -> impl Iterator<Item = (u32, u32)> {
        self.by_len.range((len, 0)..).map(|(len, start)| (*start, *len))
    }
}

/// The ranges of a map that are taken. They never overlap.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    taken: BTreeMap<u32, u32>,
    gaps: Gaps,
}

impl Regions {
    /// A map of `size` elements, all free.
    pub(super) fn new(size: u32) -> Self {
        let mut gaps = Gaps::default();
        gaps.insert(0, size);
        Self { taken: BTreeMap::new(), gaps }
    }

    /// Takes a certain range. False, and nothing is taken, if it is empty, reaches beyond the map or meets another.
    pub(super) fn claim(&mut self, base: u32, len: u32) -> bool {
        let Some((start, gap)) = self.gaps.around(base).filter(|_| len > 0) else { return false };
        let before = base - start;
        if gap - before < len {
            return false;
        }
        self.gaps.remove(start);
        self.gaps.insert(start, before);
        self.gaps.insert(base + len, gap - before - len);
        self.taken.insert(base, len);
        true
    }

    /// Gives back the range that was taken there.
    pub(super) fn release(&mut self, base: u32) {
        let Some(len) = self.taken.remove(&base) else { return };
        let (mut start, mut gap) = (base, len);
        if let Some((before, len)) = base.checked_sub(1).and_then(|place| self.gaps.around(place)) {
            self.gaps.remove(before);
            (start, gap) = (before, gap + len);
        }
        if let Some(after) = self.gaps.remove(base + len) {
            gap += after;
        }
        self.gaps.insert(start, gap);
    }
}

/// What a plan takes beside what is taken already.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    below: &'a Regions,
    /// Gaps of those below that are no more what they were.
    hidden: BTreeSet<u32>,
    /// What is left of them.
    gaps: Gaps,
}

impl<'a> Overlay<'a> {
    pub(super) fn over(below: &'a Regions) -> Self {
        Self { below, hidden: BTreeSet::new(), gaps: Gaps::default() }
    }

    /// Takes a range out of a gap that holds it.
    fn take(&mut self, (start, gap): (u32, u32), base: u32, len: u32) {
        if self.gaps.remove(start).is_none() {
            self.hidden.insert(start);
        }
        let before = base - start;
        self.gaps.insert(start, before);
        self.gaps.insert(base + len, gap - before - len);
    }

    /// Takes what is free of a certain range. For what was read back from maps, where damage may make ranges overlap, and
    /// for what others still read.
    pub(super) fn cover(&mut self, base: u32, len: u32) {
        let end = base.saturating_add(len);
        let mut place = base;
        while place < end {
            let mut below = self.below.gaps.from(place);
            while let Some((start, gap)) = below.filter(|(start, _)| self.hidden.contains(start)) {
                below = self.below.gaps.from(start + gap);
            }
            let Some(gap) = below.into_iter().chain(self.gaps.from(place)).min() else { return };
            let (first, last) = (gap.0.max(place), end.min(gap.0 + gap.1));
            if first >= last {
                return;
            }
            self.take(gap, first, last - first);
            place = last;
        }
    }

    /// Takes a free range that starts at a multiple of `align`: the smallest gap that it fits in, so that large gaps
    /// stay large. `None` if there is none.
    pub(super) fn allocate(&mut self, len: u32, align: u32) -> Option<u32> {
        let base_in = |(start, gap): (u32, u32)| {
            let base = start.checked_next_multiple_of(align)?;
            (base.checked_add(len)? <= start + gap).then_some(((gap, start), base))
        };
        let below = self.below.gaps.fitting(len).filter(|(start, _)| !self.hidden.contains(start)).find_map(base_in);
        let own = self.gaps.fitting(len).find_map(base_in);
        let ((gap, start), base) = below.into_iter().chain(own).min()?;
        self.take((start, gap), base, len);
        Some(base)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_gap_is_taken() {
        let mut regions = Regions::new(100);
        assert!(regions.claim(0, 10) && regions.claim(50, 10) && regions.claim(70, 10));
        let mut more = Overlay::over(&regions);
        assert_eq!(more.allocate(10, 1), Some(60));
        assert_eq!(more.allocate(20, 1), Some(80));
        assert_eq!(more.allocate(40, 1), Some(10));
        assert_eq!(more.allocate(1, 1), None);
    }

    #[test]
    fn what_is_taken_or_too_large_is_not_claimed() {
        let mut regions = Regions::new(100);
        assert!(regions.claim(16, 16));
        for (base, len) in [(16, 16), (0, 17), (31, 1), (20, 4), (90, 11), (0, 0), (100, 1), (u32::MAX, 2)] {
            assert!(!regions.claim(base, len), "{base}, {len}");
        }
        assert!(regions.claim(0, 16) && regions.claim(32, 68));
    }

    #[test]
    fn covering_takes_what_is_left() {
        let mut regions = Regions::new(100);
        assert!(regions.claim(10, 10) && regions.claim(30, 10));
        let mut more = Overlay::over(&regions);
        more.cover(5, 30);
        more.cover(90, 200);
        more.cover(7, 1);
        assert_eq!(more.allocate(50, 1), Some(40));
        assert_eq!(more.allocate(5, 1), Some(0));
        assert_eq!(more.allocate(1, 1), None);
    }

    /// What is free, place by place.
    struct Slow(Vec<bool>);

    impl Slow {
        fn is_free(&self, base: u32, len: u32) -> bool {
            len > 0 && (base..base + len).all(|place| self.0.get(place as usize) == Some(&false))
        }

        fn set(&mut self, base: u32, len: u32, taken: bool) {
            (base..base + len).for_each(|place| self.0[place as usize] = taken);
        }

        /// Where [`Overlay::allocate`] must go: the first place in the smallest gap.
        fn place_for(&self, len: u32, align: u32) -> Option<u32> {
            let mut gaps = Vec::new();
            let mut start = 0;
            for end in 0..=self.0.len() {
                if self.0.get(end).is_none_or(|taken| *taken) {
                    gaps.push((end - start, start));
                    start = end + 1;
                }
            }
            gaps.sort_unstable();
            let base = |(gap, start): (usize, usize)| {
                let base = start.next_multiple_of(align as usize);
                (base + len as usize <= start + gap).then_some(base as u32)
            };
            gaps.into_iter().find_map(base)
        }
    }

    proptest! {
        #[test]
        fn regions_do_what_going_through_all_places_would(
            steps in prop::collection::vec((0_u8..4, 0_u32..128, 1_u32..20), 1..60),
            more in prop::collection::vec((any::<bool>(), 0_u32..128, 1_u32..20, 0_u32..5), 0..20),
        ) {
            let (mut regions, mut slow) = (Regions::new(128), Slow(vec![false; 128]));
            for (choice, base, len) in steps {
                if choice > 0 {
                    let free = slow.is_free(base, len);
                    prop_assert_eq!(regions.claim(base, len), free);
                    if free {
                        slow.set(base, len, true);
                    }
                } else if let Some((base, len)) = regions.taken.range(base..).next().map(|(base, len)| (*base, *len)) {
                    regions.release(base);
                    slow.set(base, len, false);
                }
            }
            let mut overlay = Overlay::over(&regions);
            for (cover, base, len, order) in more {
                if cover {
                    overlay.cover(base, len);
                    slow.set(base, len.min(128 - base), true);
                } else {
                    let place = slow.place_for(len, 1 << order);
                    prop_assert_eq!(overlay.allocate(len, 1 << order), place);
                    if let Some(base) = place {
                        slow.set(base, len, true);
                    }
                }
            }
        }
    }
}
