//! `drlb doctor`.

use super::{Failure, Session};
use crate::api::types::NoParameters;
use crate::doctor::{Finding, Report, Severity};

/// Shows what is wrong; fails if there is a problem.
pub(super) async fn run(session: &Session) -> Result<(), Failure> {
    let answer = session.client.post(&["doctor"], &NoParameters {}).await?;
    let report: Report = answer.parse()?;
    session.print(&answer, |report: Report| render(&report.findings))?;
    match report.findings.iter().filter(|finding| finding.severity == Severity::Problem).count() {
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
