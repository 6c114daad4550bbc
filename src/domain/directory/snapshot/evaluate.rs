//! Evaluates the mapping on one member, for the packed list and for the overlay, so that both keep
//! the same data.

use std::collections::HashMap;

use serde::de::DeserializeSeed as _;

use crate::domain::directory::member::{BadMember, FACTS, Member, MemberKind};
use crate::domain::limits::{SHORT_TEXT_BYTES, VALUES};
use crate::domain::mapping::json::Read;
use crate::domain::mapping::key::{KeyHash, canonical_text};
use crate::domain::mapping::{
    EvaluationError, Evaluator, Expression, FIELDS, Mapping, Pass, PathEvent, Walk,
};

/// The custom profile fields of members, by id: JSON objects as Slack returned them.
#[derive(Default)]
pub struct ProfileFields(HashMap<Box<str>, Box<[u8]>>);

impl ProfileFields {
    pub fn insert(&mut self, member: &str, json: &[u8]) {
        self.0.insert(member.into(), json.into());
    }
}

/// The result of the Slack attribute for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yielded {
    Nothing,
    Values,
    /// The expression could not be evaluated.
    Failed,
    /// It costs too much on this member, or yields too many values.
    TooCostly,
    /// It reads custom fields, and those of this member have never been fetched.
    Waits,
}

/// A mapping's Slack attribute, prepared for evaluation on many members, one after the other.
pub(super) struct Attribute {
    way: Way,
    reads_fields: bool,
}

/// How the values of a member are found; the first possible way is used.
enum Way {
    /// The default mapping: the value is one of the facts that are read in any case.
    Email,
    /// This path below a member's custom fields: nothing of the member itself is needed.
    Fields(Vec<String>),
    /// This path, in the pass that reads the facts.
    Path(Vec<String>),
    Search(Box<Evaluator>),
}

impl Way {
    fn of(expression: &Expression) -> Self {
        match expression.path() {
            Some(_) if expression.is_path(&["profile", "email"]) => Self::Email,
            Some(path)
                if path.len() > FIELDS.len() && path.iter().zip(FIELDS).all(|(a, b)| a == b) =>
            {
                Self::Fields(path[FIELDS.len()..].to_vec())
            }
            Some(path) if !expression.reads_profile_fields() && Member::leaves_out(path) => {
                Self::Path(path.to_vec())
            }
            _ => Self::Search(Box::new(Evaluator::new(expression, &FACTS))),
        }
    }
}

impl Attribute {
    pub(super) fn of(mapping: &Mapping) -> Self {
        let reads_fields = mapping.slack.reads_profile_fields();
        Self { way: Way::of(&mapping.slack), reads_fields }
    }

    pub(super) fn reads_fields(&self) -> bool {
        self.reads_fields
    }

    /// Reads a member, with its values in `keys`, each once. Members that never match are evaluated
    /// too, for the index of excluded members. A member whose custom fields have not been fetched
    /// has no value: with half of the data that the expression reads it could match another person.
    pub(super) fn read<'a>(
        &'a mut self,
        json: &'a [u8],
        fields: &ProfileFields,
        pass: &mut Pass,
        keys: &mut Vec<KeyHash>,
    ) -> Result<(Member<'a>, Yielded), BadMember> {
        keys.clear();
        let fields = self.reads_fields.then_some(fields);
        let (member, evaluated) = match &mut self.way {
            Way::Email => {
                let member = Member::from_slice(json)?;
                let email = member.email.as_deref().and_then(canonical_text);
                keys.extend(email.map(|text| KeyHash::of(&text)));
                (member, Evaluated::default())
            }
            Way::Path(path) => {
                let member = Member::with_path(json, path, &mut noting(keys))?;
                (member, Evaluated::default())
            }
            Way::Fields(path) => follow(json, path, fields, keys)?,
            Way::Search(evaluator) => search(evaluator, json, fields, pass, keys)?,
        };
        Ok((member, evaluated.yielded(keys)))
    }
}

