//! The configuration file as it is written, in TOML.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// How the API is served.
    pub api: Api,
    /// The projects; one named `admin` if there are none.
    pub projects: Vec<Project>,
    /// Who may use the API.
    pub users: Vec<User>,
    /// The networks that VIPs come from.
    pub networks: Vec<Network>,
    /// Ports of servers, for clients that look them up.
    pub ports: Vec<Port>,
    /// Lookup tables.
    pub tables: Tables,
    /// The interfaces: a part of the desired state, see [`crate::config`].
    pub interfaces: IgnoredAny,
    /// The listeners: likewise.
    pub listeners: IgnoredAny,
}

/// `[api]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port to listen on.
    pub listen: Option<SocketAddr>,
    /// The address that clients are told.
    pub url: Option<String>,
    /// The certificate chain, in PEM.
    pub tls_certificate: Option<PathBuf>,
    /// The private key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// `none`: nobody needs to sign in.
    pub auth: Option<Auth>,
    /// The hash of a token that may do everything, as `drlb hash-password` prints it.
    pub admin_token_hash: Option<String>,
    /// The region that the catalogue names.
    pub region: Option<String>,
    /// The project that owns what the command line makes; the first one unless set.
    pub project: Option<String>,
}

/// `[tables]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tables {
    /// For how many lookup tables of the default size there is room.
    pub room: Option<u32>,
    /// Slots of the lookup table of a listener that does not say.
    pub slots: Option<u32>,
}

/// `auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Nobody needs to sign in.
    None,
}

/// `[[projects]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its id; made from the name unless set.
    pub id: Option<String>,
}

/// `[[users]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The hash of its password, as `drlb hash-password` prints it.
    pub password_hash: String,
    /// The project that it works in; the first one unless set.
    pub project: Option<String>,
    /// What it may do there: `reader`, `member` or `admin`.
    pub role: Role,
}

/// `role`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See what is in its project.
    Reader,
    /// Change what is in its project.
    Member,
    /// Everything, in every project.
    Admin,
}

/// `[[networks]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its UUID; made from the name unless set.
    pub id: Option<String>,
    /// Its subnets.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
}

/// `[[networks.subnets]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// Its UUID; made from the name unless set.
    pub id: Option<String>,
    /// Its range, such as `192.0.2.0/24`.
    pub cidr: String,
    /// Its router.
    pub gateway: Option<IpAddr>,
    /// Ranges that VIPs are taken from, such as `192.0.2.100-192.0.2.199`; none are taken unless set.
    #[serde(default)]
    pub vips: Vec<String>,
}

/// `[[ports]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its UUID; made from the name unless set.
    pub id: Option<String>,
    /// Its addresses. Each must be in a subnet.
    pub addresses: Vec<IpAddr>,
    /// Its MAC, such as `02:00:00:00:00:01`.
    pub mac: Option<String>,
}
