//! The agent's configuration file: how the API is reached, who may use it, the networks that VIPs come from, and the room for
//! lookup tables.
//!
//! [`file`] is the file as it is written, and [`resolve`](fn@resolve) makes of it what the parts of the agent are told.

mod file;
mod resolve;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use file::File;
pub use resolve::resolve;

use crate::keystone::Directory;
use crate::model::{Fault, Tables};
use crate::octavia::networks::Networks;

/// What the agent is told by its configuration file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API is served on TCP.
    pub api: Api,
    /// Who may use it.
    pub directory: Directory,
    /// The networks that VIPs come from.
    pub networks: Networks,
    /// How large lookup tables are, and how much room there is for them.
    pub tables: Tables,
}

/// How the API is served on TCP.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// Where; nowhere unless set.
    pub listen: Option<SocketAddr>,
    /// The address that clients are told, such as `https://lb.example.org:9876`; what they called by unless set.
    pub url: Option<String>,
    /// The certificate chain and the private key, both PEM; without them, it is plain HTTP.
    pub tls: Option<Tls>,
    /// True if nobody needs to sign in.
    pub open: bool,
    /// The region of the catalogue.
    pub region: String,
}

/// Where the server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

impl Settings {
    /// Checks that the API on TCP has users, or is open on purpose and for this host alone.
    ///
    /// # Errors
    /// It is not so.
    pub fn check_access(&self) -> Result<(), Fault> {
        let Some(listen) = self.api.listen else { return Ok(()) };
        if self.api.open && !listen.ip().is_loopback() {
            return Err(Fault::invalid(format!(
                "`auth = \"none\"` lets everybody in who reaches {listen}; listen on 127.0.0.1 or [::1], or give \
                 [[users]] and leave it out"
            )));
        }
        if !self.api.open && self.directory.is_empty() {
            return Err(Fault::invalid(format!(
                "nobody could sign in at {listen}; give [[users]] or admin_token_hash in the file of --config, or \
                 `auth = \"none\"` in its [api] if {listen} is for this host alone"
            )));
        }
        Ok(())
    }
}

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is no TOML, has something that is not known, or contradicts itself.
pub fn read(path: &Path) -> Result<Settings, Fault> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::unavailable(format!("the configuration {shown} cannot be read: {error}")))?;
    let in_file = |message: String| Fault::invalid(format!("the configuration {shown}: {message}"));
    let file: File = toml::from_str(&text).map_err(|error| in_file(error.to_string().trim_end().to_owned()))?;
    resolve(file).map_err(|fault| in_file(fault.message))
}

#[cfg(test)]
mod tests;
