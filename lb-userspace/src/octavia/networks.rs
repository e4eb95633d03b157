//! The networks that VIPs come from, as the configuration says, and VIPs chosen from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;
use uuid::Uuid;

use super::catalogue::Catalogue;
use super::load_balancers::text;
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::{Context, Settings};

/// All networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Each with its subnets.
    pub networks: Vec<Network>,
    /// Ports that are there already, such as those of servers.
    pub ports: Vec<Port>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its range.
    pub range: Range,
    /// Its router, if it has one.
    pub gateway: Option<IpAddr>,
    /// First and last addresses that VIPs may be taken from.
    pub free: Vec<(IpAddr, IpAddr)>,
}

/// A port: the leg of a server, or a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The UUID of its network.
    pub network: String,
    /// Its addresses, each with the UUID of its subnet.
    pub addresses: Vec<(String, IpAddr)>,
    /// Its MAC.
    pub mac: String,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits its addresses share.
    pub prefix: u8,
}

impl Range {
    /// Reads `192.0.2.0/24`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let width = if address.is_ipv4() { 32 } else { 128 };
        let range = Self { address, prefix };
        (prefix <= width && number(address) == range.first()).then_some(range)
    }

    fn first(self) -> u128 {
        number(self.address) & self.mask()
    }

    fn mask(self) -> u128 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        u128::MAX.checked_shl(width - u32::from(self.prefix)).unwrap_or(0)
    }

    /// True if an address is in it.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && number(address) & self.mask() == self.first()
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    if is_v4 {
        std::net::Ipv4Addr::from(u32::try_from(number & u128::from(u32::MAX)).unwrap_or(0)).into()
    } else {
        std::net::Ipv6Addr::from(number).into()
    }
}

/// Where ids that follow from names come from: a namespace of version 5 UUIDs (RFC 9562) that is drlb's own.
const OWN: Uuid = Uuid::from_u128(0x6472_6c62_0000_5000_8000_0000_0000_0001);

/// The UUID that stands for a name of some sort, the same each time.
#[must_use]
pub fn id_of(sort: &str, name: &str) -> String {
    Uuid::new_v5(&OWN, format!("{sort}/{name}").as_bytes()).to_string()
}

/// The UUID of a VIP's port, by its load balancer's.
#[must_use]
pub fn vip_port_id(load_balancer: &str) -> String {
    id_of("vip-port", load_balancer)
}

impl Networks {
    /// A subnet and its network, by the subnet's UUID.
    #[must_use]
    pub fn subnet(&self, id: &str) -> Option<(&Network, &Subnet)> {
        self.subnets().find(|(_, subnet)| subnet.id == id)
    }

    /// All subnets with their networks.
    pub fn subnets(&self) -> impl Iterator<Item = (&Network, &Subnet)> {
        self.networks.iter().flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)))
    }
}

/// The UUIDs of the network and the subnet that an address is in.
pub(super) fn place_of(settings: &Settings, address: IpAddr) -> Option<(String, String)> {
    let (network, subnet) = settings.networks.subnets().find(|(_, subnet)| subnet.range.holds(address))?;
    Some((network.id.clone(), subnet.id.clone()))
}

/// # Errors
/// There is no such subnet.
pub(super) fn must_have_subnet(settings: &Settings, id: &str) -> Result<(), Refusal> {
    if !settings.data_plane || settings.networks.subnet(id).is_some() {
        return Ok(());
    }
    Err(Refusal::not_found("Subnet", id))
}

