//! People whose identity or id changes: pins in bulk, links by which they prove who they are, new
//! ids and merged ones.

use herald::rpc::pb::{self, DeliveryState as State, IdentityRule};
use herald::sandbox::browser::{Browser, Decision, Page};
use serde_json::json;
use tonic::Code;
use url::Url;

use crate::events::caller;
use crate::support::client::{bad_fields, demo_person, person, reason, task};
use crate::support::world::{TENANT, World, for_each_database};

pub(super) const BEN: &str = "U0DEMOBEN";
const ADA: &str = "U0DEMOADA";

fn pin(user: &str, member: &str) -> pb::IdentityPin {
    pb::IdentityPin { user_id: user.into(), slack_user_id: member.into() }
}

fn pins(pins: Vec<pb::IdentityPin>) -> pb::PinIdentitiesRequest {
    pb::PinIdentitiesRequest { tenant_id: TENANT.into(), pins, actor: None }
}

/// The member that a person is pinned to, if any.
async fn pinned(world: &World, user: &str) -> Option<String> {
    let known = world.client.person(TENANT, user).await.unwrap();
    let identity = known.identity.filter(|identity| identity.rule() == IdentityRule::Pinned);
    identity.and_then(|identity| identity.member).map(|member| member.slack_user_id)
}

fn rename(from: &str, to: &str) -> pb::RenamePersonRequest {
    pb::RenamePersonRequest {
        tenant_id: TENANT.into(),
        user_id: from.into(),
        new_user_id: to.into(),
        actor: None,
    }
}

fn merge(from: &str, into: &str) -> pb::MergePeopleRequest {
    pb::MergePeopleRequest {
        tenant_id: TENANT.into(),
        user_id: from.into(),
        into_user_id: into.into(),
        actor: None,
    }
}

/// A message that waits for an hour.
async fn waiting(world: &World, text: &str, users: &[&str]) -> String {
    let soon = world.now().await.0 / 1_000_000 + 3600;
    let soon = prost_types::Timestamp { seconds: soon, nanos: 0 };
    let later = pb::NotifyRequest { deliver_after: Some(soon), ..task(text, users) };
    let answer = world.client.notify(later).await.unwrap();
    for verdict in &answer.verdicts {
        world.may_stay(&verdict.delivery_id);
    }
    answer.notification_id
}

async fn silence(world: &World, user: &str) {
    let request = pb::SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: user.into(),
        event_type: "task.due".into(),
        value: pb::PreferenceValue::Off.into(),
        actor: None,
    };
    world.client.set_preference(request).await.unwrap();
}

/// Whether the person wants `task.due`.
async fn wants(world: &World, user: &str) -> bool {
    let known = world.client.person(TENANT, user).await.unwrap();
    let off = i32::from(pb::PreferenceValue::Off);
    known.preferences_by_event_type.get("task.due") != Some(&off)
}

/// The people of a notification's deliveries, with their states.
async fn people_of(world: &World, id: &str) -> Vec<(String, State)> {
    let notification = world.client.notification(TENANT, id).await.unwrap();
    let of = notification.deliveries.iter();
    of.map(|delivery| (delivery.user_id.clone(), delivery.state())).collect()
}

