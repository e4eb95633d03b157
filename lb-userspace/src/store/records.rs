//! The desired state as entries of a store, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Entry, FILE, Kind};
use crate::health::plan::Standings;
use crate::health::{CheckKey, Standing};
use crate::model::{Backend, BackendAddr, Desired, Edit, Fault, FromFile, Interface, Listener, Name, PoolSettings};
use crate::octavia::catalogue::{Catalogue, Key, Object};
use crate::octavia::schema;

/// The changes of the store that write down edits of the desired state.
///
/// # Errors
/// An object has no JSON form, which would be a bug.
pub fn changes_of(edits: &[Edit]) -> Result<Vec<Change>, Fault> {
    edits.iter().map(change_of).collect()
}

/// The desired state that entries describe.
///
/// # Errors
/// An entry is not what this version of drlb writes.
pub fn desired_of(entries: &[Entry]) -> Result<Desired, Fault> {
    // Pools before what stands in them or names them.
    let order = [Kind::Interface, Kind::Pool, Kind::Backend, Kind::Listener, Kind::File];
    let mut desired = Desired::default();
    for kind in order {
        for entry in entries.iter().filter(|entry| entry.kind == kind) {
            let edit = edit_of(entry)?;
            desired.edit(edit).ok_or_else(|| damaged(entry, "it belongs to a pool that is not there"))?;
        }
    }
    for listener in desired.listeners.values() {
        if desired.pool_of(listener).is_none() {
            let (name, pool) = (&listener.name, &listener.pool);
            return Err(Fault::unavailable(format!(
                "the store's listener `{name}` names a pool `{pool}` that is not there"
            )));
        }
    }
    Ok(desired)
}

/// The names of the interfaces that entries describe.
#[must_use]
pub fn interfaces_of(entries: &[Entry]) -> Vec<String> {
    entries.iter().filter(|entry| entry.kind == Kind::Interface).map(|entry| entry.key.clone()).collect()
}

/// The objects of the OpenStack API that entries describe.
///
/// # Errors
/// An entry is not what this version of drlb writes.
pub fn catalogue_of(entries: &[Entry]) -> Result<Catalogue, Fault> {
    let mut catalogue = Catalogue::default();
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Object) {
        let key = entry.key.split_once('/').and_then(|(kind, id)| {
            let kind = schema::Kind::ALL.iter().copied().find(|known| known.singular() == kind)?;
            Some(Key::new(kind, id))
        });
        let key = key.ok_or_else(|| damaged(entry, "its key names no kind of object"))?;
        catalogue.load(&key, object::<Object>(entry)?);
    }
    Ok(catalogue)
}

/// The changes of the store that write down what is not committed of a catalogue.
///
/// # Errors
/// An object has no JSON form, which would be a bug.
pub fn object_changes(catalogue: &Catalogue) -> Result<Vec<Change>, Fault> {
    catalogue.changes().map(|(key, object)| object_change(key, object)).collect()
}

/// The changes of the store that write down some objects of a catalogue as they are.
///
/// # Errors
/// An object has no JSON form, which would be a bug.
pub fn object_changes_of(catalogue: &Catalogue, keys: &[Key]) -> Result<Vec<Change>, Fault> {
    keys.iter().map(|key| object_change(key, catalogue.get(key.kind, &key.id))).collect()
}

fn object_change(key: &Key, object: Option<&Object>) -> Result<Change, Fault> {
    let name = format!("{}/{}", key.kind.singular(), key.id);
    match object {
        Some(object) => put(Kind::Object, name, object),
        None => Ok(Change::Delete { kind: Kind::Object, key: name }),
    }
}
/// The standings that entries tell of. One that is not understood is not known.
#[must_use]
pub fn standings_of(entries: &[Entry]) -> Standings {
    let standing = |entry: &Entry| {
        let (pool, address) = entry.key.split_once('/')?;
        let standing = match entry.body.as_str() {
            UP => Standing::Up,
            DOWN => Standing::Down,
            _ => return None,
        };
        Some(((pool.parse().ok()?, address.parse().ok()?), standing))
    };
    entries.iter().filter(|entry| entry.kind == Kind::Health).filter_map(standing).collect()
}

