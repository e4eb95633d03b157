//! What a Cargo.toml depends on.

/// What a crate may depend on. Development dependencies are free.
pub(super) enum Dependencies {
    /// Nothing but these.
    Among(&'static [&'static str]),
    /// Everything but these.
    Without(&'static [&'static str]),
}

/// What a manifest depends on and must not, each with its place.
pub(super) fn not_allowed(file: &str, text: &str, rule: &Dependencies) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, name) in dependencies(text) {
        match rule {
            Dependencies::Among(these) if !these.contains(&name) => {
                let these = these.join(", ");
                wrong.push(format!("{file}:{line}: depends on {name}, but this crate may depend on {these} only"));
            }
            Dependencies::Without(these) if these.contains(&name) => {
                wrong.push(format!("{file}:{line}: depends on {name}, which this crate must not"));
            }
            _ => {}
        }
    }
    wrong
}

/// The names in the tables of dependencies, with the lines that they stand on. Reads the one form that this workspace
/// writes: a table a section, a dependency a line.
fn dependencies(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section == "dependencies" || section.ends_with(".dependencies");
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((number + 1, name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n\n[dependencies]\n# why\nlb-common.workspace = true\n\
        anyhow = \"1\"\n\n[target.'cfg(target_arch = \"bpf\")'.dependencies]\naya-ebpf = { workspace = true }\n\n\
        [dev-dependencies]\ntempfile.workspace = true\n";

    #[test]
    fn dependencies_of_every_target_are_read_and_those_of_tests_are_not() {
        assert_eq!(dependencies(MANIFEST), [(6, "lb-common"), (7, "anyhow"), (10, "aya-ebpf")]);
    }

    #[test]
    fn a_dependency_too_many_is_named() {
        let wrong = not_allowed("x/Cargo.toml", MANIFEST, &Dependencies::Among(&["lb-common", "aya-ebpf"]));
        assert_eq!(wrong, ["x/Cargo.toml:7: depends on anyhow, but this crate may depend on lb-common, aya-ebpf only"]);
        let wrong = not_allowed("x/Cargo.toml", MANIFEST, &Dependencies::Without(&["lb-common", "tempfile"]));
        assert_eq!(wrong, ["x/Cargo.toml:6: depends on lb-common, which this crate must not"]);
    }
}
