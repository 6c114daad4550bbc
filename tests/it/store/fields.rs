//! Custom profile fields in the store: one pass at a time, and a stale one changes nothing.

use std::time::Duration;

use herald::domain::ids::{InstallationId, SlackUserId, TenantId};
use herald::domain::secret::Secret;
use herald::store::{FieldsEnd, Hint, MemberFields, NewInstallation, SeenList, Store};

use crate::support::store::{connect_tenant, publish_list, test_stores};

const LONG: Duration = Duration::from_secs(3600);

fn fields(id: &str, body: &str) -> MemberFields {
    MemberFields {
        member: SlackUserId::parse(id).unwrap(),
        member_updated: 7,
        body: body.as_bytes().to_vec(),
    }
}

async fn fields_of(store: &Store, id: InstallationId, member: &str) -> Option<Vec<u8>> {
    let mut found = store.custom_fields().of(id, &[member.into(), "U9".into()]).await.unwrap();
    assert!(found.len() < 2);
    found.pop().map(|(found, body)| {
        assert_eq!(found, member);
        body
    })
}

/// A workspace that is connected and whose list was read.
async fn workspace(store: &Store) -> InstallationId {
    let new = NewInstallation {
        app_id: "A1".into(),
        enterprise_id: None,
        team_id: Some("T1".into()),
        org_wide: false,
        team_name: "Team".into(),
        bot_user_id: "UBOT".into(),
        bot_name: "herald".into(),
        scopes: vec!["users.profile:read".into()],
        token: Secret::new("xoxb-1"),
        refresh_token: None,
        token_expires_at: None,
        installed_by: None,
        app_path: String::new(),
    };
    let id = connect_tenant(store, &TenantId::parse("acme").unwrap(), &new).await;
    read(store, id).await;
    id
}

async fn read(store: &Store, id: InstallationId) {
    store.member_lists().request_refresh(id).await.unwrap();
    let lease = store.member_lists().acquire_crawl(id, "replica", LONG).await.unwrap().unwrap();
    publish_list(store, &lease, LONG).await;
}

async fn sequence(store: &Store, id: InstallationId) -> i64 {
    store.member_lists().state(id).await.unwrap().unwrap().fields_sequence
}

#[tokio::test]
async fn a_pass_that_was_taken_over_changes_nothing() {
    for store in test_stores().await {
        let id = workspace(&store).await;
        assert_eq!(store.custom_fields().due(16).await.unwrap(), [id]);
        assert_eq!(store.custom_fields().booked(16).await.unwrap(), [], "never checked");
        store.custom_fields().request(id).await.unwrap();
        assert_eq!(store.custom_fields().booked(16).await.unwrap(), [id]);
        let old = store.custom_fields().acquire(id, Duration::ZERO).await.unwrap().unwrap();
        assert!(
            store
                .custom_fields()
                .save(&old, &fields("U1", "{}"), None, Duration::ZERO)
                .await
                .unwrap()
        );
        let new = store.custom_fields().acquire(id, LONG).await.unwrap().unwrap();
        assert!(new.unpublished, "the pass before left fields to publish");
        assert!(store.custom_fields().acquire(id, LONG).await.unwrap().is_none(), "one holder");
        assert_eq!(store.custom_fields().due(16).await.unwrap(), []);
        assert_eq!(store.custom_fields().booked(16).await.unwrap(), []);

        let late = fields("U2", r#"{"late":1}"#);
        assert!(!store.custom_fields().save(&old, &late, None, LONG).await.unwrap());
        assert!(!store.custom_fields().plan(&old, 1, 1, LONG).await.unwrap());
        assert!(!store.custom_fields().publish(&old).await.unwrap());
        assert!(!store.custom_fields().forget(&old, &["U1".into()]).await.unwrap());
        let end = FieldsEnd {
            due_after: LONG,
            soon_after: Duration::ZERO,
            seen: Some(SeenList { generation: 1, change_sequence: 0 }),
            needed: true,
            error: None,
        };
        assert!(!store.custom_fields().end(&old, &end).await.unwrap());
        assert_eq!(fields_of(&store, id, "U2").await, None);
        assert_eq!(fields_of(&store, id, "U1").await, Some(b"{}".to_vec()));
        assert_eq!(sequence(&store, id).await, 0);

        let mut hints = store.member_lists().hints();
        assert!(store.custom_fields().publish(&new).await.unwrap());
        assert_eq!(sequence(&store, id).await, 1);
        assert_eq!(hints.recv().await.unwrap(), Hint::Moved(id), "other replicas get a hint");
        let pointers = store.member_lists().pointers(&[id]).await.unwrap();
        assert_eq!(pointers[0].fields_sequence, 1);
        assert!(store.custom_fields().forget(&new, &["U1".into()]).await.unwrap());
        assert_eq!(fields_of(&store, id, "U1").await, None);
        assert!(store.custom_fields().end(&new, &end).await.unwrap());
        assert!(!store.custom_fields().end(&new, &end).await.unwrap());
        assert_eq!(
            store.custom_fields().due(16).await.unwrap(),
            [],
            "the member list did not move"
        );
        read(&store, id).await;
        assert_eq!(store.custom_fields().due(16).await.unwrap(), [id], "it moved");
        assert_eq!(store.custom_fields().booked(16).await.unwrap(), [id], "it moved");
        let next = store.custom_fields().acquire(id, LONG).await.unwrap().unwrap();
        assert!(!next.unpublished);
    }
}

#[tokio::test]
async fn an_answer_that_came_meanwhile_stays() {
    for store in test_stores().await {
        let id = workspace(&store).await;
        let lease = store.custom_fields().acquire(id, LONG).await.unwrap().unwrap();
        // Planned when there was no row; a test of the person was faster.
        store.custom_fields().put(id, &fields("U1", r#"{"new":1}"#)).await.unwrap();
        assert_eq!(sequence(&store, id).await, 0, "the change to the member reports it");
        let earlier = fields("U1", r#"{"old":1}"#);
        assert!(store.custom_fields().save(&lease, &earlier, None, LONG).await.unwrap());
        let kept = fields_of(&store, id, "U1").await.unwrap();
        assert_eq!(kept, br#"{"new":1}"#);
        let seen = store.custom_fields().index(id, "").await.unwrap()[0].fetched_at;
        let later = fields("U1", r#"{"later":1}"#);
        assert!(store.custom_fields().save(&lease, &later, Some(seen), LONG).await.unwrap());
        assert_eq!(
            store.custom_fields().list_after(id, "").await.unwrap(),
            [("U1".into(), later.body)]
        );
    }
}
