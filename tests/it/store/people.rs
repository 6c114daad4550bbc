//! People, identities and preferences; and encrypted values cannot be moved.

use std::time::Duration;

use herald::domain::identity::person::Person;
use herald::domain::ids::{EventType, InstallationId, SlackUserId, TenantId, UserId};
use herald::domain::settings::{Identity, Preference, Rule};
use herald::domain::time::Timestamp;
use herald::store::Error;
use sea_orm::ConnectionTrait as _;

use crate::support::store::test_stores;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn user(name: impl Into<String>) -> UserId {
    UserId::parse(name).unwrap()
}

fn person(name: &str, email: &str) -> Person {
    Person { email: Some(email.into()), ..Person::bare(user(name)) }
}

fn identity(member: &str, rule: Rule) -> Identity {
    Identity {
        slack_user_id: SlackUserId::parse(member).unwrap(),
        display_name: "Demo Person".into(),
        rule,
        installation: InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap(),
        stored_at: Timestamp(0),
    }
}

#[tokio::test]
async fn records_are_replaced_whole_and_tenants_are_apart() {
    for store in test_stores().await {
        let (acme, umbrella) = (tenant("acme"), tenant("umbrella"));
        let mut first = person("u1", "one@example.com");
        first.metadata.insert("employee".into(), 7.into());
        first.attributes.insert("floor".into(), "3".into());
        store.people().upsert(&acme, std::slice::from_ref(&first)).await.unwrap();
        let read = store.people().get(&acme, &user("u1")).await.unwrap().unwrap();
        assert_eq!((read.person, read.identity), (first, None));
        assert_eq!(store.people().get(&umbrella, &user("u1")).await.unwrap(), None);

        // The later of two records in one call counts, and nothing of the older one is left.
        let twice = [person("u1", "old@example.com"), person("u1", "new@example.com")];
        store.people().upsert(&acme, &twice).await.unwrap();
        let read = store.people().get(&acme, &user("u1")).await.unwrap().unwrap();
        assert_eq!(read.person, twice[1]);
    }
}

