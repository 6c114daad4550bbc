//! Tenants, installations, connecting and budgets: the same promises on both databases.

use std::time::Duration;

use herald::domain::access::sharing::Allowed;
use herald::domain::ids::{EventType, InstallationId, TenantId};
use herald::domain::secret::Secret;
use herald::domain::settings::Settings;
use herald::store::{
    ConnectCompletion, ConnectGrant, ConnectOutcome, ConnectStatus, ConnectTerms, Error,
    InstallationState, NewInstallation, Store, TakenConnect,
};

use crate::support::store::{connect_tenant, test_stores};

const CALLBACK: &str = "http://localhost/cb";
/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(86_400);

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(super) fn installation(team: &str, token: &str) -> NewInstallation {
    NewInstallation {
        app_id: "A1".into(),
        enterprise_id: None,
        team_id: Some(team.into()),
        org_wide: false,
        team_name: "Demo".into(),
        bot_user_id: "UBOT".into(),
        bot_name: "herald".into(),
        scopes: vec!["chat:write".into(), "users:read".into()],
        token: Secret::new(token),
        refresh_token: None,
        token_expires_at: None,
        installed_by: None,
        app_path: String::new(),
    }
}

async fn connect_acme(store: &Store, new: &NewInstallation) -> InstallationId {
    connect_tenant(store, &tenant("acme"), new).await
}

