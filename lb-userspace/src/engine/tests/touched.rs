//! What a command touches.

use super::*;
use crate::engine::touched::Touched;
use crate::model::Edit;

#[test]
fn the_pool_that_a_listener_leaves_is_looked_at_as_others_may_share_it() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let web = core.desired.listeners[&name("web")].clone();
    let moved = crate::model::Listener { pool: name("other"), ..web.clone() };
    for edits in [vec![Edit::RemoveListener(web.name.clone())], vec![Edit::PutListener(moved)]] {
        let Scope::Some { pools, keys } = Touched::by(&edits, &core.desired).scope else { panic!("everything") };
        assert!(pools.contains(&web.pool) && keys.contains(&web.key()), "{edits:?}: {pools:?}, {keys:?}");
    }
}
