//! Room for the sockets of probes. Pure.

/// The most sockets that are open for probes at once.
pub const SOCKETS: usize = 1_024;

/// How much of the room is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    taken: usize,
    most: usize,
}

impl Room {
    /// Takes room for so many sockets. Those who take more than is left were told so by [`Room::left`].
    pub fn take(&mut self, sockets: usize) {
        self.taken += sockets;
        self.most = self.most.max(self.taken);
    }

    /// Gives it back.
    pub fn give_back(&mut self, sockets: usize) {
        self.taken = self.taken.saturating_sub(sockets);
    }

    /// For how many more there is room.
    #[must_use]
    pub const fn left(&self) -> usize {
        SOCKETS.saturating_sub(self.taken)
    }

    /// How many are open.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// How many were open at once at most.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_taken_is_remembered() {
        let mut room = Room::default();
        assert_eq!(room.left(), SOCKETS);
        room.take(1_000);
        room.take(24);
        assert_eq!((room.left(), room.taken(), room.most()), (0, 1_024, 1_024));
        room.give_back(1_000);
        room.take(1);
        assert_eq!((room.left(), room.taken(), room.most()), (999, 25, 1_024));
    }
}
