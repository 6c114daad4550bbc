//! The wire format of the requests of `herald.v1`: read once from the descriptors, so that a
//! message can be judged before it is decoded.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::domain::limits;
use crate::rpc::pb;

/// The bound on the entries of one kind of list in one request, all together.
#[derive(Debug)]
pub(super) struct Bound {
    /// The lists, as message and field.
    pub(super) of: &'static [(&'static str, &'static str)],
    pub(super) most: usize,
    /// Whether the list must not be empty either.
    pub(super) needed: bool,
}

/// The index of the bound for lists without their own.
pub(super) const OTHER: usize = 0;
/// The index of the bound of JSON values.
pub(super) const VALUES: usize = 1;

/// Every list that a request may have. Decoded, an entry takes up to a hundred times its bytes on
/// the wire, so entries are counted before decoding.
pub(super) const BOUNDS: [Bound; 20] = [
    Bound { of: &[], most: 1000, needed: false },
    Bound {
        of: &[("google.protobuf.Struct", "fields"), ("google.protobuf.ListValue", "values")],
        most: limits::JSON_VALUES,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.NotifyRequest", "recipients")],
        most: limits::RECIPIENTS,
        needed: true,
    },
    Bound {
        of: &[("herald.v1.UpsertPeopleRequest", "people")],
        most: limits::PEOPLE_PER_CALL,
        needed: true,
    },
    Bound { of: &[("herald.v1.Actor", "permissions")], most: limits::PERMISSIONS, needed: false },
    Bound {
        of: &[("herald.v1.Settings", "disabled_event_types")],
        most: limits::EVENT_TYPES_IN_SETTINGS,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.Settings", "held_event_types")],
        most: limits::EVENT_TYPES_IN_SETTINGS,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.ReplayDeliveriesRequest", "delivery_ids")],
        most: limits::REPLAYS,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.CreateApiKeyRequest", "tenant_ids")],
        most: limits::API_KEY_TENANTS,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.Recipient", "roles")],
        most: limits::RECIPIENTS * limits::ROLES,
        needed: false,
    },
    Bound { of: &[("herald.v1.EventType", "audience_roles")], most: limits::ROLES, needed: false },
    Bound { of: &[("herald.v1.EventType", "fields")], most: limits::EVENT_FIELDS, needed: false },
    // Output only, but clients may send back an event type that they read.
    Bound {
        of: &[("herald.v1.EventType", "any_of"), ("herald.v1.FieldSet", "paths")],
        most: limits::EVENT_FIELDS,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.SimpleMessage", "fields")],
        most: limits::TEMPLATE_FIELDS,
        needed: false,
    },
    Bound {
        of: &[
            ("herald.v1.ChannelMembers", "members"),
            ("herald.v1.SetChannelMembersRequest", "members"),
        ],
        most: limits::CHANNEL_MEMBERS_PER_CALL,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.AddChannelMembersRequest", "members")],
        most: limits::CHANNEL_MEMBERS_PER_CALL,
        needed: true,
    },
    Bound {
        of: &[("herald.v1.RemoveChannelMembersRequest", "user_ids")],
        most: limits::CHANNEL_MEMBERS_PER_CALL,
        needed: true,
    },
    Bound {
        of: &[("herald.v1.PinIdentitiesRequest", "pins")],
        most: limits::PINS_PER_CALL,
        needed: true,
    },
    Bound {
        of: &[
            ("herald.v1.CreateSlackAppManifestRequest", "features"),
            ("herald.v1.BeginConnectRequest", "features"),
        ],
        most: limits::FEATURES,
        needed: false,
    },
    Bound {
        of: &[("herald.v1.ChannelMember", "roles")],
        most: limits::CHANNEL_MEMBERS_PER_CALL * limits::ROLES,
        needed: false,
    },
];

/// Methods whose requests describe up to a thousand people.
const LARGE: [&str; 5] =
    ["AddChannelMembers", "EnsureChannel", "Notify", "SetChannelMembers", "UpsertPeople"];
/// Most bytes of a request of every other method.
const SMALL_BYTES: usize = 4 << 20;

/// All methods and messages.
#[derive(Debug)]
pub(super) struct Shapes {
    methods: HashMap<String, MethodShape>,
    messages: Vec<Shape>,
}

/// One method.
#[derive(Debug, Clone, Copy)]
pub(super) struct MethodShape {
    /// Its request, an index among the messages.
    pub(super) request: usize,
    /// Most bytes of a request.
    pub(super) most_bytes: usize,
    /// Whether the answer is a stream.
    pub(super) streams: bool,
}

/// The relevant fields of one message, by number; fields that need no check are left out.
#[derive(Debug, Default)]
struct Shape {
    fields: Vec<Option<ProtoField>>,
}

/// A field that is a list, a message, or the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProtoField {
    pub(super) name: String,
    pub(super) kind: ProtoKind,
    /// For a list: its index in [`BOUNDS`].
    pub(super) bound: Option<usize>,
}

/// The contents of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtoKind {
    /// A message, which is scanned too.
    Message(usize),
    /// Numbers, which may be packed: the bytes of one, or `None` for varints.
    Numbers(Option<usize>),
    Text,
    /// The tenant that the request is about.
    Tenant,
}

