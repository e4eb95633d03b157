extern crate std;

use std::vec;

use super::*;

const A: u16 = 0;
const B: u16 = 1;
const C: u16 = 2;

/// [`retarget`] where all but `dead` serve.
fn next(slot: Slot, wanted: u16, dead: &[u16]) -> Slot {
    retarget(slot, wanted, |backend| !dead.contains(&backend))
}

#[test]
fn every_change_of_a_slot() {
    let none = NO_BACKEND;
    for (from, wanted, dead, to, what) in [
        (Slot::EMPTY, A, &[][..], Slot::steady(A), "the first backend: nobody is left to follow"),
        (Slot::EMPTY, none, &[], Slot::EMPTY, "still none"),
        (Slot::steady(A), A, &[], Slot::steady(A), "no change"),
        (Slot::steady(A), B, &[], Slot::moving(A, B), "a change"),
        (Slot::steady(A), none, &[], Slot::moving(A, none), "the last backend drains"),
        (Slot::steady(A), B, &[A], Slot::steady(B), "a death: no flow to keep, no pin to look for"),
        (Slot::steady(A), none, &[A], Slot::EMPTY, "the last one dies"),
        (Slot::moving(A, B), B, &[], Slot::moving(A, B), "no change"),
        (Slot::moving(A, B), C, &[], Slot::moving(A, C), "a change on a change: the flows of B are pinned"),
        (Slot::moving(A, B), none, &[], Slot::moving(A, none), "all drain"),
        (Slot::moving(A, B), A, &[], Slot::settling(A), "back again: the flows of B are pinned"),
        (Slot::moving(A, B), B, &[A], Slot::settling(B), "the previous dies"),
        (Slot::moving(A, B), C, &[A], Slot::settling(C), "the previous dies, and that changes the table"),
        (Slot::moving(A, B), C, &[B], Slot::moving(A, C), "the current dies"),
        (Slot::moving(A, B), A, &[B], Slot::settling(A), "the current dies, back again"),
        (Slot::moving(A, B), C, &[A, B], Slot::settling(C), "both die"),
        (Slot::moving(A, none), B, &[], Slot::moving(A, B), "a backend comes to a draining pool"),
        (Slot::moving(A, none), none, &[A], Slot::settling(none), "the drained one goes; others may be pinned"),
        (Slot::settling(A), A, &[], Slot::settling(A), "no change"),
        (Slot::settling(A), B, &[], Slot::moving(A, B), "a change: flows begun while settling are not pinned"),
        (Slot::settling(A), none, &[], Slot::moving(A, none), "the last backend drains"),
        (Slot::settling(A), B, &[A], Slot::settling(B), "a death: pins to others stay in force"),
        (Slot::settling(none), B, &[], Slot::settling(B), "a backend comes, nobody is left to follow"),
    ] {
        assert_eq!(next(from, wanted, dead), to, "{from:?} wants {wanted}, dead {dead:?}: {what}");
    }
}

#[test]
fn a_change_never_leaves_a_dead_previous_or_an_unwanted_current() {
    let backends = [A, B, C];
    let names = [A, B, C, NO_BACKEND];
    let mut slots = vec![];
    for current in names {
        slots.extend([Slot::steady(current), Slot::settling(current)]);
        slots.extend(backends.iter().filter(|&&p| p != current).map(|&p| Slot::moving(p, current)));
    }
    for slot in slots {
        for dead in [&[][..], &[A], &[B], &[C], &[A, B], &[A, C], &[B, C], &[A, B, C]] {
            for wanted in names.iter().copied().filter(|wanted| !dead.contains(wanted)) {
                let to = next(slot, wanted, dead);
                assert_eq!(to.current(), wanted, "{slot:?}");
                assert!(!to.is_moving() || !dead.contains(&to.previous()), "{slot:?} to {to:?}");
                assert!(slot.is_steady() || !to.is_steady(), "{slot:?} to {to:?}: pins may be there");
                assert_eq!(next(to, wanted, dead), to, "again changes nothing");
            }
        }
    }
}

