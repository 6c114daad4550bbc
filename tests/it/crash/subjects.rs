//! The store knows where a message is: after a kill between a message and a later notification
//! about its subject, the next process replaces it, replies in its thread, marks it as done and
//! retracts it.

use herald::rpc::pb::{self, SubjectAction};

use super::{all_sent, message, service, sites};

fn about(number: usize, action: SubjectAction) -> pb::NotifyRequest {
    pb::NotifyRequest {
        subject_key: "task:1".into(),
        subject_action: action.into(),
        ..message(number, 1)
    }
}

#[tokio::test]
async fn a_killed_process_leaves_its_messages_to_the_next() {
    for mut site in sites(1).await {
        // Ended deliveries move to history at once.
        site.more.push("delivery.archive_after_seconds=1".into());
        let mut herald = site.start_connected().await;
        let actions = [
            SubjectAction::NewMessage,
            SubjectAction::Reply,
            SubjectAction::Replace,
            SubjectAction::Done,
            SubjectAction::Retract,
        ];
        for (number, action) in actions.into_iter().enumerate() {
            let answer = service(herald.channel()).notify(about(number, action)).await.unwrap();
            let id = answer.into_inner().notification_id;
            all_sent(&herald.channel(), &[id]).await;
            let messages = site.sandbox.messages();
            match action {
                SubjectAction::NewMessage => assert_eq!(messages.len(), 1),
                SubjectAction::Reply => {
                    assert_eq!(messages.len(), 2);
                    assert_eq!(messages[1].thread_ts.as_ref(), Some(&messages[0].ts));
                }
                SubjectAction::Replace => {
                    assert_eq!(messages.len(), 2);
                    assert!(messages[1].edited && messages[1].text.contains("No 002."));
                    assert!(!messages[0].edited);
                }
                SubjectAction::Done => assert!(messages.iter().all(|message| message.edited)),
                _ => assert!(messages.iter().all(|message| message.deleted), "{messages:?}"),
            }
            herald.kill();
            herald = site.start().await;
        }
        assert_eq!(site.calls("chat.postMessage").len(), 2);
    }
}
