use std::time::Duration;

use super::super::{
    DirectMessages, EventFacts, SlackRetries, TokenOwner, UNKNOWN_RETRY, retry_reason, worst,
};
use super::*;

const NOW: Timestamp = Timestamp(2_000_000_000_000_000);

fn before(seconds: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(seconds))
}

fn owner() -> TokenOwner {
    TokenOwner {
        team_id: Some("T1".into()),
        enterprise_id: None,
        is_org_wide: false,
        clock_ahead: Some(0),
    }
}

fn feature(code: &'static str, is_optional: bool, state: ScopesOfFeature) -> FeatureFacts {
    FeatureFacts { code, name: code, is_optional, state }
}

/// A connection of which every part works.
fn well() -> ConnectedFacts {
    ConnectedFacts {
        since: before(3600),
        team_id: Some("T1".into()),
        enterprise_id: None,
        token: Inquiry::Answered(owner()),
        features: vec![feature("messages", false, ScopesOfFeature::Granted)],
        direct_messages: DirectMessages { sent_at: Some(before(600)), refused_at: None },
        history: Inquiry::Answered(()),
        pace: ReadingPace::Usual,
        events: EventFacts { heard_at: Some(before(300)), retries: None },
        members: Inquiry::NotAsked,
    }
}

fn facts(connected: ConnectedFacts) -> CheckupFacts {
    CheckupFacts {
        now: NOW,
        connected: Some(connected),
        has_signing_secret: true,
        test: TestFacts::Sent,
    }
}

/// The finding about one part, and its sentence.
fn of(facts: &CheckupFacts, part: CheckPart) -> (CheckFinding, String) {
    let row = rows(facts).into_iter().find(|row| row.part == part).unwrap();
    assert!(row.finding != CheckFinding::Broken || !row.remedy.is_empty(), "{row:?}");
    assert!(row.sentence.ends_with('.'), "{row:?}");
    (row.finding, row.sentence)
}

fn finding(connected: ConnectedFacts, part: CheckPart) -> CheckFinding {
    of(&facts(connected), part).0
}

#[test]
fn every_part_has_one_row_in_order() {
    let all = rows(&facts(well()));
    let parts: Vec<CheckPart> = all.iter().map(|row| row.part).collect();
    assert_eq!(parts, CheckPart::ALL);
    assert!(all.iter().all(|row| row.finding == CheckFinding::Ok), "{all:#?}");
    assert_eq!(worst(&all), CheckFinding::Ok);
    let none = CheckupFacts { connected: None, ..facts(well()) };
    assert_eq!(rows(&none).len(), CheckPart::ALL.len());
    assert_eq!(of(&none, CheckPart::Token).0, CheckFinding::Broken);
    assert_eq!(of(&none, CheckPart::Scopes).0, CheckFinding::Unknown);
}

#[test]
fn codes_are_those_of_the_stored_json() {
    for part in CheckPart::ALL {
        assert_eq!(serde_json::to_value(part).unwrap(), part.code());
    }
    for finding in CheckFinding::ALL {
        assert_eq!(serde_json::to_value(finding).unwrap(), finding.code());
    }
    let of = |findings: &[CheckFinding]| {
        let row = |finding: &CheckFinding| PartCheck {
            part: CheckPart::Token,
            finding: *finding,
            sentence: String::new(),
            remedy: String::new(),
        };
        worst(&findings.iter().map(row).collect::<Vec<_>>())
    };
    let (ok, unknown, broken) = (CheckFinding::Ok, CheckFinding::Unknown, CheckFinding::Broken);
    assert_eq!(of(&[ok, unknown, ok]), unknown);
    assert_eq!(of(&[ok, broken, unknown]), broken);
    assert_eq!(of(&[]), unknown);
}