/// Chooses what a load balancer's VIP is, by what the request says of it, and fills that in.
pub(super) fn choose_vip(
    catalogue: &Catalogue,
    context: &Context<'_>,
    id: &str,
    attributes: &mut Attributes,
) -> Result<(), Refusal> {
    let settings = context.settings;
    let given = |name: &str| text(attributes, name).map(str::to_owned);
    let (port, subnet, network) = (given("vip_port_id"), given("vip_subnet_id"), given("vip_network_id"));
    let wanted: Option<IpAddr> = given("vip_address").and_then(|address| address.parse().ok());
    if port.is_none() && subnet.is_none() && network.is_none() {
        return Err(Refusal::validation("VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id."));
    }
    let chosen = match find(settings, port.as_deref(), network.as_deref(), subnet.as_deref(), wanted) {
        Ok(places) => choose(catalogue, context, &places, wanted),
        Err(refusal) => Err(refusal),
    };
    let Chosen { vip, network: in_network, subnet: in_subnet } = match chosen {
        Ok(chosen) => chosen,
        Err(refusal) if settings.data_plane => return Err(refusal),
        // Without a data plane, every network is taken as it is said to be.
        Err(_) => Chosen {
            vip: wanted.map_or_else(|| some_vip(catalogue), Ok)?,
            network: network.unwrap_or_else(|| id_of("network", subnet.as_deref().or(port.as_deref()).unwrap_or(id))),
            subnet: subnet.unwrap_or_else(|| id_of("subnet", id)),
        },
    };
    if settings.data_plane {
        must_be_free(catalogue, context, vip, &in_subnet)?;
    }
    let vip = vip.to_canonical();
    vip.to_string().parse::<crate::model::Vip>().map_err(|fault| Refusal::validation(fault.message))?;
    let port = port.unwrap_or_else(|| vip_port_id(id));
    for (name, value) in [
        ("vip_address", vip.to_string()),
        ("vip_network_id", in_network),
        ("vip_subnet_id", in_subnet),
        ("vip_port_id", port),
    ] {
        attributes.insert(name.to_owned(), json!(value));
    }
    Ok(())
}

struct Chosen {
    vip: IpAddr,
    network: String,
    subnet: String,
}

/// A subnet that a VIP may be in, its network, and the address that it must have there.
type Place<'a> = (&'a Network, &'a Subnet, Option<IpAddr>);

/// The subnets that a VIP may be in, in the order of preference, each with the address that it must have.
fn find<'a>(
    settings: &'a Settings,
    port: Option<&str>,
    network: Option<&str>,
    subnet: Option<&str>,
    wanted: Option<IpAddr>,
) -> Result<Vec<Place<'a>>, Refusal> {
    let networks = &settings.networks;
    if let Some(id) = port {
        let port = networks.ports.iter().find(|port| port.id == id);
        let port = port.ok_or_else(|| Refusal::new(400, format!("Port {id} not found.")))?;
        let fits = |(at, address): &&(String, IpAddr)| {
            subnet.is_none_or(|subnet| subnet == at) && wanted.is_none_or(|wanted| wanted == *address)
        };
        let places: Vec<_> = port.addresses.iter().filter(fits).collect();
        return match places.as_slice() {
            [] if wanted.is_some() => {
                Err(Refusal::validation("Specified VIP address not found on the specified VIP port."))
            }
            [] => {
                Err(Refusal::validation("No VIP address found on the specified VIP port within the specified subnet."))
            }
            [(at, address), ..] if places.len() == 1 || subnet.is_some() => {
                let found = networks.subnet(at);
                let (network, subnet) = found.ok_or_else(|| Refusal::new(400, format!("Subnet {at} not found.")))?;
                Ok(vec![(network, subnet, Some(*address))])
            }
            _ => Err(Refusal::validation(
                "VIP port's subnet could not be determined. Please specify either a VIP subnet or address.",
            )),
        };
    }
    if let Some(id) = subnet {
        let found = networks.subnet(id);
        let (of, subnet) = found.ok_or_else(|| Refusal::new(400, format!("Subnet {id} not found.")))?;
        if network.is_some_and(|network| network != of.id) {
            return Err(Refusal::new(400, format!("Subnet {id} not found.")));
        }
        return Ok(vec![(of, subnet, None)]);
    }
    let id = network.unwrap_or_default();
    let found = networks.networks.iter().find(|network| network.id == id);
    let found = found.ok_or_else(|| Refusal::new(400, format!("Network {id} not found.")))?;
    let mut subnets: Vec<_> = found.subnets.iter().collect();
    if subnets.is_empty() {
        return Err(Refusal::validation("Supplied network does not contain a subnet."));
    }
    if let Some(wanted) = wanted {
        subnets.retain(|subnet| subnet.range.holds(wanted));
        if subnets.is_empty() {
            let detail = "Supplied network does not contain a subnet for VIP address specified.";
            return Err(Refusal::validation(detail));
        }
    }
    // IPv4 first, as Octavia has it.
    subnets.sort_by_key(|subnet| !subnet.range.address.is_ipv4());
    Ok(subnets.into_iter().map(|subnet| (found, subnet, None)).collect())
}

