//! Callers that try to get more than they were given: keys that can be guessed, keys without
//! tenants, actors who call themselves administrators, and data of other people.

use std::os::unix::fs::PermissionsExt as _;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use super::canaries::with;
use super::{Site, callers};
use crate::support::client::{demo_person, person, reason, task};
use crate::support::process::{Herald, issue_key, refused};
use crate::support::store::KEY;

/// The key that the command prints, and the entry for the settings.
fn issued(arguments: &[&str]) -> (String, String) {
    let (good, said) = issue_key(arguments);
    assert!(good, "{said}");
    let key = said.lines().find(|line| line.trim().starts_with("herald_")).unwrap();
    let entry = said.find("[[rpc.callers]]").unwrap();
    (key.trim().to_owned(), said[entry..].to_owned())
}

/// A process with these entries of callers.
async fn serving(entries: &str) -> (Herald, TempDir) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("herald.toml");
    let text = format!(
        "[rpc]\naddress = \"127.0.0.1:0\"\nhealth_address = \"127.0.0.1:0\"\n{entries}\n\
         [http]\naddress = \"127.0.0.1:0\"\n\
         [slack]\nbase_url = \"http://127.0.0.1:9/\"\n\
         [store]\ndata_dir = \"{}\"\n\
         [log]\nformat = \"json\"\n\
         [process]\nlame_duck_seconds = 0\n",
        dir.path().join("data").display()
    );
    std::fs::write(&file, text).unwrap();
    (Herald::serve_file(&file).await, dir)
}

fn actor(user: &str, permissions: &[pb::Permission]) -> pb::Actor {
    let permissions = permissions.iter().map(|one| (*one).into()).collect();
    pb::Actor { user_id: user.into(), permissions }
}

fn get(id: &str, actor: Option<pb::Actor>) -> pb::GetNotificationRequest {
    let (tenant_id, notification_id) = ("acme".into(), id.into());
    pb::GetNotificationRequest { tenant_id, notification_id, actor }
}

