//! All objects of the API, by kind and id, and what was changed of them since the last commit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kept::Kept;
use super::refusal::Refusal;
use super::schema::Kind;
use crate::model::Name;

/// An object: what the store keeps of it as one record. Its kind and id are the record's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// The project that owns it; empty for what belongs to nobody.
    #[serde(default)]
    pub project: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it was last changed, in seconds since 1970; `None` if never.
    #[serde(default)]
    pub updated: Option<u64>,
    /// The listener or pool of the model that it is.
    #[serde(default)]
    pub name: Option<Name>,
    /// True if it was made for something that the command line made, and goes with that.
    #[serde(default)]
    pub follows: bool,
    /// The attributes that a user gives; see [`super::schema`]. One that is not there is as it is otherwise.
    pub attributes: Kept,
}

impl Object {
    /// An attribute's text; empty if it has none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.attributes.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// An attribute's text, if it has one.
    #[must_use]
    pub fn some_text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    /// An attribute's number; 0 if it has none.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        self.attributes.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// An attribute's truth.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.attributes.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// True if it has a tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        let tags = self.attributes.get("tags").and_then(Value::as_array);
        tags.is_some_and(|tags| tags.iter().any(|one| one == tag))
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its id: a UUID, but for quotas (the project's) and zones (the name).
    pub id: String,
}

impl Key {
    /// The key of this kind and id.
    #[must_use]
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct Catalogue {
    objects: BTreeMap<Key, Object>,
    /// Children by their parent.
    children: BTreeMap<Key, BTreeSet<Key>>,
    /// Objects by the listener or pool of the model that they are.
    named: BTreeMap<(Kind, Name), String>,
    /// Load balancers by their VIP: the address and the id.
    vips: BTreeSet<(String, String)>,
    /// What changed since [`Catalogue::commit`], as it was before.
    journal: Vec<(Key, Option<Object>)>,
    /// What is being carried out: the provisioning status until that is done.
    pending: BTreeMap<Key, &'static str>,
    /// What was marked so since the last commit.
    marked: Vec<Key>,
    /// Load balancers that could not be carried out when that was tried last, and why.
    failures: BTreeMap<String, String>,
    /// Load balancers that there is no room for, and what of.
    misfits: BTreeMap<String, String>,
}

/// The key of an object's parent.
fn parent_of(kind: Kind, object: &Object) -> Option<Key> {
    let (attribute, parent) = kind.parent()?;
    Some(Key::new(parent, object.some_text(attribute)?))
}

impl Catalogue {
    /// An object.
    #[must_use]
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.objects.get(&Key::new(kind, id))
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn find(&self, kind: Kind, id: &str) -> Result<&Object, Refusal> {
        self.get(kind, id).ok_or_else(|| Refusal::not_found(kind.title(), id))
    }

    /// All of a kind, by id.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (&str, &Object)> {
        let of_kind = self.objects.range(Key::new(kind, "")..).take_while(move |(key, _)| key.kind == kind);
        of_kind.map(|(key, object)| (key.id.as_str(), object))
    }

    /// The children of a kind that an object has, in the order in which they were made.
    #[must_use]
    pub fn children(&self, parent: Kind, id: &str, kind: Kind) -> Vec<(&str, &Object)> {
        let keys = self.children.get(&Key::new(parent, id)).into_iter().flatten();
        let of_kind = keys.filter(|key| key.kind == kind);
        let mut found: Vec<_> = of_kind.filter_map(|key| Some((key.id.as_str(), self.objects.get(key)?))).collect();
        found.sort_by_key(|(id, object)| (object.created, *id));
        found
    }

    /// The object that a listener or pool of the model is.
    #[must_use]
    pub fn named(&self, kind: Kind, name: &Name) -> Option<&str> {
        self.named.get(&(kind, name.clone())).map(String::as_str)
    }

    /// The load balancer that has this VIP; the first one if several have, as they may in different networks.
    #[must_use]
    pub fn load_balancer_at(&self, vip: &str) -> Option<&str> {
        let (found, id) = self.vips.range((vip.to_owned(), String::new())..).next()?;
        (found == vip).then_some(id)
    }

    /// The load balancer that an object belongs to.
    #[must_use]
    pub fn load_balancer_of(&self, kind: Kind, id: &str) -> Option<String> {
        match kind {
            Kind::LoadBalancer => Some(id.to_owned()),
            _ => {
                let parent = parent_of(kind, self.get(kind, id)?)?;
                self.load_balancer_of(parent.kind, &parent.id)
            }
        }
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, kind: Kind, id: &str, object: Object) {
        let key = Key::new(kind, id);
        let before = self.exchange(&key, Some(object));
        self.journal.push((key, before));
    }

    /// Removes an object, if it is there.
    pub fn remove(&mut self, kind: Kind, id: &str) {
        let key = Key::new(kind, id);
        let before = self.exchange(&key, None);
        self.journal.push((key, before));
    }

