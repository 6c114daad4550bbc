//! Walks the wire format of a request without decoding it: counts the entries of its lists, and
//! reads its tenant. prost's own readers are used, so that both see the same message.

use std::borrow::Cow;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::shape::{BOUNDS, Bound, ProtoField, ProtoKind, Shapes, VALUES};

/// How deep messages may be nested: as deep as prost decodes them.
const DEPTH: usize = 100;
/// The wording that prost would use, too.
const TOO_DEEP: &str = "it is nested too deeply";
const CUT_OFF: &str = "it ends in the middle of a field";
/// A message whose key names a wire type that is not a message's.
const NO_MESSAGE: &str = "a message in it has a wrong wire type";

/// The contents of a request that the gate needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    /// The tenant as spelled in the request.
    pub(super) tenant: &'a [u8],
    /// The number of JSON values in all.
    pub(super) values: usize,
}

/// Why a request is not decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScanRefusal {
    /// These lists are too long: path and problem.
    TooMany(Vec<(String, String)>),
    /// The bytes are not a message.
    Malformed(Cow<'static, str>),
}

impl From<DecodeError> for ScanRefusal {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

/// Scans the bytes of a `message`, an index among the shapes.
pub(super) fn scan<'a>(
    shapes: &Shapes,
    message: usize,
    bytes: &'a [u8],
) -> Result<Outline<'a>, ScanRefusal> {
    let mut walk = Walk {
        shapes,
        path: Vec::new(),
        counts: [0; BOUNDS.len()],
        exceeded: [const { None }; BOUNDS.len()],
        tenant: &[],
    };
    let end = walk.message(message, bytes);
    // A list that is too long is named even if the end of the message is missing.
    let problems: Vec<_> = walk.problems().collect();
    if !problems.is_empty() {
        return Err(ScanRefusal::TooMany(problems));
    }
    end.map(|()| Outline { tenant: walk.tenant, values: walk.counts[VALUES] })
}

struct Walk<'s, 'a> {
    shapes: &'s Shapes,
    /// Names of the fields from the request to the present one.
    path: Vec<&'s str>,
    counts: [usize; BOUNDS.len()],
    /// The place where each bound was first exceeded.
    exceeded: [Option<String>; BOUNDS.len()],
    tenant: &'a [u8],
}

