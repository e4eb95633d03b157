//! A store in one SQLite file.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{Change, Entry, Kind, Store};
use crate::model::Fault;

/// Name of the file in the state folder.
pub const FILE: &str = "drlb.db";

/// Version of the tables, kept in the file's `user_version`.
const SCHEMA: i32 = 1;
/// Marks the file as drlb's (`application_id`, the fourth of the numbers that `file` prints): "drlb" in ASCII.
const APPLICATION: i32 = 0x6472_6c62;

const CREATE: &str = "
    CREATE TABLE entries (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;";

/// The store of one agent in one file. The file is locked as long as this lives.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the store in a folder, and makes both if they are not there.
    ///
    /// # Errors
    /// The folder or the file cannot be made or written, the file is damaged, is of a newer version, or another agent
    /// has it open.
    pub fn open(state_dir: &Path) -> Result<Self, Fault> {
        let shown = state_dir.display();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(|error| {
            Fault::unavailable(format!(
                "the state folder {shown} cannot be made: {error}; give another one with --state-dir"
            ))
        })?;
        let path = state_dir.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags);
        let mut connection = opened.map_err(|error| fault(&path, "opened", &error))?;
        let version = prepare(&mut connection).map_err(|error| fault(&path, "opened", &error))?;
        match version {
            Version::Ours => {}
            Version::Newer(version) => {
                return Err(Fault::unavailable(format!(
                    "the store {} is of version {version} and this drlb knows version {SCHEMA}; run the newer drlb that \
                     wrote it, or give another folder with --state-dir",
                    path.display()
                )));
            }
            Version::Foreign => {
                return Err(Fault::unavailable(format!(
                    "{} is a database of another program; give another folder with --state-dir",
                    path.display()
                )));
            }
        }
        owner_only(&path).map_err(|error| {
            Fault::unavailable(format!("the rights of the store {} cannot be set: {error}", path.display()))
        })?;
        Ok(Self { connection, path })
    }
}

enum Version {
    Ours,
    Newer(i32),
    Foreign,
}

/// Locks the file for this process and makes its table if it is new.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Version> {
    // Exclusive: a second agent on the same file is refused as long as this one has it open.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // What is not ours is left before anything is written to it.
    match (tables, application, version) {
        (0, 0, 0) | (_, APPLICATION, SCHEMA) => {}
        (_, APPLICATION, version) => return Ok(Version::Newer(version)),
        _ => return Ok(Version::Foreign),
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Full: a commit is on the disk before it is acknowledged, in WAL mode too.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if tables == 0 {
        transaction.execute_batch(CREATE)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
    }
    // A damaged page would otherwise show only when it is read, perhaps in the middle of a command.
    let finding: String = transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    transaction.commit()?;
    if finding != "ok" {
        let damaged = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(damaged, Some(finding)));
    }
    Ok(Version::Ours)
}

fn owner_only(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

impl Store for SqliteStore {
    fn load(&self) -> Result<Vec<Entry>, Fault> {
        let read = || -> rusqlite::Result<Vec<(String, String, String)>> {
            let mut select = self.connection.prepare("SELECT kind, key, body FROM entries ORDER BY kind, key")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        let rows = read().map_err(|error| fault(&self.path, "read", &error))?;
        let entries = rows.into_iter().map(|(kind, key, body)| {
            let known = Kind::ALL.iter().copied().find(|known| known.name() == kind).ok_or_else(|| {
                let path = self.path.display();
                Fault::unavailable(format!("the store {path} has an entry of the unknown kind `{kind}`"))
            })?;
            Ok(Entry { kind: known, key, body })
        });
        entries.collect()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            for change in changes {
                match change {
                    Change::Put(Entry { kind, key, body }) => transaction
                        .prepare_cached("INSERT OR REPLACE INTO entries (kind, key, body) VALUES (?1, ?2, ?3)")?
                        .execute(params![kind.name(), key, body])?,
                    Change::Delete { kind, key } => transaction
                        .prepare_cached("DELETE FROM entries WHERE kind = ?1 AND key = ?2")?
                        .execute(params![kind.name(), key])?,
                };
            }
            transaction.commit()
        };
        write(&mut self.connection).map_err(|error| fault(&self.path, "written", &error))
    }
}

/// What SQLite reports, in a sentence that says what to do.
fn fault(path: &Path, what: &str, error: &rusqlite::Error) -> Fault {
    let path = path.display();
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return Fault::unavailable(format!(
                "the store {path} is in use by another drlb agent; stop that one, or give another folder with --state-dir"
            ));
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "it is damaged: put back a copy of it, or move it away and configure drlb anew"
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            "run the agent as root, or give a folder that it can write with --state-dir"
        }
        Some(ErrorCode::DiskFull) => "free some space on that disk",
        _ => "see that the disk works and has space",
    };
    Fault::unavailable(format!("the store {path} cannot be {what} ({error}); {advice}"))
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
