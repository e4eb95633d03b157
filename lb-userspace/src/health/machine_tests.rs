use super::*;
use crate::model::ProbeType;

fn check(rise: u8, fall: u8) -> HealthCheck {
    HealthCheck { rise, fall, delay_ms: 1_000, ..HealthCheck::new(ProbeType::Tcp) }
}

/// Probes a second apart: `+` is answered, `-` is not. Returns what each led to: `=`, `U` or `D`.
fn play(machine: &mut Machine, check: &HealthCheck, from: u64, probes: &str) -> String {
    let step = |(index, probe): (usize, char)| {
        let now = Duration::from_secs(from + index as u64);
        match machine.probed(probe == '+', check, now) {
            Step::Same => '=',
            Step::CameUp => 'U',
            Step::WentDown => 'D',
        }
    };
    probes.chars().enumerate().map(step).collect()
}

#[test]
fn the_whole_transition_table() {
    use Standing::{Down, Unproven, Up};
    for rise in 1..=4_u8 {
        for fall in 1..=4_u8 {
            let check = check(rise, fall);
            for (standing, limit) in [(Unproven, 1), (Up, fall), (Down, rise)] {
                for against in 0..u32::from(limit) {
                    for answered in [true, false] {
                        let mut machine = Machine { against, ..Machine::new(standing, Duration::ZERO) };
                        let step = machine.probed(answered, &check, Duration::from_secs(1));
                        let last = against + 1 == u32::from(limit);
                        let expected = match (standing, answered, last) {
                            (Unproven, true, _) => (Up, 0, Step::CameUp),
                            (Unproven, false, _) => (Down, 0, Step::WentDown),
                            (Up, true, _) => (Up, 0, Step::Same),
                            (Up, false, false) => (Up, against + 1, Step::Same),
                            (Up, false, true) => (Down, 0, Step::WentDown),
                            (Down, false, _) => (Down, 0, Step::Same),
                            (Down, true, false) => (Down, against + 1, Step::Same),
                            (Down, true, true) => (Up, 0, Step::CameUp),
                        };
                        let case = format!("{standing:?} {against} of rise {rise} fall {fall}, answered {answered}");
                        assert_eq!((machine.standing, machine.against, step), expected, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_answer_among_failures_begins_the_count_anew() {
    let check = check(2, 3);
    let mut machine = Machine::new(Standing::Up, Duration::ZERO);
    assert_eq!(play(&mut machine, &check, 0, "--+--+---+-++"), "========D===U");
}

#[test]
fn a_new_backend_is_proven_by_one_probe_and_a_known_one_keeps_its_standing() {
    let check = check(3, 3);
    assert_eq!(play(&mut Machine::new(Standing::Unproven, Duration::ZERO), &check, 0, "+---"), "U==D");
    assert_eq!(play(&mut Machine::new(Standing::Unproven, Duration::ZERO), &check, 0, "-+++"), "D==U");
    assert_eq!(play(&mut Machine::new(Standing::Up, Duration::ZERO), &check, 0, "--+"), "===");
    assert_eq!(play(&mut Machine::new(Standing::Down, Duration::ZERO), &check, 0, "++-"), "===");
}

#[test]
fn who_flaps_needs_ever_more_right_answers_until_it_is_calm() {
    let check = check(1, 1);
    let mut machine = Machine::new(Standing::Up, Duration::ZERO);
    // Down at once each time; needed to come up: 1, 2, 4, 8, 16, and no more than 16.
    assert_eq!(play(&mut machine, &check, 0, "-+"), "DU");
    assert_eq!(play(&mut machine, &check, 2, "-++"), "D=U");
    assert!(!machine.is_flapping());
    assert_eq!(play(&mut machine, &check, 5, "-++++"), "D===U");
    assert!(machine.is_flapping());
    assert_eq!(play(&mut machine, &check, 10, "-++++++++"), "D=======U");
    for from in [20, 40] {
        assert_eq!(play(&mut machine, &check, from, "-++++++++++++++++"), "D===============U");
    }
    assert_eq!(machine.needed(&check), 16);
    // It came up at 56 s. Calm is a minute.
    assert_eq!(play(&mut machine, &check, 115, "+"), "=");
    assert!(machine.is_flapping());
    assert_eq!(play(&mut machine, &check, 116, "+"), "=");
    assert!(!machine.is_flapping());
    assert_eq!(play(&mut machine, &check, 117, "-+"), "DU");
}
