//! The evaluation of one expression on many members, such as a million, one after the other.
//!
//! Converting a member to jmespath's `Variable` costs more than the search, and nearly all of that
//! cost is creating keys and texts that the previous member had too. So the needed part of a member
//! is read straight from its JSON *into* the value of the previous member: values of the same kind
//! are overwritten in place, keys are compared in the order of the previous member, and keys that
//! are missing are removed. The facts that the caller wants are read in the same pass.

use std::collections::BTreeMap;

use jmespath::{Rcvar, Variable};
use serde::Deserializer;
use serde::de::{DeserializeSeed as _, IgnoredAny, MapAccess, SeqAccess};

use super::json::{JsonReader, ObjectKey, Read, Scalar};
use super::needs::{Needs, variable};
use super::path::{self, PathEvent};
use super::search::search;
use super::{EvaluationError, Expression, FIELDS, Pass, Plan};

/// An expression and the member that it is evaluated on.
pub(in crate::domain) struct Evaluator {
    expression: Expression,
    /// The needs of the expression and of the caller. Reading more than the expression needs does
    /// not change its result, because its result on the whole object is the same.
    needs: Needs,
    /// Not shared between two calls.
    member: Rcvar,
    shape: Shape,
}

/// The keys of an object in the order in which they were last read, each once, with the shapes of
/// their values. Always exactly the keys of the object; empty if the value is not an object.
#[derive(Default)]
struct Shape(Vec<(Box<str>, Shape)>);

impl Evaluator {
    /// `facts` are chains of fields that the caller reads from [`Evaluator::member`].
    pub(in crate::domain) fn new(expression: &Expression, facts: &[&[&str]]) -> Self {
        let mut needs = expression.0.needs.clone();
        for fact in facts {
            needs.add(fact);
        }
        let member = Rcvar::new(Variable::Null);
        Self { expression: expression.clone(), needs, member, shape: Shape::default() }
    }

    /// Reads the next member. After an error it may be incomplete.
    pub(in crate::domain) fn read<'de, D: Deserializer<'de>>(
        &mut self,
        json: D,
    ) -> Result<(), D::Error> {
        let (value, shape) = (&mut self.member, &mut self.shape);
        Read(Fill { needs: &self.needs, value, shape }).deserialize(json)
    }

    /// Inserts custom profile fields, which the member list does not have.
    pub(in crate::domain) fn put_fields(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let [profile, fields] = FIELDS;
        let needs = self.needs.under(profile).and_then(|needs| needs.under(fields));
        // A member without a profile has no fields.
        let Some((object, shape)) = child(&mut self.member, &mut self.shape, profile) else {
            return Ok(());
        };
        let Some(needs) = needs else { return Ok(()) };
        let Some(Variable::Object(keys)) = Rcvar::get_mut(object) else { return Ok(()) };
        let at = shape.find_or_add(fields, keys);
        let Some(value) = keys.get_mut(fields) else { return Ok(()) };
        let mut json = serde_json::Deserializer::from_slice(json);
        Read(Fill { needs, value, shape: &mut shape.0[at].1 }).deserialize(&mut json)
    }

    /// The part of the member that was read.
    pub(in crate::domain) fn member(&self) -> &Variable {
        &self.member
    }

    /// Reports the canonical text of every key of the member.
    pub(in crate::domain) fn keys(
        &self,
        pass: &mut Pass,
        found: &mut impl FnMut(PathEvent<'_>),
    ) -> Result<(), EvaluationError> {
        match &self.expression.0.plan {
            Plan::Path(path) => {
                let mut value: &Variable = &self.member;
                for field in path {
                    let Variable::Object(keys) = value else { return Ok(()) };
                    let Some(next) = keys.get(field) else { return Ok(()) };
                    value = next;
                }
                path::tell_variable(value, found);
            }
            Plan::Search(ast) => {
                let result = pass.value(|fuel| search(&self.member, ast, fuel))?;
                path::tell_variable(&result, found);
            }
        }
        Ok(())
    }
}

/// The value of one field and its shape.
fn child<'a>(
    value: &'a mut Rcvar,
    shape: &'a mut Shape,
    field: &str,
) -> Option<(&'a mut Rcvar, &'a mut Shape)> {
    let Some(Variable::Object(keys)) = Rcvar::get_mut(value) else { return None };
    let (_, shape) = shape.0.iter_mut().find(|(key, _)| **key == *field)?;
    Some((keys.get_mut(field)?, shape))
}

impl Shape {
    /// The place of a key, which is added if it is missing.
    fn find_or_add(&mut self, key: &str, keys: &mut BTreeMap<String, Rcvar>) -> usize {
        let known = self.0.iter().position(|(known, _)| **known == *key);
        known.unwrap_or_else(|| self.insert(self.0.len(), key, keys))
    }

    fn insert(&mut self, at: usize, key: &str, keys: &mut BTreeMap<String, Rcvar>) -> usize {
        self.0.insert(at, (key.into(), Self::default()));
        keys.insert(key.to_owned(), Rcvar::new(Variable::Null));
        at
    }

    /// Removes the keys of a range from the object.
    fn remove(&mut self, range: std::ops::Range<usize>, keys: &mut BTreeMap<String, Rcvar>) {
        for (key, _) in self.0.drain(range) {
            keys.remove(&*key);
        }
    }

