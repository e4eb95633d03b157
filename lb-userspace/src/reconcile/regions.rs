//! Which parts of a map are taken: a pure allocator of ranges.

use std::collections::BTreeMap;

/// The ranges of a map that are taken. They never overlap.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    size: u32,
    taken: BTreeMap<u32, u32>,
}

impl Regions {
    /// A map of `size` elements, all free.
    pub(super) fn new(size: u32) -> Self {
        Self { size, taken: BTreeMap::new() }
    }

    /// Takes a certain range. False, and nothing is taken, if it is empty, reaches beyond the map or meets another.
    pub(super) fn claim(&mut self, base: u32, len: u32) -> bool {
        let Some(end) = base.checked_add(len) else { return false };
        let before = self.taken.range(..end).next_back();
        let free = before.is_none_or(|(other, len)| other + len <= base);
        if len == 0 || end > self.size || !free {
            return false;
        }
        self.taken.insert(base, len);
        true
    }

    /// Takes what is free of a certain range. For what was read back from maps, where damage may make ranges overlap.
    pub(super) fn cover(&mut self, base: u32, len: u32) {
        let end = base.saturating_add(len).min(self.size);
        let mut start = base;
        while start < end {
            let met =
                self.taken.iter().map(|(base, len)| (*base, base + len)).find(|(_, other_end)| *other_end > start);
            let (next, after) = met.unwrap_or((end, end));
            if start < next {
                self.claim(start, next.min(end) - start);
            }
            start = after.max(start + 1);
        }
    }

    /// Takes a free range that starts at a multiple of `align`: the smallest gap that it fits in, so that large gaps
    /// stay large. `None` if there is none.
    pub(super) fn allocate(&mut self, len: u32, align: u32) -> Option<u32> {
        let starts = std::iter::once(0).chain(self.taken.iter().map(|(base, len)| base + len));
        let ends = self.taken.keys().copied().chain(std::iter::once(self.size));
        let fitting = starts.zip(ends).filter_map(|(start, end)| {
            let base = start.checked_next_multiple_of(align)?;
            (base.checked_add(len)? <= end).then_some((end - start, base))
        });
        let (_, base) = fitting.min()?;
        self.claim(base, len).then_some(base)
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
        assert_eq!(regions.allocate(10, 1), Some(60));
        assert_eq!(regions.allocate(20, 1), Some(80));
        assert_eq!(regions.allocate(40, 1), Some(10));
        assert_eq!(regions.allocate(1, 1), None);
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let mut regions = Regions::new(100);
        assert!(regions.claim(16, 16));
        for (base, len) in [(16, 16), (0, 17), (31, 1), (20, 4), (0, 100), (90, 11), (5, 0), (u32::MAX, 2)] {
            assert!(!regions.claim(base, len), "{base}, {len}");
        }
        assert!(regions.claim(0, 16) && regions.claim(32, 68));
    }

    #[test]
    fn covering_takes_what_is_left() {
        let mut regions = Regions::new(100);
        assert!(regions.claim(10, 10) && regions.claim(30, 10));
        regions.cover(5, 30);
        regions.cover(90, 200);
        for free in [(0, 5), (40, 50)] {
            assert!(regions.claim(free.0, free.1), "{free:?}");
        }
        assert_eq!(regions.allocate(1, 1), None);
    }

    proptest! {
        #[test]
        fn what_is_allocated_is_aligned_and_disjoint(lens in prop::collection::vec((0_u32..5, 1_u32..40), 1..40)) {
            let mut regions = Regions::new(512);
            let mut got: Vec<(u32, u32)> = Vec::new();
            for (order, len) in lens {
                let align = 1 << order;
                if let Some(base) = regions.allocate(len, align) {
                    prop_assert!(base % align == 0 && base + len <= 512);
                    prop_assert!(got.iter().all(|(other, other_len)| base + len <= *other || other + other_len <= base));
                    got.push((base, len));
                }
            }
        }
    }
}
