//! Every code of docs/doctor.md has a scenario here, and every code of a scenario is documented.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The codes in the first column of the page's table.
fn documented() -> Result<BTreeSet<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
    let page = fs::read_to_string(&page).context("docs/doctor.md cannot be read")?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    Ok(rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect())
}

#[test]
fn each_code_that_is_documented_is_found_by_a_scenario_and_told_by_the_program() -> Result<()> {
    let tests: [&str; 5] = [
        include_str!("backends.rs"),
        include_str!("balancer.rs"),
        include_str!("interfaces.rs"),
        include_str!("services.rs"),
        include_str!("vips.rs"),
    ];
    let tests = tests.concat() + include_str!("healthy.rs");
    let sources = ["backends", "interfaces", "vips"].map(|file| {
        let path = format!("../lb-userspace/src/doctor/{file}.rs");
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
    });
    let sources: String = sources.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let codes = documented()?;
    ensure!(codes.len() > 25, "the page has {codes:?}");
    for code in &codes {
        let quoted = format!("\"{code}\"");
        ensure!(sources.contains(&quoted), "{code} is documented, and no finding has it");
        ensure!(tests.contains(&quoted), "{code} has no scenario");
    }
    // What is quoted right after `problem(` or `note(` is a code.
    for call in ["problem(", "note("] {
        for part in sources.split(call).skip(1) {
            if let Some(code) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                ensure!(codes.contains(code), "{code} is a finding, and docs/doctor.md does not have it");
            }
        }
    }
    Ok(())
}
