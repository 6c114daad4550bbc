//! Erasing a person with many messages: in parts, so that no transaction grows with their number.

use futures_util::future::join_all;
use herald::domain::identity::person::Person;
use herald::domain::ids::UserId;
use herald::store::{Backend, End, Redacted, Target};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::{
    LEASE, call, claim_lanes, delivered, delivery, lane, post, record, sending, settled, tenant,
    uuid,
};
use crate::support::store::{TestStore, test_stores};

/// Many times as many as one transaction erases.
const MANY: usize = 2_000;
/// Messages that are accepted at the same time.
const AT_ONCE: usize = 100;

/// The recipient of [`delivery`].
fn someone() -> UserId {
    UserId::parse("someone").unwrap()
}

fn redact(_: &[u8], _: &UserId) -> Redacted {
    Redacted { answer: b"an answer without them".to_vec(), names_others: false }
}

async fn count(raw: &DatabaseConnection, rows: &str) -> i64 {
    let text = format!("SELECT COUNT(*) FROM {rows}");
    let statement = Statement::from_string(raw.get_database_backend(), text);
    raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Half of the messages ended, the others wait in one lane.
async fn accept_many(store: &TestStore) {
    for from in (0..MANY).step_by(AT_ONCE) {
        let calls = (from..from + AT_ONCE).map(|number| {
            let ended = number.is_multiple_of(2);
            let target = if ended { Target::Ended(End::Expired) } else { lane("U2") };
            store.outbox().accept(call(&uuid().to_string(), vec![delivery(target)]))
        });
        for accepted in join_all(calls).await {
            accepted.unwrap();
        }
    }
}

/// From now on no record of a person can be deleted: the last transaction of an erasure fails.
async fn refuse_the_last(store: &TestStore, raw: &DatabaseConnection) {
    let refuse = match store.backend() {
        Backend::Sqlite => {
            "CREATE TRIGGER refuse BEFORE DELETE ON people \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        Backend::Postgres => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
             CREATE TRIGGER refuse BEFORE DELETE ON people \
             FOR EACH ROW EXECUTE FUNCTION refuse()"
        }
    };
    raw.execute_unprepared(refuse).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_thousands_of_messages_is_erased_in_parts() {
    for store in test_stores().await {
        let raw = store.raw().await;
        store.people().upsert(&tenant(), &[Person::bare(someone())]).await.unwrap();
        post(&store, "U1").await;
        let (held, in_flight) = sending(&store).await;
        accept_many(&store).await;

        refuse_the_last(&store, &raw).await;
        store.ends().erase_person(&tenant(), &someone(), redact).await.unwrap_err();
        // The parts before stay done.
        let many = i64::try_from(MANY).unwrap();
        assert_eq!(count(&raw, "deliveries WHERE user_id = 'someone'").await, 1);
        assert_eq!(count(&raw, "notifications WHERE request_id LIKE 'erased:%'").await, many);
        assert_eq!(count(&raw, "person_keys").await, 1);
        let drop = match store.backend() {
            Backend::Sqlite => "DROP TRIGGER refuse",
            Backend::Postgres => "DROP TRIGGER refuse ON people",
        };
        raw.execute_unprepared(drop).await.unwrap();

        // Other messages came meanwhile.
        post(&store, "U2").await;
        let erased = store.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
        assert!(erased.known);
        assert_eq!((erased.canceled.canceled, erased.canceled.in_flight), (1, 1));
        assert_eq!(erased.erased, 1);
        assert_eq!(count(&raw, "person_keys").await, 0);
        assert_eq!(count(&raw, "lanes WHERE lane = 'U2'").await, 0);
        assert_eq!(count(&raw, "notifications WHERE request_id NOT LIKE 'erased:%'").await, 0);

        // The request under way ends, and the next call erases it.
        assert!(settled(&store, &held, in_flight, &delivered()).await);
        let erased = store.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
        assert_eq!((erased.known, erased.erased), (false, 1));
        assert_eq!(record(&store, in_flight).await.user, None);
        for table in ["deliveries", "deliveries_history", "feed_inbox", "delivery_changes"] {
            let theirs = format!("{table} WHERE user_id = 'someone'");
            assert_eq!(count(&raw, &theirs).await, 0, "{table}");
        }
    }
}

/// All in one call, and the counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_erasure_are_counted_together() {
    for store in test_stores().await {
        accept_many(&store).await;
        let erased = store.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
        let many = u32::try_from(MANY).unwrap();
        assert_eq!((erased.canceled.canceled, erased.canceled.in_flight), (many / 2, 0));
        assert_eq!(erased.erased, u64::from(many));
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
    }
}
