//! Providers, flavors, availability zones and their profiles. drlb has one provider, whose load balancers are all alike:
//! flavors and zones are names that can be given and found again.

use serde_json::{Value, json};

use super::PROVIDER;
use super::load_balancers::text;
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::{Reply, Work};

/// The text that describes the provider.
const DESCRIPTION: &str = "Direct routing by XDP.";

/// Lists the providers, or what one can do.
pub(super) fn providers(work: &Work<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let body = match path {
        [] => json!({ "providers": [{ "name": PROVIDER, "description": DESCRIPTION }], "providers_links": [] }),
        [name, "flavor_capabilities" | "availability_zone_capabilities"] => {
            work.must_be_admin()?;
            if *name != PROVIDER {
                return Err(Refusal::new(400, format!("Provider '{name}' is not enabled.")));
            }
            let capabilities = path.last().copied().unwrap_or_default();
            json!({ capabilities: [], format!("{capabilities}_links"): [] })
        }
        _ => return Err(Refusal::early(404, "The resource could not be found.")),
    };
    Ok(Reply { status: 200, body: Some(body) })
}

/// The attribute of a flavor or zone that names its profile, and the profiles' kind.
const fn profile_of(kind: Kind) -> Option<(&'static str, Kind)> {
    match kind {
        Kind::Flavor => Some(("flavor_profile_id", Kind::FlavorProfile)),
        Kind::Zone => Some(("availability_zone_profile_id", Kind::ZoneProfile)),
        _ => None,
    }
}

/// Makes one and returns its id.
pub(super) fn create(work: &mut Work<'_>, kind: Kind, attributes: Attributes) -> Result<String, Refusal> {
    work.must_be_admin()?;
    check(work, kind, &attributes)?;
    let name = text(&attributes, "name").unwrap_or_default().to_owned();
    if matches!(kind, Kind::Flavor | Kind::Zone)
        && work.catalogue.all(kind).any(|(_, other)| other.text("name") == name)
    {
        return Err(Refusal::new(409, format!("A {} of {name} already exists.", kind.title().to_lowercase())));
    }
    // A zone is known by its name, which stands in its path.
    let id = if kind == Kind::Zone { name } else { (work.context.new_id)() };
    if id.is_empty() {
        return Err(Refusal::validation("A name is needed."));
    }
    work.add(kind, &id, "", None, attributes);
    Ok(id)
}

fn check(work: &Work<'_>, kind: Kind, attributes: &Attributes) -> Result<(), Refusal> {
    if let Some((attribute, profiles)) = profile_of(kind)
        && let Some(profile) = text(attributes, attribute)
    {
        work.catalogue.find(profiles, profile)?;
    }
    if let Some(other) = text(attributes, "provider_name").filter(|name| *name != PROVIDER) {
        return Err(Refusal::new(400, format!("Provider '{other}' is not enabled.")));
    }
    for name in ["flavor_data", "availability_zone_data"] {
        let Some(data) = attributes.get(name).and_then(Value::as_str) else { continue };
        let options = serde_json::from_str::<Attributes>(data).map_err(|_| Refusal::option(data, name))?;
        if let Some(option) = options.keys().next() {
            let why = format!("{name} with {option}, as load balancers of this provider are all alike; give {{}}");
            return Err(Refusal::unsupported(why));
        }
    }
    Ok(())
}

/// Changes one.
pub(super) fn update(work: &mut Work<'_>, kind: Kind, id: &str, changes: Attributes) -> Result<(), Refusal> {
    work.must_be_admin()?;
    work.catalogue.find(kind, id)?;
    check(work, kind, &changes)?;
    if is_used(work, kind, id)
        && changes.keys().any(|name| !matches!(name.as_str(), "name" | "description" | "enabled"))
    {
        return Err(in_use(kind, id));
    }
    work.change(kind, id, changes)
}

/// Removes one.
pub(super) fn delete(work: &mut Work<'_>, kind: Kind, id: &str) -> Result<(), Refusal> {
    work.must_be_admin()?;
    work.catalogue.find(kind, id)?;
    if is_used(work, kind, id) {
        return Err(in_use(kind, id));
    }
    work.catalogue.remove(kind, id);
    Ok(())
}

fn in_use(kind: Kind, id: &str) -> Refusal {
    Refusal::new(409, format!("{} {id} is in use and cannot be modified.", kind.title()))
}

fn is_used(work: &Work<'_>, kind: Kind, id: &str) -> bool {
    let (users, attribute) = match kind {
        Kind::Flavor => (Kind::LoadBalancer, "flavor_id"),
        Kind::Zone => (Kind::LoadBalancer, "availability_zone"),
        Kind::FlavorProfile => (Kind::Flavor, "flavor_profile_id"),
        Kind::ZoneProfile => (Kind::Zone, "availability_zone_profile_id"),
        _ => return false,
    };
    work.catalogue.all(users).any(|(_, user)| user.text(attribute) == id)
}
