use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::FaultKind;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn entry(kind: Kind, key: &str, body: &str) -> Entry {
    Entry { kind, key: key.to_owned(), body: body.to_owned() }
}

fn refusal(folder: &TempDir) -> String {
    let fault = SqliteStore::open(folder.path()).expect_err("a store that cannot be opened");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    fault.message
}

#[test]
fn a_new_store_is_empty_and_only_its_owner_can_read_it() {
    let folder = folder();
    let path = folder.path().join("deep/er");
    let store = SqliteStore::open(&path).expect("a new store");
    assert_eq!(store.load(), Ok(vec![]));
    let mode = fs::metadata(path.join(FILE)).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_agent_is_refused() {
    let folder = folder();
    let _first = SqliteStore::open(folder.path()).expect("the first");
    assert!(refusal(&folder).contains("in use by another drlb agent"), "{}", refusal(&folder));
}

#[test]
fn a_damaged_store_is_refused() {
    let folder = folder();
    fs::write(folder.path().join(FILE), "not a database, but long enough to be taken for one at first sight".repeat(9))
        .expect("a file");
    assert!(refusal(&folder).contains("it is damaged"), "{}", refusal(&folder));
}

#[test]
fn a_store_with_a_damaged_page_is_refused() {
    let folder = folder();
    let mut store = SqliteStore::open(folder.path()).expect("a new store");
    let many: Vec<_> = (0..500).map(|i| Change::Put(entry(Kind::Pool, &format!("p{i}"), &"x".repeat(100)))).collect();
    store.commit(&many).expect("a commit");
    drop(store);
    let path = folder.path().join(FILE);
    let mut bytes = fs::read(&path).expect("the file");
    bytes[8192..12288].fill(0xa5);
    fs::write(&path, bytes).expect("the file, damaged");
    assert!(refusal(&folder).contains("it is damaged"), "{}", refusal(&folder));
}

#[test]
fn a_newer_store_is_refused() {
    let folder = folder();
    let store = SqliteStore::open(folder.path()).expect("a new store");
    store.connection.pragma_update(None, "user_version", SCHEMA + 1).expect("another version");
    drop(store);
    assert!(refusal(&folder).contains("is of version 2 and this drlb knows version 1"), "{}", refusal(&folder));
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = folder();
    let other = Connection::open(folder.path().join(FILE)).expect("a database");
    other.execute_batch("CREATE TABLE theirs (a)").expect("a table");
    drop(other);
    assert!(refusal(&folder).contains("is a database of another program"), "{}", refusal(&folder));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").expect("a file");
    let fault = SqliteStore::open(&folder.path().join("file/state")).expect_err("a file is no folder");
    assert!(fault.message.contains("cannot be made") && fault.message.contains("--state-dir"), "{}", fault.message);
}

#[test]
fn an_unwritable_store_is_refused() {
    // Root may write everything, so the file is one that nobody can: a folder stands where it should be.
    let folder = folder();
    fs::create_dir(folder.path().join(FILE)).expect("a folder");
    assert!(refusal(&folder).contains("cannot be opened"), "{}", refusal(&folder));
}

#[test]
fn a_failed_commit_changes_nothing() {
    let folder = folder();
    let mut store = SqliteStore::open(folder.path()).expect("a new store");
    let kept = entry(Kind::Pool, "web", "{}");
    store.commit(&[Change::Put(kept.clone())]).expect("a commit");
    store
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER no BEFORE INSERT ON entries WHEN new.key = 'no' BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .expect("a trigger");
    let changes = [
        Change::Delete { kind: Kind::Pool, key: "web".to_owned() },
        Change::Put(entry(Kind::Pool, "other", "{}")),
        Change::Put(entry(Kind::Pool, "no", "{}")),
    ];
    store.commit(&changes).expect_err("the trigger refuses it");
    assert_eq!(store.load(), Ok(vec![kept]));
}

/// Not a test of its own: the process that the next test kills.
const CHILD: &str = "DRLB_STORE_TEST_FOLDER";

#[test]
fn what_was_committed_outlasts_a_kill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut store = SqliteStore::open(Path::new(&folder)).expect("a new store");
        for number in 0.. {
            store.commit(&[Change::Put(entry(Kind::Pool, "count", &number.to_string()))]).expect("a commit");
            println!("committed {number}");
        }
    }
    let folder = folder();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "store::sqlite::tests::what_was_committed_outlasts_a_kill", "--nocapture"])
        .env(CHILD, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut acknowledged = 0;
    while acknowledged < 20 {
        let line = lines.next().expect("more output").expect("text");
        if let Some((_, number)) = line.split_once("committed ") {
            acknowledged = number.parse().expect("a number");
        }
    }
    child.kill().expect("a kill");
    child.wait().expect("an end");
    let entries = SqliteStore::open(folder.path()).expect("the store").load().expect("entries");
    let [Entry { body, .. }] = entries.as_slice() else { panic!("{entries:?}") };
    assert!(body.parse::<u32>().expect("a number") >= acknowledged);
}

fn any_change() -> impl Strategy<Value = Change> {
    let kind = prop::sample::select(Kind::ALL);
    // Few keys, so that they meet; any text in the body.
    (kind, "[ab]{1,2}", prop::option::of(any::<String>())).prop_map(|(kind, key, body)| match body {
        Some(body) => Change::Put(Entry { kind, key, body }),
        None => Change::Delete { kind, key },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_loaded_is_what_was_committed(commits in prop::collection::vec(prop::collection::vec(any_change(), 0..6), 0..6)) {
        let folder = folder();
        let mut model = BTreeMap::new();
        for changes in &commits {
            let mut store = SqliteStore::open(folder.path()).expect("the store");
            store.commit(changes).expect("a commit");
            for change in changes {
                match change {
                    Change::Put(entry) => model.insert((entry.kind.name(), entry.key.clone()), entry.clone()),
                    Change::Delete { kind, key } => model.remove(&(kind.name(), key.clone())),
                };
            }
        }
        let loaded = SqliteStore::open(folder.path()).expect("the store").load().expect("entries");
        prop_assert_eq!(loaded, model.into_values().collect::<Vec<_>>());
    }
}