impl Shapes {
    /// Reads the descriptors. `most_bytes`: the size of the largest request.
    pub(super) fn new(most_bytes: usize) -> Result<Self, prost::DecodeError> {
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS)?;
        let mut all: Vec<(String, DescriptorProto)> = Vec::new();
        for file in &set.file {
            for message in &file.message_type {
                collect(file.package(), message, &mut all);
            }
        }
        let names: HashMap<String, usize> =
            all.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        let messages = all.iter().map(|(name, message)| shape(name, message, &names)).collect();
        let mut methods = HashMap::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let large = LARGE.contains(&method.name());
                    let most_bytes = if large { most_bytes } else { most_bytes.min(SMALL_BYTES) };
                    let input = method.input_type().trim_start_matches('.');
                    if let Some(request) = names.get(input).copied() {
                        let streams = method.server_streaming();
                        methods.insert(path, MethodShape { request, most_bytes, streams });
                    }
                }
            }
        }
        Ok(Self { methods, messages })
    }

    /// The method of this path (`herald.v1.HeraldService/Notify`).
    pub(super) fn method(&self, path: &str) -> Option<MethodShape> {
        self.methods.get(path).copied()
    }

    /// The field of a message with this number, if it needs a check.
    pub(super) fn field(&self, message: usize, number: u32) -> Option<&ProtoField> {
        self.messages.get(message)?.fields.get(number as usize)?.as_ref()
    }
}

/// Collects a message and the messages declared in it.
fn collect(scope: &str, message: &DescriptorProto, all: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, all);
    }
    all.push((name, message.clone()));
}

fn shape(name: &str, message: &DescriptorProto, names: &HashMap<String, usize>) -> Shape {
    let mut shape = Shape::default();
    for field in &message.field {
        let repeated = field.label() == Label::Repeated;
        let inner = names.get(field.type_name().trim_start_matches('.')).copied();
        let kind = match (field.r#type(), inner) {
            (Type::Message, Some(inner)) => ProtoKind::Message(inner),
            (Type::String, _) if field.name() == "tenant_id" => ProtoKind::Tenant,
            (Type::Double | Type::Fixed64 | Type::Sfixed64, _) => ProtoKind::Numbers(Some(8)),
            (Type::Float | Type::Fixed32 | Type::Sfixed32, _) => ProtoKind::Numbers(Some(4)),
            (Type::String | Type::Bytes | Type::Message | Type::Group, _) => ProtoKind::Text,
            _ => ProtoKind::Numbers(None),
        };
        let looked_at = repeated || matches!(kind, ProtoKind::Message(_) | ProtoKind::Tenant);
        let Some(number) = usize::try_from(field.number()).ok().filter(|_| looked_at) else {
            continue;
        };
        let bound = repeated.then(|| {
            let own = |bound: &Bound| bound.of.contains(&(name, field.name()));
            BOUNDS.iter().position(own).unwrap_or(OTHER)
        });
        if shape.fields.len() <= number {
            shape.fields.resize(number + 1, None);
        }
        shape.fields[number] = Some(ProtoField { name: field.name().to_owned(), kind, bound });
    }
    shape
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Fields of masks: a request has at most one mask.
    const MASK: (&str, &str) = ("google.protobuf.FieldMask", "paths");

    #[test]
    fn every_method_is_known() {
        let shapes = Shapes::new(16 << 20).unwrap();
        for method in pb::METHODS {
            assert!(shapes.method(method).is_some(), "{method}");
        }
        let notify = shapes.method("herald.v1.HeraldService/Notify").unwrap();
        let resolve = shapes.method("herald.v1.HeraldService/ResolveIdentity").unwrap();
        assert_eq!((notify.most_bytes, resolve.most_bytes), (16 << 20, 4 << 20));
        let bytes = |name| shapes.method(&format!("herald.v1.ChannelService/{name}"));
        let bytes = |name| bytes(name).map(|method| method.most_bytes);
        for large in ["EnsureChannel", "SetChannelMembers", "AddChannelMembers"] {
            assert_eq!(bytes(large), Some(16 << 20), "{large}");
        }
        assert_eq!(bytes("RemoveChannelMembers"), Some(4 << 20));
        let watch = shapes.method("herald.v1.HeraldService/WatchDeliveries").unwrap();
        assert!(watch.streams && !notify.streams);
        assert!(shapes.method("grpc.health.v1.Health/Check").is_none());
    }

    /// A new list in a request gets the bound of [`OTHER`], or its own bound here.
    #[test]
    fn every_list_of_a_request_has_a_bound() {
        let shapes = Shapes::new(1).unwrap();
        let mut waiting: Vec<usize> =
            shapes.methods.values().map(|method| method.request).collect();
        let (mut seen, mut bounds) = (BTreeSet::new(), BTreeSet::new());
        while let Some(message) = waiting.pop() {
            if !seen.insert(message) {
                continue;
            }
            for field in shapes.messages[message].fields.iter().flatten() {
                bounds.extend(field.bound);
                if let ProtoKind::Message(inner) = field.kind {
                    waiting.push(inner);
                }
                let known = field.bound != Some(OTHER) || field.name == MASK.1;
                assert!(known, "`{}` has no bound of its own: add it to BOUNDS", field.name);
            }
        }
        assert_eq!(bounds.len(), BOUNDS.len(), "a bound that no list of a request has");
    }
}
