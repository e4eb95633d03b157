//! The attributes of each kind of resource.

use super::schema::Otherwise::{Empty, Flag as Bool, NoItems, Null, Number as Int, Text as Word};
use super::schema::Shape::{
    Address, Choice, Codes, Cookie, Domain, Flag, From, Headers, HttpVersion, Id, Number, Object, Objects, Ranges,
    Text, Texts, UrlPath,
};
use super::schema::{Field, Kind};

/// The attributes of a kind.
pub(super) const fn fields(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::LoadBalancer => LOAD_BALANCER,
        Kind::Listener => LISTENER,
        Kind::Pool => POOL,
        Kind::Member => MEMBER,
        Kind::Monitor => MONITOR,
        Kind::Quota => QUOTA,
        Kind::Flavor => FLAVOR,
        Kind::FlavorProfile => FLAVOR_PROFILE,
        Kind::Zone => ZONE,
        Kind::ZoneProfile => ZONE_PROFILE,
        Kind::Port => &[],
    }
}

const TIMEOUT: super::schema::Shape = Number(0, 2_073_600_000);
const PORT: super::schema::Shape = Number(0, 65_535);

const fn name() -> Field {
    Field::new("name", Text(255)).or(Empty)
}

const fn description() -> Field {
    Field::new("description", Text(255)).or(Empty)
}

const fn admin() -> Field {
    Field::new("admin_state_up", Flag).or(Bool(true))
}

const fn tags() -> Field {
    Field::new("tags", Texts(255)).or(NoItems)
}

const fn project() -> Field {
    Field::new("project_id", Text(36)).passing()
}

const fn tenant() -> Field {
    Field::new("tenant_id", Text(36)).passing()
}

/// Protocols of listeners.
pub(super) const LISTENER_PROTOCOLS: &[&str] =
    &["TCP", "HTTP", "HTTPS", "TERMINATED_HTTPS", "UDP", "SCTP", "PROMETHEUS"];
const POOL_PROTOCOLS: &[&str] = &["TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2", "UDP", "SCTP"];
const ALGORITHMS: &[&str] = &["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT"];
const MONITOR_TYPES: &[&str] = &["HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"];
const HTTP_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "PATCH", "CONNECT"];
const CLIENT_AUTHENTICATION: &[&str] = &["NONE", "OPTIONAL", "MANDATORY"];

const LOAD_BALANCER: &[Field] = &[
    name(),
    description(),
    admin(),
    Field::new("vip_address", Address).fixed(),
    Field::new("vip_port_id", Id).fixed(),
    Field::new("vip_subnet_id", Id).fixed(),
    Field::new("vip_network_id", Id).fixed(),
    Field::new("vip_qos_policy_id", Id),
    Field::new("vip_sg_ids", Texts(36)).or(NoItems),
    Field::new("additional_vips", Objects(ADDITIONAL_VIP)).fixed().or(NoItems),
    project(),
    tenant(),
    Field::new("listeners", Objects(LISTENER_IN_TREE)).passing().or(NoItems),
    Field::new("pools", Objects(POOL_IN_TREE)).passing().or(NoItems),
    Field::new("provider", Text(64)).fixed().or(Word(super::PROVIDER)),
    tags(),
    Field::new("flavor_id", Id).fixed(),
    Field::new("availability_zone", Text(255)).fixed(),
];

const ADDITIONAL_VIP: &[Field] =
    &[Field::new("subnet_id", Id).required(), Field::new("ip_address", Address), Field::new("port_id", Id)];

/// The attributes of a listener that all ways of making one have, but for its protocol and port.
macro_rules! listener {
    ($($more:expr,)*) => {
        &[
            name(),
            description(),
            admin(),
            Field::new("protocol", Choice(LISTENER_PROTOCOLS)).required().fixed(),
            Field::new("protocol_port", PORT).required().fixed(),
            Field::new("connection_limit", From(-1)).or(Int(-1)),
            Field::new("default_tls_container_ref", Text(255)),
            Field::new("sni_container_refs", Texts(255)).or(NoItems),
            project(),
            tenant(),
            Field::new("default_pool_id", Id),
            Field::new("default_pool", Object(POOL_IN_TREE)).passing(),
            Field::new("l7policies", Objects(L7_POLICY)).passing().or(NoItems),
            Field::new("insert_headers", Headers),
            Field::new("timeout_client_data", TIMEOUT).or(Int(50_000)),
            Field::new("timeout_member_connect", TIMEOUT).or(Int(5_000)),
            Field::new("timeout_member_data", TIMEOUT).or(Int(50_000)),
            Field::new("timeout_tcp_inspect", TIMEOUT).or(Int(0)),
            tags(),
            Field::new("client_ca_tls_container_ref", Text(255)),
            Field::new("client_authentication", Choice(CLIENT_AUTHENTICATION)).or(Word("NONE")),
            Field::new("client_crl_container_ref", Text(255)),
            Field::new("allowed_cidrs", Ranges).or(Null),
            Field::new("tls_ciphers", Text(2048)),
            Field::new("tls_versions", Texts(32)).or(NoItems),
            Field::new("alpn_protocols", Texts(32)).or(NoItems),
            Field::new("hsts_max_age", From(0)),
            Field::new("hsts_include_subdomains", Flag).or(Bool(false)),
            Field::new("hsts_preload", Flag).or(Bool(false)),
            $($more,)*
        ]
    };
}

