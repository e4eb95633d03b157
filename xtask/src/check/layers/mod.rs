//! Who may import whom: the layout of `docs/architecture.md`, held against the source.
//!
//! This reads names, not meanings: a path such as `crate::dataplane::Maps`, in a `use` or anywhere else, counts as an
//! import of it. Test modules are not read.

mod manifest;
mod rules;
mod source;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::rules::{MANIFESTS, RULES, UNSAFE};
use self::source::Source;
use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// The crates whose source is read, and the folder of each.
const CRATES: &[&str] =
    &["fuzz/src", "lb-common/src", "lb-ebpf/src", "lb-userspace/src", "tests/src", "tests/simulator/src", "xtask/src"];

/// # Errors
/// If the source breaks a rule: each place with what is wrong.
pub(super) fn run(workspace: &Workspace, _: &Setup) -> Result<()> {
    let root = &workspace.root;
    let mut sources = Vec::new();
    for folder in CRATES {
        for file in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            sources.push(Source::read(&name, folder, &text));
        }
    }
    let mut wrong: Vec<String> = sources.iter().flat_map(rules::broken_by).collect();
    wrong.extend(rules::without_effect(&sources));
    for (folder, allowed) in MANIFESTS {
        let file = root.join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        wrong.extend(manifest::not_allowed(&format!("{folder}/Cargo.toml"), &text, allowed));
    }
    if wrong.is_empty() {
        let (rules, files) = (RULES.len() + MANIFESTS.len() + usize::from(!UNSAFE.is_empty()), sources.len());
        console::fact(format_args!("{rules} rules hold in {files} files"));
        return Ok(());
    }
    for line in &wrong {
        println!("   {line}");
    }
    bail!("{} places break the layout", wrong.len())
}

/// The Rust files below a folder, without those that hold tests alone.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = folder.read_dir().with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("{} cannot be read", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