    fn exchange(&mut self, key: &Key, object: Option<Object>) -> Option<Object> {
        let before = self.objects.remove(key);
        let vip_of = |object: &Object| (object.text("vip_address").to_owned(), key.id.clone());
        if let Some(before) = &before {
            if key.kind == Kind::LoadBalancer {
                self.vips.remove(&vip_of(before));
            }
            if let Some(parent) = parent_of(key.kind, before)
                && let Some(children) = self.children.get_mut(&parent)
            {
                children.remove(key);
                if children.is_empty() {
                    self.children.remove(&parent);
                }
            }
            if let Some(name) = &before.name {
                self.named.remove(&(key.kind, name.clone()));
            }
        }
        if let Some(mut object) = object {
            object.attributes.settle(key.kind);
            if key.kind == Kind::LoadBalancer {
                self.vips.insert(vip_of(&object));
            }
            if let Some(parent) = parent_of(key.kind, &object) {
                self.children.entry(parent).or_default().insert(key.clone());
            }
            if let Some(name) = &object.name {
                self.named.insert((key.kind, name.clone()), key.id.clone());
            }
            self.objects.insert(key.clone(), object);
        }
        before
    }

    /// Takes back what was changed since the last commit.
    pub fn roll_back(&mut self) {
        for (key, before) in std::mem::take(&mut self.journal).into_iter().rev() {
            self.exchange(&key, before);
        }
        for key in std::mem::take(&mut self.marked) {
            self.pending.remove(&key);
        }
    }

    /// What was changed since the last commit: each object once, as it is now.
    pub fn changes(&self) -> impl Iterator<Item = (&Key, Option<&Object>)> {
        let keys: BTreeSet<&Key> = self.journal.iter().map(|(key, _)| key).collect();
        keys.into_iter().map(|key| (key, self.objects.get(key)))
    }

    /// The objects that were changed since the last commit, as they were before that.
    pub fn before(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.journal.iter().filter_map(|(key, object)| Some((key, object.as_ref()?)))
    }

    /// Makes what was changed final.
    pub fn commit(&mut self) {
        self.marked.clear();
        for (key, _) in std::mem::take(&mut self.journal) {
            if !self.objects.contains_key(&key) {
                self.pending.remove(&key);
                self.failures.remove(&key.id);
                self.misfits.remove(&key.id);
            }
        }
    }

    /// Takes an object from the store.
    pub fn load(&mut self, key: &Key, object: Object) {
        self.exchange(key, Some(object));
    }

    /// Marks an object as being carried out.
    pub fn begin(&mut self, kind: Kind, id: &str, status: &'static str) {
        let key = Key::new(kind, id);
        // What is being made stays so until it is there.
        if !self.pending.contains_key(&key) {
            self.marked.push(key.clone());
            self.pending.insert(key, status);
        }
    }

    /// Says that load balancers are carried out, or why they could not be. They show as pending until [`Catalogue::settle`].
    pub fn carried_out(&mut self, load_balancers: &BTreeSet<String>, failure: Option<&str>) {
        for id in load_balancers {
            match failure {
                // Of one that is removed there is nothing to show; the next comparison removes what is left of it.
                Some(_) if self.get(Kind::LoadBalancer, id).is_none() => {}
                Some(reason) => drop(self.failures.insert(id.clone(), reason.to_owned())),
                None => drop(self.failures.remove(id)),
            }
        }
    }

    /// Says that nothing is under way any more.
    pub fn settle(&mut self) {
        self.pending.clear();
    }

    /// Says that all there is is carried out, or why it could not be; then what was under way is not. Nothing is, after this.
    pub fn compared(&mut self, failure: Option<&str>) {
        let pending = std::mem::take(&mut self.pending);
        let Some(reason) = failure else {
            self.failures.clear();
            return;
        };
        let load_balancers = pending.into_keys().filter(|key| key.kind == Kind::LoadBalancer);
        self.failures.extend(load_balancers.map(|key| (key.id, reason.to_owned())));
    }

    /// Says which load balancers there is no room for, and what of: these, and no others.
    pub fn leave_out(&mut self, misfits: BTreeMap<String, String>) {
        self.misfits = misfits;
    }

    /// True if something was begun and is not carried out.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// True if something could not be carried out.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        !self.failures.is_empty() || !self.misfits.is_empty()
    }

    /// The provisioning status of an object.
    #[must_use]
    pub fn provisioning(&self, kind: Kind, id: &str) -> &'static str {
        if let Some(status) = self.pending.get(&Key::new(kind, id)) {
            return status;
        }
        if !self.has_errors() {
            return ACTIVE;
        }
        let owner = self.load_balancer_of(kind, id);
        if owner.is_some_and(|owner| self.error(&owner).is_some()) { ERROR } else { ACTIVE }
    }

    /// The load balancers that are not carried out, by id, and why.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, String> {
        let all = self.failures.iter().chain(&self.misfits);
        all.map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }

    /// Why a load balancer could not be carried out.
    #[must_use]
    pub fn error(&self, id: &str) -> Option<&str> {
        self.misfits.get(id).or_else(|| self.failures.get(id)).map(String::as_str)
    }
}

/// Carried out.
pub const ACTIVE: &str = "ACTIVE";
/// Could not be carried out.
pub const ERROR: &str = "ERROR";
/// Being made.
pub const PENDING_CREATE: &str = "PENDING_CREATE";
/// Being changed.
pub const PENDING_UPDATE: &str = "PENDING_UPDATE";
