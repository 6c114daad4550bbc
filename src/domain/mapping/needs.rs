//! The parts of an object that an expression can read.
//!
//! This has two uses. Custom profile fields cost one Slack call for each member, so Herald must
//! know whether an expression can see `profile.fields`. And most expressions read only a few bytes
//! of a member object of two kilobytes: only the needed part is converted to jmespath's `Variable`,
//! because the conversion costs more than the search itself.
//!
//! The analysis follows each sub-expression's value while it is a place in the object (a chain of
//! fields). If a value is used in any other way, everything under its place is needed. Parts whose
//! absence a sub-expression cannot notice may be missing, so the result is the same on the whole
//! object and on the needed part; a property test compares them.

use std::collections::BTreeMap;

use jmespath::ast::Ast;
use jmespath::{Rcvar, Variable};
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::json::{JsonReader, ObjectKey, Read, Scalar, skip_list};

/// The most keys for which comparing each is as fast as searching.
const FEW: usize = 16;

/// The needed part of one value.
#[derive(Debug, Clone)]
pub(super) enum Needs {
    /// All of it.
    All,
    /// If it is an object, these keys of it; otherwise only that it exists.
    Keys(BTreeMap<String, Needs>),
}

impl Needs {
    /// The needs of `ast` for the object that it is evaluated on.
    pub(super) fn of(ast: &Ast) -> Self {
        let mut needs = Self::Keys(BTreeMap::new());
        let place = needs.follow(ast, &Some(Vec::new()));
        needs.all(&place);
        needs
    }

    /// Whether anything at or under `path` is needed.
    pub(super) fn touches(&self, path: &[&str]) -> bool {
        match (self, path) {
            (Self::All, _) | (_, []) => true,
            (Self::Keys(keys), [key, rest @ ..]) => {
                keys.get(*key).is_some_and(|needs| needs.touches(rest))
            }
        }
    }

    /// Adds a chain of fields to the needs.
    pub(super) fn add(&mut self, fields: &[&str]) {
        let path: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        self.all(&Some(path));
    }

    /// The needs for one field; `None`: nothing.
    pub(super) fn under(&self, key: &str) -> Option<&Self> {
        match self {
            Self::All => Some(self),
            // Nearly no key of an object is needed, and comparing the lengths usually shows that
            // faster than comparing the texts.
            Self::Keys(keys) if keys.len() <= FEW => {
                let same = |known: &str| known.len() == key.len() && known == key;
                keys.iter().find(|(known, _)| same(known)).map(|(_, needs)| needs)
            }
            Self::Keys(keys) => keys.get(key),
        }
    }

    /// Adds the needs of `ast` evaluated at the place `at`; returns the place of its result, if it
    /// has one. `None` is a value that is complete already.
    fn follow(&mut self, ast: &Ast, at: &FieldPath) -> FieldPath {
        match ast {
            Ast::Identity { .. } => at.clone(),
            Ast::Field { name, .. } => at.as_ref().map(|path| {
                let mut path = path.clone();
                path.push(name.clone());
                path
            }),
            Ast::Subexpr { lhs, rhs, .. } => {
                let left = self.follow(lhs, at);
                self.follow(rhs, &left)
            }
            Ast::Literal { .. } => None,
            Ast::Index { .. } | Ast::Slice { .. } => {
                self.all(at);
                None
            }
            Ast::Projection { lhs, rhs, .. } => {
                self.whole(lhs, at);
                self.whole(rhs, &None)
            }
            Ast::Condition { predicate: lhs, then: rhs, .. }
            | Ast::Comparison { lhs, rhs, .. }
            | Ast::And { lhs, rhs, .. }
            | Ast::Or { lhs, rhs, .. } => {
                self.whole(lhs, at);
                self.whole(rhs, at)
            }
            Ast::Not { node, .. } | Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } => {
                self.whole(node, at)
            }
            // Evaluated on elements of other arguments, which are complete.
            Ast::Expref { ast, .. } => self.whole(ast, &None),
            Ast::Function { args, .. } => {
                for arg in args {
                    self.whole(arg, at);
                }
                None
            }
            Ast::MultiList { elements, .. } => {
                self.reach(at);
                for element in elements {
                    self.whole(element, at);
                }
                None
            }
            Ast::MultiHash { elements, .. } => {
                self.reach(at);
                for element in elements {
                    self.whole(&element.value, at);
                }
                None
            }
        }
    }

    fn whole(&mut self, ast: &Ast, at: &FieldPath) -> FieldPath {
        let place = self.follow(ast, at);
        self.all(&place);
        None
    }

    /// Marks everything under a place as needed.
    fn all(&mut self, place: &FieldPath) {
        if let Some(path) = place
            && let Some(needs) = self.at(path)
        {
            *needs = Self::All;
        }
    }

    /// Marks that it matters whether a place is null.
    fn reach(&mut self, place: &FieldPath) {
        if let Some(path) = place {
            self.at(path);
        }
    }

    /// The node of a place; `None` if a node above it needs everything already.
    fn at(&mut self, path: &[String]) -> Option<&mut Self> {
        let mut needs = self;
        for key in path {
            match needs {
                Self::All => return None,
                Self::Keys(keys) => {
                    needs = keys.entry(key.clone()).or_insert_with(|| Self::Keys(BTreeMap::new()));
                }
            }
        }
        Some(needs)
    }
}

