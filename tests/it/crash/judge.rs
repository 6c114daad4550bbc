//! The judge: it decides, only from the messages that Slack stored, whether every message of every
//! person is there once and in order.

use std::collections::{BTreeMap, BTreeSet};

use herald::sandbox::StoredMessage;

use super::{member_id, number_in};

/// Messages 0 to `count - 1` must be there for each person; the error names the fault.
pub(super) fn verdict(
    stored: &[StoredMessage],
    people: usize,
    count: usize,
) -> Result<(), Vec<String>> {
    let mut seen: BTreeMap<&str, Vec<Option<usize>>> = BTreeMap::new();
    for message in stored {
        let user = message.user.as_deref().unwrap_or("nobody");
        seen.entry(user).or_default().push(number_in(&message.text));
    }
    let right: Vec<_> = (0..count).map(Some).collect();
    let mut wrong = Vec::new();
    for number in 0..people {
        let user = member_id(number);
        let got = seen.remove(user.as_str()).unwrap_or_default();
        if got != right {
            wrong.push(format!("{user} got {got:?}"));
        }
    }
    wrong.extend(seen.keys().map(|user| format!("{user} was to get nothing")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Whether a delivery has two messages.
pub(super) fn repeats(stored: &[StoredMessage]) -> bool {
    let id = |message: &StoredMessage| message.metadata["event_payload"]["delivery_id"].to_string();
    let deliveries: BTreeSet<String> = stored.iter().map(id).collect();
    deliveries.len() < stored.len()
}

fn stored(user: usize, number: usize) -> StoredMessage {
    StoredMessage {
        conversation: format!("D{user}"),
        user: Some(member_id(user)),
        ts: String::new(),
        text: format!("Task due: No {number:03}."),
        blocks: serde_json::Value::Null,
        metadata: serde_json::Value::Null,
        thread_ts: None,
        stored_at: 0,
        edited: false,
        deleted: false,
    }
}

#[test]
fn the_judge_sees_a_loss_a_repeat_a_swap_and_a_stranger() {
    let right = || [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(user, number)| stored(user, number));
    assert_eq!(verdict(&right(), 2, 2), Ok(()));
    assert!(verdict(&right()[..3], 2, 2).is_err());
    assert!(verdict(&[right().to_vec(), vec![stored(1, 1)]].concat(), 2, 2).is_err());
    let mut swapped = right();
    swapped.swap(0, 2);
    assert!(verdict(&swapped, 2, 2).is_err());
    assert!(verdict(&[right().to_vec(), vec![stored(2, 0)]].concat(), 2, 2).is_err());
}
