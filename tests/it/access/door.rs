//! The API for any method: requests are made from the descriptors that reflection serves, so that
//! methods added later are tested too.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use herald::domain::ids::EventType;
use herald::domain::message::event;
use herald::rpc::{pb, to_struct};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::client::key_of;

/// Longer than any of these calls takes; TestSlack waits this long for an outcome.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ids that a request names.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) notification: String,
    pub(super) delivery: String,
    /// The e-mail address of a person who is described in the request.
    pub(super) email: String,
}

/// The caller: the name of a key, and the actor that the call names.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) key: &'static str,
    pub(super) actor: Option<(&'static str, &'static [pb::Permission])>,
}

/// The response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    /// For a stream, the first message.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether the caller was authorized: any other fault was reported to a caller who may see it.
    pub(super) fn let_in(&self) -> bool {
        matches!(self.code, Code::Ok | Code::NotFound | Code::FailedPrecondition)
    }

    /// The refusal, in all parts that the caller sees.
    pub(super) fn refusal(&self) -> (Code, &str, &str) {
        (self.code, &self.reason, &self.message)
    }
}

#[derive(Clone)]
pub(super) struct Door {
    channel: Channel,
    pool: DescriptorPool,
}

impl Door {
    pub(super) async fn new(rpc: SocketAddr) -> Self {
        let channel = Channel::from_shared(format!("http://{rpc}")).unwrap();
        let channel = channel.connect().await.unwrap();
        Self { channel, pool: DescriptorPool::decode(pb::DESCRIPTORS).unwrap() }
    }

    /// Every method of `herald.v1`.
    pub(super) fn methods(&self) -> Vec<MethodDescriptor> {
        let services = self.pool.services().filter(|one| one.package_name() == "herald.v1");
        services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
    }

    pub(super) fn method(&self, name: &str) -> MethodDescriptor {
        let found = self.methods().into_iter().find(|method| path(method) == name);
        found.unwrap_or_else(|| panic!("{name} is not a method"))
    }

    /// Calls a method in one of its forms, as the table of rights names them.
    pub(super) async fn call(
        &self,
        method: &MethodDescriptor,
        form: &str,
        caller: &Caller,
        ids: &Ids,
    ) -> Answer {
        let message = request(method, form, caller, ids);
        let mut request = Request::new(message.encode_to_vec());
        request.set_timeout(PATIENCE);
        let key = format!("Bearer {}", key_of(caller.key)).parse().unwrap();
        request.metadata_mut().insert("authorization", key);
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::try_from(format!("/{}", path(method))).unwrap();
        let result = if method.is_server_streaming() {
            match grpc.server_streaming(request, path, Raw).await {
                Ok(stream) => {
                    let first = stream.into_inner().message().await;
                    first.map(Option::unwrap_or_default)
                }
                Err(status) => Err(status),
            }
        } else {
            grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
        };
        answer(result)
    }
}

/// `herald.v1.HeraldService/Notify`.
pub(super) fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn answer(result: Result<Vec<u8>, Status>) -> Answer {
    match result {
        Ok(body) => Answer { code: Code::Ok, reason: String::new(), message: String::new(), body },
        Err(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let reason = reason.unwrap_or_default();
            let message = status.message().to_owned();
            Answer { code: status.code(), reason, message, body: Vec::new() }
        }
    }
}