#[tokio::test]
async fn many_are_pinned_and_those_who_cannot_be_are_named() {
    for_each_database(async |world| {
        let request = pins(vec![pin("ben", BEN), pin("nobody", "U0NOSUCHONE"), pin("ada", ADA)]);
        let answer = world.client.pin_identities(request).await.unwrap();
        assert_eq!(answer.pinned, 2);
        let refused: Vec<_> =
            answer.refused.iter().map(|one| (one.index, one.user_id.as_str())).collect();
        assert_eq!(refused, [(1, "nobody")]);
        assert!(answer.refused[0].sentence.contains("member list"), "{answer:?}");
        assert_eq!(pinned(world, "ben").await.as_deref(), Some(BEN));
        assert_eq!(pinned(world, "ada").await.as_deref(), Some(ADA));
        assert_eq!(world.client.person(TENANT, "nobody").await.unwrap_err().code(), Code::NotFound);
        for (bad, field) in [
            (vec![pin("", BEN)], "pins[0].user_id"),
            (vec![pin("ben", "not an id")], "pins[0].slack_user_id"),
            (vec![pin("ben", BEN), pin("ben", ADA)], "pins[1].user_id"),
            (Vec::new(), "pins"),
        ] {
            let status = world.client.pin_identities(pins(bad)).await.unwrap_err();
            assert_eq!(bad_fields(&status), [field]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_pins_people_by_the_command_line() {
    for_each_database(async |world| {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("people.csv");
        std::fs::write(&file, "user_id,slack_user_id\nben,U0DEMOBEN\nnobody,U0NOSUCHONE\n")
            .unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_herald"));
        command.args(["people", "pin"]).arg(&file);
        command.args(["--tenant", TENANT, "--address"]);
        command.arg(format!("http://{}", world.replicas[0].rpc)).env_remove("HERALD_KEY");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("line 3: nobody") && text.contains("1 pinned, 1 not pinned"),
            "{text}"
        );
        assert_eq!(pinned(world, "ben").await.as_deref(), Some(BEN));
    })
    .await;
}

#[tokio::test]
async fn a_new_id_keeps_identity_preference_and_what_is_queued() {
    for_each_database(async |world| {
        world.client.upsert(TENANT, vec![person("old", "ben@demo.example")]).await;
        world.client.pin_identities(pins(vec![pin("old", ADA)])).await.unwrap();
        silence(world, "old").await;
        let past = world.client.notify(task("past", &["old"])).await.unwrap().notification_id;
        world.client.ended(TENANT, &past).await;
        let queued = waiting(world, "queued", &["old"]).await;

        let renamed = world.client.rename_person(rename("old", "new")).await.unwrap();
        assert_eq!(renamed.waiting_messages, 1);
        assert_eq!(pinned(world, "new").await.as_deref(), Some(ADA));
        let known = world.client.person(TENANT, "new").await.unwrap();
        assert_eq!(known.person.unwrap().email, "ben@demo.example");
        assert!(!wants(world, "new").await);
        let gone = world.client.person(TENANT, "old").await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        assert_eq!(people_of(world, &past).await, [("new".to_owned(), State::Sent)]);
        assert_eq!(people_of(world, &queued).await, [("new".to_owned(), State::Pending)]);
        // The repeated call has its answer, with the new id.
        let again = world.client.notify(task("past", &["old"])).await.unwrap();
        assert_eq!(again.notification_id, past);
        // Its content can still be read.
        let due = "UPDATE deliveries SET due_at = 1 WHERE state = 'pending'";
        world.execute(due).await.unwrap();
        world.execute("UPDATE lanes SET next_at = 1 WHERE next_at IS NOT NULL").await.unwrap();
        let ended = world.client.ended(TENANT, &queued).await;
        assert_eq!(ended[0].state(), State::Sent, "{ended:?}");
        assert!(world.sandbox.messages().iter().any(|one| format!("{one:?}").contains("queued")));
        // Everything about the person goes with the new id.
        let delete = pb::DeletePersonRequest {
            tenant_id: TENANT.into(),
            user_id: "new".into(),
            actor: None,
        };
        world.client.delete_person(delete).await.unwrap();
        for (table, column) in [
            ("people", "user_id"),
            ("preferences", "user_id"),
            ("deliveries", "user_id"),
            ("deliveries_history", "user_id"),
            ("delivery_changes", "user_id"),
        ] {
            let left = format!("SELECT COUNT(*) FROM {table} WHERE {column} IN ('old', 'new')");
            assert_eq!(world.count(&left).await, 0, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_taken_or_unknown_is_refused() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        let taken = world.client.rename_person(rename("ben", "ada")).await.unwrap_err();
        assert_eq!(
            (taken.code(), reason(&taken).as_str()),
            (Code::FailedPrecondition, "PERSON_EXISTS")
        );
        let unknown = world.client.rename_person(rename("nobody", "someone")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let same = world.client.rename_person(rename("ben", "ben")).await.unwrap_err();
        assert_eq!(bad_fields(&same), ["new_user_id"]);
        let same = world.client.merge_people(merge("ben", "ben")).await.unwrap_err();
        assert_eq!(bad_fields(&same), ["into_user_id"]);
    })
    .await;
}

#[tokio::test]
async fn two_ids_become_one_person() {
    for_each_database(async |world| {
        world.client.upsert(TENANT, vec![demo_person("ben"), demo_person("ada")]).await;
        world.client.pin_identities(pins(vec![pin("ben", BEN)])).await.unwrap();
        silence(world, "ben").await;
        let past = world.client.notify(task("past", &["ben", "ada"])).await.unwrap();
        world.client.ended(TENANT, &past.notification_id).await;
        let queued = waiting(world, "queued", &["ben"]).await;

        let merged = world.client.merge_people(merge("ben", "ada")).await.unwrap();
        assert_eq!(merged.waiting_messages, 1);
        // Ada's values stay; those that she lacked are ben's.
        let known = world.client.person(TENANT, "ada").await.unwrap();
        assert_eq!(known.person.unwrap().email, "ada@demo.example");
        assert!(!wants(world, "ada").await);
        assert_eq!(world.client.person(TENANT, "ben").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(people_of(world, &queued).await, [("ada".to_owned(), State::Pending)]);
        let named = people_of(world, &past.notification_id).await;
        assert!(named.iter().all(|(user, _)| user == "ada"), "{named:?}");
        let left = "SELECT COUNT(*) FROM deliveries WHERE user_id = 'ben'";
        assert_eq!(world.count(left).await, 0);
        // Again, and with an id that is not known: nothing is left to do.
        for from in ["ben", "never-seen"] {
            let again = world.client.merge_people(merge(from, "ada")).await.unwrap();
            assert_eq!(again.waiting_messages, 0);
        }
    })
    .await;
}

/// A pin makes no record.
#[tokio::test]
async fn a_person_without_a_record_takes_the_one_of_the_other() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.client.pin_identities(pins(vec![pin("b-1", ADA)])).await.unwrap();
        world.client.merge_people(merge("ben", "b-1")).await.unwrap();
        let known = world.client.person(TENANT, "b-1").await.unwrap();
        assert_eq!(known.person.unwrap().email, "ben@demo.example");
        assert_eq!(pinned(world, "b-1").await.as_deref(), Some(ADA), "its own identity stays");
    })
    .await;
}

pub(super) async fn link(world: &World, user: &str) -> Url {
    let request = pb::CreateIdentityLinkRequest {
        tenant_id: TENANT.into(),
        user_id: user.into(),
        valid_for: None,
        actor: None,
    };
    let answer = world.client.create_identity_link(request).await.unwrap();
    Url::parse(&answer.url).unwrap()
}

/// The address of Slack's page in a page of Herald's.
fn way(page: &Page) -> Url {
    let links = page.html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let plain = |link: &str| link.replace("&#x2f;", "/").replace("&amp;", "&");
    links
        .filter_map(|link| Url::parse(&plain(link)).ok())
        .find(|url| url.path().ends_with("/openid/connect/authorize"))
        .unwrap_or_else(|| panic!("no way to Slack: {}", page.html))
}

/// Signs in as a member, in a browser that opened the link.
pub(super) async fn sign_in(browser: &mut Browser, link: &Url, member: &str) -> Page {
    let start = browser.open(link).await.unwrap();
    assert_eq!(start.status, 200, "{}", start.html);
    let mut slack = way(&start);
    let asked = slack.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
    assert_eq!(asked, "openid profile", "nothing else");
    slack.query_pairs_mut().append_pair("user", member);
    let back = browser.consent(&slack, Decision::Allow).await.unwrap().back().unwrap();
    browser.open(&back).await.unwrap()
}

#[tokio::test]
async fn a_person_proves_which_member_they_are() {
    for_each_database(async |world| {
        // No expression finds this person.
        world.client.upsert(TENANT, vec![person("sam", "sam@elsewhere.example")]).await;
        let link = link(world, "sam").await;
        let mut browser = Browser::new().unwrap();
        let page = sign_in(&mut browser, &link, BEN).await;
        assert_eq!(page.status, 200, "{}", page.html);
        assert!(page.html.contains("This is your Slack account"), "{}", page.html);
        assert_eq!(pinned(world, "sam").await.as_deref(), Some(BEN));
        let id = world.client.notify(task("hello", &["sam"])).await.unwrap().notification_id;
        let ended = world.client.ended(TENANT, &id).await;
        assert_eq!(ended[0].state(), State::Sent, "{ended:?}");
        // It works once.
        let used = browser.open(&link).await.unwrap();
        assert_eq!(used.status, 410, "{}", used.html);
    })
    .await;
}

#[tokio::test]
async fn an_answer_counts_only_in_the_browser_that_opened_the_link() {
    for_each_database(async |world| {
        let link = link(world, "sam").await;
        let (mut own, mut other) = (Browser::new().unwrap(), Browser::new().unwrap());
        let slack = way(&own.open(&link).await.unwrap());
        let back = own.consent(&slack, Decision::Allow).await.unwrap().back().unwrap();
        let refused = other.open(&back).await.unwrap();
        assert_eq!(refused.status, 403, "{}", refused.html);
        assert_eq!(world.client.person(TENANT, "sam").await.unwrap_err().code(), Code::NotFound);
        // The link still works in its own browser.
        let done = own.open(&back).await.unwrap();
        assert_eq!(done.status, 200, "{}", done.html);
        assert!(pinned(world, "sam").await.is_some());
        let again = own.open(&back).await.unwrap();
        assert_eq!(again.status, 410, "{}", again.html);
    })
    .await;
}

#[tokio::test]
async fn an_account_of_another_workspace_proves_nothing() {
    for_each_database(async |world| {
        let teams = world.sandbox.url().join("_sandbox/teams").unwrap();
        let more = caller().post(teams).json(&json!({ "count": 2 })).send().await.unwrap();
        assert!(more.status().is_success(), "{more:?}");
        let other = world.sandbox.teams().remove(1).id;
        let link = link(world, "sam").await;
        let mut browser = Browser::new().unwrap();
        let slack = way(&browser.open(&link).await.unwrap());
        let answer = browser.consent_in(&slack, Decision::Allow, Some(&other)).await.unwrap();
        let page = browser.open(&answer.back().unwrap()).await.unwrap();
        assert_eq!(page.status, 409, "{}", page.html);
        assert!(page.html.contains("This is another workspace"), "{}", page.html);
        assert_eq!(world.client.person(TENANT, "sam").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(browser.open(&link).await.unwrap().status, 410, "it is used up");
    })
    .await;
}

#[tokio::test]
async fn an_answer_at_the_address_of_another_app_proves_nothing() {
    for_each_database(async |world| {
        let link = link(world, "sam").await;
        let mut browser = Browser::new().unwrap();
        let slack = way(&browser.open(&link).await.unwrap());
        let back = browser.consent(&slack, Decision::Allow).await.unwrap().back().unwrap();
        let apart = format!("/slack/apps/{}/oauth/", "A".repeat(22));
        let apart = Url::parse(&back.as_str().replace("/slack/oauth/", &apart)).unwrap();
        assert_ne!(apart, back);
        let page = browser.open(&apart).await.unwrap();
        assert_eq!(page.status, 400, "{}", page.html);
        assert_eq!(world.client.person(TENANT, "sam").await.unwrap_err().code(), Code::NotFound);
        // It did not use the link up, but removed its cookie.
        browser.open(&link).await.unwrap();
        let done = browser.open(&back).await.unwrap();
        assert_eq!(done.status, 200, "{}", done.html);
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_canceled_expired_or_unknown_changes_nothing() {
    for_each_database(async |world| {
        let canceled = link(world, "sam").await;
        let mut browser = Browser::new().unwrap();
        let slack = way(&browser.open(&canceled).await.unwrap());
        let back = browser.consent(&slack, Decision::Cancel).await.unwrap().back().unwrap();
        let page = browser.open(&back).await.unwrap();
        assert!(page.html.contains("Nothing was changed"), "{}", page.html);
        let expired = link(world, "sam").await;
        world.execute("UPDATE identity_links SET expires_at = 1").await.unwrap();
        assert_eq!(browser.open(&expired).await.unwrap().status, 410);
        let mut unknown = expired.clone();
        unknown.set_query(Some("state=made-up"));
        assert_eq!(browser.open(&unknown).await.unwrap().status, 400);
        assert_eq!(world.client.person(TENANT, "sam").await.unwrap_err().code(), Code::NotFound);
        let bad = pb::CreateIdentityLinkRequest {
            tenant_id: TENANT.into(),
            user_id: "sam".into(),
            valid_for: Some(prost_types::Duration { seconds: 8 * 24 * 3600, nanos: 0 }),
            actor: None,
        };
        let bad = world.client.create_identity_link(bad).await.unwrap_err();
        assert_eq!(bad_fields(&bad), ["valid_for"]);
    })
    .await;
}