fn choose(
    catalogue: &Catalogue,
    context: &Context<'_>,
    places: &[Place<'_>],
    wanted: Option<IpAddr>,
) -> Result<Chosen, Refusal> {
    let taken = taken(catalogue, context);
    for (network, subnet, fixed) in places {
        let vip = match fixed.or(wanted) {
            Some(vip) if subnet.range.holds(vip) => Some(vip),
            Some(vip) => {
                let (id, range) = (&subnet.id, subnet.range);
                return Err(Refusal::validation(format!("The VIP address {vip} is not in the subnet {id} ({range}).")));
            }
            None => free_in(subnet, &taken),
        };
        if let Some(vip) = vip {
            return Ok(Chosen { vip, network: network.id.clone(), subnet: subnet.id.clone() });
        }
    }
    Err(Refusal::validation("Subnet(s) in the supplied network do not contain enough available IPs."))
}

/// Addresses that no new VIP may have.
fn taken(catalogue: &Catalogue, context: &Context<'_>) -> BTreeSet<IpAddr> {
    let networks = &context.settings.networks;
    let vips = catalogue.all(Kind::LoadBalancer).filter_map(|(_, object)| object.text("vip_address").parse().ok());
    let backends = context.desired.backend_addresses().into_iter().map(|address| address.ip());
    let gateways = networks.subnets().filter_map(|(_, subnet)| subnet.gateway);
    let ports = networks.ports.iter().flat_map(|port| port.addresses.iter().map(|(_, address)| *address));
    vips.chain(backends).chain(gateways).chain(ports).collect()
}

fn free_in(subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    for (first, last) in &subnet.free {
        let is_v4 = first.is_ipv4();
        let mut candidates = (number(*first)..=number(*last)).map(|number| address(number, is_v4));
        if let Some(free) = candidates.find(|candidate| !taken.contains(candidate)) {
            return Some(free);
        }
    }
    None
}

/// Some VIP for an API without a data plane, in the range for tests of network equipment (RFC 2544).
fn some_vip(catalogue: &Catalogue) -> Result<IpAddr, Refusal> {
    let vips = catalogue.all(Kind::LoadBalancer).filter_map(|(_, object)| object.text("vip_address").parse().ok());
    let taken: BTreeSet<IpAddr> = vips.collect();
    let (first, last) =
        (u32::from(std::net::Ipv4Addr::new(198, 18, 0, 1)), u32::from(std::net::Ipv4Addr::new(198, 19, 255, 254)));
    let mut candidates = (first..=last).map(|number| IpAddr::from(std::net::Ipv4Addr::from(number)));
    let free = candidates.find(|candidate| !taken.contains(candidate));
    free.ok_or_else(|| Refusal::validation("Subnet(s) in the supplied network do not contain enough available IPs."))
}

fn must_be_free(catalogue: &Catalogue, context: &Context<'_>, vip: IpAddr, subnet: &str) -> Result<(), Refusal> {
    let text = vip.to_string();
    let is_backend = context.desired.backend_addresses().iter().any(|address| address.ip() == vip);
    if is_backend || catalogue.all(Kind::LoadBalancer).any(|(_, other)| other.text("vip_address") == text) {
        let why = format!("IP address {vip} already allocated in subnet {subnet}");
        return Err(Refusal::new(409, format!("The VIP IP address is already in use: {why}")));
    }
    Ok(())
}
