//! The OpenStack load balancing API (Octavia v2, LBaaSv2) as objects, rules and answers, without HTTP.
//!
//! Load balancers, listeners, pools, members and health monitors are the listeners, pools and backends of
//! [`crate::model`], seen by another view: [`project::project`] leads from the API's objects to the model,
//! [`adopt::adopt`] from the model to the objects, so that the command line and the API show and change the same.
//! Everything here is pure: the engine hands in the time, new ids and the state of the data plane, and writes down what
//! comes out.
//!
//! The words, defaults, statuses and error texts are those of Octavia's API reference, as its clients match them.

pub mod adopt;
pub mod catalogue;
mod flavors;
mod kept;
mod listeners;
mod load_balancers;
mod members;
mod monitors;
pub mod networks;
mod neutron;
pub mod openapi;
mod pools;
pub mod project;
pub mod query;
mod quotas;
mod refusal;
mod resources;
pub mod schema;
mod value;
mod view;
mod work;

use std::collections::BTreeSet;

pub use listeners::DR_MODE;
pub use neutron::made_up_mac;
pub use refusal::Refusal;
pub use view::timestamp;
pub use work::{Area, Caller, Context, Method, Observed, Reply, Request, Role, Seen, Settings, Traffic};

use self::catalogue::Catalogue;
use self::work::Work;

/// The name of the one provider.
pub const PROVIDER: &str = "drlb";

/// Answers a request. What it changes stands in the catalogue's journal, for the caller to write down and commit; the
/// load balancers that are changed are returned, for [`project::project`].
///
/// # Errors
/// Why it is refused; nothing is changed then.
pub fn answer(
    catalogue: &mut Catalogue,
    context: &Context<'_>,
    request: &Request,
) -> Result<(Reply, BTreeSet<String>), Refusal> {
    let mut work = Work { catalogue, context, request, touched: BTreeSet::new() };
    let answered = work::answer(&mut work);
    let touched = work.touched;
    answered.map(|reply| (reply, touched))
}

#[cfg(test)]
mod tests;
