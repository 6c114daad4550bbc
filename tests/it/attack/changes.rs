//! Every call that changes something is recorded in the transaction of its change: if the entry
//! cannot be written, nothing changes.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::domain::access::audit::is_change;
use herald::rpc::pb;
use tonic::{Code, Status};

use super::audit::verified;
use crate::support::client::{Client, demo_person, task};
use crate::support::world::{TENANT, World, for_each_database, until};

/// A call that changes something.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) action: &'static str,
    /// A number in the database that it changes.
    shows: &'static str,
}

const fn change(action: &'static str, shows: &'static str) -> Change {
    Change { action, shows }
}

const VERSION: &str = "SELECT version FROM tenants";
const EVENT_TYPES: &str = "SELECT COUNT(*) FROM event_types";
const TEMPLATES: &str = "SELECT COUNT(*) FROM template_versions";
const PEOPLE: &str = "SELECT COUNT(*) FROM people";
const CHANNELS: &str = "SELECT COUNT(*) FROM channels";
const MEMBERS: &str = "SELECT COUNT(*) FROM channel_members";
const IDENTITY: &str = "SELECT COUNT(identity_rule) FROM people WHERE user_id = 'ben'";

/// Changes that can be made one after the other, in this order.
pub(super) const CHANGES: [Change; 30] = [
    change("UpsertPeople", PEOPLE),
    change("StopSending", VERSION),
    change("AllowSending", VERSION),
    change("UpdateSettings", VERSION),
    change("SetPreference", "SELECT COUNT(*) FROM preferences"),
    change("PinIdentity", IDENTITY),
    change("ClearIdentity", IDENTITY),
    change("PinIdentities", IDENTITY),
    change("CreateIdentityLink", "SELECT COUNT(*) FROM identity_links"),
    change("RefreshDirectory", "SELECT next_refresh_at FROM directory"),
    change("ReplayDeliveries", "SELECT COUNT(*) FROM replays"),
    change("CancelNotification", "SELECT COUNT(*) FROM deliveries WHERE state <> 'canceled'"),
    change("CreateApiKey", "SELECT COUNT(*) FROM api_keys"),
    change("RevokeApiKey", "SELECT COUNT(revoked_at) FROM api_keys"),
    change("CreateEventType", EVENT_TYPES),
    change("UpdateEventType", VERSION),
    change("DeleteEventType", EVENT_TYPES),
    change("SetTemplate", TEMPLATES),
    change("ResetTemplate", TEMPLATES),
    change("RollbackTemplate", TEMPLATES),
    change("EnsureChannel", CHANNELS),
    change("SetChannelMembers", MEMBERS),
    change("AddChannelMembers", MEMBERS),
    change("RemoveChannelMembers", MEMBERS),
    change("RenameChannel", "SELECT wish_version FROM channels"),
    change("ArchiveChannel", "SELECT wants_archived FROM channels"),
    change("UnarchiveChannel", "SELECT wants_archived FROM channels"),
    change("ReleaseChannel", CHANNELS),
    change("SetSlackApp", "SELECT COUNT(*) FROM slack_apps"),
    change("DeleteSlackApp", "SELECT COUNT(*) FROM slack_apps"),
];
/// The changes that leave less behind, or more, than the others can use.
const OTHERS: [Change; 6] = [
    change("BeginConnect", "SELECT COUNT(*) FROM connect_attempts"),
    change("MergePeople", "SELECT COUNT(*) FROM people WHERE user_id = 'ben'"),
    change("RenamePerson", "SELECT COUNT(*) FROM people WHERE user_id = 'clara'"),
    change("DeletePerson", PEOPLE),
    change("Disconnect", "SELECT COUNT(*) FROM tenant_links"),
    change("DeleteTenant", "SELECT COUNT(*) FROM tenants WHERE deleting_at IS NULL"),
];