/// Everything that the caller sees of a refusal.
fn seen(status: &Status) -> (Code, String, String) {
    (status.code(), reason(status), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_rights_that_were_asked_for_and_no_others() {
    let (good, said) = issue_key(&["platform"]);
    assert!(!good && said.contains("--tenant <ID>"), "{said}");
    let (plain, plain_entry) = issued(&["plain", "--tenant", "acme"]);
    let (acting, acting_entry) = issued(&["acting", "--tenant", "acme", "--act-for-users"]);
    let (mut herald, _dir) = serving(&format!("{plain_entry}\n{acting_entry}")).await;
    let mut admin = AdminServiceClient::new(herald.channel());
    let upsert = |tenant: &str, actor: Option<pb::Actor>| pb::UpsertPeopleRequest {
        tenant_id: tenant.into(),
        people: vec![demo_person("ben")],
        actor,
    };
    admin.upsert_people(with(&plain, upsert("acme", None))).await.unwrap();
    let elsewhere = admin.upsert_people(with(&plain, upsert("globex", None))).await.unwrap_err();
    assert_eq!(reason(&elsewhere), "TENANT_NOT_ALLOWED");
    let administers = [pb::Permission::Administer];
    for (key, wanted) in [(&plain, "ACTOR_NOT_ALLOWED"), (&acting, "ACTOR_PERMISSION_NOT_ALLOWED")]
    {
        let request = upsert("acme", Some(actor("mallory", &administers)));
        let told = admin.upsert_people(with(key, request)).await.unwrap_err();
        assert_eq!((told.code(), reason(&told).as_str()), (Code::PermissionDenied, wanted));
    }
    herald.signal("TERM");
    assert!(herald.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_neither_reads_nor_overwrites_what_is_another_person_s() {
    let (key, entry) = issued(&["acting", "--tenant", "acme", "--act-for-users"]);
    let (mut herald, _dir) = serving(&entry).await;
    let mut admin = AdminServiceClient::new(herald.channel());
    let people = vec![demo_person("ben"), demo_person("mallory")];
    let people = pb::UpsertPeopleRequest { tenant_id: "acme".into(), people, actor: None };
    admin.upsert_people(with(&key, people)).await.unwrap();
    let mut service = HeraldServiceClient::new(herald.channel());
    let notified = service.notify(with(&key, task("for ben", &["ben"]))).await.unwrap();
    let id = notified.into_inner().notification_id;
    service.get_notification(with(&key, get(&id, Some(actor("ben", &[]))))).await.unwrap();

    let edits = [pb::Permission::EditOwnProfile];
    let nothing = uuid::Uuid::now_v7().to_string();
    for permissions in [&edits[..0], &edits[..]] {
        let mallory = || Some(actor("mallory", permissions));
        let forbidden = service.get_notification(with(&key, get(&id, mallory()))).await;
        let absent = service.get_notification(with(&key, get(&nothing, mallory()))).await;
        let forbidden = forbidden.unwrap_err();
        assert_eq!(forbidden.code(), Code::NotFound);
        assert_eq!(seen(&forbidden), seen(&absent.unwrap_err()));
        let watch = |id: &str| pb::WatchNotificationRequest {
            tenant_id: "acme".into(),
            notification_id: id.into(),
            actor: mallory(),
        };
        let forbidden = service.watch_notification(with(&key, watch(&id))).await.unwrap_err();
        let absent = service.watch_notification(with(&key, watch(&nothing))).await.unwrap_err();
        assert_eq!((forbidden.code(), seen(&forbidden)), (Code::NotFound, seen(&absent)));
        // Ben's record, with an address of the attacker's.
        let overwrites = pb::TestSlackRequest {
            tenant_id: "acme".into(),
            subject: Some(pb::test_slack_request::Subject::Person(person(
                "ben",
                "mallory@demo.example",
            ))),
            actor: mallory(),
        };
        let told = service.test_slack(with(&key, overwrites)).await.unwrap_err();
        assert_eq!(reason(&told), "NOT_OWN_PROFILE");
    }
    let ben = pb::GetPersonRequest { tenant_id: "acme".into(), user_id: "ben".into(), actor: None };
    let ben = admin.get_person(with(&key, ben)).await.unwrap().into_inner();
    assert_eq!(ben.person.unwrap().email, "ben@demo.example");
    herald.signal("TERM");
    assert!(herald.ended().await.success());
}

fn entry(principal: &str, key: &str) -> String {
    let hash = Sha256::digest(key);
    let hash = hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    format!(
        "{{principal = \"{principal}\", key_sha256 = \"{hash}\", role = \"service\", \
         tenants = [\"acme\"]}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_anyone_can_guess_read_or_share_end_the_start() {
    let dir = TempDir::new().unwrap();
    let with = |more: &[String]| {
        let mut settings: Vec<String> = ["rpc.address", "rpc.health_address", "http.address"]
            .map(|name| format!("{name}=127.0.0.1:0"))
            .into();
        settings.push(format!("store.data_dir={}", dir.path().join("data").display()));
        settings.extend_from_slice(more);
        settings
    };
    let set = |entries: &[String]| with(&[format!("rpc.callers=[{}]", entries.join(", "))]);
    let file = dir.path().join("kek");
    std::fs::write(&file, KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let twice = [entry("one", "herald_5f0e"), entry("two", "herald_5f0e")];
    let cases = [
        (set(&[entry("one", "")]), "is the hash of nothing"),
        (set(&[entry("one", "changeme\n")]), "the hash of a common word"),
        (set(&[entry("acme-ci", "Acme-ci")]), "the hash of the principal's own name"),
        (set(&twice), "is the same as rpc.callers[0].key_sha256"),
        (
            with(&["rpc.insecure=true".into(), format!("store.key_file={}", file.display())]),
            "can be read or changed by others (mode 0644)",
        ),
    ];
    for (settings, sentence) in cases {
        let said = refused(&settings).await;
        assert!(said.contains(sentence), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_form_are_called_that() {
    let site = Site::start(&[callers(&[("neighbour", "service", "acme")])]).await;
    let mut service = HeraldServiceClient::new(site.herald.channel());
    for header in ["Basic bmVpZ2hib3VyOng=", "herald_5f0e", "Bearer", "Bearer "] {
        let mut request = Request::new(task("x", &["ben"]));
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        let told = service.notify(request).await.unwrap_err();
        let told = (told.code(), reason(&told));
        assert_eq!(told, (Code::Unauthenticated, "CREDENTIALS_MALFORMED".to_owned()), "{header}");
    }
    site.ends_well().await;
}
