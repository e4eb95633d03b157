//! What happened to the backends, by comparing what the health checks found.

use super::{EventKind, News};
use crate::health::{BackendHealth, Cause, CheckKey, HealthView, Standing};
use crate::model::Desired;

/// What happened between two views. `stood` is how a backend stood before, as far as it was known.
pub fn changes(
    desired: &Desired,
    stood: impl Fn(&CheckKey) -> Option<Standing>,
    before: &HealthView,
    after: &HealthView,
) -> Vec<News> {
    let mut news = Vec::new();
    for (key, now) in &after.backends {
        let was = before.backends.get(key);
        let standing = was.map(|was| was.standing).or_else(|| stood(key));
        let mut tell = |kind, text: String| {
            let (pool, address) = key;
            news.push(News::new(kind, text).of_backend(*address).of_listeners(desired.listeners_of(pool)));
        };
        let (pool, address) = key;
        let why = now.reason.as_deref().unwrap_or("its health checks fail");
        let is_same = standing == Some(now.standing) && was.is_none_or(|was| was.cause == now.cause);
        match (now.standing, now.cause) {
            _ if is_same => {}
            (Standing::Up, _) if standing != Some(Standing::Up) => {
                tell(EventKind::BackendUp, format!("backend {address} of `{pool}` is up"));
            }
            (Standing::Down, Cause::Service) => {
                tell(EventKind::BackendDown, format!("backend {address} of `{pool}` is down: {why}"));
            }
            (Standing::Down, Cause::VipPath) => tell(
                EventKind::BackendVipPathBroken,
                format!("backend {address} of `{pool}` serves by its own address, but not by the VIP: {why}"),
            ),
            (Standing::Up | Standing::Unproven, _) => {}
        }
        if now.flapping && was.is_none_or(|was: &BackendHealth| !was.flapping) {
            let needed = now.needed;
            tell(
                EventKind::BackendFlapping,
                format!(
                    "backend {address} of `{pool}` keeps going down; it needs {needed} right answers in a row to come up"
                ),
            );
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(standing: Standing, cause: Cause, flapping: bool) -> BackendHealth {
        BackendHealth { standing, cause, reason: Some("no".to_owned()), since: None, flapping, needed: 4 }
    }

    fn kinds(stood: Option<Standing>, before: Option<BackendHealth>, after: BackendHealth) -> Vec<EventKind> {
        let key: CheckKey = ("web".parse().expect("a name"), "192.0.2.21".parse().expect("an address"));
        let view = |health: Option<BackendHealth>| HealthView {
            backends: health.into_iter().map(|health| (key.clone(), health)).collect(),
        };
        let news = changes(&Desired::default(), |_| stood, &view(before), &view(Some(after)));
        assert!(news.iter().all(|news| news.backends.contains(&key.1)));
        news.into_iter().map(|news| news.kind).collect()
    }

    #[test]
    fn each_change_of_standing_cause_and_flapping_is_told_once() {
        use Cause::{Service, VipPath};
        use EventKind::{BackendDown, BackendFlapping, BackendUp, BackendVipPathBroken};
        use Standing::{Down, Unproven, Up};
        let up = || found(Up, Service, false);
        let down = || found(Down, Service, false);
        let broken = || found(Down, VipPath, false);
        assert_eq!(kinds(Some(Unproven), None, up()), [BackendUp]);
        assert_eq!(kinds(Some(Unproven), None, down()), [BackendDown]);
        assert_eq!(kinds(Some(Up), None, up()), [], "a new agent that finds it as it was");
        assert_eq!(kinds(Some(Down), None, down()), []);
        assert_eq!(kinds(None, Some(up()), up()), []);
        assert_eq!(kinds(None, Some(up()), down()), [BackendDown]);
        assert_eq!(kinds(None, Some(down()), broken()), [BackendVipPathBroken]);
        assert_eq!(kinds(None, Some(broken()), broken()), []);
        assert_eq!(kinds(None, Some(broken()), down()), [BackendDown]);
        assert_eq!(kinds(None, Some(broken()), up()), [BackendUp]);
        assert_eq!(kinds(None, Some(up()), found(Down, Service, true)), [BackendDown, BackendFlapping]);
        assert_eq!(kinds(None, Some(found(Down, Service, true)), found(Up, Service, true)), [BackendUp]);
    }
}
