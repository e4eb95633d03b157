//! `cargo xtask check`: what every change must pass. All steps run, and all that failed is said at the end.

mod dependencies;
mod docs;
mod format;
mod layers;
mod lint;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// One thing that is checked.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace, &Setup) -> Result<()>,
}

/// All of them; quick ones first.
const STEPS: &[Step] = &[
    Step { name: "format", what: "the source stands as rustfmt writes it", run: format::run },
    Step { name: "layers", what: "modules import only what the layout lets them", run: layers::run },
    Step { name: "dependencies", what: "what we depend on: licences, sources, duplicates", run: dependencies::run },
    Step { name: "lint-bpf", what: "clippy finds nothing in the XDP program", run: lint::bpf },
    Step { name: "lint", what: "clippy finds nothing in anything that runs on this machine", run: lint::host },
    Step { name: "docs", what: "the documentation builds and its links lead somewhere", run: docs::run },
];

/// The steps and what they check, for people.
pub(crate) fn usage() -> String {
    STEPS.iter().map(|step| format!("  {:<13} {}\n", step.name, step.what)).collect()
}

/// Runs the steps of those names, or all; each sets up what it needs.
///
/// # Errors
/// If there is no such step, or if one fails: says which.
pub(crate) fn run(workspace: &Workspace, names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        bail!("{unknown:?} is no step of check; the steps are\n{}", usage());
    }
    let setup = Setup::of_this_machine();
    let mut failed = Vec::new();
    let steps: Vec<_> = STEPS.iter().filter(|step| names.is_empty() || names.contains(&step.name)).collect();
    for step in &steps {
        console::part(format_args!("{}: {}", step.name, step.what));
        let start = Instant::now();
        match (step.run)(workspace, &setup) {
            Ok(()) => console::fact(format_args!("ok ({})", console::seconds(start.elapsed()))),
            Err(error) => {
                println!("   FAILED: {error:#}");
                failed.push((step.name, error));
            }
        }
    }
    if failed.is_empty() {
        console::part(format_args!("{} checks passed", steps.len()));
        return Ok(());
    }
    let list: String = failed.iter().map(|(name, error)| format!("\n  {name}: {error:#}")).collect();
    bail!("{} of {} checks failed:{list}", failed.len(), steps.len())
}
