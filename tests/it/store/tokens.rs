//! The lease on a token and its fences, the tokens of organizations, and moves into one.

use std::time::Duration;

use herald::domain::delivery::admission::Departure;
use herald::domain::ids::{InstallationId, TenantId};
use herald::domain::secret::Secret;
use herald::store::{
    ConnectCompletion, Expiry, InstallationState, Left, MigrationPace, MigrationStep,
    NewInstallation, OrgTeam, SeenLink, Store, TokenExchange, TokenLease, TokenState, UseEnd,
};

use super::contract::installation;
use crate::support::store::{TestStore, connect_tenant, test_stores};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);
const PACE: MigrationPace = MigrationPace { first: LONG, longest: LONG, dice: 0.5 };

/// A workspace whose token expires; the exchange is due at once.
async fn rotating(store: &TestStore) -> InstallationId {
    let now = store.now().await.unwrap();
    let new = NewInstallation {
        refresh_token: Some(Secret::new("xoxe-1-one")),
        token_expires_at: Some(now),
        ..installation("T1", "xoxe.xoxb-one")
    };
    connect_tenant(store, &TenantId::parse("acme").unwrap(), &new).await
}

async fn leased(store: &Store, id: InstallationId) -> TokenLease {
    store.tokens().acquire(id, LONG).await.unwrap().unwrap()
}

/// Stores a pair with this name; returns whether it was stored.
async fn renew(store: &Store, lease: &TokenLease, name: &str) -> bool {
    let (token, refresh) = (Secret::new(format!("xoxb-{name}")), format!("xoxe-1-{name}"));
    let id = lease.installation;
    let pair = store.tokens().seal(id, &token, Some(&Secret::new(refresh))).await.unwrap();
    store.tokens().renew(lease, &pair, Some(LONG), Some(Duration::ZERO)).await.unwrap()
}

async fn token(store: &Store, id: InstallationId) -> (String, TokenState) {
    let token = store.tenancy().token(id).await.unwrap();
    (token.secret.expose().to_owned(), token.state)
}

/// As if the lease had run out.
async fn lapse(store: &TestStore) {
    use sea_orm::ConnectionTrait as _;
    let text = "UPDATE installations SET refresh_lease_until = 1";
    store.raw().await.execute_unprepared(text).await.unwrap();
}

#[tokio::test]
async fn one_replica_exchanges_a_token_at_a_time() {
    for store in test_stores().await {
        let id = rotating(&store).await;
        assert_eq!(token(&store, id).await.1, TokenState::Expired);
        let schedule = store.tokens().schedule(10, LONG).await.unwrap();
        assert_eq!(schedule.due, [id]);
        let lease = leased(&store, id).await;
        assert!(lease.has_expired());
        assert_eq!(lease.refresh_token.as_ref().unwrap().expose(), "xoxe-1-one");
        assert!(store.tokens().acquire(id, LONG).await.unwrap().is_none());
        assert_eq!(store.tokens().exchange(id).await.unwrap(), TokenExchange::Held);
        let schedule = store.tokens().schedule(10, LONG).await.unwrap();
        assert!(schedule.due.is_empty() && schedule.next.is_some(), "{schedule:?}");
        assert!(renew(&store, &lease, "two").await);
        assert_eq!(token(&store, id).await, ("xoxb-two".to_owned(), TokenState::Valid));
        let next = leased(&store, id).await;
        assert_eq!(next.refresh_token.unwrap().expose(), "xoxe-1-two");
        assert!(next.left.is_some_and(|left| !left.is_zero()));
    }
}

/// The pair of a holder whose lease ran out is all that there is, until another one has its own.
#[tokio::test]
async fn a_late_pair_is_kept_only_if_there_is_no_newer_one() {
    for store in test_stores().await {
        let id = rotating(&store).await;
        let late = leased(&store, id).await;
        lapse(&store).await;
        // Slack may have ended the token: a report of that stops no workspace.
        assert_eq!(store.tokens().exchange(id).await.unwrap(), TokenExchange::Lapsed);
        let present = leased(&store, id).await;
        assert!(renew(&store, &late, "late").await);
        let exchange = store.tokens().exchange(id).await.unwrap();
        assert_eq!(exchange, TokenExchange::Held, "the present holder keeps its lease");
        assert!(renew(&store, &present, "present").await);
        assert!(!renew(&store, &late, "late").await);
        assert_eq!(token(&store, id).await.0, "xoxb-present");
        // A connect outranks both.
        let before = leased(&store, id).await;
        assert_eq!(rotating(&store).await, id);
        assert!(!renew(&store, &before, "before").await);
        assert_eq!(token(&store, id).await.0, "xoxe.xoxb-one");
    }
}

