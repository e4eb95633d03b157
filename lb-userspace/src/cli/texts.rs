//! What is printed without an agent: completions, man pages and the set-up of a backend.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use uuid::Uuid;

use super::args::Cli;
use super::args::values::each_once;
use super::{Failure, print_text};
use crate::backend_setup::{self, Format};
use crate::keystone::Secret;
use crate::model::Vip;

/// Reads a password, up to the end of its line, and prints its hash.
pub(super) fn hash_password() -> Result<(), Failure> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|source| Failure::Io { what: "the password could not be read".into(), source })?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage("give the password on standard input; it must not be empty".to_owned()));
    }
    let hash = Secret::hash(password, *Uuid::new_v4().as_bytes());
    let hash = hash.ok_or_else(|| Failure::Other("the password could not be hashed".to_owned()))?;
    print_text(&format!("{hash}\n"))
}

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "drlb", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}

pub(super) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|source| Failure::Io { what: "the man page could not be made".into(), source })?;
        return print_text(&String::from_utf8_lossy(&page));
    };
    let failed = |source: io::Error| Failure::Io {
        what: format!("the man pages could not be written to {}", dir.display()),
        source,
    };
    fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}

pub(super) fn backend_setup(format: Format, vips: Vec<Vip>) -> Result<(), Failure> {
    print_text(&backend_setup::render(format, &each_once(vips)))
}
