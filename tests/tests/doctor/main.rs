//! `drlb doctor` finds nothing on a healthy segment, and each fault by its name. docs/doctor.md lists the faults.

mod backends;
mod balancer;
mod codes;
mod healthy;
mod interfaces;
mod services;
mod vips;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use drlb_tests::segment::Family;
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{WEB, World};
use lb_userspace::doctor::{Finding, Report, Severity};

/// A check that is quick to find out.
const QUICK: &[&str] = &["--type", "http", "--delay", "200ms", "--timeout", "500ms", "--fall", "2"];

/// What `drlb doctor -o json` finds, and its exit status.
fn diagnose(world: &World) -> Result<(Vec<Finding>, Option<i32>)> {
    let answer = world.agent.ask(&["doctor", "-o", "json"])?;
    let report: Report = serde_json::from_str(&answer.stdout).with_context(|| format!("it printed {answer:?}"))?;
    Ok((report.findings, answer.code))
}

/// Waits until it finds just these problems, each a code and what it is about, and ends with the status that fits; and
/// returns the findings.
fn finds(world: &World, problems: &[(&str, &str)]) -> Result<Vec<Finding>> {
    let expected: BTreeSet<(String, String)> =
        problems.iter().map(|(code, about)| ((*code).to_owned(), (*about).to_owned())).collect();
    until(&format!("the doctor to find {problems:?}"), SOON, || {
        let (findings, code) = diagnose(world).map_err(|error| format!("{error:#}"))?;
        let found: BTreeSet<(String, String)> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Problem)
            .map(|finding| (finding.code.clone(), finding.about.clone()))
            .collect();
        let status = if problems.is_empty() { 0 } else { 3 };
        if found == expected && code == Some(status) {
            Ok(findings)
        } else {
            Err(format!("it finds {findings:#?}, status {code:?}"))
        }
    })
}

/// Waits until it finds this among others.
fn finds_among_others(world: &World, severity: Severity, code: &str, about: &str) -> Result<Finding> {
    until(&format!("the doctor to find {code} of {about}"), SOON, || {
        let (findings, _) = diagnose(world).map_err(|error| format!("{error:#}"))?;
        let is_it = |finding: &&Finding| finding.severity == severity && finding.code == code && finding.about == about;
        findings.iter().find(is_it).cloned().ok_or_else(|| format!("it finds {findings:#?}"))
    })
}

/// The text of the only finding with a code has all of these words in it.
fn says(findings: &[Finding], code: &str, words: &[&str]) -> Result<()> {
    let finding = findings.iter().find(|finding| finding.code == code).with_context(|| format!("no {code}"))?;
    let missing = words.iter().find(|word| !finding.text.contains(**word));
    ensure!(missing.is_none(), "{code} has no {missing:?}: {}", finding.text);
    Ok(())
}

/// A listener that is not checked, with three backends that serve.
fn unchecked(world: &World, family: Family) -> Result<std::net::SocketAddr> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    finds(world, &[])?;
    Ok(to)
}

/// The same, checked.
fn checked(world: &World, family: Family) -> Result<std::net::SocketAddr> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.agent.tell(&[&["health", "set", WEB], QUICK].concat())?;
    world.agent.wait_until_serving(WEB)?;
    finds(world, &[])?;
    Ok(to)
}

/// What a finding about a backend of the listener is about.
fn of_backend(world: &World, family: Family, index: usize) -> String {
    format!("{WEB} {}", world.segment.backends[index].address(family))
}

/// The length of a prefix that is one address.
fn whole(family: Family) -> u8 {
    if family == Family::V4 { 32 } else { 128 }
}

/// What `ip` needs so that an IPv6 address can be used at once.
fn at_once(family: Family) -> &'static str {
    if family == Family::V4 { "" } else { " nodad" }
}
