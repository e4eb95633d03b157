//! Objects as they are shown: what is kept of them, and what follows from the others and from the data plane.

use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, Object};
use super::query::View;
use super::schema::Kind;
use super::work::{Observed, Seen};
use crate::model::BackendAddr;

/// Shows objects.
pub(super) struct Viewer<'a> {
    /// The objects.
    pub(super) catalogue: &'a Catalogue,
    /// What the data plane does.
    pub(super) observed: &'a dyn Observed,
}

impl Viewer<'_> {
    /// An object as a list or a look-up shows it.
    #[must_use]
    pub(super) fn view(&self, kind: Kind, id: &str, object: &Object) -> View {
        let mut view = View::new();
        match kind {
            Kind::Quota => return super::quotas::view(id, object),
            Kind::Zone => {}
            _ => {
                view.insert("id".to_owned(), json!(id));
            }
        }
        for field in kind.fields().iter().filter(|field| field.kept) {
            let value = object.attributes.get(field.name).cloned().unwrap_or_else(|| field.otherwise.value());
            view.insert(field.name.to_owned(), value);
        }
        if kind.is_managed() {
            self.manage(kind, id, object, &mut view);
        }
        match kind {
            Kind::LoadBalancer => {
                view.insert("listeners".to_owned(), self.ids(Kind::LoadBalancer, id, Kind::Listener));
                view.insert("pools".to_owned(), self.ids(Kind::LoadBalancer, id, Kind::Pool));
                view.insert("vip_vnic_type".to_owned(), json!("normal"));
            }
            Kind::Listener => show_listener(&mut view),
            Kind::Pool => self.pool(id, object, &mut view),
            Kind::Member => {
                view.insert("vnic_type".to_owned(), json!("normal"));
            }
            Kind::Monitor => {
                if let Some(pool) = view.remove("pool_id") {
                    view.insert("pools".to_owned(), json!([{ "id": pool }]));
                }
            }
            _ => {}
        }
        view
    }

    fn manage(&self, kind: Kind, id: &str, object: &Object, view: &mut View) {
        let provisioning = self.catalogue.provisioning(kind, id);
        let updated = match object.updated {
            Some(updated) => json!(timestamp(updated)),
            None if provisioning == super::catalogue::PENDING_CREATE => Value::Null,
            None => json!(timestamp(object.created)),
        };
        view.insert("project_id".to_owned(), json!(object.project));
        view.insert("tenant_id".to_owned(), json!(object.project));
        view.insert("created_at".to_owned(), json!(timestamp(object.created)));
        view.insert("updated_at".to_owned(), updated);
        view.insert("provisioning_status".to_owned(), json!(provisioning));
        view.insert("operating_status".to_owned(), json!(self.operating(kind, id, object)));
    }

    fn pool(&self, id: &str, object: &Object, view: &mut View) {
        let owner = view.remove("loadbalancer_id").unwrap_or_default();
        view.insert("loadbalancers".to_owned(), json!([{ "id": owner }]));
        let served: Vec<Value> = self.listeners_of_pool(id, object).map(|id| json!({ "id": id })).collect();
        view.insert("listeners".to_owned(), Value::Array(served));
        view.insert("members".to_owned(), self.ids(Kind::Pool, id, Kind::Member));
        if let Some((monitor, _)) = self.catalogue.children(Kind::Pool, id, Kind::Monitor).first() {
            view.insert("healthmonitor_id".to_owned(), json!(monitor));
        }
    }

    /// The listeners that a pool serves.
    fn listeners_of_pool<'b>(&'b self, id: &'b str, pool: &'b Object) -> impl Iterator<Item = &'b str> {
        let siblings = self.catalogue.children(Kind::LoadBalancer, pool.text("loadbalancer_id"), Kind::Listener);
        siblings.into_iter().filter(move |(_, listener)| listener.text("default_pool_id") == id).map(|(id, _)| id)
    }

    fn ids(&self, parent: Kind, id: &str, kind: Kind) -> Value {
        let children = self.catalogue.children(parent, id, kind);
        Value::Array(children.into_iter().map(|(id, _)| json!({ "id": id })).collect())
    }

    /// The operating status of an object.
    #[must_use]
    pub(super) fn operating(&self, kind: Kind, id: &str, object: &Object) -> &'static str {
        let enabled = object.flag("admin_state_up");
        match kind {
            Kind::Monitor if enabled => "ONLINE",
            Kind::Monitor => "OFFLINE",
            Kind::Member => self.member(object),
            _ if !enabled || !self.observed.forwards() => "OFFLINE",
            Kind::Pool => self.pool_status(id, object),
            Kind::Listener => {
                let owner = self.catalogue.get(Kind::LoadBalancer, object.text("loadbalancer_id"));
                if owner.is_some_and(|owner| owner.flag("admin_state_up")) { "ONLINE" } else { "OFFLINE" }
            }
            _ => self.load_balancer_status(id),
        }
    }

    fn load_balancer_status(&self, id: &str) -> &'static str {
        let pools = self.catalogue.children(Kind::LoadBalancer, id, Kind::Pool);
        let statuses: Vec<_> = pools.iter().map(|(id, pool)| self.operating(Kind::Pool, id, pool)).collect();
        if statuses.contains(&"ERROR") {
            "ERROR"
        } else if statuses.contains(&"DEGRADED") {
            "DEGRADED"
        } else {
            "ONLINE"
        }
    }

    fn pool_status(&self, id: &str, pool: &Object) -> &'static str {
        if self.listeners_of_pool(id, pool).next().is_none() {
            return "OFFLINE";
        }
        let members = self.catalogue.children(Kind::Pool, id, Kind::Member);
        let ill = members.iter().filter(|(_, member)| self.member(member) == "ERROR").count();
        match ill {
            0 => "ONLINE",
            all if all == members.len() => "ERROR",
            _ => "DEGRADED",
        }
    }

    fn member(&self, member: &Object) -> &'static str {
        let pool = self.catalogue.get(Kind::Pool, member.text("pool_id"));
        let monitored = !self.catalogue.children(Kind::Pool, member.text("pool_id"), Kind::Monitor).is_empty();
        if !self.observed.forwards() {
            return if monitored { "OFFLINE" } else { "NO_MONITOR" };
        }
        if !member.flag("admin_state_up") {
            return "OFFLINE";
        }
        let address: Option<BackendAddr> = member.text("address").parse().ok();
        let seen = pool.and_then(|pool| pool.name.as_ref()).zip(address);
        let seen = seen.map(|(pool, address)| self.observed.member(pool, address)).unwrap_or_default();
        match seen {
            Seen::Down => "ERROR",
            Seen::Draining => "DRAINING",
            _ if member.number("weight") == 0 => "DRAINING",
            Seen::Up => "ONLINE",
            Seen::Unknown if monitored => "OFFLINE",
            Seen::Unknown => "NO_MONITOR",
        }
    }

    /// The tree of a load balancer's statuses.
    #[must_use]
    pub(super) fn tree(&self, id: &str, object: &Object) -> Value {
        let listeners = self.catalogue.children(Kind::LoadBalancer, id, Kind::Listener);
        let listeners = listeners.into_iter().map(|(id, listener)| {
            let pool = listener.some_text("default_pool_id");
            let pool = pool.and_then(|pool| Some((pool, self.catalogue.get(Kind::Pool, pool)?)));
            let mut node = self.node(Kind::Listener, id, listener);
            let pools: Vec<Value> = pool.into_iter().map(|(id, pool)| self.pool_node(id, pool)).collect();
            node.insert("pools".to_owned(), Value::Array(pools));
            Value::Object(node)
        });
        let listeners: Vec<Value> = listeners.collect();
        let mut node = self.node(Kind::LoadBalancer, id, object);
        node.insert("listeners".to_owned(), Value::Array(listeners));
        if let Some(reason) = self.catalogue.error(id) {
            node.insert("error".to_owned(), json!(reason));
        }
        json!({ "statuses": { "loadbalancer": node } })
    }

    fn pool_node(&self, id: &str, pool: &Object) -> Value {
        let mut node = self.node(Kind::Pool, id, pool);
        if let Some((id, monitor)) = self.catalogue.children(Kind::Pool, id, Kind::Monitor).first() {
            let mut monitor_node = self.node(Kind::Monitor, id, monitor);
            monitor_node.insert("type".to_owned(), json!(monitor.text("type")));
            node.insert("health_monitor".to_owned(), Value::Object(monitor_node));
        }
        let members = self.catalogue.children(Kind::Pool, id, Kind::Member).into_iter().map(|(id, member)| {
            let mut node = self.node(Kind::Member, id, member);
            node.insert("address".to_owned(), json!(member.text("address")));
            node.insert("protocol_port".to_owned(), json!(member.number("protocol_port")));
            Value::Object(node)
        });
        let members: Vec<Value> = members.collect();
        node.insert("members".to_owned(), Value::Array(members));
        Value::Object(node)
    }

    fn node(&self, kind: Kind, id: &str, object: &Object) -> Map<String, Value> {
        let mut node = Map::new();
        node.insert("id".to_owned(), json!(id));
        node.insert("name".to_owned(), json!(object.text("name")));
        node.insert("provisioning_status".to_owned(), json!(self.catalogue.provisioning(kind, id)));
        node.insert("operating_status".to_owned(), json!(self.operating(kind, id, object)));
        node
    }
}

fn show_listener(view: &mut View) {
    let owner = view.remove("loadbalancer_id").unwrap_or_default();
    view.insert("loadbalancers".to_owned(), json!([{ "id": owner }]));
    view.insert("l7policies".to_owned(), json!([]));
    if view.get("insert_headers").is_none_or(Value::is_null) {
        view.insert("insert_headers".to_owned(), json!({}));
    }
}

/// A moment as Octavia writes it: in UTC, without saying so.
#[must_use]
pub fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// The date of a day since 1970 in the Gregorian calendar, by years that begin in March, which have their odd day last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_octavia_does() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_423_538, "2026-11-23T08:45:38"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }
}