/// How the attribute was evaluated on one member.
#[derive(Default)]
struct Evaluated {
    failed: bool,
    costly: bool,
    /// The member's custom fields have not been fetched yet.
    waits: bool,
}

impl Evaluated {
    /// The result, with each of the member's values once in `keys`.
    fn yielded(self, keys: &mut Vec<KeyHash>) -> Yielded {
        if self.failed {
            keys.clear();
        }
        keys.sort_unstable();
        keys.dedup();
        let mut costly = self.costly;
        if keys.len() > VALUES {
            costly = true;
            keys.clear();
        }
        match (self.waits, costly, self.failed, keys.is_empty()) {
            (true, ..) => Yielded::Waits,
            (_, true, ..) => Yielded::TooCostly,
            (_, _, true, _) => Yielded::Failed,
            (.., true) => Yielded::Nothing,
            _ => Yielded::Values,
        }
    }
}

/// Keeps the texts that are found.
fn noting(keys: &mut Vec<KeyHash>) -> impl FnMut(PathEvent<'_>) {
    move |event: PathEvent<'_>| match event {
        PathEvent::Restart => keys.clear(),
        PathEvent::Text(text) => keys.push(KeyHash::of(text)),
    }
}

/// The member's custom fields, and whether it waits for them. Without `fields` none are read.
fn own_fields<'f>(
    fields: Option<&'f ProfileFields>,
    member: &Member<'_>,
) -> (Option<&'f [u8]>, bool) {
    let Some(fields) = fields else { return (None, false) };
    let own = fields.0.get(member.id()).map(|json| &**json);
    (own, own.is_none() && member.kind == MemberKind::Matchable)
}

/// Reads the member, and follows the path below its custom fields.
fn follow<'a>(
    json: &'a [u8],
    path: &[String],
    fields: Option<&ProfileFields>,
    keys: &mut Vec<KeyHash>,
) -> Result<(Member<'a>, Evaluated), BadMember> {
    let member = Member::from_slice(json)?;
    let (own, waits) = own_fields(fields, &member);
    let mut failed = false;
    if let Some(own) = own {
        let mut own = serde_json::Deserializer::from_slice(own);
        let mut note = noting(keys);
        let walk = Walk { path, found: &mut note };
        failed = Read(walk).deserialize(&mut own).is_err();
    }
    Ok((member, Evaluated { failed, waits, ..Evaluated::default() }))
}

/// Reads the member, and evaluates the expression on it.
fn search<'a>(
    evaluator: &'a mut Evaluator,
    json: &[u8],
    fields: Option<&ProfileFields>,
    pass: &mut Pass,
    keys: &mut Vec<KeyHash>,
) -> Result<(Member<'a>, Evaluated), BadMember> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let read = evaluator.read(&mut json).and_then(|()| json.end());
    read.map_err(|_| BadMember::Json)?;
    let mut evaluated = Evaluated::default();
    if fields.is_some() {
        let (own, waits) = own_fields(fields, &Member::from_variable(evaluator.member())?);
        evaluated.waits = waits;
        if let Some(own) = own {
            evaluated.failed = evaluator.put_fields(own).is_err();
        }
    }
    let evaluator: &'a Evaluator = evaluator;
    if !evaluated.waits && !evaluated.failed {
        let result = evaluator.keys(pass, &mut noting(keys));
        evaluated.costly = result == Err(EvaluationError::TooCostly);
        evaluated.failed = result.is_err();
    }
    Ok((Member::from_variable(evaluator.member())?, evaluated))
}

/// The name that is stored: cut to [`SHORT_TEXT_BYTES`].
pub(super) fn shown_name<'a>(member: &'a Member<'_>) -> &'a str {
    let name = &*member.display_name;
    &name[..name.floor_char_boundary(SHORT_TEXT_BYTES)]
}
