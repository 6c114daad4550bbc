//! Bytes of gRPC requests: `METHOD 0 MESSAGE`, such as `Notify`.
//!
//! A request that the gate lets through is, once decoded, within every bound and of the tenant that
//! the gate read, and it stays the same when encoded and decoded again. The gate does not call a
//! request malformed if prost decodes it, except for map entries with a wrong wire type, which only
//! prost accepts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use herald::domain::limits;
use herald::rpc::{Outlines, pb};
use prost::{DecodeError, Message};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

use super::parts::parts;

type Again = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

static OUTLINES: LazyLock<Outlines> = LazyLock::new(|| Outlines::new().unwrap());
static METHODS: LazyLock<Vec<MethodDescriptor>> = LazyLock::new(methods);

/// Lists with bounds of their own.
const BOUNDS: [(&[&str], usize); 19] = [
    (&["google.protobuf.Struct.fields", "google.protobuf.ListValue.values"], limits::JSON_VALUES),
    (&["herald.v1.NotifyRequest.recipients"], limits::RECIPIENTS),
    (&["herald.v1.UpsertPeopleRequest.people"], limits::PEOPLE_PER_CALL),
    (&["herald.v1.Actor.permissions"], limits::PERMISSIONS),
    (&["herald.v1.Settings.disabled_event_types"], limits::EVENT_TYPES_IN_SETTINGS),
    (&["herald.v1.Settings.held_event_types"], limits::EVENT_TYPES_IN_SETTINGS),
    (&["herald.v1.ReplayDeliveriesRequest.delivery_ids"], limits::REPLAYS),
    (&["herald.v1.CreateApiKeyRequest.tenant_ids"], limits::API_KEY_TENANTS),
    (&["herald.v1.Recipient.roles"], limits::RECIPIENTS * limits::ROLES),
    (&["herald.v1.EventType.audience_roles"], limits::ROLES),
    (&["herald.v1.EventType.fields"], limits::EVENT_FIELDS),
    (&["herald.v1.EventType.any_of", "herald.v1.FieldSet.paths"], limits::EVENT_FIELDS),
    (&["herald.v1.SimpleMessage.fields"], limits::TEMPLATE_FIELDS),
    (
        &["herald.v1.ChannelMembers.members", "herald.v1.SetChannelMembersRequest.members"],
        limits::CHANNEL_MEMBERS_PER_CALL,
    ),
    (&["herald.v1.AddChannelMembersRequest.members"], limits::CHANNEL_MEMBERS_PER_CALL),
    (&["herald.v1.RemoveChannelMembersRequest.user_ids"], limits::CHANNEL_MEMBERS_PER_CALL),
    (&["herald.v1.PinIdentitiesRequest.pins"], limits::PINS_PER_CALL),
    (
        &[
            "herald.v1.CreateSlackAppManifestRequest.features",
            "herald.v1.BeginConnectRequest.features",
        ],
        limits::FEATURES,
    ),
    (&["herald.v1.ChannelMember.roles"], limits::CHANNEL_MEMBERS_PER_CALL * limits::ROLES),
];
/// The end of the gate's refusal of a map entry with a wrong wire type, which prost ignores.
const WIRE_TYPE: &str = "has a wrong wire type";
/// The bound for the entries of all other lists together.
const OTHERS: usize = 1000;

macro_rules! requests {
    ($($name:ident)*) => {
        /// Decodes and encodes the request with this name.
        fn again(name: &str) -> Again {
            match name {
                $(stringify!($name) => |bytes| Ok(pb::$name::decode(bytes)?.encode_to_vec()),)*
                other => panic!("{other} is new: add it to tests/fuzz/src/requests.rs"),
            }
        }
    };
}