    /// The place of the next key of the object, after `at` keys have been read: nearly always `at`.
    fn next(&mut self, at: usize, key: &str, keys: &mut BTreeMap<String, Rcvar>) -> usize {
        if self.0.get(at).is_some_and(|(known, _)| **known == *key) {
            return at;
        }
        match self.0.iter().position(|(known, _)| **known == *key) {
            // It was read before: the last of several equal keys counts.
            Some(known) if known < at => known,
            Some(known) => {
                self.remove(at..known, keys);
                at
            }
            None => self.insert(at, key, keys),
        }
    }
}

/// Reads the needed part of a value over the previous value.
struct Fill<'a> {
    needs: &'a Needs,
    value: &'a mut Rcvar,
    shape: &'a mut Shape,
}

impl<'de> JsonReader<'de> for Fill<'_> {
    type Output = ();

    fn scalar(self, scalar: Scalar<'de>) {
        self.shape.0.clear();
        match (Rcvar::get_mut(self.value), scalar) {
            (Some(Variable::String(old)), Scalar::Text(new)) => {
                old.clear();
                old.push_str(&new);
            }
            (Some(old), scalar) => *old = variable(scalar),
            (None, scalar) => *self.value = Rcvar::new(variable(scalar)),
        }
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if !matches!(Rcvar::get_mut(self.value), Some(Variable::Object(_))) {
            self.shape.0.clear();
            *self.value = Rcvar::new(Variable::Object(BTreeMap::new()));
        }
        let mut at = 0;
        while let Some(ObjectKey(key)) = map.next_key()? {
            let needs = self.needs.under(&key);
            let slot = match (needs, Rcvar::get_mut(self.value)) {
                (Some(needs), Some(Variable::Object(keys))) => {
                    let place = self.shape.next(at, &key, keys);
                    at += usize::from(place == at);
                    let shape = &mut self.shape.0[place].1;
                    keys.get_mut(&*key).map(|value| Fill { needs, value, shape })
                }
                _ => None,
            };
            match slot {
                Some(fill) => map.next_value_seed(Read(fill))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if let Some(Variable::Object(keys)) = Rcvar::get_mut(self.value) {
            self.shape.remove(at..self.shape.0.len(), keys);
        }
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.shape.0.clear();
        // Lists are rare and short: they are built anew.
        *self.value = self.needs.list(seq)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn texts(evaluator: &Evaluator) -> Option<Vec<String>> {
        let mut texts: Vec<String> = Vec::new();
        let found = evaluator.keys(&mut Pass::default(), &mut |event| match event {
            PathEvent::Restart => texts.clear(),
            PathEvent::Text(text) => {
                if !texts.iter().any(|known| known == text) {
                    texts.push(text.to_owned());
                }
            }
        });
        found.is_ok().then_some(texts)
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_one_counts() {
        let expression = Expression::compile("a || b").unwrap();
        let mut evaluator = Evaluator::new(&expression, &[]);
        for (json, expected) in [
            (r#"{"a": "1", "b": "2"}"#, "1"),
            (r#"{"a": "1", "a": "", "b": "2"}"#, "2"),
            (r#"{"b": "2", "b": "3"}"#, "3"),
            (r#"{"b": "2", "a": {"x": 1}, "a": "4"}"#, "4"),
        ] {
            evaluator.read(&mut serde_json::Deserializer::from_str(json)).unwrap();
            assert_eq!(texts(&evaluator), Some(vec![expected.to_owned()]), "{json}");
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!("t")),
            Just(json!("u")),
            Just(json!("")),
            Just(json!(7)),
            Just(json!(true)),
            Just(json!(["x", "y"])),
            Just(json!([{"a": "z"}])),
        ];
        let value = leaf.prop_recursive(3, 12, 4, |inner| {
            proptest::collection::hash_map("[abcd]", inner, 0..4).prop_map(|map| json!(map))
        });
        proptest::collection::hash_map("[abcd]", value, 0..4).prop_map(|map| json!(map))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Whatever was read before, each member is read as if it were the first.
        #[test]
        fn nothing_is_left_of_the_one_before(
            members in proptest::collection::vec((object(), any::<u64>()), 1..8),
            source in proptest::sample::select(vec![
                "a", "a.b.c", "a || b", "@ | a", "values(@)", "*.a", "[a, b.c, d]", "{x: a}.x.b",
                "keys(@)", "a.b || b.a || 'none'", "a[0].a", "not_null(d, c.c)",
                "length(keys(@)) == `1` && a",
            ]),
        ) {
            let expression = Expression::compile(source).unwrap();
            let mut evaluator = Evaluator::new(&expression, &[&["d"], &["b", "a"]]);
            for (member, order) in members {
                // Another order of keys each time.
                let mut keys: Vec<_> = member.as_object().unwrap().iter().collect();
                let mix = |hash: u64, byte: u8| hash.rotate_left(7) ^ u64::from(byte);
                let by = |key: &str| key.bytes().fold(order, mix) % 7;
                keys.sort_by_key(|(key, _)| by(key));
                let body: Vec<_> =
                    keys.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
                let json = format!("{{{}}}", body.join(","));
                evaluator.read(&mut serde_json::Deserializer::from_str(&json)).unwrap();
                let expected = expression.keys(&member, &mut Pass::default()).ok();
                let expected = expected
                    .map(|keys| keys.iter().map(|key| key.as_str().to_owned()).collect());
                prop_assert_eq!(texts(&evaluator), expected, "{}", json);
            }
        }
    }
}
