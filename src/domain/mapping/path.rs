//! Plain dotted paths, and the canonical texts of their values.
//!
//! A path is followed in the JSON while it is read: no value is built and no text copied, unless an
//! address has to be put in lower case.

use jmespath::Variable;
use jmespath::ast::Ast;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::json::{JsonReader, ObjectKey, Read, Scalar, skip_list, skip_object};
use super::key::{canonical_number, canonical_text};

/// The fields of an expression that is only a chain of them.
pub(super) fn of(ast: &Ast) -> Option<Vec<String>> {
    match ast {
        Ast::Identity { .. } => Some(Vec::new()),
        Ast::Field { name, .. } => Some(vec![name.clone()]),
        Ast::Subexpr { lhs, rhs, .. } => {
            let mut path = of(lhs)?;
            path.extend(of(rhs)?);
            Some(path)
        }
        _ => None,
    }
}

/// Follows a path and reports every canonical text at its end.
pub(in crate::domain) struct Walk<'p, F> {
    pub(in crate::domain) path: &'p [String],
    pub(in crate::domain) found: &'p mut F,
}

/// Reported while the JSON is read.
pub(in crate::domain) enum PathEvent<'a> {
    /// Discard the texts so far: the last of several equal keys counts.
    Restart,
    /// A canonical text.
    Text(&'a str),
}

impl<'de, F: FnMut(PathEvent<'_>)> JsonReader<'de> for Walk<'_, F> {
    type Output = ();

    fn scalar(self, scalar: Scalar<'de>) {
        if self.path.is_empty() {
            tell(scalar, self.found);
        }
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [first, rest @ ..] = self.path else {
            return skip_object(map);
        };
        while let Some(ObjectKey(key)) = map.next_key()? {
            if key == *first {
                (self.found)(PathEvent::Restart);
                map.next_value_seed(Read(Walk { path: rest, found: &mut *self.found }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.path.is_empty() {
            return skip_list(seq);
        }
        while seq.next_element_seed(Read(Element { found: &mut *self.found }))?.is_some() {}
        Ok(())
    }
}

/// One element of a list; lists within lists have no keys.
struct Element<'p, F> {
    found: &'p mut F,
}

impl<'de, F: FnMut(PathEvent<'_>)> JsonReader<'de> for Element<'_, F> {
    type Output = ();

    fn scalar(self, scalar: Scalar<'de>) {
        tell(scalar, self.found);
    }

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        skip_object(map)
    }

    fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        skip_list(seq)
    }
}

fn tell(scalar: Scalar<'_>, found: &mut impl FnMut(PathEvent<'_>)) {
    match scalar {
        Scalar::Text(text) => tell_text(&text, found),
        Scalar::Number(number) => tell_number(&number, found),
        Scalar::Null | Scalar::Bool(_) => {}
    }
}

fn tell_text(text: &str, found: &mut impl FnMut(PathEvent<'_>)) {
    if let Some(text) = canonical_text(text) {
        found(PathEvent::Text(&text));
    }
}

fn tell_number(number: &serde_json::Number, found: &mut impl FnMut(PathEvent<'_>)) {
    if let Some(text) = canonical_number(number) {
        found(PathEvent::Text(&text));
    }
}

/// Reports the texts of a search's result.
pub(super) fn tell_variable(variable: &Variable, found: &mut impl FnMut(PathEvent<'_>)) {
    let mut one = |variable: &Variable| match variable {
        Variable::String(text) => tell_text(text, found),
        Variable::Number(number) => tell_number(number, found),
        _ => {}
    };
    match variable {
        Variable::Array(elements) => elements.iter().for_each(|element| one(element)),
        variable => one(variable),
    }
}