/// A request with each known field filled in by its name. Unknown fields stay empty; if the method
/// requires one, the call is refused as invalid, and the test fails with that.
fn request(method: &MethodDescriptor, form: &str, caller: &Caller, ids: &Ids) -> DynamicMessage {
    let mut message = DynamicMessage::new(method.input());
    for field in method.input().fields() {
        if field.name() == "actor" {
            if let Some((user, permissions)) = caller.actor
                && form != OF_ALL_TENANTS
            {
                let permissions = permissions.iter().map(|one| (*one).into()).collect();
                let actor = pb::Actor { user_id: user.into(), permissions };
                message.set_field(&field, dynamic(&field, &actor));
            }
            continue;
        }
        let described = form.contains("describing");
        let one_of_both = field.containing_oneof().is_some_and(|one| one.name() == "subject");
        if one_of_both && (field.name() == "person") != described {
            continue;
        }
        // The same method with and without a person, and with and without a tenant.
        let left_out = match form {
            "of the whole tenant" => "user_id",
            OF_ALL_TENANTS => "tenant_id",
            _ => "",
        };
        if field.name() == left_out {
            continue;
        }
        if let Some(value) = value(method.name(), &field, ids) {
            message.set_field(&field, value);
        }
    }
    message
}

/// The form of a call that may name a tenant and does not.
const OF_ALL_TENANTS: &str = "of all tenants in reach";

/// Whether a call in this form names a tenant.
pub(super) fn names_a_tenant(method: &MethodDescriptor, form: &str) -> bool {
    form != OF_ALL_TENANTS && method.input().get_field_by_name("tenant_id").is_some()
}

/// Whether a call in this form can name an actor.
pub(super) fn names_an_actor(method: &MethodDescriptor, form: &str) -> bool {
    form != OF_ALL_TENANTS && method.input().get_field_by_name("actor").is_some()
}

/// Whether a call in this form names more than a tenant and an actor.
pub(super) fn names_an_id(method: &MethodDescriptor, form: &str, caller: &Caller) -> bool {
    let of = |user: &str| {
        let [user, notification, delivery, email] = [user; 4].map(str::to_owned);
        let tenant = String::new();
        request(method, form, caller, &Ids { tenant, user, notification, delivery, email })
    };
    of("one") != of("other")
}

/// The name of an event type that is known by the id of a person.
pub(super) fn event_type_of(user: &str) -> String {
    format!("own.{}", user.replace('-', "_"))
}

/// The key of a channel that is known by the id of a person.
pub(super) fn key_of_channel(user: &str) -> String {
    format!("track:{user}")
}

/// Methods about one event type: the tenant's own, which is known by the id of a person.
const OF_A_TYPE: [&str; 6] = [
    "DeleteEventType",
    "GetEventType",
    "GetTemplate",
    "ListTemplates",
    "ResetTemplate",
    "RollbackTemplate",
];

