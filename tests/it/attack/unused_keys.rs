//! Keys of people who are gone are removed: no key that anything refers to, and none that a write
//! is about to use.

use herald::domain::access::audit::{self, Entry};
use herald::domain::identity::person::Person;
use herald::domain::ids::{EventType, Principal, UserId};
use herald::domain::message::template::{Locale, Place};
use herald::store::{NewDelivery, Store, TemplateEdit};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, TransactionTrait as _};

use crate::outbox::{call, delivery, lane, tenant};
use crate::support::store::test_stores;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn keys(raw: &DatabaseConnection) -> i64 {
    let text = "SELECT COUNT(*) FROM person_keys";
    let count = Statement::from_string(raw.get_database_backend(), text);
    let row = raw.query_one_raw(count).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// As if no key had been used for three days.
async fn age(raw: &DatabaseConnection) {
    let text = "UPDATE person_keys SET used_at = used_at - 259200000000";
    raw.execute_unprepared(text).await.unwrap();
}

/// Looks at all keys, two at a time; returns how many were removed.
async fn swept(store: &Store) -> u64 {
    let (mut removed, mut after) = (0, None);
    loop {
        let (more, next) = store.ends().forget_keys(after.as_ref(), 2).await.unwrap();
        removed += more;
        after = next;
        if after.is_none() {
            return removed;
        }
    }
}

/// A person with a key, and without anything that it encrypts.
async fn leave(store: &Store, raw: &DatabaseConnection, name: &str) {
    store.people().upsert(&tenant(), &[Person::bare(user(name))]).await.unwrap();
    let text = format!("DELETE FROM people WHERE user_id = '{name}'");
    raw.execute_unprepared(&text).await.unwrap();
}

/// Saves a version of a template for this person.
async fn save_template(store: &Store, author: &str) {
    let place = Place {
        event: EventType::parse("task.due").unwrap(),
        content: None,
        locale: Locale::parse("en").unwrap(),
    };
    let (caller, author) = (Principal::parse("admin").unwrap(), user(author));
    let edit = TemplateEdit {
        place: &place,
        form: None,
        version: 1,
        rolled_back_to: 0,
        caller: &caller,
        actor: Some(&author),
        settings_version: 0,
    };
    store.templates().save(&tenant(), edit).await.unwrap();
}

fn entry(action: &str) -> Entry {
    Entry::of_browser(tenant(), action)
}

#[tokio::test]
async fn only_keys_that_nothing_refers_to_are_removed() {
    for store in test_stores().await {
        let raw = store.raw().await;
        store.tenancy().ensure_tenant(&tenant()).await.unwrap();
        store.people().upsert(&tenant(), &[Person::bare(user("stored"))]).await.unwrap();
        let new = NewDelivery { user: Some(user("recipient")), ..delivery(lane("U1")) };
        store.outbox().accept(call("waits", vec![new])).await.unwrap();
        let subject = Some(audit::AuditPerson { user: user("subject"), detail: String::new() });
        let chained = Entry { actor: Some(user("actor")), subject, ..entry("chained") };
        store.audit().write(&[chained]).await.unwrap();
        assert_eq!(store.audit().chain(10).await.unwrap(), Some(1));
        let waits = Entry { actor: Some(user("caller")), ..entry("waits") };
        store.audit().write(&[waits]).await.unwrap();
        save_template(&store, "author").await;
        leave(&store, &raw, "gone").await;
        assert_eq!((swept(&store).await, keys(&raw).await), (0, 7), "used a moment ago");
        age(&raw).await;
        assert_eq!((swept(&store).await, keys(&raw).await), (1, 6));
        let references = [
            ("people", 5),
            ("audit_log", 3),
            ("audit_inbox", 2),
            ("template_versions", 1),
            ("deliveries", 0),
        ];
        for (table, left) in references {
            raw.execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
            swept(&store).await;
            assert_eq!(keys(&raw).await, left, "{table}");
        }
    }
}

#[tokio::test]
async fn a_replica_with_a_removed_key_in_memory_writes_with_a_new_one() {
    for store in test_stores().await {
        let (raw, replica) = (store.raw().await, store.replica().await);
        leave(&replica, &raw, "gone").await;
        age(&raw).await;
        assert_eq!(swept(&store).await, 1);
        let person =
            Person { email: Some("gone@example.com".into()), ..Person::bare(user("gone")) };
        replica.people().upsert(&tenant(), std::slice::from_ref(&person)).await.unwrap();
        let read = store.people().get(&tenant(), &user("gone")).await.unwrap();
        assert_eq!(read.unwrap().person, person);
        replica.close().await;
    }
}

/// The entry is written after the key was fetched, without a check.
#[tokio::test]
async fn a_key_that_encrypted_an_entry_lately_is_kept() {
    for store in test_stores().await {
        let raw = store.raw().await;
        store.tenancy().ensure_tenant(&tenant()).await.unwrap();
        leave(&store, &raw, "caller").await;
        age(&raw).await;
        let noted = store.noting(&Entry { actor: Some(user("caller")), ..entry("slow") }).await;
        assert_eq!(swept(&store).await, 0, "its entry is not written yet");
        drop(noted.unwrap());
        age(&raw).await;
        assert_eq!(swept(&store).await, 1);
    }
}

/// PostgreSQL; on SQLite, writers take turns.
#[tokio::test]
async fn a_key_that_a_write_holds_is_kept() {
    for store in test_stores().await {
        let raw = store.raw().await;
        leave(&store, &raw, "gone").await;
        age(&raw).await;
        if raw.get_database_backend() == sea_orm::DbBackend::Sqlite {
            continue;
        }
        let writes = raw.begin().await.unwrap();
        let held = "SELECT 1 FROM person_keys FOR KEY SHARE";
        writes.execute_unprepared(held).await.unwrap();
        let write = "INSERT INTO people (tenant, user_id, record, updated_at) \
            VALUES ('acme', 'gone', '', 1)";
        writes.execute_unprepared(write).await.unwrap();
        assert_eq!(swept(&store).await, 0);
        writes.commit().await.unwrap();
        assert_eq!((swept(&store).await, keys(&raw).await), (0, 1));
    }
}