/// The changes of the store that write down standings, given those that it has. A standing that is not proven is not written
/// down.
#[must_use]
pub fn changes_of_standings(before: &Standings, after: &Standings) -> Vec<Change> {
    let body = |standing: &Standing| match standing {
        Standing::Up => Some(UP),
        Standing::Down => Some(DOWN),
        Standing::Unproven => None,
    };
    let key = |(pool, address): &CheckKey| backend_key(pool, *address);
    let gone =
        before.iter().filter(|(key, standing)| body(standing).is_some() && after.get(key).and_then(body).is_none());
    let put = after.iter().filter(|(key, standing)| before.get(key) != Some(standing));
    let put = put.filter_map(|(name, standing)| {
        Some(Change::Put(Entry { kind: Kind::Health, key: key(name), body: body(standing)?.to_owned() }))
    });
    gone.map(|(name, _)| Change::Delete { kind: Kind::Health, key: key(name) }).chain(put).collect()
}

// The bodies of entries of health: JSON, as all are.
const UP: &str = "\"up\"";
const DOWN: &str = "\"down\"";

fn change_of(edit: &Edit) -> Result<Change, Fault> {
    let delete = |kind, key| Ok(Change::Delete { kind, key });
    match edit {
        Edit::PutInterface(interface) => put(Kind::Interface, interface.name.clone(), interface),
        Edit::RemoveInterface(name) => delete(Kind::Interface, name.clone()),
        Edit::PutPool(settings) => put(Kind::Pool, settings.name.to_string(), settings),
        Edit::RemovePool(name) => delete(Kind::Pool, name.to_string()),
        Edit::PutBackend(pool, backend) => put(Kind::Backend, backend_key(pool, backend.address), backend),
        Edit::RemoveBackend(pool, address) => delete(Kind::Backend, backend_key(pool, *address)),
        Edit::PutListener(listener) => put(Kind::Listener, listener.name.to_string(), listener),
        Edit::RemoveListener(name) => delete(Kind::Listener, name.to_string()),
        Edit::PutFromFile(from_file) => put(Kind::File, FILE.to_owned(), from_file),
    }
}

fn put(kind: Kind, key: String, object: &impl Serialize) -> Result<Change, Fault> {
    let body = serde_json::to_string(object)
        .map_err(|error| Fault::internal(format!("{} `{key}` has no JSON form: {error}", kind.name())))?;
    Ok(Change::Put(Entry { kind, key, body }))
}

fn edit_of(entry: &Entry) -> Result<Edit, Fault> {
    Ok(match entry.kind {
        Kind::Interface => Edit::PutInterface(object::<Interface>(entry)?),
        Kind::Pool => Edit::PutPool(object::<PoolSettings>(entry)?),
        Kind::Listener => Edit::PutListener(object::<Listener>(entry)?),
        Kind::File => Edit::PutFromFile(object::<FromFile>(entry)?),
        Kind::Backend => {
            // A name has no slash, so the first one ends it.
            let pool = entry.key.split_once('/').and_then(|(pool, _)| pool.parse().ok());
            let pool: Name = pool.ok_or_else(|| damaged(entry, "its key names no pool"))?;
            Edit::PutBackend(pool, object::<Backend>(entry)?)
        }
        Kind::Object => return Err(damaged(entry, "it is no part of the desired state")),
        Kind::Health => return Err(damaged(entry, "it is no object")),
    })
}

fn object<T: DeserializeOwned>(entry: &Entry) -> Result<T, Fault> {
    serde_json::from_str(&entry.body).map_err(|error| damaged(entry, &error.to_string()))
}

fn damaged(entry: &Entry, why: &str) -> Fault {
    let (kind, key) = (entry.kind.name(), &entry.key);
    Fault::unavailable(format!("the store's entry of {kind} `{key}` cannot be read: {why}"))
}

fn backend_key(pool: &Name, address: BackendAddr) -> String {
    format!("{pool}/{address}")
}
