//! `docs/events.md` against the list of kinds of events.

use lb_userspace::events::EventKind;

const PAGE: &str = include_str!("../../docs/events.md");

#[test]
fn the_page_has_each_kind_once_in_order_with_its_meaning_and_what_to_do() {
    let sections: Vec<&str> = PAGE.split("\n## ").skip(1).collect();
    let names: Vec<&str> = sections.iter().map(|section| section.lines().next().unwrap_or_default()).collect();
    let expected: Vec<String> = EventKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    assert_eq!(names, expected, "the page's sections are not the kinds");
    for (kind, section) in EventKind::ALL.iter().zip(sections) {
        let mut paragraphs = section.split("\n\n").skip(1);
        assert_eq!(paragraphs.next(), Some(kind.meaning()), "what {kind} means");
        let advice = paragraphs.next().and_then(|text| text.strip_prefix("What to do: ")).unwrap_or_default();
        assert!(advice.trim().ends_with('.'), "what to do about {kind}: {advice:?}");
        assert_eq!(paragraphs.next(), None, "more than that about {kind}");
    }
}