/// Makes one change, for the actor `root`.
#[expect(clippy::needless_update, reason = "one macro for requests of every shape")]
async fn make(client: &Client, action: &str, notification: &str) -> Result<(), Status> {
    let permissions = vec![pb::Permission::Administer.into()];
    let actor = Some(pb::Actor { user_id: "root".into(), permissions });
    let (tenant_id, user_id) = (TENANT.to_owned(), "ben".to_owned());
    macro_rules! call {
        ($method:ident, $request:ident { $($field:ident $(: $value:expr)?),* }) => {
            client.$method(pb::$request {
                tenant_id,
                actor,
                $($field $(: $value)?,)*
                ..Default::default()
            }).await.map(drop)
        };
    }
    match action {
        "UpsertPeople" => {
            call!(upsert_people, UpsertPeopleRequest { people: vec![demo_person("ben")] })
        }
        "StopSending" => call!(stop_sending, StopSendingRequest {}),
        "AllowSending" => call!(allow_sending, AllowSendingRequest {}),
        "UpdateSettings" => {
            let settings = Some(pb::Settings { opt_in: true, ..Default::default() });
            call!(update_settings, UpdateSettingsRequest { settings })
        }
        "SetPreference" => {
            let value = pb::PreferenceValue::Off.into();
            call!(set_preference, SetPreferenceRequest { user_id, value })
        }
        "PinIdentity" => {
            let slack_user_id = "U0DEMOBEN".to_owned();
            call!(pin_identity, PinIdentityRequest { user_id, slack_user_id })
        }
        "ClearIdentity" => call!(clear_identity, ClearIdentityRequest { user_id }),
        "PinIdentities" => {
            let slack_user_id = "U0DEMOBEN".to_owned();
            let pins = vec![pb::IdentityPin { user_id, slack_user_id }];
            call!(pin_identities, PinIdentitiesRequest { pins })
        }
        "CreateIdentityLink" => call!(create_identity_link, CreateIdentityLinkRequest { user_id }),
        "MergePeople" => {
            let into_user_id = "clara".to_owned();
            call!(merge_people, MergePeopleRequest { user_id, into_user_id })
        }
        "RenamePerson" => {
            let (user_id, new_user_id) = ("clara".to_owned(), "ben".to_owned());
            call!(rename_person, RenamePersonRequest { user_id, new_user_id })
        }
        "SetSlackApp" => {
            let (app_id, client_id) = ("A0OWN".to_owned(), "1.2".to_owned());
            let (client_secret, signing_secret) = ("one".to_owned(), "two".to_owned());
            call!(
                set_slack_app,
                SetSlackAppRequest { app_id, client_id, client_secret, signing_secret }
            )
        }
        "DeleteSlackApp" => call!(delete_slack_app, DeleteSlackAppRequest {}),
        "Disconnect" => call!(disconnect, DisconnectRequest {}),
        "DeleteTenant" => {
            client.delete_tenant(pb::DeleteTenantRequest { tenant_id }).await.map(drop)
        }
        "RefreshDirectory" => call!(refresh_directory, RefreshDirectoryRequest {}),
        "ReplayDeliveries" => {
            let request_id = uuid::Uuid::now_v7().to_string();
            let delivery_ids = vec![request_id.clone()];
            call!(replay_deliveries, ReplayDeliveriesRequest { request_id, delivery_ids })
        }
        "CancelNotification" => {
            let notification_id = notification.to_owned();
            call!(cancel_notification, CancelNotificationRequest { notification_id })
        }
        "CreateApiKey" => {
            let (principal, role) = (format!("{TENANT}:ci"), pb::ApiKeyRole::Service.into());
            call!(create_api_key, CreateApiKeyRequest { principal, role })
        }
        "RevokeApiKey" => {
            let key_id = key_of_tenant(client).await;
            call!(revoke_api_key, RevokeApiKeyRequest { key_id })
        }
        "CreateEventType" => {
            let (name, display_name) = ("training.moved".to_owned(), "Moved".to_owned());
            let event_type = Some(pb::EventType { name, display_name, ..Default::default() });
            call!(create_event_type, CreateEventTypeRequest { event_type })
        }
        "UpdateEventType" => {
            let (name, mandatory) = ("training.moved".to_owned(), true);
            let event_type = Some(pb::EventType { name, mandatory, ..Default::default() });
            call!(update_event_type, UpdateEventTypeRequest { event_type })
        }
        "DeleteEventType" => {
            let name = "training.moved".to_owned();
            call!(delete_event_type, DeleteEventTypeRequest { name })
        }
        "SetTemplate" => {
            let simple = pb::SimpleMessage { heading: "Due".into(), ..Default::default() };
            let (event_type, locale) = ("task.due".to_owned(), "en".to_owned());
            let form = Some(pb::template::Form::Simple(simple));
            let template = Some(pb::Template { event_type, locale, form, ..Default::default() });
            call!(set_template, SetTemplateRequest { template })
        }
        "ResetTemplate" => {
            let (event_type, locale) = ("task.due".to_owned(), "en".to_owned());
            call!(reset_template, ResetTemplateRequest { event_type, locale })
        }
        "RollbackTemplate" => {
            let (event_type, locale, version) = ("task.due".to_owned(), "en".to_owned(), 1);
            call!(rollback_template, RollbackTemplateRequest { event_type, locale, version })
        }
        "BeginConnect" => call!(begin_connect_as, BeginConnectRequest {}),
        "DeletePerson" => call!(delete_person, DeletePersonRequest { user_id }),
        other => make_of_channel(client, other, actor).await,
    }
}

