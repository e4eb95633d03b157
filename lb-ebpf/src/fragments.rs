//! Fragments: the first one goes by its ports, as any packet, and leaves a trail ([`lb_common::fragment`]); the others of its
//! datagram have none, and follow it.
//!
//! Nothing is put together here, and no fragment waits: one that comes before its first is dropped. A fragment that
//! overlaps the first one could rewrite what its datagram was judged by: it is dropped, with all that come after it
//! (RFC 5722, which is as good a rule for IPv4).
//!
//! Of an ICMP error the quoted packet may be a fragment, which a backend sent and no balancer saw. A quoted first one has
//! ports and leaves a trail as well, for the errors about the rest of its datagram.

use lb_common::fragment::{DatagramKey, Trail};
use lb_common::outcome::Outcome;

use crate::finish::Finish;
use crate::parse::Headers;
use crate::select::Chosen;
use crate::tables::Tables;

/// Chooses the backend that a later fragment's first one went to.
///
/// # Errors
/// How a fragment ends that has none.
#[inline(always)]
pub fn follow<T: Tables>(headers: &Headers, chosen: &mut Chosen, tables: &T) -> Result<(), Finish> {
    if tables.vip(&headers.flow.destination).is_none() {
        return Err(Finish::pass(Outcome::NotVip));
    }
    let key = DatagramKey::new(&headers.flow, headers.fragment.id, headers.related);
    let early = Finish::drop(Outcome::FragmentEarly);
    let Some(trail) = tables.trail(&key) else {
        return Err(early);
    };
    if tables.now().since(trail.seen) > Trail::LIFETIME {
        return Err(early);
    }
    if !headers.related && headers.fragment.from < trail.end {
        if trail.end != Trail::SPOILT {
            tables.leave_trail(&key, &Trail { end: Trail::SPOILT, ..trail });
        }
        return Err(Finish::drop(Outcome::FragmentOverlap));
    }
    if !trail.backend.is_reachable() {
        // The kernel got the first one, so it gets this one too.
        return Err(Finish::pass(Outcome::NoListener));
    }
    let gone = Finish::drop(Outcome::NoBackend);
    let backend = tables.backend(trail.place).ok_or(gone)?;
    if !backend.is_same_as(trail.backend) {
        return Err(gone);
    }
    let segment = tables.segment(backend.segment()).ok_or(gone)?;
    *chosen = Chosen { listener: trail.listener, place: trail.place, backend, segment };
    Ok(())
}

/// A first fragment leaves where it went: to a backend, or, if nobody was chosen, to the kernel.
#[inline(always)]
pub fn leave<T: Tables>(headers: &Headers, chosen: &Chosen, tables: &T) {
    let key = DatagramKey::new(&headers.flow, headers.fragment.id, headers.related);
    let trail = Trail {
        backend: chosen.backend,
        place: chosen.place,
        listener: chosen.listener,
        seen: tables.now(),
        end: headers.fragment.to,
        reserved: 0,
    };
    tables.leave_trail(&key, &trail);
}