#[tokio::test]
async fn a_thousand_and_one_people_fit() {
    for store in test_stores().await {
        let acme = tenant("acme");
        let people: Vec<Person> =
            (0..1001).map(|n| person(&format!("u{n}"), &format!("u{n}@example.com"))).collect();
        store.people().upsert(&acme, &people).await.unwrap();
        let users: Vec<UserId> = (0..1100).map(|n| user(format!("u{n}"))).collect();
        let read = store.people().get_many(&acme, &users).await.unwrap();
        assert_eq!(read.len(), 1001);
        assert_eq!(read[&user("u1000")].person, people[1000]);
        assert!(store.people().get_many(&acme, &[]).await.unwrap().is_empty());
        store.people().upsert(&acme, &[]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_people_from_many_calls_do_not_deadlock() {
    for store in test_stores().await {
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let store = store.store.clone();
                tokio::spawn(async move {
                    let mut people: Vec<Person> = (0..200)
                        .map(|n| person(&format!("u{n}"), &format!("{task}@example.com")))
                        .collect();
                    if task % 2 == 0 {
                        people.reverse();
                    }
                    store.people().upsert(&tenant("acme"), &people).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_pin_gives_way_to_a_pin_alone() {
    for store in test_stores().await {
        let (acme, u1) = (tenant("acme"), user("u1"));
        store.people().upsert(&acme, &[person("u1", "one@example.com")]).await.unwrap();
        let stored = async || store.people().get(&acme, &u1).await.unwrap().unwrap();
        assert!(
            store
                .people()
                .store_identity(&acme, &u1, &identity("U1", Rule::Matched))
                .await
                .unwrap()
        );
        assert!(
            store.people().store_identity(&acme, &u1, &identity("U2", Rule::Pinned)).await.unwrap()
        );
        assert!(
            !store
                .people()
                .store_identity(&acme, &u1, &identity("U3", Rule::Matched))
                .await
                .unwrap()
        );
        let read = stored().await.identity.unwrap();
        assert_eq!((read.slack_user_id.as_str(), read.rule), ("U2", Rule::Pinned));
        assert_eq!(read.display_name, "Demo Person");
        let age = store.now().await.unwrap().since(read.stored_at);
        assert!(age < Duration::from_secs(60), "{age:?}");
        assert!(
            store.people().store_identity(&acme, &u1, &identity("U4", Rule::Pinned)).await.unwrap()
        );
        // A new record does not change the identity, and the reverse.
        store.people().upsert(&acme, &[person("u1", "new@example.com")]).await.unwrap();
        let read = stored().await;
        assert_eq!(read.identity.unwrap().slack_user_id.as_str(), "U4");
        assert_eq!(read.person.email.as_deref(), Some("new@example.com"));
        assert!(store.people().clear_identity(&acme, &u1).await.unwrap());
        assert!(!store.people().clear_identity(&acme, &u1).await.unwrap());
        assert_eq!(stored().await.identity, None);
    }
}

#[tokio::test]
async fn somebody_of_whom_only_the_id_is_known_can_have_an_identity() {
    for store in test_stores().await {
        let (acme, u1) = (tenant("acme"), user("u1"));
        assert!(
            store
                .people()
                .store_identity(&acme, &u1, &identity("U1", Rule::Matched))
                .await
                .unwrap()
        );
        let read = store.people().get(&acme, &u1).await.unwrap().unwrap();
        assert_eq!(read.person, Person::bare(u1));
        assert!(read.identity.is_some());
    }
}

#[tokio::test]
async fn preferences_are_kept_by_type_and_forgotten() {
    for store in test_stores().await {
        let (acme, u1) = (tenant("acme"), user("u1"));
        let event = EventType::parse("task.assigned").unwrap();
        let set = async |event, preference| {
            let people = store.people();
            people.set_preference(&acme, &u1, event, preference, "person:test").await.unwrap();
        };
        set(None, Preference::Off).await;
        set(None, Preference::On).await;
        set(Some(&event), Preference::Off).await;
        let both = [u1.clone(), user("u2")];
        let read = store.people().preferences(&acme, &both).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[&u1].all, Preference::On);
        assert_eq!(read[&u1].by_type[&event], Preference::Off);
        assert!(store.people().preferences(&tenant("umbrella"), &both).await.unwrap().is_empty());
        set(None, Preference::Inherit).await;
        set(Some(&event), Preference::Inherit).await;
        assert!(store.people().preferences(&acme, &both).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn nothing_personal_is_readable_and_swapped_rows_do_not_open() {
    for store in test_stores().await {
        let (acme, umbrella) = (tenant("acme"), tenant("umbrella"));
        store.people().upsert(&acme, &[person("u1", "one@example.com")]).await.unwrap();
        store.people().upsert(&acme, &[person("u2", "two@example.com")]).await.unwrap();
        store.people().upsert(&umbrella, &[person("u1", "three@example.com")]).await.unwrap();
        let raw = store.raw().await;
        let select = "SELECT record FROM people";
        let backend = raw.get_database_backend();
        let rows =
            raw.query_all_raw(sea_orm::Statement::from_string(backend, select)).await.unwrap();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let record: Vec<u8> = row.try_get_by_index(0).unwrap();
            assert!(!String::from_utf8_lossy(&record).contains("example"));
        }
        let refused = async |tenant: &TenantId, name: &str| {
            let error = store.people().get(tenant, &user(name)).await.unwrap_err();
            assert!(matches!(error, Error::Sealed(_)), "{error}");
            assert!(!error.to_string().contains("example"));
        };
        // Moved to another person, and to another tenant.
        let to_person = "UPDATE people SET record =
            (SELECT record FROM people WHERE tenant = 'acme' AND user_id = 'u1')
            WHERE tenant = 'acme' AND user_id = 'u2'";
        let to_tenant = "UPDATE people SET record =
            (SELECT record FROM people WHERE tenant = 'acme' AND user_id = 'u1')
            WHERE tenant = 'umbrella'";
        raw.execute_unprepared(to_person).await.unwrap();
        raw.execute_unprepared(to_tenant).await.unwrap();
        refused(&acme, "u2").await;
        refused(&umbrella, "u1").await;
        assert!(store.people().get(&acme, &user("u1")).await.unwrap().is_some());
        // With the data key itself moved, a fresh process is refused too.
        let key = "UPDATE data_keys SET wrapped =
            (SELECT wrapped FROM data_keys WHERE scope = 'tenant:acme')
            WHERE scope = 'tenant:umbrella'";
        raw.execute_unprepared(key).await.unwrap();
        let replica = store.replica().await;
        let error = replica.people().get(&umbrella, &user("u1")).await.unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_make_one_data_key() {
    for store in test_stores().await {
        let acme = tenant("acme");
        let mut tasks = Vec::new();
        for n in 0..4 {
            let (store, acme) = (store.replica().await, acme.clone());
            tasks.push(tokio::spawn(async move {
                let name = format!("u{n}");
                store.people().upsert(&acme, &[person(&name, "x@example.com")]).await
            }));
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let users: Vec<UserId> = (0..4).map(|n| user(format!("u{n}"))).collect();
        assert_eq!(store.people().get_many(&acme, &users).await.unwrap().len(), 4);
    }
}
