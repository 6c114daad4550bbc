//! A tenant with very many channels: work about all of them is done in parts.

use herald::domain::identity::person::Person;
use herald::domain::ids::UserId;
use herald::store::{MembersChange, Redacted};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::channels::{NOW, claim, ensure, key, members, read, tenant, user, wish, workspace};
use crate::support::store::{TestStore, test_stores};

/// More channels than one claim wakes.
const MANY: i64 = 3_000;

async fn count(raw: &DatabaseConnection, rows: &str) -> i64 {
    let text = format!("SELECT COUNT(*) FROM {rows}");
    let statement = Statement::from_string(raw.get_database_backend(), text);
    raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Many channels with a member who is not in Slack; this release cannot read them.
async fn many(raw: &DatabaseConnection) {
    let text = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers \
         WHERE n < {MANY}) INSERT INTO channels (id, tenant, channel_key, wish, progress, state, \
         waiting, touched_at, created_at, changed_at) SELECT 'many-' || n, tenant, 'many:' || n, \
         wish, progress, state, 1, touched_at, created_at, changed_at FROM numbers, channels"
    );
    raw.execute_unprepared(&text).await.unwrap();
}

/// Red if `BATCHES` in `store/channels/claim.rs` covers all of them: the first claim takes as long
/// as the tenant has channels.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_list_wakes_many_channels_in_parts() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let id = workspace(&store, &tenant(), "T1").await;
        ensure(&store, "track:1", &[]).await;
        let lease = claim(&store).await.unwrap();
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        many(&raw).await;
        read(&store, id).await;
        let woken = "channels WHERE channel_key LIKE 'many:%' AND due_at IS NOT NULL";
        claim(&store).await;
        let first = count(&raw, woken).await;
        assert!((1..MANY).contains(&first), "{first}");
        claim(&store).await;
        assert_eq!(count(&raw, woken).await, MANY);
    }
}

fn redact(_: &[u8], _: &UserId) -> Redacted {
    Redacted { answer: Vec::new(), names_others: false }
}

/// From now on no record of a person can be deleted: the last transaction of an erasure fails.
async fn refuse_the_last(store: &TestStore, raw: &DatabaseConnection) {
    let refuse = if store.config.url.is_some() {
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
         CREATE TRIGGER refuse BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION refuse()"
    } else {
        "CREATE TRIGGER refuse BEFORE DELETE ON people BEGIN SELECT RAISE(ABORT, 'refused'); END"
    };
    raw.execute_unprepared(refuse).await.unwrap();
}

/// Red without `out_of_channels` in `store/ends/erase.rs`: one transaction counts the members of
/// all channels again, and PostgreSQL ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_taken_out_of_many_channels_in_parts() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let people = vec![Person::bare(user("ada"))];
        ensure(&store, "track:1", &["ada", "bo"]).await;
        let change = MembersChange::Add(members(&["ada"]));
        let (key, wish) = (key("track:2"), wish("track:2"));
        store.channels().ensure(&tenant(), &key, &wish, change, people).await.unwrap();
        refuse_the_last(&store, &raw).await;
        store.ends().erase_person(&tenant(), &user("ada"), redact).await.unwrap_err();
        assert_eq!(count(&raw, "channel_members WHERE user_id = 'ada'").await, 0);
        assert_eq!(count(&raw, "channel_members").await, 1);
        assert_eq!(count(&raw, "channels WHERE queued = 1 AND channel_key = 'track:1'").await, 1);
    }
}