const LISTENER: &[Field] = listener![Field::new("loadbalancer_id", Id).required().fixed(),];
/// A listener in a load balancer that is made with all that it has.
pub(super) const LISTENER_IN_TREE: &[Field] = listener![];

/// A policy; it is read only to be refused.
const L7_POLICY: &[Field] = &[name(), description(), Field::new("action", Text(255))];

macro_rules! pool {
    ($protocol:expr, $algorithm:expr, $($more:expr,)*) => {
        &[
            name(),
            description(),
            admin(),
            $protocol,
            $algorithm,
            Field::new("session_persistence", Object(SESSION_PERSISTENCE)),
            project(),
            tenant(),
            Field::new("healthmonitor", Object(MONITOR_IN_TREE)).passing(),
            Field::new("members", Objects(MEMBER_IN_TREE)).passing().or(NoItems),
            tags(),
            Field::new("tls_container_ref", Text(255)),
            Field::new("ca_tls_container_ref", Text(255)),
            Field::new("crl_container_ref", Text(255)),
            Field::new("tls_enabled", Flag).or(Bool(false)),
            Field::new("tls_ciphers", Text(2048)),
            Field::new("tls_versions", Texts(32)).or(NoItems),
            Field::new("alpn_protocols", Texts(32)).or(NoItems),
            $($more,)*
        ]
    };
}

const POOL_PROTOCOL: Field = Field::new("protocol", Choice(POOL_PROTOCOLS)).fixed();
const ALGORITHM: Field = Field::new("lb_algorithm", Choice(ALGORITHMS));

const POOL: &[Field] = pool![
    POOL_PROTOCOL.required(),
    ALGORITHM.required(),
    Field::new("loadbalancer_id", Id).fixed(),
    Field::new("listener_id", Id).passing(),
];
/// A pool in a load balancer that is made with all that it has; one with a name alone stands for another of that tree.
pub(super) const POOL_IN_TREE: &[Field] = pool![POOL_PROTOCOL, ALGORITHM,];

/// How a client's flows stay together.
pub(super) const SESSION_PERSISTENCE: &[Field] = &[
    Field::new("type", Choice(&["SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"])).required(),
    Field::new("cookie_name", Cookie),
    Field::new("persistence_timeout", From(0)),
    Field::new("persistence_granularity", Address),
];

macro_rules! member {
    ($($more:expr,)*) => {
        &[
            name(),
            admin(),
            Field::new("address", Address).required().fixed(),
            Field::new("protocol_port", PORT).required().fixed(),
            Field::new("weight", Number(0, 256)).or(Int(1)),
            Field::new("backup", Flag).or(Bool(false)),
            Field::new("subnet_id", Id).fixed(),
            project(),
            tenant(),
            Field::new("monitor_port", Number(1, 65_535)),
            Field::new("monitor_address", Address),
            tags(),
            Field::new("request_sriov", Flag).passing().or(Bool(false)),
            $($more,)*
        ]
    };
}

const MEMBER: &[Field] = member![];
/// A member in a pool that is made with all that it has.
pub(super) const MEMBER_IN_TREE: &[Field] = member![];

macro_rules! monitor {
    ($($more:expr,)*) => {
        &[
            name(),
            admin(),
            Field::new("type", Choice(MONITOR_TYPES)).required().fixed(),
            Field::new("delay", From(0)).required(),
            Field::new("timeout", From(0)).required(),
            Field::new("max_retries", Number(1, 10)).required(),
            Field::new("max_retries_down", Number(1, 10)).or(Int(3)),
            Field::new("http_method", Choice(HTTP_METHODS)),
            Field::new("url_path", UrlPath),
            Field::new("expected_codes", Codes),
            Field::new("http_version", HttpVersion),
            Field::new("domain_name", Domain),
            project(),
            tenant(),
            tags(),
            $($more,)*
        ]
    };
}

const MONITOR: &[Field] = monitor![Field::new("pool_id", Id).required().fixed(),];
/// A health monitor in a pool that is made with all that it has.
pub(super) const MONITOR_IN_TREE: &[Field] = monitor![];

const fn limit(name: &'static str) -> Field {
    Field::new(name, Number(-1, 2_000_000_000))
}

const QUOTA: &[Field] = &[
    limit("loadbalancer"),
    limit("load_balancer"),
    limit("listener"),
    limit("pool"),
    limit("healthmonitor"),
    limit("health_monitor"),
    limit("member"),
    limit("l7policy"),
    limit("l7rule"),
];

const fn enabled() -> Field {
    Field::new("enabled", Flag).or(Bool(true))
}

const FLAVOR: &[Field] = &[
    Field::new("name", Text(255)).required(),
    description(),
    enabled(),
    Field::new("flavor_profile_id", Id).required().fixed(),
];
const FLAVOR_PROFILE: &[Field] = &[
    Field::new("name", Text(255)).required(),
    Field::new("provider_name", Text(255)).required(),
    Field::new("flavor_data", Text(4096)).required(),
];
const ZONE: &[Field] = &[
    Field::new("name", Text(255)).required().fixed(),
    description(),
    enabled(),
    Field::new("availability_zone_profile_id", Id).required().fixed(),
];
const ZONE_PROFILE: &[Field] = &[
    Field::new("name", Text(255)).required(),
    Field::new("provider_name", Text(255)).required(),
    Field::new("availability_zone_data", Text(4096)).required(),
];
