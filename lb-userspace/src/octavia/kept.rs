//! The attributes of an object as they are kept in memory and in the store: few, and close together. There are seven objects
//! for a listener with four backends, so they are most of what the agent has to remember of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::schema::Kind;
use super::value::Attributes;

/// The names that attributes have, so that no object has a copy of them.
static NAMES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| Kind::ALL.iter().flat_map(|kind| kind.fields()).map(|field| field.name).collect());

/// Attributes, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept(Vec<(Cow<'static, str>, Value)>);

impl Kept {
    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Sets the value of an attribute.
    pub fn put(&mut self, name: &str, value: Value) {
        match self.find(name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                let known = NAMES.get(name).copied();
                self.0.insert(at, (known.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed), value));
            }
        }
    }

    /// Removes an attribute, if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }

    /// Leaves out what is read the same where it does not stand, by the kind of object that these are of.
    pub fn settle(&mut self, kind: Kind) {
        let is_silent = |name: &str, value: &Value| {
            kind.fields().iter().any(|field| field.name == name && field.otherwise.is_silent(value))
        };
        self.0.retain(|(name, value)| !is_silent(name, value));
        self.0.shrink_to_fit();
    }

    /// All of them, as a body has them.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        self.0.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())).collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

impl From<Attributes> for Kept {
    fn from(attributes: Attributes) -> Self {
        let mut kept = Self(Vec::with_capacity(attributes.len()));
        kept.extend(attributes);
        kept
    }
}

impl Extend<(String, Value)> for Kept {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, attributes: I) {
        attributes.into_iter().for_each(|(name, value)| self.put(&name, value));
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Attributes::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(value: &Value) -> Kept {
        Kept::deserialize(value).expect("attributes")
    }

    #[test]
    fn what_is_put_is_found_and_written_as_a_map() {
        let mut kept = kept(&json!({ "name": "a", "weight": 3, "something else": [1] }));
        kept.put("address", json!("192.0.2.1"));
        kept.put("name", json!("b"));
        kept.remove("weight");
        kept.remove("weight");
        assert_eq!(kept.get("name"), Some(&json!("b")));
        assert_eq!(kept.get("weight"), None);
        let written = json!({ "address": "192.0.2.1", "name": "b", "something else": [1] });
        assert_eq!(serde_json::to_value(&kept).expect("JSON"), written);
        assert_eq!(Value::Object(kept.to_attributes()), written);
    }

    #[test]
    fn what_is_settled_is_shown_as_before() {
        // One that is as it is otherwise, one that is not, one that is nothing but not otherwise, and one without a field.
        let mut member = kept(&json!({
            "name": "", "tags": [], "backup": false, "monitor_port": null, "weight": 1, "admin_state_up": false,
            "pool_id": null,
        }));
        member.settle(Kind::Member);
        assert_eq!(member, kept(&json!({ "weight": 1, "admin_state_up": false, "pool_id": null })));
    }

    #[test]
    fn a_name_that_has_a_field_is_not_copied() {
        let mut kept = Kept::default();
        kept.put("vip_address", Value::Null);
        kept.put("another", Value::Null);
        assert!(matches!(kept.0.as_slice(), [(Cow::Owned(_), _), (Cow::Borrowed(_), _)]));
    }
}
