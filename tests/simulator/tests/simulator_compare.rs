//! The comparison that `docs/tracking.md` shows, at a smaller scale: what must come of it whatever the scale.

use drlb_simulator::compare::{Outcome, Scenario, Score, run};

fn score<'a>(outcome: &'a Outcome, name: &str) -> &'a Score {
    outcome.scores.iter().find(|score| score.name == name).expect("that way of tracking is compared")
}

#[test]
fn scaling_breaks_flows_of_others_and_none_of_drlb_which_holds_few() {
    for scenario in [Scenario::Scaling, Scenario::ScalingUnderFlood] {
        let outcome = run(scenario, 50, 1);
        println!("{outcome:?}");
        assert!(score(&outcome, "Maglev alone").broken > 100);
        assert!(score(&outcome, "Maglev + LRU, room for twice the flows").broken > 0);
        let (drlb, full) = (score(&outcome, "drlb, idle time 300 s"), score(&outcome, "table of all flows"));
        assert_eq!((drlb.broken, full.broken), (0, 0));
        assert!(drlb.mean_pins * 5.0 < full.mean_pins);
    }
}

#[test]
fn a_death_breaks_no_flow_of_another_backend_and_the_pool_gets_back_to_rest() {
    let outcome = run(Scenario::Death, 50, 2);
    let drlb = score(&outcome, "drlb, idle time 300 s");
    assert_eq!(drlb.broken, 0);
    assert!(drlb.most_pins > 0 && drlb.mean_pins * 2.0 < drlb.most_pins as f64, "{outcome:?}");
}
