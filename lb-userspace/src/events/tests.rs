use super::*;

fn all() -> Query {
    Query { limit: 100, ..Query::default() }
}

#[tokio::test]
async fn who_waits_is_told_of_what_he_waits_for_and_of_nothing_else() {
    let log = EventLog::default();
    log.tell(News::new(EventKind::AgentStarted, "begun"));
    let begun = log.ask(all(), Duration::ZERO).await;
    let query = Query { after: Some(begun.next), kinds: [EventKind::LinkDown].into(), ..all() };
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.ask(query, Duration::from_secs(60)).await }
    });
    log.tell(News::new(EventKind::LinkUp, "not this"));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    log.tell(News::new(EventKind::LinkDown, "this"));
    let told = waiting.await.expect("no panic");
    assert_eq!(told.events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["this"]);
    assert_eq!(told.next, begun.next + 2);
}

#[tokio::test]
async fn who_waits_in_vain_is_answered_all_the_same_and_a_log_that_is_closed_keeps_nobody() {
    let log = EventLog::default();
    assert_eq!(log.ask(all(), Duration::from_millis(1)).await.events, []);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.ask(all(), Duration::from_secs(u32::MAX.into())).await }
    });
    tokio::task::yield_now().await;
    log.close();
    assert_eq!(waiting.await.expect("no panic").events, []);
    log.tell(News::new(EventKind::LinkUp, "too late to wait for"));
    assert_eq!(log.ask(all(), Duration::from_secs(u32::MAX.into())).await.events.len(), 1);
}

#[test]
fn codes_are_kebab_case_and_unique_and_read_back() {
    let codes: std::collections::BTreeSet<&str> = EventKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes.len(), EventKind::ALL.len());
    for kind in EventKind::ALL {
        assert!(kind.code().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{kind}");
        assert_eq!(kind.code().parse(), Ok(*kind));
        assert!(kind.meaning().ends_with('.'), "{kind}");
    }
    assert!("link-sideways".parse::<EventKind>().is_err());
}