/// A chain of fields from the object's root.
type FieldPath = Option<Vec<String>>;

/// A value that contains no others.
pub(super) fn variable(scalar: Scalar<'_>) -> Variable {
    match scalar {
        Scalar::Null => Variable::Null,
        Scalar::Bool(value) => Variable::Bool(value),
        Scalar::Number(number) => Variable::Number(number),
        Scalar::Text(text) => Variable::String(text.into_owned()),
    }
}

/// Reads the needed part of a value.
impl<'de> JsonReader<'de> for &Needs {
    type Output = Rcvar;

    fn scalar(self, scalar: Scalar<'de>) -> Rcvar {
        Rcvar::new(variable(scalar))
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Rcvar, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(ObjectKey(key)) = map.next_key()? {
            match self.under(&key) {
                Some(needs) => {
                    let value = map.next_value_seed(Read(needs))?;
                    object.insert(key.into_owned(), value);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Rcvar::new(Variable::Object(object)))
    }

    /// The elements of a list are needed only if all of it is; otherwise only that the list exists.
    fn list<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rcvar, A::Error> {
        let mut list = Vec::new();
        if matches!(self, Needs::All) {
            while let Some(element) = seq.next_element_seed(Read(self))? {
                list.push(element);
            }
        } else {
            skip_list(seq)?;
        }
        Ok(Rcvar::new(Variable::Array(list)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_fields(source: &str) -> bool {
        Needs::of(&jmespath::parse(source).unwrap()).touches(&["profile", "fields"])
    }

    #[test]
    fn expressions_that_can_see_custom_fields() {
        for source in [
            "profile.fields.XF1.value",
            "profile.\"fields\".XF1.value",
            "profile | fields",
            "@.profile.fields.*.value",
            "profile.fields",
            "profile",
            "@",
            "*.email",
            "values(profile)",
            "profile.*",
            "to_array(profile) | [0].fields.XF1",
            "[@][0].profile.fields",
            "not_null(profile.fields.XF1.value, name)",
            "name || profile.fields.XF1.value",
            "profile.{a: fields.XF1.value}.a",
            "[profile][?fields.XF1.value == 'x'].email",
            "map(&fields.XF1, [profile])",
            "profile.[email, fields]",
            "profile && name",
        ] {
            assert!(reads_fields(source), "{source}");
        }
    }

    #[test]
    fn expressions_that_cannot() {
        for source in [
            "profile.email",
            "fields",
            "id",
            "'profile.fields'",
            "enterprise_user.fields",
            "not_null(profile.email, name)",
            "profile.email || join('@', [name, 'example.com'])",
            "profile.[email, phone] | [?@ != ''] | [0]",
            "teams[?@ == 'fields'] | [0]",
            "profile.status_emoji_display_info[*].fields",
        ] {
            assert!(!reads_fields(source), "{source}");
        }
    }

    #[test]
    fn a_place_matters_where_only_its_absence_does() {
        let needs = Needs::of(&jmespath::parse("profile.[`1`]").unwrap());
        assert!(needs.touches(&["profile"]) && !needs.touches(&["profile", "email"]));
    }
}
