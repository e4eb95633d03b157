//! HTTP status codes as people list them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::fault::Fault;

/// A set of HTTP status codes, written as codes and ranges: `200`, `200,204`, `200-299,401`. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusCodes(Vec<(u16, u16)>);

/// The most codes and ranges in one set.
const MOST: usize = 32;

impl StatusCodes {
    /// True if the code is one of them.
    #[must_use]
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

impl FromStr for StatusCodes {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            Fault::invalid(format!(
                "`{text}` are no status codes; write codes of 100 to 599, or ranges of them, as 200, 200,204 or 200-299"
            ))
        };
        let code = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|code| digits && (100..600).contains(code))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((code(first.trim())?, code(last.trim())?)).filter(|(first, last)| first <= last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.filter(|ranges| ranges.len() <= MOST).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for StatusCodes {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<StatusCodes> for String {
    fn from(codes: StatusCodes) -> Self {
        codes.to_string()
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}