impl<'s, 'a> Walk<'s, 'a> {
    fn message(&mut self, message: usize, mut bytes: &'a [u8]) -> Result<(), ScanRefusal> {
        let shapes = self.shapes;
        if self.path.len() > DEPTH {
            return Err(ScanRefusal::Malformed(TOO_DEEP.into()));
        }
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes)?;
            let Some(field) = shapes.field(message, number) else {
                skip_field(wire, number, &mut bytes, DecodeContext::default())?;
                continue;
            };
            self.path.push(&field.name);
            self.field(field, number, wire, &mut bytes)?;
            self.path.pop();
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &'s ProtoField,
        number: u32,
        wire: WireType,
        bytes: &mut &'a [u8],
    ) -> Result<(), ScanRefusal> {
        if wire != WireType::LengthDelimited {
            // prost reads entries of a map as messages whatever their wire type, and would see a
            // different request than this walk. It refuses every other such message itself.
            if matches!(field.kind, ProtoKind::Message(_)) {
                return Err(ScanRefusal::Malformed(NO_MESSAGE.into()));
            }
            self.count(field, 1);
            return Ok(skip_field(wire, number, bytes, DecodeContext::default())?);
        }
        let part = delimited(bytes)?;
        match field.kind {
            ProtoKind::Message(inner) => {
                self.count(field, 1);
                return self.message(inner, part);
            }
            ProtoKind::Numbers(None) => {
                self.count(field, part.iter().filter(|byte| **byte < 0x80).count());
            }
            ProtoKind::Numbers(Some(size)) => self.count(field, part.len() / size),
            ProtoKind::Text => self.count(field, 1),
            // The last one counts, as for every field that is not a list.
            ProtoKind::Tenant if self.path.len() == 1 => self.tenant = part,
            ProtoKind::Tenant => {}
        }
        Ok(())
    }

    fn count(&mut self, field: &ProtoField, more: usize) {
        let Some(bound) = field.bound else {
            return;
        };
        self.counts[bound] += more;
        if self.counts[bound] > BOUNDS[bound].most && self.exceeded[bound].is_none() {
            let path = if bound == VALUES { &self.path[..1] } else { &self.path[..] };
            self.exceeded[bound] = Some(path.join("."));
        }
    }

    fn problems(&mut self) -> impl Iterator<Item = (String, String)> {
        let counts = self.counts;
        let exceeded = std::mem::replace(&mut self.exceeded, [const { None }; BOUNDS.len()]);
        exceeded.into_iter().enumerate().filter_map(move |(bound, path)| {
            let Bound { most, needed, .. } = BOUNDS[bound];
            let was = counts[bound];
            let problem = match (bound, needed) {
                (VALUES, _) => format!("must have at most {most} JSON values in all, was {was}"),
                (_, true) => format!("must be between 1 and {most}, was {was}"),
                (_, false) => format!("must be at most {most}, was {was}"),
            };
            path.map(|path| (path, problem))
        })
    }
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], ScanRefusal> {
    let length = decode_varint(bytes)?;
    let part = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let Some((part, rest)) = part else {
        return Err(ScanRefusal::Malformed(CUT_OFF.into()));
    };
    *bytes = rest;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::domain::limits;
    use crate::rpc::pb;

    const NOTIFY: &str = "herald.v1.HeraldService/Notify";
    const SETTINGS: &str = "herald.v1.AdminService/UpdateSettings";

    fn scanned(method: &str, bytes: &[u8]) -> Result<(String, usize), ScanRefusal> {
        let shapes = Shapes::new(16 << 20).unwrap();
        let request = shapes.method(method).unwrap().request;
        let outline = scan(&shapes, request, bytes)?;
        Ok((String::from_utf8_lossy(outline.tenant).into_owned(), outline.values))
    }

    fn too_many(method: &str, bytes: &[u8]) -> Vec<(String, String)> {
        match scanned(method, bytes) {
            Err(ScanRefusal::TooMany(problems)) => problems,
            other => panic!("{other:?}"),
        }
    }

    fn list(values: usize) -> prost_types::Struct {
        let values = vec![prost_types::Value::default(); values];
        let kind = prost_types::value::Kind::ListValue(prost_types::ListValue { values });
        let value = prost_types::Value { kind: Some(kind) };
        prost_types::Struct { fields: [("x".to_owned(), value)].into() }
    }

    #[test]
    fn a_request_within_its_bounds_is_outlined() {
        let request = pb::NotifyRequest {
            tenant_id: "acme".into(),
            recipients: vec![pb::Recipient::default(); limits::RECIPIENTS],
            data: Some(list(10)),
            ..pb::NotifyRequest::default()
        };
        assert_eq!(scanned(NOTIFY, &request.encode_to_vec()), Ok(("acme".into(), 11)));
    }

    #[test]
    fn lists_that_are_too_long_are_named() {
        // Field 4, empty, five million times.
        let many = |n: usize| [0x22, 0].repeat(n);
        let field = pb::NotifyRequest {
            recipients: vec![pb::Recipient::default()],
            ..pb::NotifyRequest::default()
        };
        assert_eq!(field.encode_to_vec(), many(1));
        let told = too_many(NOTIFY, &many(5_000_000));
        let sentence = "must be between 1 and 1000, was 5000000".to_owned();
        assert_eq!(told, [("recipients".to_owned(), sentence)]);
        let mut cut = many(2000);
        cut.push(0x22);
        assert_eq!(too_many(NOTIFY, &cut).len(), 1);
    }

    #[test]
    fn lists_in_messages_are_counted_all_together() {
        let actor = pb::Actor { permissions: vec![1; 9], ..pb::Actor::default() };
        let one = pb::NotifyRequest { actor: Some(actor), ..pb::NotifyRequest::default() };
        let one = one.encode_to_vec();
        assert!(scanned(NOTIFY, &one).is_ok());
        let told = too_many(NOTIFY, &[one.clone(), one].concat());
        let sentence = "must be at most 16, was 18".to_owned();
        assert_eq!(told, [("actor.permissions".to_owned(), sentence)]);

        let settings =
            pb::Settings { disabled_event_types: vec![String::new(); 201], ..Default::default() };
        let request = pb::UpdateSettingsRequest { settings: Some(settings), ..Default::default() };
        let told = too_many(SETTINGS, &request.encode_to_vec());
        assert_eq!(told[0].0, "settings.disabled_event_types");

        let described = |values| {
            let metadata = Some(list(values));
            let person = pb::Person { metadata, ..pb::Person::default() };
            let target = Some(pb::recipient::Target::Person(person));
            pb::Recipient { target, roles: Vec::new() }
        };
        let half = limits::JSON_VALUES / 2;
        let recipients = vec![described(half), described(half)];
        let request = pb::NotifyRequest { recipients, ..pb::NotifyRequest::default() };
        assert_eq!(too_many(NOTIFY, &request.encode_to_vec())[0].0, "recipients");
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            // `fields` of a Struct, `value` of its entry, `struct_value` of the value.
            for field in [0x2a, 0x12, 0x0a] {
                let mut outer = vec![field];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
            if bytes.len() > 4096 {
                break;
            }
        }
        let data = [&[0x2a][..], &varint(bytes.len()), &bytes].concat();
        // The walk ends, whatever prost makes of the bytes.
        let _ = scanned(NOTIFY, &data);
    }

    /// prost does not check the wire type of a map's entry: the message that it decodes here has
    /// many values, and a walk that skipped the entry as a number would find none of them.
    #[test]
    fn an_entry_of_another_wire_type_hides_nothing() {
        let (data, values) = (list(10), 11);
        let honest = data.encode_to_vec();
        assert_eq!(honest[0], 0x0a);
        for wire in [0, 1, 3, 5] {
            let hidden = [&[0x08 | wire][..], &honest[1..]].concat();
            let request = [&[0x2a][..], &varint(hidden.len()), &hidden].concat();
            let decoded = pb::NotifyRequest::decode(&request[..]).unwrap();
            assert_eq!(decoded.data.as_ref().map(values_in), Some(values), "prost has changed");
            let told = scanned(NOTIFY, &request);
            assert_eq!(told, Err(ScanRefusal::Malformed(NO_MESSAGE.into())), "wire type {wire}");
        }
    }

    fn varint(value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(value as u64, &mut bytes);
        bytes
    }

    fn values_in(data: &prost_types::Struct) -> usize {
        fn value(of: &prost_types::Value) -> usize {
            match &of.kind {
                Some(prost_types::value::Kind::StructValue(inner)) => values_in(inner),
                Some(prost_types::value::Kind::ListValue(list)) => {
                    list.values.len() + list.values.iter().map(value).sum::<usize>()
                }
                _ => 0,
            }
        }
        data.fields.len() + data.fields.values().map(value).sum::<usize>()
    }

    proptest! {
        /// The walk has counted at least as many entries as prost decodes.
        #[test]
        fn nothing_is_decoded_that_was_not_counted(
            bytes in prop::collection::vec(
                prop_oneof![
                    4 => prop::sample::select(vec![0x0a_u8, 0x22, 0x2a, 0x32, 0x12, 0x1a, 2, 0, 1]),
                    1 => any::<u8>(),
                ],
                0..60,
            ),
        ) {
            if let Ok(request) = pb::NotifyRequest::decode(&bytes[..]) {
                let shapes = Shapes::new(1).unwrap();
                let method = shapes.method(NOTIFY).unwrap();
                let mut walk = Walk {
                    shapes: &shapes,
                    path: Vec::new(),
                    counts: [0; BOUNDS.len()],
                    exceeded: [const { None }; BOUNDS.len()],
                    tenant: &[],
                };
                prop_assert_eq!(walk.message(method.request, &bytes), Ok(()));
                prop_assert!(walk.counts.iter().sum::<usize>() >= request.recipients.len());
                prop_assert!(walk.counts[VALUES] >= request.data.as_ref().map_or(0, values_in));
                prop_assert_eq!(walk.tenant, request.tenant_id.as_bytes());
            }
        }
    }
}