#[tokio::test]
async fn a_report_is_about_the_token_that_it_was_made_for() {
    for store in test_stores().await {
        let id = rotating(&store).await;
        let before = store.tenancy().token(id).await.unwrap().version;
        let lease = leased(&store, id).await;
        assert_eq!(lease.version(), before);
        assert!(renew(&store, &lease, "two").await);
        let tenancy = store.tenancy();
        assert!(!tenancy.mark_installation_dead(id, before, "token_revoked").await.unwrap());
        let expired = store.tokens().expire(id, before).await.unwrap();
        assert_eq!(expired, Expiry::Replaced);
        let now = store.tenancy().token(id).await.unwrap().version;
        assert_eq!(store.tokens().expire(id, now).await.unwrap(), Expiry::Noted);
        assert_eq!(token(&store, id).await.1, TokenState::Expired);
        assert!(tenancy.mark_installation_dead(id, now, "token_revoked").await.unwrap());
        assert_eq!(token(&store, id).await.1, TokenState::Dead("token_revoked".into()));
        assert!(store.tokens().schedule(10, LONG).await.unwrap().due.is_empty());
        assert!(store.tokens().acquire(id, LONG).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_failure_keeps_others_away_until_the_next_attempt() {
    for store in test_stores().await {
        let id = rotating(&store).await;
        let lease = leased(&store, id).await;
        store.tokens().fail(&lease, Some(LONG), Some("bad_client_secret")).await.unwrap();
        assert!(store.tokens().acquire(id, LONG).await.unwrap().is_none());
        let shown = store.tenancy().installation(id).await.unwrap().unwrap();
        assert_eq!(shown.refresh_error.as_deref(), Some("bad_client_secret"));
        // Slack's report makes it due, but not while a request may still be carried out.
        let version = lease.version();
        assert_eq!(store.tokens().expire(id, version).await.unwrap(), Expiry::Noted);
        assert!(store.tokens().acquire(id, LONG).await.unwrap().is_none());
        lapse(&store).await;
        assert_eq!(leased(&store, id).await.failures, 1);
    }
}

#[tokio::test]
async fn a_token_that_does_not_expire_is_not_exchanged_without_a_cause() {
    for store in test_stores().await {
        let one = rotating(&store).await;
        let other = NewInstallation { app_id: "A2".into(), ..installation("T2", "xoxb-other") };
        let other = connect_tenant(&store, &TenantId::parse("umbrella").unwrap(), &other).await;
        let version = store.tenancy().token(other).await.unwrap().version;
        assert_eq!(store.tokens().expire(other, version).await.unwrap(), Expiry::Final);
        assert_eq!(store.tokens().find_unrotated(10, LONG).await.unwrap(), 0);
        // The same app.
        let same = connect_tenant(
            &store,
            &TenantId::parse("initech").unwrap(),
            &installation("T3", "xoxb-same"),
        )
        .await;
        assert_eq!(store.tokens().find_unrotated(10, LONG).await.unwrap(), 1);
        assert_eq!(store.tokens().schedule(10, LONG).await.unwrap().due, [one, same]);
        let lease = leased(&store, same).await;
        assert!(lease.refresh_token.is_none() && lease.token.expose() == "xoxb-same");
        store.tokens().fail(&lease, None, None).await.unwrap();
        assert_eq!(store.tokens().find_unrotated(10, LONG).await.unwrap(), 0, "it was just tried");
    }
}

fn team(id: &str) -> OrgTeam {
    OrgTeam { id: id.into(), name: format!("Team {id}") }
}

/// An installation for a whole organization.
fn org_wide() -> NewInstallation {
    NewInstallation {
        enterprise_id: Some("E1".into()),
        team_id: None,
        org_wide: true,
        ..installation("", "xoxb-org")
    }
}

fn end_of(tenant: &TenantId) -> UseEnd<'_> {
    UseEnd::Link { tenant, departure: Departure::Ends }
}

async fn link(store: &Store, tenant: &TenantId) -> SeenLink {
    store.leaving().seen(end_of(tenant)).await.unwrap().unwrap()
}

/// Two workspaces with a tenant each. Red if `columns_of` in `store/leaving/link.rs` looks for
/// other tenants of the workspace only.
#[tokio::test]
async fn the_token_of_an_organization_is_in_use_until_its_last_workspace_is_left() {
    for store in test_stores().await {
        let org = store.tokens().save_org(&org_wide()).await.unwrap();
        store.tokens().save_teams(org, &[team("T1"), team("T2")]).await.unwrap();
        let tenants = ["acme", "umbrella"].map(|name| TenantId::parse(name).unwrap());
        for (tenant, team) in tenants.iter().zip(["T1", "T2"]) {
            store.tenancy().ensure_tenant(tenant).await.unwrap();
            let id = store.tokens().team_of_org(org, team).await.unwrap().unwrap();
            let linked = store.tokens().link(tenant, "none", id, &[]).await.unwrap();
            assert_eq!(linked, ConnectCompletion::Connected(id));
        }
        let first = link(&store, &tenants[0]).await;
        assert!(!first.is_last, "{first:?}");
        let left = store.leaving().end(end_of(&tenants[0]), &first).await.unwrap();
        assert_eq!(left, Left::Ended { unused: true });
        let last = link(&store, &tenants[1]).await;
        assert!(last.is_last, "{last:?}");
        assert_eq!(token(&store, last.installation).await.1, TokenState::Valid);
        let left = store.leaving().end(end_of(&tenants[1]), &last).await.unwrap();
        assert_eq!(left, Left::Ended { unused: true });
        let ended = store.tenancy().installation(org).await.unwrap().unwrap();
        assert_eq!(ended.state, InstallationState::Dead);
    }
}

#[tokio::test]
async fn the_workspaces_of_an_organization_share_its_token_and_its_death() {
    for store in test_stores().await {
        let new = org_wide();
        let org = store.tokens().save_org(&new).await.unwrap();
        let teams = [team("T1"), team("T2")];
        assert_eq!(store.tokens().save_teams(org, &teams).await.unwrap().len(), 2);
        assert!(store.tokens().save_teams(org, &teams).await.unwrap().is_empty());
        let one = store.tokens().team_of_org(org, "T1").await.unwrap().unwrap();
        let two = store.tokens().team_of_org(org, "T2").await.unwrap().unwrap();
        assert_eq!(token(&store, one).await, ("xoxb-org".to_owned(), TokenState::Valid));
        assert_eq!(store.tenancy().token(one).await.unwrap().holder, org);
        let shown = store.tenancy().installation(one).await.unwrap().unwrap();
        assert_eq!((shown.org, shown.team_name.as_str()), (Some(org), "Team T1"));

        // One workspace loses the app, and gets it again.
        store.tokens().save_teams(org, &teams[1..]).await.unwrap();
        let gone = TokenState::Dead("team_access_not_granted".into());
        assert_eq!(token(&store, one).await.1, gone);
        assert_eq!(token(&store, two).await.1, TokenState::Valid);
        assert_eq!(store.tokens().save_teams(org, &teams).await.unwrap(), [one]);
        let version = store.tenancy().token(one).await.unwrap().version;
        let tenancy = store.tenancy();
        assert!(
            tenancy.mark_installation_dead(one, version, "team_access_not_granted").await.unwrap()
        );
        assert_eq!(token(&store, two).await.1, TokenState::Valid);

        // The death of the token is that of all.
        assert!(tenancy.mark_installation_dead(two, version, "account_inactive").await.unwrap());
        for id in [org, two] {
            let read = store.tenancy().installation(id).await.unwrap().unwrap();
            assert_eq!(read.state, InstallationState::Dead);
        }
        assert_eq!(store.tokens().save_org(&new).await.unwrap(), org);
        assert_eq!(store.tokens().save_teams(org, &teams).await.unwrap().len(), 2);
        assert_eq!(token(&store, two).await.1, TokenState::Valid);
    }
}

#[tokio::test]
async fn a_workspace_that_moves_sends_again_when_its_members_are_exchanged() {
    for store in test_stores().await {
        let tenant = TenantId::parse("acme").unwrap();
        let id = connect_tenant(&store, &tenant, &installation("T1", "xoxb-one")).await;
        let tokens = store.tokens();
        assert!(tokens.begin_migration(id, Duration::ZERO).await.unwrap());
        assert!(!tokens.begin_migration(id, Duration::ZERO).await.unwrap());
        assert_eq!(token(&store, id).await.1, TokenState::Migrating);
        let work = tokens.claim_migration(PACE).await.unwrap().unwrap();
        assert_eq!((work.installation, work.step), (id, MigrationStep::Look));
        assert!(tokens.claim_migration(PACE).await.unwrap().is_none());
        assert!(!tokens.note_moved(id, Some("E1")).await.unwrap());
        let work = tokens.claim_migration(PACE).await.unwrap().unwrap();
        assert_eq!(work.step, MigrationStep::Exchange { after: String::new() });
        assert_eq!(token(&store, id).await.1, TokenState::Migrating);
        tokens.save_exchanged(id, &[], None).await.unwrap();
        assert_eq!(token(&store, id).await.1, TokenState::Valid);
        let read = store.tenancy().installation(id).await.unwrap().unwrap();
        assert_eq!((read.enterprise_id.as_deref(), read.migrating_since), (Some("E1"), None));
        // Another report changes nothing, and a move that came to nothing ends at once.
        assert!(!tokens.note_moved(id, Some("E1")).await.unwrap());
        assert!(tokens.begin_migration(id, Duration::ZERO).await.unwrap());
        assert!(tokens.note_moved(id, Some("E1")).await.unwrap());
        assert_eq!(token(&store, id).await.1, TokenState::Valid);
    }
}