fn value(method: &str, field: &FieldDescriptor, ids: &Ids) -> Option<Value> {
    let text = |text: &str| Some(Value::String(text.to_owned()));
    let person = || pb::Person {
        user_id: ids.user.clone(),
        email: ids.email.clone(),
        ..pb::Person::default()
    };
    match (method, field.name()) {
        ("CreateApiKey", "user_id") | ("PreviewTemplate", "user_id" | "notification_id") => None,
        ("CreateApiKey", "principal") => text(&format!("{}:{}", ids.tenant, uuid::Uuid::now_v7())),
        ("CreateApiKey", "role") => Some(Value::EnumNumber(pb::ApiKeyRole::Service.into())),
        ("RevokeApiKey", "key_id") => text(&ids.delivery),
        ("SetSlackApp", "app_id") => text("A0ACCESS"),
        ("SetSlackApp", "client_id") => text("123456789012.123456789012"),
        ("SetSlackApp", "client_secret" | "signing_secret") => text("0123456789abcdef"),
        ("MergePeople", "into_user_id") => text("clara"),
        ("PinIdentities", "pins") => {
            let pin =
                pb::IdentityPin { user_id: ids.user.clone(), slack_user_id: "U0DEMOBEN".into() };
            Some(Value::List(vec![dynamic(field, &pin)]))
        }
        (one, "name" | "event_type") if OF_A_TYPE.contains(&one) => text(&event_type_of(&ids.user)),
        ("CreateEventType", "event_type") => {
            let own = pb::EventType {
                name: format!("own.t{}", uuid::Uuid::now_v7().simple()),
                display_name: "Own".into(),
                ..pb::EventType::default()
            };
            Some(dynamic(field, &own))
        }
        ("UpdateEventType", "event_type") => {
            let own = pb::EventType {
                name: event_type_of(&ids.user),
                mandatory: true,
                ..pb::EventType::default()
            };
            Some(dynamic(field, &own))
        }
        ("SetTemplate", "template") => {
            let simple = pb::SimpleMessage { heading: "Due".into(), ..Default::default() };
            let template = pb::Template {
                event_type: "task.due".into(),
                locale: "en".into(),
                form: Some(pb::template::Form::Simple(simple)),
                ..pb::Template::default()
            };
            Some(dynamic(field, &template))
        }
        ("SetTemplate" | "Notify", "dry_run") => Some(Value::Bool(true)),
        (_, "channel_key") => text(&key_of_channel(&ids.user)),
        ("EnsureChannel", "wish") => {
            let wish = pb::ChannelWish { name: "Track".into(), ..pb::ChannelWish::default() };
            Some(dynamic(field, &wish))
        }
        ("SetChannelMembers" | "AddChannelMembers", "members") => {
            let target = Some(pb::channel_member::Target::UserId(ids.user.clone()));
            let member = pb::ChannelMember { target, roles: Vec::new() };
            Some(Value::List(vec![dynamic(field, &member)]))
        }
        ("RemoveChannelMembers", "user_ids") => {
            Some(Value::List(vec![Value::String(ids.user.clone())]))
        }
        ("RenameChannel", "name") => text("Track"),
        // The built-in message: a tenant's own template is known by the id of a person.
        ("PreviewTemplate", "event_type") => text("task.due"),
        ("RollbackTemplate", "version") => Some(Value::I32(1)),
        (_, "locale") => text("en"),
        (_, "tenant_id") => text(&ids.tenant),
        (_, "user_id") => text(&ids.user),
        (_, "notification_id") => text(&ids.notification),
        (_, "delivery_ids") => Some(Value::List(vec![Value::String(ids.delivery.clone())])),
        ("RenamePerson", "new_user_id") | (_, "request_id") => {
            text(&uuid::Uuid::now_v7().to_string())
        }
        (_, "slack_user_id") => text("U0DEMOBEN"),
        (_, "user_attribute") => text("email"),
        (_, "slack_attribute") => text("profile.email"),
        (_, "person") => Some(dynamic(field, &person())),
        (_, "people") => Some(Value::List(vec![dynamic(field, &person())])),
        ("SetPreference", "value") => Some(Value::EnumNumber(pb::PreferenceValue::Off.into())),
        ("Notify", "event_type") => text("task.assigned"),
        ("Notify", "link") => text("https://platform.example/things/1"),
        ("Notify", "recipients") => {
            let target = Some(pb::recipient::Target::UserId(ids.user.clone()));
            let recipient = pb::Recipient { target, roles: Vec::new() };
            Some(Value::List(vec![dynamic(field, &recipient)]))
        }
        ("Notify", "data") => {
            let event = EventType::parse("task.assigned").unwrap();
            let serde_json::Value::Object(data) = event::demo_data(&event) else { return None };
            Some(dynamic(field, &to_struct(data)))
        }
        ("UpdateSettings", "settings") => {
            let settings = pb::Settings { locale: "de".into(), ..pb::Settings::default() };
            Some(dynamic(field, &settings))
        }
        _ => None,
    }
}

/// The same message as a dynamic message.
fn dynamic(field: &FieldDescriptor, message: &impl prost::Message) -> Value {
    let Kind::Message(descriptor) = field.kind() else { panic!("{field:?} is not a message") };
    let bytes = message.encode_to_vec();
    Value::Message(DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap())
}

/// A message of this type as text, with all nested messages.
pub(super) fn shown(descriptor: MessageDescriptor, body: &[u8]) -> String {
    format!("{:?}", DynamicMessage::decode(descriptor, body).unwrap())
}

/// Passes bytes through unchanged.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Ok(Some(bytes.to_vec()))
    }
}
