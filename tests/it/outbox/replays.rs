//! Replays of dead letters that cannot be read.

use herald::domain::delivery::State;
use herald::domain::ids::{Principal, RequestId, UserId};
use herald::store::{NewDelivery, Replay, ReplayOutcome, ReplaySelection, SkipReason};

use super::newer::run;
use super::{HOUR, call, delivery, lane, record, tenant};
use crate::support::store::test_stores;

#[tokio::test]
async fn a_dead_letter_that_cannot_be_read_is_rendered_again_and_holds_up_no_other() {
    for store in test_stores().await {
        let mut ids = Vec::new();
        let recipients = [Some("locked"), Some("altered"), Some("sound"), None];
        for (name, user) in ["U1", "U2", "U3", "C4"].into_iter().zip(recipients) {
            let user = user.map(|user| UserId::parse(user).unwrap());
            let new = NewDelivery { user, ..delivery(lane(name)) };
            ids.push(new.id);
            store.outbox().accept(call(name, vec![new])).await.unwrap();
            if name == "U1" {
                run(&store, "UPDATE person_keys SET wrapped = person").await;
            }
        }
        let sound = ids[2];
        let moved = format!(
            "UPDATE deliveries SET content = (SELECT content FROM deliveries WHERE id = '{sound}') \
             WHERE id IN ('{}', '{}')",
            ids[1], ids[3]
        );
        run(&store, &moved).await;
        run(&store, "UPDATE deliveries SET state = 'failed', reason = 'rejected'").await;
        let replay = Replay {
            tenant: tenant(),
            principal: Principal::parse("platform").unwrap(),
            request_id: RequestId::parse("replay").unwrap(),
            fingerprint: [8; 32],
            which: ReplaySelection::Deliveries(ids.clone()),
            expires_in: HOUR,
            room: 10,
        };
        let outcome = store.outbox().replay(&replay).await.unwrap();
        let ReplayOutcome::Replayed(replayed) = outcome else { panic!("{outcome:?}") };
        let skipped: Vec<_> = replayed.iter().map(|one| one.skipped).collect();
        assert_eq!(skipped, [None, None, None, Some(SkipReason::Erased)]);
        for (one, state) in
            replayed.iter().zip([State::Resolving, State::Resolving, State::Pending])
        {
            let by = one.replayed_as.unwrap();
            assert_eq!(record(&store, by).await.state, state);
            let words = store.outbox().words(&tenant(), by).await.unwrap();
            let expected = (state == State::Pending).then_some(&b"the rendered message"[..]);
            assert_eq!(words.as_deref(), expected);
        }
    }
}