/// The same for changes of a channel.
#[expect(clippy::needless_update, reason = "one macro for requests of every shape")]
async fn make_of_channel(
    client: &Client,
    action: &str,
    actor: Option<pb::Actor>,
) -> Result<(), Status> {
    let (tenant_id, channel_key) = (TENANT.to_owned(), "track:autumn".to_owned());
    macro_rules! call {
        ($method:ident, $request:ident { $($field:ident $(: $value:expr)?),* }) => {
            client.$method(pb::$request {
                tenant_id,
                channel_key,
                actor,
                $($field $(: $value)?,)*
                ..Default::default()
            }).await.map(drop)
        };
    }
    match action {
        "EnsureChannel" => {
            // In the distant future: nothing happens in Slack.
            let create_not_before =
                Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
            let name = "Autumn".to_owned();
            let wish = Some(pb::ChannelWish { name, create_not_before, ..Default::default() });
            call!(ensure_channel, EnsureChannelRequest { wish })
        }
        "SetChannelMembers" => {
            let members = members(&["ben"]);
            call!(set_channel_members, SetChannelMembersRequest { members })
        }
        "AddChannelMembers" => {
            let members = members(&["clara"]);
            call!(add_channel_members, AddChannelMembersRequest { members })
        }
        "RemoveChannelMembers" => {
            let user_ids = vec!["clara".to_owned()];
            call!(remove_channel_members, RemoveChannelMembersRequest { user_ids })
        }
        "RenameChannel" => {
            let name = "Winter".to_owned();
            call!(rename_channel, RenameChannelRequest { name })
        }
        "ArchiveChannel" => call!(archive_channel, ArchiveChannelRequest {}),
        "UnarchiveChannel" => call!(unarchive_channel, UnarchiveChannelRequest {}),
        "ReleaseChannel" => call!(release_channel, ReleaseChannelRequest {}),
        other => panic!("{other} is new: make it here"),
    }
}

fn members(users: &[&str]) -> Vec<pb::ChannelMember> {
    let target = |user: &&str| Some(pb::channel_member::Target::UserId((*user).to_owned()));
    let member = |user| pb::ChannelMember { target: target(user), roles: Vec::new() };
    users.iter().map(member).collect()
}

async fn key_of_tenant(client: &Client) -> String {
    let list = pb::ListApiKeysRequest { tenant_id: TENANT.into(), ..Default::default() };
    client.list_api_keys(list).await.unwrap().api_keys.remove(0).key_id
}

/// Makes each of [`CHANGES`] once, for the actor `root`.
pub(super) async fn change_everything(client: &Client) {
    let notification = task("to cancel", &["nobody"]);
    let notification = client.notify(notification).await.unwrap().notification_id;
    for Change { action, .. } in CHANGES {
        make(client, action, &notification).await.unwrap();
    }
}

/// Makes the database refuse entries of one action in the audit trail.
pub(super) async fn refuse(world: &World, action: &str) {
    let text = if world.is_postgres() {
        format!(
            "ALTER TABLE audit_inbox ADD CONSTRAINT refused CHECK (action <> '{action}') NOT VALID"
        )
    } else {
        format!(
            "CREATE TRIGGER refused BEFORE INSERT ON audit_inbox WHEN NEW.action = '{action}' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    };
    world.execute(&text).await.unwrap();
}

/// Ends [`refuse`].
pub(super) async fn accept(world: &World) {
    let text = if world.is_postgres() {
        "ALTER TABLE audit_inbox DROP CONSTRAINT refused"
    } else {
        "DROP TRIGGER refused"
    };
    world.execute(text).await.unwrap();
}

#[test]
fn every_change_is_here() {
    let methods = pb::METHODS.iter().filter_map(|method| method.rsplit('/').next());
    let changes: BTreeSet<&str> = methods.filter(|method| is_change(method)).collect();
    let here = CHANGES.iter().chain(&OTHERS).map(|change| change.action).collect();
    assert_eq!(changes, here);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_recorded_is_not_made() {
    for_each_database(async |world| {
        let client = &world.client;
        // Ada's message waits for its time; every other change is about ben.
        client.load(&["ada"]).await;
        let later = world.now().await.plus(Duration::from_secs(3600)).0 / 1_000_000;
        let later = Some(prost_types::Timestamp { seconds: later, nanos: 0 });
        let waiting = pb::NotifyRequest { deliver_after: later, ..task("later", &["ada"]) };
        let notification = client.notify(waiting).await.unwrap().notification_id;
        until("the member list is at rest", async || {
            let now = world.now().await.0;
            let busy = format!(
                "SELECT COUNT(*) FROM directory \
                 WHERE next_refresh_at <= {now} OR lease_until > {now}"
            );
            (world.count(&busy).await == 0).then_some(())
        })
        .await;
        for Change { action, shows } in CHANGES.into_iter().chain(OTHERS) {
            let before = world.count(shows).await;
            refuse(world, action).await;
            let failed = make(client, action, &notification).await;
            accept(world).await;
            // The refusal is a violated constraint, which for settings means another change.
            let code = failed.unwrap_err().code();
            assert!(matches!(code, Code::Internal | Code::Aborted), "{action}: {code:?}");
            assert_eq!(world.count(shows).await, before, "{action} was made without its entry");
            make(client, action, &notification).await.unwrap();
            assert_ne!(world.count(shows).await, before, "{action} shows nowhere");
        }
        assert_eq!(verified(world).await.broken, None);
    })
    .await;
}
