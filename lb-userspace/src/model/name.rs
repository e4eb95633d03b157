//! Names of listeners and pools.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// The name of a listener or a pool: 1 to 64 of `A–Z a–z 0–9 _ . -`, the first a letter or a digit.
///
/// It appears in commands, URLs and file names, hence the small alphabet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What comes before all names, and is none.
    pub(super) const fn least() -> Self {
        Self(String::new())
    }
}

impl TryFrom<String> for Name {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::invalid("a name must not be empty"));
        }
        if text.len() > Self::MAX_LEN {
            return Err(Fault::invalid(format!(
                "the name `{text}` has {} characters; {} are allowed",
                text.chars().count(),
                Self::MAX_LEN
            )));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(Fault::invalid(format!(
                "the name `{text}` contains {c:?}; letters, digits, `_`, `.` and `-` are allowed"
            )));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(Fault::invalid(format!("the name `{text}` must start with a letter or a digit")));
        }
        Ok(Self(text))
    }
}

impl FromStr for Name {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        text.to_owned().try_into()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_alphabet_are_taken() {
        for text in ["web", "7", "a.b-c_d", &"x".repeat(64)] {
            assert_eq!(text.parse::<Name>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "must not be empty"),
            ("-web", "must start with"),
            ("a/b", "contains '/'"),
            ("wéb", "contains 'é'"),
            (&"x".repeat(65), "65 characters"),
        ] {
            let fault = text.parse::<Name>().expect_err(text);
            assert!(fault.message.contains(reason), "{}", fault.message);
        }
    }
}
