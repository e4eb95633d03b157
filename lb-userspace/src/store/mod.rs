//! Where the desired state lasts.
//!
//! A store keeps entries by kind and key, each with a JSON body, and changes several of them at once or not at all.
//! That is all that it must do, so that something else than a file can serve: a cluster will keep its state in etcd.

mod records;
pub mod sqlite;

pub use records::{
    catalogue_of, changes_of, changes_of_standings, desired_of, interfaces_of, object_changes, object_changes_of,
    standings_of,
};

use crate::model::Fault;

/// What an entry describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An interface that drlb is attached to; the key is its name.
    Interface,
    /// A pool's settings; the key is its name.
    Pool,
    /// A backend; the key is its pool's name, a slash and its address.
    Backend,
    /// A listener; the key is its name.
    Listener,
    /// An object of the OpenStack API; the key is its kind, a slash and its id.
    Object,
    /// What came from a file; the key is [`FILE`].
    File,
    /// Whether a backend was up by its health checks; the key is as a backend's. Not wanted, but found out: it lasts so
    /// that a new agent knows what the one before did.
    Health,
}

/// The key of the one entry of [`Kind::File`].
pub const FILE: &str = "last";

impl Kind {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Interface, Self::Pool, Self::Backend, Self::Listener, Self::Object, Self::File, Self::Health];

    /// The name that the store uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Pool => "pool",
            Self::Backend => "backend",
            Self::Listener => "listener",
            Self::Object => "object",
            Self::File => "file",
            Self::Health => "health",
        }
    }
}

/// An entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it describes.
    pub kind: Kind,
    /// Which one of its kind.
    pub key: String,
    /// The description, in JSON.
    pub body: String,
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add or replace an entry.
    Put(Entry),
    /// Remove an entry; no fault if there is none.
    Delete {
        /// What it describes.
        kind: Kind,
        /// Which one of its kind.
        key: String,
    },
}

/// A durable set of entries that one agent owns.
pub trait Store: Send {
    /// All entries, in the order of kind and key.
    ///
    /// # Errors
    /// The entries cannot be read.
    fn load(&self) -> Result<Vec<Entry>, Fault>;

    /// Makes all the changes, in their order, or none. When it returns they outlast a crash of the host.
    ///
    /// # Errors
    /// They could not be made; the entries are as before.
    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault>;
}
