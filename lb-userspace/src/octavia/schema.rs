//! The attributes of the resources, as data: what is read, checked, stored, shown and described comes from here.

use serde_json::{Value, json};

/// What an attribute's value can be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text of at most so many characters.
    Text(usize),
    /// A whole number in a range; numbers come as text from some clients.
    Number(i64, i64),
    /// A whole number from a lowest on.
    From(i64),
    /// True or false; the unambiguous words for them too.
    Flag,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A UUID.
    Id,
    /// An IPv4 or IPv6 address.
    Address,
    /// Address ranges, as a list.
    Ranges,
    /// Texts of at most so many characters, as a list.
    Texts(usize),
    /// A path of a URL.
    UrlPath,
    /// HTTP status codes: `200`, `200,201` or `200-204`.
    Codes,
    /// HTTP/1.0 or HTTP/1.1, as a number.
    HttpVersion,
    /// A host's name.
    Domain,
    /// A name of a cookie.
    Cookie,
    /// Names with texts.
    Headers,
    /// An object with attributes of its own.
    Object(&'static [Field]),
    /// Such objects, as a list.
    Objects(&'static [Field]),
}

/// What an attribute is when a request doesn't name it, or resets it by null.
#[derive(Clone, Copy, Debug)]
pub enum Otherwise {
    /// Null.
    Null,
    /// An empty text.
    Empty,
    /// Nothing in it: `[]`.
    NoItems,
    /// A number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(&'static str),
}

impl Otherwise {
    /// As a value.
    #[must_use]
    pub fn value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Empty => json!(""),
            Self::NoItems => json!([]),
            Self::Number(number) => json!(number),
            Self::Flag(flag) => json!(flag),
            Self::Text(text) => json!(text),
        }
    }

    /// True if a value is this, and is read so where there is none: null, and what is empty or false.
    #[must_use]
    pub fn is_silent(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) | (Self::Flag(false), Value::Bool(false)) => true,
            (Self::Empty, Value::String(text)) => text.is_empty(),
            (Self::NoItems, Value::Array(items)) => items.is_empty(),
            _ => false,
        }
    }
}

/// An attribute of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub shape: Shape,
    /// Whether a create must name it.
    pub required: bool,
    /// Whether an update may name it.
    pub changes: bool,
    /// Whether it is kept: some only say how to make something.
    pub kept: bool,
    /// What it is otherwise.
    pub otherwise: Otherwise,
}

impl Field {
    pub(super) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, required: false, changes: true, kept: true, otherwise: Otherwise::Null }
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// It is given at creation and stays.
    pub(super) const fn fixed(self) -> Self {
        Self { changes: false, ..self }
    }

    /// It only says how to make the object.
    pub(super) const fn passing(self) -> Self {
        Self { changes: false, kept: false, ..self }
    }

    pub(super) const fn or(self, otherwise: Otherwise) -> Self {
        Self { otherwise, ..self }
    }
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A load balancer: a VIP and all that is served on it.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A pool.
    Pool,
    /// A member: a backend of a pool.
    Member,
    /// A pool's health monitor.
    Monitor,
    /// A project's quota.
    Quota,
    /// A flavor.
    Flavor,
    /// A flavor's profile.
    FlavorProfile,
    /// An availability zone.
    Zone,
    /// An availability zone's profile.
    ZoneProfile,
    /// What was changed of a port.
    Port,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::LoadBalancer,
        Self::Listener,
        Self::Pool,
        Self::Member,
        Self::Monitor,
        Self::Quota,
        Self::Flavor,
        Self::FlavorProfile,
        Self::Zone,
        Self::ZoneProfile,
        Self::Port,
    ];

    /// How it is called in messages.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::LoadBalancer => "Load Balancer",
            Self::Listener => "Listener",
            Self::Pool => "Pool",
            Self::Member => "Member",
            Self::Monitor => "Health Monitor",
            Self::Quota => "Quota",
            Self::Flavor => "Flavor",
            Self::FlavorProfile => "Flavor Profile",
            Self::Zone => "Availability Zone",
            Self::ZoneProfile => "Availability Zone Profile",
            Self::Port => "Port",
        }
    }

    /// The key of one in a body. Also its name in the store.
    #[must_use]
    pub const fn singular(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::Member => "member",
            Self::Monitor => "healthmonitor",
            Self::Quota => "quota",
            Self::Flavor => "flavor",
            Self::FlavorProfile => "flavorprofile",
            Self::Zone => "availability_zone",
            Self::ZoneProfile => "availability_zone_profile",
            Self::Port => "port",
        }
    }

    /// The key of a list in a body.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancers",
            Self::Listener => "listeners",
            Self::Pool => "pools",
            Self::Member => "members",
            Self::Monitor => "healthmonitors",
            Self::Quota => "quotas",
            Self::Flavor => "flavors",
            Self::FlavorProfile => "flavorprofiles",
            Self::Zone => "availability_zones",
            Self::ZoneProfile => "availability_zone_profiles",
            Self::Port => "ports",
        }
    }

    /// The key of a list's links in a body.
    #[must_use]
    pub const fn links(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancers_links",
            Self::Listener => "listeners_links",
            Self::Pool => "pools_links",
            Self::Member => "members_links",
            Self::Monitor => "healthmonitors_links",
            Self::Quota => "quotas_links",
            Self::Flavor => "flavors_links",
            Self::FlavorProfile => "flavorprofile_links",
            Self::Zone => "availability_zones_links",
            Self::ZoneProfile => "availability_zone_profile_links",
            Self::Port => "ports_links",
        }
    }

    /// The segment of a path that its list is at.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Zone => "availabilityzones",
            Self::ZoneProfile => "availabilityzoneprofiles",
            other => other.plural(),
        }
    }

    /// What messages call the body's argument.
    #[must_use]
    pub const fn argument(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load_balancer.loadbalancer",
            Self::Listener => "listener_.listener",
            Self::Pool => "pool_.pool",
            Self::Member => "member_.member",
            Self::Monitor => "health_monitor_.healthmonitor",
            Self::Quota => "quotas.quota",
            Self::Flavor => "flavor_.flavor",
            Self::FlavorProfile => "flavor_profile_.flavorprofile",
            Self::Zone => "availability_zone_.availability_zone",
            Self::ZoneProfile => "availability_zone_profile_.availability_zone_profile",
            Self::Port => "port_.port",
        }
    }

    /// The attribute that names the object that it belongs to, and that one's kind.
    #[must_use]
    pub const fn parent(self) -> Option<(&'static str, Self)> {
        match self {
            Self::Listener | Self::Pool => Some(("loadbalancer_id", Self::LoadBalancer)),
            Self::Member | Self::Monitor => Some(("pool_id", Self::Pool)),
            _ => None,
        }
    }

    /// True if it belongs to a project and has statuses, tags and times.
    #[must_use]
    pub const fn is_managed(self) -> bool {
        matches!(self, Self::LoadBalancer | Self::Listener | Self::Pool | Self::Member | Self::Monitor)
    }

    /// Its attributes.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        super::resources::fields(self)
    }
}
