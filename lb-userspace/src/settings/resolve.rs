//! From the file to what the agent is told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use uuid::Uuid;

use super::{Api, File, Settings, Tls, file};
use crate::keystone::{Directory, Project, Secret, User};
use crate::model::{Fault, Tables};
use crate::octavia::networks::{Network, Networks, Port, Range, Subnet, id_of};
use crate::octavia::{Role, made_up_mac};

/// The region of the catalogue unless set.
const REGION: &str = "RegionOne";

/// Checks a configuration and fills in what it leaves out.
///
/// # Errors
/// It contradicts itself.
pub fn resolve(file: File) -> Result<Settings, Fault> {
    let tables = Tables::new(file.tables.room, file.tables.slots)?;
    let networks = networks(file.networks, file.ports)?;
    let projects = projects(file.projects)?;
    let home = match &file.api.project {
        None => projects[0].clone(),
        Some(name) => find(&projects, name)?.clone(),
    };
    let secret = |hash: &str, whose: &str| {
        Secret::parse(hash)
            .ok_or_else(|| Fault::invalid(format!("the hash of {whose} is none that `drlb hash-password` prints")))
    };
    let mut users: Vec<User> = Vec::new();
    for user in file.users {
        if users.iter().any(|other| other.name == user.name) {
            return Err(Fault::invalid(format!("there are two users `{}`; give each another name", user.name)));
        }
        if user.name.is_empty() || user.name.contains(':') {
            return Err(Fault::invalid(format!("the user's name `{}` is empty or has a colon", user.name)));
        }
        let project = user.project.as_deref().map_or(Ok(&home), |name| find(&projects, name))?.clone();
        let secret = secret(&user.password_hash, &format!("user `{}`", user.name))?;
        let role = match user.role {
            file::Role::Reader => Role::Reader,
            file::Role::Member => Role::Member,
            file::Role::Admin => Role::Admin,
        };
        users.push(User { id: id_of("user", &user.name).replace('-', ""), name: user.name, secret, project, role });
    }
    let admin_token = file.api.admin_token_hash.as_deref().map(|hash| secret(hash, "the admin token")).transpose()?;
    let tls = match (file.api.tls_certificate, file.api.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => return Err(Fault::invalid("tls_certificate and tls_key go together; give both")),
    };
    let api = Api {
        listen: file.api.listen,
        url: file.api.url.map(|url| url.trim_end_matches('/').to_owned()),
        tls,
        open: file.api.auth == Some(file::Auth::None),
        region: file.api.region.unwrap_or_else(|| REGION.to_owned()),
    };
    Ok(Settings { api, directory: Directory { home, projects, users, admin_token }, networks, tables })
}

fn projects(given: Vec<file::Project>) -> Result<Vec<Project>, Fault> {
    let mut projects: Vec<Project> = Vec::new();
    for file::Project { name, id } in given {
        let id = id.unwrap_or_else(|| id_of("project", &name).replace('-', ""));
        if id.is_empty() || id.len() > 36 || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(Fault::invalid(format!(
                "the id of project `{name}` must be 1 to 36 letters, digits, `-` and `_`"
            )));
        }
        if projects.iter().any(|other| other.name == name || other.id == id) {
            return Err(Fault::invalid(format!("there are two projects with the name or id of `{name}`")));
        }
        projects.push(Project { id, name });
    }
    if projects.is_empty() {
        projects.push(Project { id: id_of("project", "admin").replace('-', ""), name: "admin".to_owned() });
    }
    Ok(projects)
}

fn find<'a>(projects: &'a [Project], name: &str) -> Result<&'a Project, Fault> {
    let found = projects.iter().find(|project| project.name == name || project.id == name);
    found.ok_or_else(|| Fault::invalid(format!("there is no project `{name}`; add [[projects]] with that name")))
}

fn networks(given: Vec<file::Network>, ports: Vec<file::Port>) -> Result<Networks, Fault> {
    let mut ids = BTreeSet::new();
    let mut uuid = |sort: &str, name: &str, id: Option<String>| -> Result<String, Fault> {
        let id = match id {
            None => id_of(sort, name),
            Some(text) => Uuid::try_parse(&text)
                .map_err(|_| Fault::invalid(format!("the id `{text}` of {sort} `{name}` is no UUID")))?
                .to_string(),
        };
        if ids.insert(id.clone()) {
            return Ok(id);
        }
        Err(Fault::invalid(format!("there is another {sort} with the name or id of `{name}`; give it another")))
    };
    let mut networks = Vec::new();
    for network in given {
        let id = uuid("network", &network.name, network.id)?;
        let mut subnets = Vec::new();
        for subnet in network.subnets {
            let id = uuid("subnet", &subnet.name, subnet.id.clone())?;
            subnets.push(resolve_subnet(id, subnet)?);
        }
        networks.push(Network { id, name: network.name, subnets });
    }
    let mut networks = Networks { networks, ports: Vec::new() };
    for port in ports {
        let id = uuid("port", &port.name, port.id.clone())?;
        let port = resolve_port(&networks, id, port)?;
        networks.ports.push(port);
    }
    Ok(networks)
}

fn resolve_subnet(id: String, subnet: file::Subnet) -> Result<Subnet, Fault> {
    let file::Subnet { name, cidr, gateway, vips, .. } = subnet;
    let range = Range::parse(&cidr).ok_or_else(|| {
        Fault::invalid(format!(
            "`{cidr}` of subnet `{name}` is no range; write its first address and its length, as 192.0.2.0/24"
        ))
    })?;
    let within = |address: IpAddr| {
        if range.holds(address) {
            return Ok(address);
        }
        Err(Fault::invalid(format!("{address} is not in the subnet `{name}` ({cidr})")))
    };
    let gateway = gateway.map(within).transpose()?;
    let mut free = Vec::new();
    for vips in vips {
        let (first, last) = vips.split_once('-').unwrap_or((&vips, &vips));
        let parse = |text: &str| {
            text.trim().parse::<IpAddr>().map_err(|_| {
                Fault::invalid(format!(
                    "`{vips}` of subnet `{name}` is no range of VIPs; write 192.0.2.100-192.0.2.199"
                ))
            })
        };
        let (first, last) = (within(parse(first)?)?, within(parse(last)?)?);
        if first > last {
            return Err(Fault::invalid(format!("the range of VIPs {vips} of subnet `{name}` ends before it begins")));
        }
        free.push((first, last));
    }
    Ok(Subnet { id, name, range, gateway, free })
}

fn resolve_port(networks: &Networks, id: String, port: file::Port) -> Result<Port, Fault> {
    let file::Port { name, addresses, mac, .. } = port;
    let mut network = None;
    let mut at = Vec::new();
    for address in addresses {
        let found = networks.subnets().find(|(_, subnet)| subnet.range.holds(address));
        let (of, subnet) =
            found.ok_or_else(|| Fault::invalid(format!("the address {address} of port `{name}` is in no subnet")))?;
        if network.get_or_insert_with(|| of.id.clone()) != &of.id {
            return Err(Fault::invalid(format!("the addresses of port `{name}` are in different networks")));
        }
        at.push((subnet.id.clone(), address));
    }
    let network = network.ok_or_else(|| Fault::invalid(format!("port `{name}` has no address")))?;
    let mac = mac.unwrap_or_else(|| made_up_mac(&id));
    Ok(Port { id, name, network, addresses: at, mac })
}
