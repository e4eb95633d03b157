//! Who may use the API: users, projects and tokens, as much of Keystone as its clients need to sign in.
//!
//! Pure but for the cost of checking a password: the time and random bytes are handed in. Tokens live in memory; a client
//! whose token an agent no longer knows signs in again by itself.

mod secret;
mod tokens;

pub use secret::Secret;
pub use tokens::{Answer, SIGN_IN, Services, Tokens, refused, token_of};

use crate::octavia::{Caller, Role};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What its password must be.
    pub secret: Secret,
    /// The project that it works in.
    pub project: Project,
    /// What it may do.
    pub role: Role,
}

impl User {
    /// The caller that it is.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { project: self.project.id.clone(), role: self.role }
    }
}

/// All who may use the API.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The project of whoever names none, and of what the command line makes.
    pub home: Project,
    /// All projects; never empty.
    pub projects: Vec<Project>,
    /// All users.
    pub users: Vec<User>,
    /// What the token must be that may do everything.
    pub admin_token: Option<Secret>,
}

impl Directory {
    /// True if nobody could sign in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.admin_token.is_none()
    }

    /// A user by its name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// A user by its id.
    #[must_use]
    pub fn user_by_id(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// A project by its name or id.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == name || project.name == name)
    }

    /// The caller that owns the agent: all may be done.
    #[must_use]
    pub fn owner(&self) -> Caller {
        Caller { project: self.home.id.clone(), role: Role::Admin }
    }
}

/// The name of a role.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Member => "member",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests;
