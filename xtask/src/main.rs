//! `cargo xtask`: sets a machine up for drlb, checks the source, runs the tests, shows the demo.

mod bench;
mod check;
mod console;
mod demo;
mod fuzz;
mod setup;
mod test;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

use self::workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  setup              install what is missing to build and test drlb: on Debian and Ubuntu all of it
  demo [--keep]      build drlb and show it at work between network namespaces; --keep leaves it standing
  demo --end         end what --keep left standing
  test [FILTER]…     run every test, or those whose name holds FILTER
  bench [OPTION]…    measure what a packet costs, against floors and other programs (bench --help)
  bench wire [OPTION]…
                     measure frames over a veth, end to end, against a program that only swaps MACs
  bench control [NAME]…
                     measure tables, commands, starts and memory of the agent, or those whose name holds NAME
  fuzz [TARGET] [--seconds N]
                     look for packets that break what must hold, with libFuzzer; TARGET is parse or quoted
  check [STEP]…      run the checks that a change must pass, or those that are named
  help               print this, and the steps of check
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let workspace = Workspace::find()?;
    match arguments.as_slice() {
        ["setup"] => {
            let setup = setup::Setup::of_this_machine();
            setup.for_building(&workspace)?;
            setup.openstack_clients(&workspace)
        }
        ["check", steps @ ..] => check::run(&workspace, steps),
        ["test", filters @ ..] => test::run(&workspace, filters),
        ["bench", flags @ ..] => bench::run(&workspace, flags),
        ["fuzz", arguments @ ..] => fuzz::run(&workspace, arguments),
        ["demo", flags @ ..] => demo::run(&workspace, flags),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}\nSteps of check:\n{}", check::usage());
            Ok(())
        }
        [] => bail!("no command is given\n\n{USAGE}"),
        [other, ..] => bail!("{other:?} is no command, or has one word too many\n\n{USAGE}"),
    }
}
