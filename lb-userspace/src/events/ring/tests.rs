use super::*;

fn event(kind: EventKind) -> News {
    News::new(kind, "it happened")
}

fn numbers(events: &Events) -> Vec<u64> {
    events.events.iter().map(|event| event.number).collect()
}

fn query(after: Option<u64>, limit: usize) -> Query {
    Query { after, limit, ..Query::default() }
}

#[test]
fn the_newest_are_shown_and_those_after_a_number_in_parts() {
    let mut ring = Ring::new(100);
    assert_eq!(ring.ask(&query(None, 10)), Events { events: Vec::new(), next: 100, lost: 0 });
    for _ in 0..5 {
        ring.push(event(EventKind::LinkUp), 7);
    }
    let newest = ring.ask(&query(None, 2));
    assert_eq!((numbers(&newest), newest.next), (vec![104, 105], 105));
    let first = ring.ask(&query(Some(101), 2));
    assert_eq!((numbers(&first), first.next, first.lost), (vec![102, 103], 103, 0));
    let rest = ring.ask(&query(Some(first.next), 2));
    assert_eq!((numbers(&rest), rest.next), (vec![104, 105], 105));
    let none = ring.ask(&query(Some(105), 2));
    assert_eq!((numbers(&none), none.next), (vec![], 105));
    // What an earlier agent told last comes before all that this one tells.
    assert_eq!((numbers(&ring.ask(&query(Some(3), 9))).len(), ring.ask(&query(Some(3), 9)).lost), (5, 0));
}

#[test]
fn the_oldest_make_way_and_are_counted_as_lost() {
    let mut ring = Ring::new(0);
    for _ in 0..MOST_EVENTS + 10 {
        ring.push(event(EventKind::LinkUp), 7);
    }
    let answer = ring.ask(&query(Some(4), MOST_EVENTS));
    assert_eq!((answer.events.len(), answer.events[0].number, answer.lost), (MOST_EVENTS, 11, 6));
    assert_eq!(ring.counts()[EventKind::LinkUp as usize].count, MOST_EVENTS as u64 + 10);
}

#[test]
fn events_that_name_many_listeners_make_more_way() {
    let mut ring = Ring::new(0);
    let names: BTreeSet<Name> = (0..1_000).map(|index| format!("l{index}").parse().expect("a name")).collect();
    for _ in 0..100 {
        ring.push(News { listeners: names.clone(), ..event(EventKind::NeighbourLost) }, 7);
    }
    assert_eq!(ring.ask(&query(Some(0), 1_000)).events.len(), MOST_NAMES / 1_000);
}

#[test]
fn a_filter_finds_what_is_about_all_that_it_names() {
    let mut ring = Ring::new(0);
    let (web, vip): (Name, Vip) = ("web".parse().expect("a name"), "192.0.2.10".parse().expect("a VIP"));
    let backend: BackendAddr = "192.0.2.21".parse().expect("an address");
    ring.push(event(EventKind::LinkDown).on("eth1"), 7);
    let down = News { listeners: [web.clone()].into(), ..event(EventKind::BackendDown).of_vip(vip) };
    ring.push(down.of_backend(backend), 7);
    ring.push(event(EventKind::VipContested).of_vip(vip).on("eth1"), 7);
    let asked = |query: Query| numbers(&ring.ask(&Query { limit: 9, ..query }));
    assert_eq!(asked(Query { interface: Some("eth1".to_owned()), ..Query::default() }), [1, 3]);
    assert_eq!(asked(Query { vip: Some(vip), ..Query::default() }), [2, 3]);
    assert_eq!(asked(Query { backend: Some(backend), ..Query::default() }), [2]);
    assert_eq!(asked(Query { listener: Some(web), ..Query::default() }), [2]);
    let kinds = [EventKind::LinkDown, EventKind::VipContested].into();
    assert_eq!(asked(Query { kinds, vip: Some(vip), ..Query::default() }), [3]);
    let other = "other".parse().expect("a name");
    assert_eq!(asked(Query { listener: Some(other), ..Query::default() }), [0; 0]);
}