#[test]
fn a_moving_slot_waits_for_the_flows_that_began_before_it_moved() {
    let settles = |watch: &Watch, now| watch.settles(Moment(now), 10, 1, None, None);
    let mut watch = Watch::new(Slot::moving(A, B), Moment(100));
    assert_eq!(settles(&watch, 111), None);
    assert_eq!(settles(&watch, 112), Some(Slot::settling(B)));

    watch.changed(Slot::moving(A, C), Moment(105));
    assert_eq!(settles(&watch, 112), Some(Slot::settling(C)), "flows begun since are pinned: nothing to wait for");

    watch.changed(Slot::settling(C), Moment(112));
    assert_eq!(settles(&watch, 200), None);
    watch.changed(Slot::moving(C, B), Moment(200));
    assert_eq!(settles(&watch, 211), None, "the flows of C are others than before");
    assert_eq!(settles(&watch, 212), Some(Slot::settling(B)));
}

#[test]
fn a_moving_slot_waits_while_the_tables_are_crowded() {
    let watch = Watch::new(Slot::moving(A, B), Moment(100));
    assert_eq!(watch.settles(Moment(150), 10, 1, Some(Moment(139)), None), None);
    assert_eq!(watch.settles(Moment(150), 10, 1, Some(Moment(138)), None), Some(Slot::settling(B)));
}

#[test]
fn a_settling_slot_is_steady_after_a_sweep_that_finds_nothing() {
    let mut watch = Watch::new(Slot::settling(B), Moment(100));
    assert_eq!(watch.swept(Moment(102), 0, Moment(103), 1), None, "a packet may still think that the slot moves");
    assert_eq!(watch.swept(Moment(103), 2, Moment(104), 1), None, "there are pins");
    assert_eq!(watch.swept(Moment(106), 0, Moment(107), 1), None, "one of them may have come back");
    assert_eq!(watch.swept(Moment(107), 0, Moment(108), 1), Some(Slot::steady(B)));
    assert_eq!(Watch::new(Slot::moving(A, B), Moment(0)).swept(Moment(50), 0, Moment(51), 1), None);
}

#[test]
fn a_place_is_free_after_a_sweep_that_finds_nothing() {
    let mut vacancy = Vacancy::new(Moment(100));
    let free_at = |vacancy: &Vacancy, now| vacancy.is_free(Moment(now), 1);
    vacancy.swept(Moment(102), 0, Moment(103), 1);
    assert!(!free_at(&vacancy, 200), "a packet may still have read a slot that names it");
    vacancy.swept(Moment(103), 1, Moment(104), 1);
    vacancy.swept(Moment(106), 0, Moment(107), 1);
    assert!(!free_at(&vacancy, 200), "the pin may have come back");
    vacancy.swept(Moment(107), 0, Moment(108), 1);
    assert!(!free_at(&vacancy, 109), "a packet may have read the pin before it went");
    assert!(free_at(&vacancy, 110));
}

#[test]
fn a_moving_slot_of_a_pool_that_never_had_a_packet_need_not_wait() {
    let mut watch = Watch::new(Slot::moving(A, B), Moment(100));
    let settles = |watch: &Watch, untouched| watch.settles(Moment(104), 10, 1, None, Some(Moment(untouched)));
    assert_eq!(settles(&watch, 101), None, "a packet that read what the slot was before may not be counted yet");
    assert_eq!(settles(&watch, 102), Some(Slot::settling(B)));
    watch.changed(Slot::moving(B, C), Moment(102));
    assert_eq!(settles(&watch, 102), None, "flows may have begun before this change");
    assert_eq!(settles(&watch, 104), Some(Slot::settling(C)));
    assert_eq!(watch.settles(Moment(104), 10, 1, Some(Moment(100)), Some(Moment(104))), None, "crowded");
}