requests! {
    AllowSendingRequest BeginConnectRequest CancelNotificationRequest ClearIdentityRequest
    CreateApiKeyRequest ListApiKeysRequest RevokeApiKeyRequest DeletePersonRequest
    CreateEventTypeRequest DeleteEventTypeRequest GetEventTypeRequest UpdateEventTypeRequest
    GetTemplateRequest ListTemplatesRequest PreviewTemplateRequest ResetTemplateRequest
    RollbackTemplateRequest SetTemplateRequest
    GetMatchCoverageRequest GetNotificationRequest GetPersonRequest
    GetPreferencesRequest GetWorkspaceRequest ListAuditRequest ListEventTypesRequest
    ListFailedRequest ListNotificationsRequest ListPeopleRequest NotifyRequest PinIdentityRequest
    RefreshDirectoryRequest ReplayDeliveriesRequest ResolveIdentityRequest SetPreferenceRequest
    SimulateMappingRequest StopSendingRequest TestSlackRequest UpdateSettingsRequest
    UpsertPeopleRequest WatchDeliveriesRequest WatchNotificationRequest
    AddChannelMembersRequest ArchiveChannelRequest EnsureChannelRequest GetChannelRequest
    ListChannelMembersRequest ListChannelsRequest ReleaseChannelRequest
    RemoveChannelMembersRequest RenameChannelRequest SetChannelMembersRequest
    UnarchiveChannelRequest WatchChannelsRequest
    CheckConnectionRequest CreateSlackAppManifestRequest DeleteSlackAppRequest
    DeleteTenantRequest DisconnectRequest GetSlackAppRequest ListTenantsRequest
    ListWorkspacesRequest SetSlackAppRequest WatchWorkspaceRequest WatchWorkspacesRequest
    CreateIdentityLinkRequest MergePeopleRequest PinIdentitiesRequest RenamePersonRequest
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let ours = pool.services().filter(|service| service.package_name() == "herald.v1");
    let methods: Vec<_> = ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    for method in &methods {
        again(method.input().name());
    }
    assert_eq!(methods.len(), pb::METHODS.len());
    methods
}

pub(crate) fn run(input: &[u8]) {
    let [name, message] = parts(input);
    let Some(method) = METHODS.iter().find(|method| method.name().as_bytes() == name) else {
        return;
    };
    let path = format!("{}/{}", method.parent_service().full_name(), method.name());
    let outline = OUTLINES.read(&path, message).expect("a method");
    let again = again(method.input().name());
    let decoded = again(message);
    match (outline, &decoded) {
        (Ok(outline), Ok(once)) => {
            assert_eq!(again(once).as_ref(), Ok(once), "another message: {path}");
            let request =
                DynamicMessage::decode(method.input(), message).expect("prost decoded it");
            within_bounds(&request, outline.values);
            let tenant = request.get_field_by_name("tenant_id");
            let tenant = tenant.as_deref().and_then(Value::as_str).unwrap_or_default();
            assert_eq!(outline.tenant, tenant.as_bytes(), "another tenant: {path}");
        }
        (Err(refusal), decoded) => {
            let malformed = refusal.message().starts_with("the request is not a message")
                && !refusal.message().ends_with(WIRE_TYPE);
            assert!(!malformed || decoded.is_err(), "{path}: {refusal}");
        }
        (Ok(_), Err(_)) => {}
    }
}

fn within_bounds(request: &DynamicMessage, values: usize) {
    let mut counts = BTreeMap::new();
    count(request, &mut counts);
    for (fields, most) in BOUNDS {
        let all: usize = fields.iter().filter_map(|field| counts.remove(*field)).sum();
        assert!(all <= most, "{all} entries of {fields:?}");
        assert!(most != limits::JSON_VALUES || all <= values, "{all} JSON values for {values}");
    }
    assert!(counts.values().sum::<usize>() <= OTHERS, "{counts:?}");
}

/// Counts the entries of every list, by the name of its field.
fn count(message: &DynamicMessage, counts: &mut BTreeMap<String, usize>) {
    for (field, value) in message.fields() {
        let entries: Vec<&Value> = match value {
            Value::List(items) => items.iter().collect(),
            Value::Map(entries) => entries.values().collect(),
            Value::Message(inner) => {
                count(inner, counts);
                continue;
            }
            _ => continue,
        };
        *counts.entry(field.full_name().to_owned()).or_default() += entries.len();
        for entry in entries {
            if let Value::Message(inner) = entry {
                count(inner, counts);
            }
        }
    }
}
