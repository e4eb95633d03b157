//! `drlb apply`, `drlb export` and `drlb import`: the desired state as a file.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::args::{ApplyArgs, ImportArgs, ImportFormat};
use super::{Failure, Output, Session, print_text};
use crate::api::client::ClientError;
use crate::api::types::Applied;
use crate::config;
use crate::model::Fault;

/// The name that standard input goes by.
const STANDARD_INPUT: &str = "-";

pub(super) async fn apply(session: &Session, args: ApplyArgs) -> Result<(), Failure> {
    let ApplyArgs { file, dry_run } = args;
    let text = read(&file)?;
    let parameters: &[_] = if dry_run { &[("dry-run", "true")] } else { &[] };
    let answer = session.client.put_text(&["config"], parameters, text).await.map_err(|error| match error {
        // What is wrong is wrong with the file.
        ClientError::Fault(fault) => {
            let message = format!("{}: {}", shown(&file), fault.message);
            Failure::Fault(Fault { message, ..fault })
        }
        other => other.into(),
    })?;
    session.print(&answer, |applied: Applied| {
        let count = applied.changes.len();
        let changes = if count == 1 { "1 change".to_owned() } else { format!("{count} changes") };
        let end = match (count, applied.dry_run) {
            (0, _) => "Nothing to change.".to_owned(),
            (_, true) => format!("{changes} would be made."),
            (_, false) => format!("{changes} made."),
        };
        let lines: String = applied.changes.iter().map(|line| format!("{line}\n")).collect();
        format!("{lines}{end}\n")
    })
}

pub(super) async fn export(session: &Session) -> Result<(), Failure> {
    let text = session.client.get(&["config"]).await?.text;
    match session.output {
        Output::Table => print_text(&text),
        Output::Json => print_json(&serde_json::json!({ "config": text })),
    }
}

pub(super) fn import(output: Output, args: &ImportArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let imported = match args.format {
        ImportFormat::Ipvsadm => config::import::ipvsadm(&text),
        ImportFormat::Keepalived => config::import::keepalived(&text),
    };
    if imported.wanted.listeners.is_empty() {
        let what = match args.format {
            ImportFormat::Ipvsadm => "service that `ipvsadm-save -n` prints",
            ImportFormat::Keepalived => "virtual_server of keepalived",
        };
        let notes: String = imported.notes.iter().map(|note| format!("\n{note}")).collect();
        return Err(Failure::Other(format!("{} has no {what} that drlb can take over{notes}", shown(&args.file))));
    }
    let text = config::write(&imported.wanted);
    match output {
        Output::Json => print_json(&serde_json::json!({ "config": text, "notes": imported.notes })),
        Output::Table => {
            for note in &imported.notes {
                eprintln!("{}: {note}", shown(&args.file));
            }
            print_text(&text)
        }
    }
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print_text(&format!("{value:#}\n"))
}

/// A file's text, or that of standard input.
fn read(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new(STANDARD_INPUT) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|source| Failure::Io { what: format!("{} could not be read", shown(file)), source })
}

fn shown(file: &Path) -> String {
    if file == Path::new(STANDARD_INPUT) { "standard input".to_owned() } else { file.display().to_string() }
}