#[tokio::test]
async fn settings_are_saved_by_version() {
    for store in test_stores().await {
        let acme = tenant("acme");
        assert_eq!(store.tenancy().settings(&acme).await.unwrap(), None);
        let unknown = store.tenancy().save_settings(&acme, &Settings::default()).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))));

        store.tenancy().ensure_tenant(&acme).await.unwrap();
        store.tenancy().ensure_tenant(&acme).await.unwrap();
        assert!(store.tenancy().tenant_exists(&acme).await.unwrap());
        assert!(!store.tenancy().tenant_exists(&tenant("umbrella")).await.unwrap());
        let mut settings = store.tenancy().settings(&acme).await.unwrap().unwrap();
        assert_eq!(settings, Settings::default());

        settings.sending_allowed = true;
        settings.disabled_event_types.insert(EventType::parse("task.assigned").unwrap());
        assert_eq!(store.tenancy().save_settings(&acme, &settings).await.unwrap(), 1);
        let stale = store.tenancy().save_settings(&acme, &settings).await;
        assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");
        let read = store.tenancy().settings(&acme).await.unwrap().unwrap();
        assert_eq!(read, Settings { version: 1, ..settings });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_settings_one_wins() {
    for store in test_stores().await {
        let acme = tenant("acme");
        store.tenancy().ensure_tenant(&acme).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (store, acme) = (store.store.clone(), acme.clone());
                tokio::spawn(async move {
                    store.tenancy().save_settings(&acme, &Settings::default()).await
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn an_installation_is_found_again_and_its_token_opens() {
    for store in test_stores().await {
        let id = connect_acme(&store, &installation("T1", "xoxb-one")).await;
        let read = store.tenancy().installation(id).await.unwrap().unwrap();
        assert_eq!(read.team_id.as_deref(), Some("T1"));
        assert_eq!(read.enterprise_id, None);
        assert_eq!(read.scopes, ["chat:write", "users:read"]);
        assert_eq!((read.state, read.token_version), (InstallationState::Active, 1));
        let token = store.tenancy().token(id).await.unwrap();
        assert_eq!((token.secret.expose(), token.version), ("xoxb-one", 1));
        // Another replica, with nothing in memory.
        assert_eq!(
            store.replica().await.tenancy().token(id).await.unwrap().secret.expose(),
            "xoxb-one"
        );

        let other = connect_acme(&store, &installation("T2", "xoxb-two")).await;
        assert_ne!(id, other);
        assert!(store.tenancy().installation(other).await.unwrap().is_some());
        let nobody = InstallationId::parse("01890000-0000-7000-8000-000000000000").unwrap();
        assert_eq!(store.tenancy().installation(nobody).await.unwrap(), None);
        assert!(matches!(store.tenancy().token(nobody).await, Err(Error::NotFound(_))));
    }
}

#[tokio::test]
async fn a_late_report_cannot_kill_a_fresh_token() {
    for store in test_stores().await {
        let id = connect_acme(&store, &installation("T1", "xoxb-one")).await;
        assert!(store.tenancy().mark_installation_dead(id, 1, "token_revoked").await.unwrap());
        assert!(!store.tenancy().mark_installation_dead(id, 1, "token_revoked").await.unwrap());
        let dead = store.tenancy().installation(id).await.unwrap().unwrap();
        assert_eq!(dead.state, InstallationState::Dead);
        assert_eq!(dead.state_reason.as_deref(), Some("token_revoked"));

        let again = connect_acme(&store, &installation("T1", "xoxb-two")).await;
        assert_eq!(again, id);
        let token = store.tenancy().token(id).await.unwrap();
        assert_eq!((token.secret.expose(), token.version), ("xoxb-two", 2));
        assert!(!store.tenancy().mark_installation_dead(id, 1, "token_revoked").await.unwrap());
        let alive = store.tenancy().installation(id).await.unwrap().unwrap();
        assert_eq!((alive.state, alive.state_reason), (InstallationState::Active, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workspace_connected_from_everywhere_is_one_installation() {
    for store in test_stores().await {
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let store = store.replica().await;
            tasks.push(tokio::spawn(async move {
                connect_acme(&store, &installation("T1", "xoxb-one")).await
            }));
        }
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await.unwrap());
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let token = store.tenancy().token(ids[0]).await.unwrap();
        assert_eq!((token.secret.expose(), token.version), ("xoxb-one", 6));
    }
}

#[tokio::test]
async fn tenants_share_a_workspace_and_leave_it_apart() {
    for store in test_stores().await {
        let (acme, umbrella) = (tenant("acme"), tenant("umbrella"));
        let id = connect_acme(&store, &installation("T1", "xoxb-one")).await;
        assert_eq!(store.tenancy().installation_of(&umbrella).await.unwrap(), None);
        let same = connect_tenant(&store, &umbrella, &installation("T1", "xoxb-two")).await;
        assert_eq!(same, id);
        let both = store.tenancy().tenants_of(id).await.unwrap();
        assert_eq!(both, [acme.clone(), umbrella.clone()]);
        let other = connect_acme(&store, &installation("T2", "xoxb-three")).await;
        assert_eq!(store.tenancy().installation_of(&acme).await.unwrap().unwrap().id, other);
        assert_eq!(store.tenancy().installation_of(&umbrella).await.unwrap().unwrap().id, id);
        assert_eq!(store.tenancy().tenants_of(id).await.unwrap(), [umbrella]);
    }
}

#[tokio::test]
async fn a_tenant_that_came_at_the_same_moment_is_seen() {
    for store in test_stores().await {
        let (acme, umbrella) = (tenant("acme"), tenant("umbrella"));
        let id = connect_acme(&store, &installation("T1", "xoxb-one")).await;
        store.tenancy().ensure_tenant(&umbrella).await.unwrap();
        let connect = async |tenant: &TenantId, token: &str, others: &[TenantId]| {
            let new = installation("T1", token);
            let grant = ConnectGrant { tenant, state: "none", installation: &new, others };
            store.tenancy().complete_connect(&grant).await.unwrap()
        };
        let (done, in_use) = (ConnectCompletion::Connected(id), ConnectCompletion::InUse(id));
        // There was no other tenant when it was decided.
        assert_eq!(connect(&acme, "xoxb-two", &[]).await, done);
        assert_eq!(connect(&umbrella, "xoxb-three", &[]).await, in_use);
        assert_eq!(store.tenancy().tenants_of(id).await.unwrap(), std::slice::from_ref(&acme));
        let token = store.tenancy().token(id).await.unwrap();
        assert_eq!((token.secret.expose(), token.version), ("xoxb-two", 2), "nothing was stored");
        let again = connect(&acme, "xoxb-four", &[]).await;
        assert_eq!(again, done, "the tenant itself is not another one");
        assert_eq!(connect(&umbrella, "xoxb-five", &[acme]).await, done);
        assert_eq!(store.tenancy().tenants_of(id).await.unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_taken_once() {
    for store in test_stores().await {
        let acme = tenant("acme");
        store.tenancy().ensure_tenant(&acme).await.unwrap();
        assert_eq!(store.tenancy().latest_connect(&acme).await.unwrap(), None);
        let minute = Duration::from_secs(60);
        let terms = ConnectTerms {
            allowed: Allowed::Anything,
            scopes: ["chat:write", "channels:manage"].map(str::to_owned).to_vec(),
            return_url: Some("https://platform.example.com/settings".into()),
            expected_team: Some("T012AB3CD".into()),
            app_path: "AAECAwQFBgcICQoLDA0ODw".into(),
        };
        let tenancy = store.tenancy();
        tenancy.begin_connect(&acme, "state-1", CALLBACK, minute, &terms).await.unwrap();
        let looked = tenancy.look_at_connect("state-1").await.unwrap();
        let TakenConnect::Taken(begun) = looked else { panic!("it waits: {looked:?}") };
        assert!(!begun.opened);
        tenancy.note_opened("state-1").await.unwrap();
        let status = store.tenancy().latest_connect(&acme).await.unwrap().unwrap().status;
        assert_eq!(status, ConnectStatus::AwaitingCallback);

        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let store = store.store.clone();
                tokio::spawn(async move { store.tenancy().take_connect("state-1").await.unwrap() })
            })
            .collect();
        let mut taken = 0;
        for task in tasks {
            match task.await.unwrap() {
                TakenConnect::Taken(begun) => {
                    assert_eq!((&begun.tenant, &*begun.redirect_uri), (&acme, CALLBACK));
                    assert_eq!(begun.terms, terms);
                    assert!(begun.opened);
                    taken += 1;
                }
                TakenConnect::AlreadyUsed(begun) => assert_eq!(begun.terms, terms),
                other => panic!("it was begun: {other:?}"),
            }
        }
        assert_eq!(taken, 1);
        assert!(
            store.tenancy().finish_connect("state-1", &ConnectOutcome::Completed).await.unwrap()
        );
        assert!(!store.tenancy().finish_connect("state-1", &ConnectOutcome::Denied).await.unwrap());
        let status = store.tenancy().latest_connect(&acme).await.unwrap().unwrap().status;
        assert_eq!(status, ConnectStatus::Completed);
        assert_eq!(store.tenancy().take_connect("never").await.unwrap(), TakenConnect::Unknown);
    }
}

#[tokio::test]
async fn attempts_expire_and_fail_with_a_sentence() {
    for store in test_stores().await {
        let acme = tenant("acme");
        store.tenancy().ensure_tenant(&acme).await.unwrap();
        let none = Duration::ZERO;
        store
            .tenancy()
            .begin_connect(&acme, "old", CALLBACK, none, &ConnectTerms::default())
            .await
            .unwrap();
        let late = store.tenancy().take_connect("old").await.unwrap();
        assert!(matches!(late, TakenConnect::Expired(_)), "{late:?}");
        let status = store.tenancy().latest_connect(&acme).await.unwrap().unwrap().status;
        assert_eq!(status, ConnectStatus::Expired);

        let minute = Duration::from_secs(60);
        store
            .tenancy()
            .begin_connect(&acme, "new", CALLBACK, minute, &ConnectTerms::default())
            .await
            .unwrap();
        let (reason, sentence) = ("invalid_code".into(), "Slack refused the code.".into());
        let failed = ConnectOutcome::Failed { reason, sentence };
        store.tenancy().finish_connect("new", &failed).await.unwrap();
        let latest = store.tenancy().latest_connect(&acme).await.unwrap().unwrap();
        assert_eq!(latest.status, ConnectStatus::Failed);
        assert_eq!(latest.detail.as_deref(), Some("Slack refused the code."));
    }
}

#[tokio::test]
async fn replicas_share_a_budget() {
    for store in test_stores().await {
        let id = InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap();
        let (second, minute) = (store.replica().await, Duration::from_secs(60));
        let waits = [
            store.budgets().reserve(id, "users.list", minute, LONG).await.unwrap().wait,
            second.budgets().reserve(id, "users.list", minute, LONG).await.unwrap().wait,
            store.budgets().reserve(id, "users.list", minute, LONG).await.unwrap().wait,
        ];
        assert_eq!(waits[0], Duration::ZERO);
        for (wait, nominal) in waits.iter().zip([0, 60, 120]) {
            let nominal = Duration::from_secs(nominal);
            assert!(*wait <= nominal && *wait + Duration::from_secs(20) > nominal, "{waits:?}");
        }
        // Another method has another budget.
        assert_eq!(
            store.budgets().reserve(id, "users.info", minute, LONG).await.unwrap().wait,
            Duration::ZERO
        );
    }
}

#[tokio::test]
async fn who_will_not_wait_takes_nothing_from_the_budget() {
    for store in test_stores().await {
        let id = InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap();
        let (minute, method) = (Duration::from_secs(60), "conversations.history");
        let ask =
            async || store.budgets().reserve(id, method, minute, Duration::ZERO).await.unwrap();
        assert!(ask().await.taken);
        for _ in 0..3 {
            let refused = ask().await;
            assert!(!refused.taken && refused.wait <= minute, "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_pause_only_grows_and_holds_for_all() {
    for store in test_stores().await {
        let id = InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap();
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let method = "chat.postMessage";
        assert_eq!(store.budgets().pause_left(id, method).await.unwrap(), Duration::ZERO);
        store.budgets().pause(id, method, hour).await.unwrap();
        store.budgets().pause(id, method, minute).await.unwrap();
        let left = store.replica().await.budgets().pause_left(id, method).await.unwrap();
        assert!(left > hour / 2 && left <= hour, "{left:?}");
        let wait = store.budgets().reserve(id, method, minute, LONG).await.unwrap().wait;
        assert!(wait > hour / 2 && wait <= hour, "{wait:?}");
    }
}
