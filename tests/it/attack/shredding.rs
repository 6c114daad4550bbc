//! Data about one person is encrypted with the person's key: once the key is erased, no copy of the
//! data can be decrypted, not even with the key-encryption key.

use futures_util::future::join_all;
use herald::domain::access::audit::{Entry, ShownPerson};
use herald::domain::delivery::State;
use herald::domain::identity::person::Person;
use herald::domain::ids::{DeliveryId, InstallationId, SlackUserId, TenantId, UserId};
use herald::domain::settings::{Identity, Rule};
use herald::domain::time::Timestamp;
use herald::store::{
    Accept, AuditFilter, Config, DeliveryTrace, Error, NewDelivery, Redacted, SettleContext, Store,
};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement, TransactionTrait as _, Value};

use super::keys::{databases, migrated};
use super::thief::{Stolen, Thief};
use crate::outbox::{
    LEASE, call, claim_lanes, delivered, delivery, intend_post, lane, post, sending, tenant, uuid,
};
use crate::support::store::test_stores;

const EMAIL: &str = "someone@victim.example";
const NAME: &str = "Demo Person";
const WORDS: &[u8] = b"the rendered message";
const WHY: &[u8] = b"why";

fn named(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// The recipient of [`delivery`].
fn someone() -> UserId {
    UserId::parse("someone").unwrap()
}

fn person() -> Person {
    Person { email: Some(EMAIL.into()), ..Person::bare(someone()) }
}

fn identity() -> Identity {
    Identity {
        slack_user_id: SlackUserId::parse("U1").unwrap(),
        display_name: NAME.into(),
        rule: Rule::Matched,
        installation: InstallationId::parse("018f0000-0000-7000-8000-000000000001").unwrap(),
        stored_at: Timestamp(0),
    }
}

fn redact(answer: &[u8], _: &UserId) -> Redacted {
    Redacted { answer: answer.to_vec(), names_others: false }
}

fn with_trace(name: &str) -> NewDelivery {
    NewDelivery { trace: Some(WHY.to_vec()), ..delivery(lane(name)) }
}

/// Stores everything that a tenant has of the person; the message waits in its own lane.
async fn fill(store: &Store, tenant: &str) -> DeliveryId {
    let new = with_trace(&format!("U-{tenant}"));
    let id = new.id;
    let tenant = named(tenant);
    store.people().upsert(&tenant, &[person()]).await.unwrap();
    assert!(store.people().store_identity(&tenant, &someone(), &identity()).await.unwrap());
    store.outbox().accept(Accept { tenant, ..call(&uuid().to_string(), vec![new]) }).await.unwrap();
    id
}

/// The plain values of [`fill`], as [`Thief::steal`] lists the encrypted ones.
fn is_plain(number: usize, plain: &[u8]) -> bool {
    match number {
        0 => String::from_utf8_lossy(plain).contains(EMAIL),
        1 => plain == NAME.as_bytes(),
        2 => plain == WORDS,
        _ => plain == WHY,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_persons_data_opens_with_the_persons_key_only() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        fill(&store, "acme").await;
        fill(&store, "umbrella").await;
        let thief = Thief::on(&config).await;
        let (acme, umbrella) = (thief.steal("acme").await, thief.steal("umbrella").await);
        let keys = thief.keys().await;
        for stolen in acme.iter().chain(&umbrella) {
            assert_eq!(stolen.sealed[0], 2, "{stolen:?}");
        }
        for theirs in [&acme, &umbrella] {
            for (number, stolen) in theirs.iter().enumerate() {
                let plain = stolen.opened_with(&keys).unwrap();
                assert!(is_plain(number, &plain), "{stolen:?}");
                let tenants = keys.iter().filter(|key| !key.is_persons());
                assert!(stolen.opened_with(tenants).is_none(), "{stolen:?}");
            }
        }
        store.ends().erase_person(&named("acme"), &someone(), redact).await.unwrap();
        // Every key that is left, of every tenant and person.
        let left = thief.keys().await;
        assert!(acme.iter().all(|stolen| stolen.opened_with(&left).is_none()));
        assert!(umbrella.iter().all(|stolen| stolen.opened_with(&left).is_some()));
        assert_eq!(store.people().get(&named("acme"), &someone()).await.unwrap(), None);
        assert!(store.people().get(&named("umbrella"), &someone()).await.unwrap().is_some());
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nothing_of_the_person_is_read() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        let (ours, other) = (fill(&store, "acme").await, fill(&store, "umbrella").await);
        let raw = Thief::on(&config).await.raw;
        raw.execute_unprepared("DELETE FROM person_keys WHERE tenant = 'acme'").await.unwrap();
        let replica = Store::open(&config).await.unwrap();
        let (acme, umbrella) = (named("acme"), named("umbrella"));
        let error = replica.people().get(&acme, &someone()).await.unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
        assert_eq!(replica.outbox().words(&acme, ours).await.unwrap(), None);
        assert_eq!(replica.records().delivery(&acme, ours).await.unwrap().unwrap().trace, None);
        assert_eq!(replica.outbox().words(&umbrella, other).await.unwrap().as_deref(), Some(WORDS));
        for claim in claim_lanes(replica.lanes(), 10, LEASE).await.unwrap() {
            let head = replica.lanes().head(&claim).await.unwrap().unwrap();
            assert_eq!(head.damaged, head.delivery == ours);
            assert_eq!(head.content.is_none(), head.damaged);
            assert_eq!(head.trace.is_none(), head.damaged);
        }
        replica.close().await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_concerns_its_person_only() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        let acme = named("acme");
        fill(&store, "acme").await;
        let raw = Thief::on(&config).await.raw;
        raw.execute_unprepared("UPDATE person_keys SET wrapped = person").await.unwrap();
        let other = Person {
            email: Some("zoe@victim.example".into()),
            ..Person::bare(UserId::parse("zoe").unwrap())
        };
        let zoe = other.user_id.clone();
        store.people().upsert(&acme, std::slice::from_ref(&other)).await.unwrap();
        let replica = Store::open(&config).await.unwrap();
        let users = [someone(), zoe.clone()];
        let facts = replica.people().facts(&acme, &users).await.unwrap();
        for read in [facts.people, replica.people().get_many(&acme, &users).await.unwrap()] {
            assert_eq!(read[&zoe].person, other);
            assert_eq!(read[&someone()].person, Person::bare(someone()));
            let identity = read[&someone()].identity.as_ref().unwrap();
            assert_eq!(identity.slack_user_id, self::identity().slack_user_id);
            assert_eq!(identity.display_name, "");
        }
        assert_eq!(replica.people().list(&acme, None, 10).await.unwrap().len(), 2);
        let error = replica.people().get(&acme, &someone()).await.unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
        // The heir of a shared message is the person with the damaged key.
        let shared =
            NewDelivery { user: Some(zoe.clone()), also: vec![someone()], ..with_trace("U-both") };
        let id = shared.id;
        let shared = Accept { tenant: acme.clone(), ..call("shared", vec![shared]) };
        replica.outbox().accept(shared).await.unwrap();
        for user in users.iter().rev() {
            assert!(replica.ends().erase_person(&acme, user, redact).await.unwrap().known);
            assert_eq!(replica.people().get(&acme, user).await.unwrap(), None);
            assert_eq!(replica.outbox().words(&acme, id).await.unwrap(), None);
        }
        replica.close().await;
        store.close().await;
    }
}

/// Replaces the value by one of the layout of earlier releases, under the tenant's key.
async fn age(thief: &Thief, stolen: &Stolen, plain: &[u8], tenant: &str, key: &[u8; 32]) {
    let sealed = stolen.sealed_as_before(tenant, key, plain);
    let row = if stolen.table == "people" { "user_id" } else { "id" };
    let text = format!(
        "UPDATE {} SET {} = $1 WHERE tenant = $2 AND {row} = $3",
        stolen.table, stolen.column
    );
    let values: [Value; 3] = [sealed.into(), tenant.into(), stolen.row.as_str().into()];
    let backend = thief.raw.get_database_backend();
    thief.raw.execute_raw(Statement::from_sql_and_values(backend, text, values)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_earlier_releases_open_until_they_are_written_again() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        let id = fill(&store, "acme").await;
        let thief = Thief::on(&config).await;
        let keys = thief.keys().await;
        let tenants = keys.iter().find(|key| key.scope == "tenant:acme").unwrap();
        for stolen in thief.steal("acme").await {
            let plain = stolen.opened_with(&keys).unwrap();
            age(&thief, &stolen, &plain, "acme", &tenants.key).await;
        }
        // Earlier releases made a key only for a person in the audit trail.
        thief.raw.execute_unprepared("DELETE FROM person_keys").await.unwrap();
        let replica = Store::open(&config).await.unwrap();
        let acme = named("acme");
        let read = replica.people().get(&acme, &someone()).await.unwrap().unwrap();
        assert_eq!(read.person, person());
        assert_eq!(read.identity.unwrap().display_name, NAME);
        assert_eq!(replica.outbox().words(&acme, id).await.unwrap().as_deref(), Some(WORDS));
        let claims = claim_lanes(replica.lanes(), 10, LEASE).await.unwrap();
        let head = replica.lanes().head(&claims[0]).await.unwrap().unwrap();
        assert_eq!(head.content.as_deref(), Some(WORDS));
        assert_eq!(head.trace.as_deref(), Some(WHY));
        assert!(intend_post(replica.outbox(), &claims[0], id, LEASE).await.unwrap().is_some());
        let sent =
            replica.outbox().settle(&claims[0], id, &delivered(), SettleContext::default()).await;
        assert!(sent.unwrap());
        // Written again.
        replica.people().upsert(&acme, &[person()]).await.unwrap();
        replica.people().store_identity(&acme, &someone(), &identity()).await.unwrap();
        let stolen = thief.steal("acme").await;
        assert_eq!([stolen[0].sealed[0], stolen[1].sealed[0]], [2, 2]);
        let read = replica.people().get(&acme, &someone()).await.unwrap().unwrap();
        assert_eq!((read.person, read.identity.unwrap().display_name), (person(), NAME.into()));
        replica.close().await;
        store.close().await;
    }
}

/// Whether a message waits and its content can be read; otherwise it must have been canceled.
async fn waits_readable(store: &Store, id: DeliveryId) -> bool {
    let record = store.records().delivery(&tenant(), id).await.unwrap().unwrap();
    let words = store.outbox().words(&tenant(), id).await.unwrap();
    match record.state {
        State::Pending => assert_eq!(words.as_deref(), Some(WORDS)),
        State::Canceled => assert_eq!((record.user, words), (None, None)),
        other => panic!("{other:?}"),
    }
    record.state == State::Pending
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_under_a_key_that_another_replica_erased() {
    for store in test_stores().await {
        let (one, two) = (store.replica().await, store.replica().await);
        for round in 0..10 {
            let before = post(&one, &format!("U{round}A")).await;
            one.people().upsert(&tenant(), &[person()]).await.unwrap();
            two.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
            assert!(!waits_readable(&two, before).await);
            // The first replica still has the erased key in memory.
            let after = post(&one, &format!("U{round}B")).await;
            assert!(waits_readable(&two, after).await);
            two.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
            one.people().upsert(&tenant(), &[person()]).await.unwrap();
            let read = two.people().get(&tenant(), &someone()).await.unwrap().unwrap();
            assert_eq!(read.person, person());

            let posting = tokio::spawn({
                let one = one.clone();
                async move { post(&one, &format!("U{round}C")).await }
            });
            let erasing = tokio::spawn({
                let two = two.clone();
                async move { two.ends().erase_person(&tenant(), &someone(), redact).await }
            });
            erasing.await.unwrap().unwrap();
            waits_readable(&two, posting.await.unwrap()).await;
        }
        let last = post(&one, "U99").await;
        assert!(waits_readable(&two, last).await);
        let claims = claim_lanes(two.lanes(), 100, LEASE).await.unwrap();
        for claim in claims {
            let head = two.lanes().head(&claim).await.unwrap();
            assert!(head.is_none_or(|head| !head.damaged));
        }
        one.close().await;
        two.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_on_the_key_of_a_new_person() {
    for store in test_stores().await {
        let mut posting = Vec::new();
        for number in 0..4 {
            let replica = store.replica().await;
            posting.push(tokio::spawn(async move {
                let id = post(&replica, &format!("U{number}")).await;
                replica.close().await;
                id
            }));
        }
        for one in posting {
            assert!(waits_readable(&store, one.await.unwrap()).await);
        }
        let raw = store.raw().await;
        let text = "SELECT COUNT(*) FROM person_keys";
        let count = Statement::from_string(raw.get_database_backend(), text);
        let row = raw.query_one_raw(count).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_message_stays_readable_for_the_other_recipient() {
    for store in test_stores().await {
        let heir = UserId::parse("zoe").unwrap();
        let new = NewDelivery { also: vec![heir.clone()], ..with_trace("U1") };
        let id = new.id;
        store.outbox().accept(call("shared", vec![new])).await.unwrap();
        store.ends().erase_person(&tenant(), &someone(), redact).await.unwrap();
        let replica = store.replica().await;
        let record = replica.records().delivery(&tenant(), id).await.unwrap().unwrap();
        assert_eq!((record.user, record.state), (Some(heir.clone()), State::Pending));
        assert_eq!(record.trace.as_deref(), Some(WHY));
        assert_eq!(replica.outbox().words(&tenant(), id).await.unwrap().as_deref(), Some(WORDS));
        replica.ends().erase_person(&tenant(), &heir, redact).await.unwrap();
        assert_eq!(replica.outbox().words(&tenant(), id).await.unwrap(), None);
        replica.close().await;
    }
}

/// A replica beside replicas of an earlier release.
async fn beside_earlier(config: &Config) -> Store {
    Store::open(&Config { person_keys: false, ..config.clone() }).await.unwrap()
}

/// Everything that [`fill`] stored can be read.
async fn assert_readable(store: &Store, tenant: &str, id: DeliveryId) {
    let tenant = &named(tenant);
    let read = store.people().get(tenant, &someone()).await.unwrap().unwrap();
    assert_eq!((read.person, read.identity.unwrap().display_name), (person(), NAME.into()));
    assert_eq!(store.outbox().words(tenant, id).await.unwrap().as_deref(), Some(WORDS));
    let record = store.records().delivery(tenant, id).await.unwrap().unwrap();
    assert_eq!(record.trace.as_deref(), Some(WHY));
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_upgrade_earlier_releases_can_decrypt_new_values() {
    for (config, _dir) in databases().await {
        let (new, beside) = (migrated(&config).await, beside_earlier(&config).await);
        let (acme, umbrella) = (fill(&beside, "acme").await, fill(&new, "umbrella").await);
        let stored = [("acme", acme), ("umbrella", umbrella)];
        let thief = Thief::on(&config).await;
        let keys = thief.keys().await;
        for (number, stolen) in thief.steal("acme").await.iter().enumerate() {
            let tenants = keys.iter().filter(|key| key.scope == "tenant:acme");
            let plain = stolen.opened_with(tenants).unwrap();
            assert!(stolen.sealed[0] == 1 && is_plain(number, &plain), "{stolen:?}");
        }
        assert!(thief.steal("umbrella").await.iter().all(|stolen| stolen.sealed[0] == 2));
        // Written again by the other replica.
        for (store, tenant, layout) in [(&new, "acme", 2), (&beside, "umbrella", 1)] {
            for (tenant, id) in stored {
                assert_readable(store, tenant, id).await;
            }
            let tenant = &named(tenant);
            store.people().upsert(tenant, &[person()]).await.unwrap();
            assert!(store.people().store_identity(tenant, &someone(), &identity()).await.unwrap());
            let stolen = thief.steal(tenant.as_str()).await;
            assert_eq!([stolen[0].sealed[0], stolen[1].sealed[0]], [layout, layout]);
        }
        for (tenant, id) in stored {
            assert_readable(&new, tenant, id).await;
            assert_readable(&beside, tenant, id).await;
            let tenant = &named(tenant);
            beside.ends().erase_person(tenant, &someone(), redact).await.unwrap();
            assert_eq!(new.people().get(tenant, &someone()).await.unwrap(), None);
            assert_eq!(new.outbox().words(tenant, id).await.unwrap(), None);
        }
        assert!(thief.keys().await.iter().all(|key| !key.is_persons()));
        beside.close().await;
        new.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_upgrade_shared_messages_and_their_traces_stay_readable() {
    for (config, _dir) in databases().await {
        let (new, beside) = (migrated(&config).await, beside_earlier(&config).await);
        let (ours, heir) = (tenant(), UserId::parse("zoe").unwrap());
        let shared = NewDelivery { also: vec![heir.clone()], ..with_trace("U1") };
        let id = shared.id;
        new.outbox().accept(call("shared", vec![shared])).await.unwrap();
        beside.ends().erase_person(&ours, &someone(), redact).await.unwrap();
        for store in [&new, &beside] {
            let words = store.outbox().words(&ours, id).await.unwrap();
            assert_eq!(words.as_deref(), Some(WORDS));
        }
        let (claim, sent) = sending(&beside).await;
        assert_eq!(sent, id);
        let trace = Some(DeliveryTrace { tenant: &ours, user: Some(&heir), trace: b"sent" });
        let context = SettleContext { trace, ..SettleContext::default() };
        assert!(beside.outbox().settle(&claim, id, &delivered(), context).await.unwrap());
        let record = new.records().delivery(&ours, id).await.unwrap().unwrap();
        assert_eq!(record.trace.as_deref(), Some(&b"sent"[..]));
        let raw = Thief::on(&config).await.raw;
        let traces = Statement::from_string(
            raw.get_database_backend(),
            "SELECT trace FROM deliveries UNION ALL SELECT trace FROM deliveries_history",
        );
        let row = raw.query_one_raw(traces).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<Vec<u8>>(0).unwrap()[0], 1);
        beside.close().await;
        new.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_upgrade_earlier_releases_can_read_new_entries_of_the_trail() {
    for (config, _dir) in databases().await {
        let (new, beside) = (migrated(&config).await, beside_earlier(&config).await);
        let ours = tenant();
        new.tenancy().ensure_tenant(&ours).await.unwrap();
        for (store, layout) in [(&beside, "1"), (&new, "2")] {
            let entry = Entry::of_browser(ours.clone(), layout);
            let entry = Entry { actor: Some(someone()), ..entry };
            store.audit().write(&[entry]).await.unwrap();
        }
        let raw = Thief::on(&config).await.raw;
        let text = "SELECT action, actor FROM audit_inbox";
        let entries = Statement::from_string(raw.get_database_backend(), text);
        for row in raw.query_all_raw(entries).await.unwrap() {
            let actor: Vec<u8> = row.try_get_by_index(1).unwrap();
            let layout: String = row.try_get_by_index(0).unwrap();
            assert_eq!(actor[0].to_string(), layout);
        }
        assert_eq!(new.audit().chain(10).await.unwrap(), Some(2));
        for store in [&new, &beside] {
            let filter = AuditFilter::default();
            let page = store.audit().list(Some(&ours), &filter, None, 10).await.unwrap();
            assert_eq!(page.entries.len(), 2);
            for entry in page.entries {
                assert!(
                    matches!(&entry.actor, ShownPerson::Person(shown) if shown.user == someone()),
                    "{entry:?}"
                );
            }
        }
        beside.close().await;
        new.close().await;
    }
}

/// PostgreSQL; on SQLite, writers take turns. However the calls are spread over batches, at least
/// four that are held up share one with the free call, and are before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_locked_delays_only_the_calls_that_need_it() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        let raw = Thief::on(&config).await.raw;
        if raw.get_database_backend() == DbBackend::Sqlite {
            continue;
        }
        let person = |name: &str| Person::bare(UserId::parse(name).unwrap());
        let held: Vec<_> = (0..6).map(|number| person(&format!("held-{number}"))).collect();
        store.people().upsert(&named("acme"), &held).await.unwrap();
        raw.execute_unprepared("CREATE TABLE kept AS SELECT * FROM person_keys").await.unwrap();
        raw.execute_unprepared("DELETE FROM person_keys").await.unwrap();
        let frozen = raw.begin().await.unwrap();
        frozen.execute_unprepared("INSERT INTO person_keys SELECT * FROM kept").await.unwrap();
        // Another replica, which has none of the keys in memory.
        let other = Store::open(&config).await.unwrap();
        let free = person("free");
        let calls = held.iter().chain([&free]).map(|one| {
            let (other, one) = (other.clone(), one.clone());
            async move { other.people().upsert(&named("acme"), &[one]).await }
        });
        let done = join_all(calls).await;
        let (free, held_up) = done.split_last().unwrap();
        assert!(free.is_ok(), "{free:?}");
        let locked = |done: &Result<(), Error>| matches!(done, Err(Error::Locked(_)));
        assert!(held_up.iter().all(locked), "{held_up:?}");
        frozen.rollback().await.unwrap();
        other.people().upsert(&named("acme"), &held).await.unwrap();
        other.close().await;
        store.close().await;
    }
}
