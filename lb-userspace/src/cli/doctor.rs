//! `drlb doctor`.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::args::Output;
use super::{Failure, Session, print_text};
use crate::doctor::{Finding, Severity, examine};
use crate::engine::Status;

/// The JSON of `drlb doctor -o json`.
#[derive(Debug, Serialize, Deserialize)]
struct Findings {
    findings: Vec<Finding>,
}

/// Shows what is wrong; fails if there is a problem.
pub(super) async fn run(session: &Session) -> Result<(), Failure> {
    let status: Status = session.client.get(&["status"]).await?.parse()?;
    let mtu = |name: &String| {
        let text = fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?;
        Some((name.clone(), text.trim().parse().ok()?))
    };
    let mtus: BTreeMap<String, u32> = status.interfaces.iter().filter_map(|interface| mtu(&interface.name)).collect();
    let findings = Findings { findings: examine(&status, &mtus) };
    match session.output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&findings)
                .map_err(|error| Failure::Other(format!("the findings have no JSON form: {error}")))?;
            print_text(&format!("{text}\n"))?;
        }
        Output::Table => print_text(&render(&findings.findings))?,
    }
    match findings.findings.iter().filter(|finding| finding.severity == Severity::Problem).count() {
        0 => Ok(()),
        1 => Err(Failure::Problems("1 problem was found".to_owned())),
        count => Err(Failure::Problems(format!("{count} problems were found"))),
    }
}

fn render(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "Nothing is wrong.\n".to_owned();
    }
    let line = |finding: &Finding| {
        let severity = if finding.severity == Severity::Problem { "problem" } else { "note" };
        format!("{severity} {}: {}: {}.\n", finding.code, finding.about, finding.text)
    };
    findings.iter().map(line).collect()
}