#[test]
fn a_dead_token_is_broken_and_a_silent_slack_is_not() {
    let with = |token| ConnectedFacts { token, ..well() };
    let (finding, sentence) =
        of(&facts(with(Inquiry::Refused("token_revoked".into()))), CheckPart::Token);
    assert_eq!(finding, CheckFinding::Broken);
    assert!(sentence.contains("token_revoked"));
    let silent = with(Inquiry::Unanswered("timeout".into()));
    assert_eq!(of(&facts(silent), CheckPart::Token).0, CheckFinding::Unknown);
}

#[test]
fn only_scopes_of_needed_features_break_a_connection() {
    let with = |optional, state| {
        let features = vec![feature("channels", optional, state)];
        of(&facts(ConnectedFacts { features, ..well() }), CheckPart::Scopes)
    };
    let missing = || ScopesOfFeature::Missing(vec!["channels:manage"]);
    let (found, sentence) = with(false, missing());
    assert_eq!(found, CheckFinding::Broken);
    assert!(sentence.contains("channels:manage"), "{sentence}");
    let (found, sentence) = with(true, missing());
    assert_eq!(found, CheckFinding::Ok);
    assert!(sentence.contains("channels:manage"), "{sentence}");
    assert_eq!(with(false, ScopesOfFeature::SwitchedOff).0, CheckFinding::Ok);
}

#[test]
fn the_latest_direct_message_says_whether_the_tab_is_open() {
    let tab = |sent: Option<u64>, refused: Option<u64>, test: TestFacts| {
        let direct_messages =
            DirectMessages { sent_at: sent.map(before), refused_at: refused.map(before) };
        let facts = CheckupFacts { test, ..facts(ConnectedFacts { direct_messages, ..well() }) };
        of(&facts, CheckPart::MessagesTab).0
    };
    let none = || TestFacts::NotWanted;
    assert_eq!(tab(None, None, none()), CheckFinding::Unknown);
    assert_eq!(tab(Some(10), Some(20), none()), CheckFinding::Ok);
    assert_eq!(tab(Some(20), Some(10), none()), CheckFinding::Broken);
    assert_eq!(tab(None, Some(10), TestFacts::Sent), CheckFinding::Ok);
    assert_eq!(tab(Some(10), None, TestFacts::Refused(TAB_OFF.into())), CheckFinding::Broken);
    let other = TestFacts::Refused("user_disabled".into());
    assert_eq!(tab(Some(10), None, other), CheckFinding::Ok);
}

#[test]
fn repeated_events_speak_against_the_address() {
    let with = |at: u64, times, reason: &str| {
        let retries = Some(SlackRetries { at: before(at), times, reason: reason.into() });
        let events = EventFacts { retries, ..well().events };
        of(&facts(ConnectedFacts { events, ..well() }), CheckPart::RequestUrl)
    };
    for (code, _, _) in RETRY_REASONS {
        let (found, sentence) = with(60, RETRIES, code);
        assert_eq!(found, CheckFinding::Broken);
        assert!(sentence.contains(code), "{sentence}");
    }
    assert_eq!(with(60, RETRIES - 1, "ssl_error").0, CheckFinding::Ok, "as after a restart");
    assert_eq!(with(2 * 86_400, 100, "ssl_error").0, CheckFinding::Ok, "long ago");
    assert_eq!(retry_reason("ssl_error"), "ssl_error");
    assert_eq!(retry_reason("ssl_error\nforged"), UNKNOWN_RETRY);
}

#[test]
fn a_workspace_that_was_never_heard_is_broken_after_a_week() {
    let with = |since: u64, heard: Option<u64>| ConnectedFacts {
        since: before(since),
        events: EventFacts { heard_at: heard.map(before), retries: None },
        ..well()
    };
    let (day, part) = (86_400, CheckPart::Events);
    assert_eq!(finding(with(day, None), part), CheckFinding::Unknown);
    assert_eq!(finding(with(8 * day, None), part), CheckFinding::Broken);
    assert_eq!(finding(with(80 * day, Some(8 * day)), part), CheckFinding::Unknown);
    assert_eq!(finding(with(day, Some(2 * day)), part), CheckFinding::Unknown, "of the one before");
    let unheard = with(day, None);
    assert_eq!(finding(unheard.clone(), CheckPart::SigningSecret), CheckFinding::Unknown);
    assert_eq!(finding(unheard, CheckPart::RequestUrl), CheckFinding::Unknown);
}

