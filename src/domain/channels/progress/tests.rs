//! Checks without events, looks after a recovery, and a clock that was set back.

use super::*;
use crate::domain::channels::state::ChannelObstacle;

const DAY: Duration = Duration::from_secs(86_400);

fn id(last: u128) -> ManagedChannelId {
    ManagedChannelId(uuid::Uuid::from_u128(last))
}

#[test]
fn a_check_comes_within_its_time_and_not_for_all_at_once() {
    let at = Timestamp(1_000_000);
    let checked = Progress { checked_at: Some(at), ..Progress::default() };
    assert_eq!(checked.next_check(id(0), DAY), Some(at.plus(DAY * 3 / 4)));
    assert_eq!(checked.next_check(id(255), DAY), Some(at.plus(DAY)));
    assert!(checked.next_check(id(100), DAY) < checked.next_check(id(101), DAY));
    // A channel that does not exist, or not any more, is not read.
    assert_eq!(Progress::default().next_check(id(0), DAY), None);
    let deleted = Progress { deleted: true, ..checked };
    assert_eq!(deleted.next_check(id(0), DAY), None);
}

#[test]
fn after_a_recovery_one_look_is_enough_unless_a_request_is_known() {
    let wish = ChannelWish {
        name: "Course".into(),
        is_private: true,
        topic: String::new(),
        purpose: String::new(),
        name_taken: NameTaken::Suffix,
        follow_name: false,
        remove_unlisted: false,
        create_not_before: None,
        archive_after: None,
        archive_notice: Duration::ZERO,
    };
    let mut progress = Progress::default();
    progress.recovered(&wish, id(1), Timestamp(5));
    let looked_for = progress.pending().unwrap();
    assert_eq!((looked_for.name.as_str(), looked_for.since), ("course", Timestamp(5)));
    progress.not_there();
    assert_eq!(progress.attempt, None);

    let here = InstallationId(uuid::Uuid::from_u128(9));
    progress.attempt("course", true, id(1), here, Timestamp(7));
    progress.not_there();
    progress.recovered(&wish, id(1), Timestamp(5));
    assert!(progress.pending().is_some_and(|it| it.recovered && it.at == Timestamp(7)));
    progress.not_there();
    assert!(progress.pending().is_none() && progress.attempt.is_some(), "it may be late");
}

fn refusal(key: StepKey, until: Timestamp) -> StepRefusal {
    let code = "restricted_action".to_owned();
    StepRefusal { key, obstacle: ChannelObstacle::RefusedBySlack, code, until }
}

#[test]
fn after_a_step_back_of_the_clock_nothing_waits_for_the_length_of_the_step() {
    const NOW: Timestamp = Timestamp(1_000_000_000);
    const BLOCKED: Duration = Duration::from_secs(600);
    let (before, soon) = (NOW.plus(BLOCKED * 12), NOW.plus(BLOCKED / 10));
    let mut progress = Progress { checked_at: Some(before), ..Progress::default() };
    let installation = InstallationId(uuid::Uuid::nil());
    let of = ManagedChannelId(uuid::Uuid::nil());
    progress.attempt("course", false, of, installation, before);
    let topic = StepKey::with("set_topic", "t".into());
    progress.refusals = vec![refusal(StepKey::plain("archive"), before), refusal(topic, soon)];
    assert!(progress.follow_clock(NOW, BLOCKED));
    let attempt = progress.attempt.as_ref().unwrap();
    assert_eq!((attempt.at, attempt.since), (NOW, NOW));
    assert_eq!(progress.checked_at, Some(NOW));
    let times: Vec<Timestamp> = progress.refusals.iter().map(|it| it.until).collect();
    assert_eq!(times, [NOW.plus(BLOCKED), soon]);
    assert!(!progress.follow_clock(NOW, BLOCKED));
}
