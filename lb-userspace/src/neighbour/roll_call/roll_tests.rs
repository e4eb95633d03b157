use super::*;
use crate::ethernet::questions::{arp, solicitation};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x21]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x99]);
/// The longest time from one question to the next.
const LONGEST: Duration = Duration::from_millis(550);

fn backend(text: &str) -> BackendAddr {
    text.parse().expect("a backend address")
}

fn v4() -> BackendAddr {
    backend("192.0.2.21")
}

fn place(mac: MacAddr) -> Place {
    Place { ifindex: 3, own: OWN, source: "192.0.2.2".parse().expect("an address"), mac }
}

fn only(mac: MacAddr) -> BTreeMap<BackendAddr, Place> {
    BTreeMap::from([(v4(), place(mac))])
}

fn roll(places: &BTreeMap<BackendAddr, Place>) -> Roll {
    let mut roll = Roll::default();
    roll.set(places, Duration::ZERO);
    roll
}

/// Goes on to the next question, and returns when it is and what it is.
fn next(roll: &mut Roll) -> (Duration, Vec<Question>) {
    let now = roll.next().expect("something is due");
    (now, roll.due(now))
}

fn alone() -> Vec<Question> {
    vec![Question { ifindex: 3, frame: place(MAC).question(v4(), true).expect("one family") }]
}

fn before_all() -> Vec<Question> {
    vec![Question { ifindex: 3, frame: place(MAC).question(v4(), false).expect("one family") }]
}

#[test]
fn one_that_answers_is_asked_alone_twice_a_second() {
    let mut roll = roll(&only(MAC));
    let mut last = Duration::ZERO;
    for round in 0..100 {
        let (now, asked) = next(&mut roll);
        assert_eq!(asked, alone());
        let least = if round == 0 { Duration::ZERO } else { Duration::from_millis(450) };
        assert!((least..=LONGEST).contains(&(now - last)), "{:?} after the last", now - last);
        roll.hear(v4(), MAC, now + Duration::from_millis(1));
        last = now;
    }
}

#[test]
fn one_that_does_not_is_asked_for_before_all_less_and_less_often() {
    let mut roll = roll(&only(MAC));
    let (mut last, asked) = next(&mut roll);
    assert_eq!(asked, alone());
    for pause in [150, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let (now, asked) = next(&mut roll);
        assert_eq!((now - last, asked), (Duration::from_millis(pause), before_all()));
        last = now;
    }
    // From a move to the first question that reaches the new place it is less than a second.
    assert!(LONGEST + PATIENCE <= Duration::from_millis(700));
    roll.hear(v4(), MAC, last);
    let (now, asked) = next(&mut roll);
    assert_eq!((now - last, asked), (Duration::ZERO, alone()), "its turn was long ago");
}

#[test]
fn an_answer_from_elsewhere_is_the_kernels_matter_until_it_has_learnt_it() {
    let mut roll = roll(&only(MAC));
    next(&mut roll);
    let (now, asked) = next(&mut roll);
    assert_eq!(asked, before_all());
    roll.hear(v4(), OTHER, now);
    roll.hear(backend("192.0.2.77"), MAC, now);
    let (again, asked) = next(&mut roll);
    assert_eq!((again - now, asked), (FIRST_PAUSE, before_all()), "the kernel may have passed over it");
    roll.set(&only(OTHER), again);
    let (now, asked) = next(&mut roll);
    assert!(now - again <= PERIOD, "{:?}", now - again);
    let frame = place(OTHER).question(v4(), true).expect("one family");
    assert_eq!(asked, [Question { ifindex: 3, frame }]);
}

#[test]
fn what_stays_is_not_begun_anew_and_what_is_gone_is_not_asked() {
    let mut roll = roll(&only(MAC));
    next(&mut roll);
    let due = roll.next();
    let mut more = only(MAC);
    more.insert(backend("192.0.2.22"), place(OTHER));
    // Another address of the balancer's is no reason either.
    more.entry(v4()).and_modify(|place| place.source = "192.0.2.3".parse().expect("an address"));
    roll.set(&more, PATIENCE / 2);
    roll.set(&more.into_iter().take(1).collect(), PATIENCE / 2);
    assert_eq!(roll.next(), due);
    let (_, asked) = next(&mut roll);
    assert_eq!(asked[0].frame[28..32], [192, 0, 2, 3]);
    // Elsewhere it is another one.
    let elsewhere = BTreeMap::from([(v4(), Place { ifindex: 4, ..place(MAC) })]);
    roll.set(&elsewhere, LONGEST);
    assert_eq!(next(&mut roll).1[0].frame, alone()[0].frame);
    roll.set(&BTreeMap::new(), LONGEST);
    assert!(roll.is_empty() && roll.next().is_none() && roll.due(LAST_PAUSE).is_empty());
}

#[test]
fn both_families_are_asked_in_their_own_words() {
    let six = backend("2001:db8::21");
    let of_six = Place { source: "2001:db8::2".parse().expect("an address"), ..place(MAC) };
    let (std::net::IpAddr::V6(target), std::net::IpAddr::V6(source)) = (six.ip(), of_six.source) else {
        panic!("both are IPv6")
    };
    assert_eq!(of_six.question(six, true), Some(solicitation(target, source, OWN, Some(MAC))));
    assert_eq!(of_six.question(six, false), Some(solicitation(target, source, OWN, None)));
    let (std::net::IpAddr::V4(target), std::net::IpAddr::V4(source)) = (v4().ip(), place(MAC).source) else {
        panic!("both are IPv4")
    };
    assert_eq!(place(MAC).question(v4(), true), Some(arp(target, source, OWN, Some(MAC))));
    assert_eq!(place(MAC).question(v4(), false), Some(arp(target, source, OWN, None)));
    assert_eq!(of_six.question(v4(), true), None);
}

/// So many backends that all answer, if they do: how many questions there are in each hundredth of a second.
fn busy(count: u16, answers: bool, seconds: u64) -> Vec<usize> {
    let number = |index: u16| {
        let [a, b] = index.to_be_bytes();
        backend(&format!("10.0.{a}.{b}"))
    };
    let places = (0..count).map(|index| (number(index), place(MAC))).collect();
    let mut roll = roll(&places);
    let tick = |at| {
        let now = Duration::from_millis(10 * at);
        let questions = roll.due(now);
        for Question { frame, .. } in &questions {
            if answers {
                let target: [u8; 4] = frame[38..42].try_into().expect("an address");
                roll.hear(backend(&std::net::Ipv4Addr::from(target).to_string()), MAC, now);
            }
        }
        questions.len()
    };
    (0..100 * seconds).map(tick).collect()
}

#[test]
fn questions_to_many_are_spread() {
    let counts = busy(500, true, 10);
    let total: usize = counts.iter().sum();
    assert!((9_500..=10_500).contains(&total), "two a second each: {total}");
    let tenths: Vec<usize> = counts.chunks(10).map(|tenth| tenth.iter().sum()).collect();
    assert!(tenths.iter().all(|count| (50..150).contains(count)), "a hundred are due in each: {tenths:?}");
}

#[test]
fn questions_to_very_many_are_bounded_whether_they_answer_or_not() {
    for answers in [true, false] {
        let counts = busy(10_000, answers, 5);
        assert!(counts.iter().all(|count| *count <= BURST as usize), "{counts:?}");
        let total: usize = counts.iter().sum();
        let most = RATE as usize * 5;
        assert!((most * 9 / 10..=most).contains(&total), "{total} of {most}");
    }
}