#[test]
fn without_a_signing_secret_every_event_is_refused() {
    let none = CheckupFacts { has_signing_secret: false, ..facts(well()) };
    assert_eq!(of(&none, CheckPart::SigningSecret).0, CheckFinding::Broken);
    let off = vec![feature("events", false, ScopesOfFeature::SwitchedOff)];
    let connected = ConnectedFacts { features: off, ..well() };
    let none = CheckupFacts { has_signing_secret: false, ..facts(connected) };
    assert_eq!(of(&none, CheckPart::SigningSecret).0, CheckFinding::Ok);
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let with = |clock_ahead| {
        let token = Inquiry::Answered(TokenOwner { clock_ahead, ..owner() });
        of(&facts(ConnectedFacts { token, ..well() }), CheckPart::Clock)
    };
    assert_eq!(with(None).0, CheckFinding::Unknown);
    for near in [-60, 0, 60] {
        assert_eq!(with(Some(near)).0, CheckFinding::Ok, "{near}");
    }
    let (found, sentence) = with(Some(61));
    assert_eq!(found, CheckFinding::Broken);
    assert!(sentence.contains("61 seconds ahead of"), "{sentence}");
    assert!(with(Some(-400)).1.contains("400 seconds behind"));
}

#[test]
fn a_token_of_another_place_is_found() {
    let with = |owner, members| {
        finding(
            ConnectedFacts { token: Inquiry::Answered(owner), members, ..well() },
            CheckPart::OrgInstall,
        )
    };
    let other = TokenOwner { team_id: Some("T2".into()), ..owner() };
    assert_eq!(with(other, Inquiry::NotAsked), CheckFinding::Broken);
    let joined = TokenOwner { enterprise_id: Some("E1".into()), ..owner() };
    assert_eq!(with(joined, Inquiry::NotAsked), CheckFinding::Broken);
    let org = || TokenOwner {
        team_id: None,
        enterprise_id: Some("E1".into()),
        is_org_wide: true,
        clock_ahead: None,
    };
    assert_eq!(with(org(), Inquiry::Answered(())), CheckFinding::Ok);
    let refused = Inquiry::Refused("team_access_not_granted".into());
    assert_eq!(with(org(), refused), CheckFinding::Broken);
    assert_eq!(with(org(), Inquiry::Unanswered("timeout".into())), CheckFinding::Unknown);
}

#[test]
fn history_needs_its_scope_unless_it_is_switched_off() {
    let with = |history| ConnectedFacts { history, ..well() };
    let missing = || with(Inquiry::MissingScope("im:history".into()));
    assert_eq!(finding(missing(), CheckPart::History), CheckFinding::Broken);
    let off = feature("direct_message_history", true, ScopesOfFeature::SwitchedOff);
    let off = ConnectedFacts { features: vec![off], ..missing() };
    assert_eq!(finding(off, CheckPart::History), CheckFinding::Ok);
    assert_eq!(finding(with(Inquiry::NotAsked), CheckPart::History), CheckFinding::Unknown);
    let slow = ConnectedFacts { pace: ReadingPace::OnceAMinute, ..well() };
    let (found, sentence) = of(&facts(slow), CheckPart::RateLimit);
    assert_eq!(found, CheckFinding::Ok);
    assert!(sentence.contains("once a minute"), "{sentence}");
}

#[test]
fn times_are_told_in_words() {
    for (seconds, text) in [
        (5, "less than a minute ago"),
        (60, "1 minute ago"),
        (119 * 60, "119 minutes ago"),
        (7200, "2 hours ago"),
        (3 * 86_400, "3 days ago"),
    ] {
        assert_eq!(ago(NOW, before(seconds)), text);
    }
}
