//! An array of which most is zero, without the memory of what is.
//!
//! A map is as large as it may ever have to be, and little of it is in use; what is, lies together, by regions.

/// How many elements are there or not there together.
const PAGE: usize = 1_024;

/// An array of words, zero where nothing was written. Pages that never had anything else take no memory.
#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Option<Box<[T; PAGE]>>>,
    len: usize,
}

impl<T: Copy + Default + PartialEq> Pages<T> {
    pub(super) fn zero(len: u32) -> Self {
        let len = len as usize;
        Self { pages: vec![None; len.div_ceil(PAGE)], len }
    }

    /// A word; `None` beyond the end.
    pub(super) fn get(&self, index: u32) -> Option<T> {
        let index = index as usize;
        let page = self.pages.get(index / PAGE).filter(|_| index < self.len)?;
        Some(page.as_ref().map_or_else(T::default, |page| page[index % PAGE]))
    }

    /// Writes a word; nothing beyond the end.
    pub(super) fn set(&mut self, index: u32, word: T) {
        let index = index as usize;
        if index >= self.len {
            return;
        }
        let page = &mut self.pages[index / PAGE];
        if page.is_some() || word != T::default() {
            page.get_or_insert_with(|| Box::new([T::default(); PAGE]))[index % PAGE] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_was_written_last_and_zero_before() {
        let mut pages = Pages::<u32>::zero(3_000);
        for index in [0, 1_023, 1_024, 2_999] {
            assert_eq!(pages.get(index), Some(0));
            pages.set(index, index + 1);
        }
        for index in [0, 1_023, 1_024, 2_999] {
            assert_eq!(pages.get(index), Some(index + 1));
            pages.set(index, 0);
            assert_eq!(pages.get(index), Some(0));
        }
    }

    #[test]
    fn nothing_is_written_beyond_the_end_nor_read_there() {
        let mut pages = Pages::<u64>::zero(10);
        for index in [10, 1_023, 1_024, u32::MAX] {
            pages.set(index, 1);
            assert_eq!(pages.get(index), None);
        }
        assert!(pages.pages.iter().all(Option::is_none));
    }

    #[test]
    fn zeroes_make_no_page() {
        let mut pages = Pages::<u32>::zero(1 << 22);
        (0..1 << 22).for_each(|index| pages.set(index, 0));
        pages.set(2_000_000, 7);
        assert_eq!(pages.pages.iter().flatten().count(), 1);
    }
}
