//! `--allow` and `--allow-file`: allow-lists from the command line.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::model::{AllowList, Prefix};

/// The prefixes that were given one by one and in a file; `None` if there were neither.
pub(super) fn list(mut prefixes: Vec<Prefix>, file: Option<&PathBuf>) -> Result<Option<AllowList>, Failure> {
    if let Some(path) = file {
        let name = if path == Path::new("-") { "the standard input".to_owned() } else { path.display().to_string() };
        let text = read(path).map_err(|source| Failure::Io { what: format!("{name} cannot be read"), source })?;
        let before = prefixes.len();
        prefixes.extend(parse(&text).map_err(|(line, why)| Failure::Other(format!("line {line} of {name}: {why}")))?);
        if prefixes.len() == before {
            return Err(Failure::Other(format!(
                "{name} has no prefix, and a list without one would take packets from everywhere; give one prefix a line"
            )));
        }
    }
    Ok((!prefixes.is_empty()).then(|| prefixes.into()))
}

fn read(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// One prefix a line; what follows a `#` is for people. The fault is that of the line with that number.
fn parse(text: &str) -> Result<Vec<Prefix>, (usize, String)> {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(prefix, _)| prefix).trim());
    let prefixes = lines.enumerate().filter(|(_, line)| !line.is_empty());
    prefixes
        .map(|(index, line)| line.parse().map_err(|fault: crate::model::Fault| (index + 1, fault.message)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_prefix_a_line_and_remarks() {
        let prefixes = parse("# offices\n10.0.0.0/8\n\n  192.0.2.7 # the printer\n").expect("prefixes");
        assert_eq!(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "192.0.2.7/32"]);
        let (line, why) = parse("10.0.0.0/8\n\n10.0.0.0/33\n").expect_err("too long");
        assert_eq!((line, why.as_str()), (3, "the prefix 10.0.0.0/33 is longer than its address; give 0 to 32 bits"));
    }

    #[test]
    fn a_file_without_a_prefix_does_not_open_the_listener() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let refusal = list(Vec::new(), Some(&file.path().to_owned())).expect_err("nothing in it").to_string();
        assert!(
            refusal.contains("has no prefix, and a list without one would take packets from everywhere"),
            "{refusal}"
        );
        assert_eq!(list(Vec::new(), None).expect("nothing was asked for"), None);
        let missing = list(Vec::new(), Some(&"/nonexistent/list".into())).expect_err("no file").to_string();
        assert!(missing.starts_with("/nonexistent/list cannot be read: "), "{missing}");
    }
}
