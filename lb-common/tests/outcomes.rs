//! `docs/outcomes.md` against the list of outcomes.

use lb_common::outcome::Outcome;

const PAGE: &str = include_str!("../../docs/outcomes.md");

#[test]
fn the_page_has_each_outcome_once_in_order_with_its_meaning_and_what_to_do() {
    let sections: Vec<&str> = PAGE.split("\n## ").skip(1).collect();
    let names: Vec<&str> = sections.iter().map(|section| section.lines().next().unwrap_or_default()).collect();
    let expected: Vec<String> = Outcome::ALL.iter().map(|outcome| format!("`{}`", outcome.name())).collect();
    assert_eq!(names, expected, "the page's sections are not the outcomes");
    for (outcome, section) in Outcome::ALL.iter().zip(sections) {
        let mut paragraphs = section.split("\n\n").skip(1);
        assert_eq!(paragraphs.next(), Some(outcome.meaning()), "what {} means", outcome.name());
        let advice = paragraphs.next().and_then(|text| text.strip_prefix("What to do: ")).unwrap_or_default();
        assert!(advice.trim().ends_with('.'), "what to do about {}: {advice:?}", outcome.name());
        assert_eq!(paragraphs.next(), None, "more than that about {}", outcome.name());
    }
}
