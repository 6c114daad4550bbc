//! Which parts of an object an expression can read.
//!
//! Two uses. Custom profile fields cost one Slack call a member, so Herald must know whether an
//! expression can see `profile.fields`. And of a member object of two kilobytes most expressions
//! read a few bytes: only what is needed is converted to jmespath's `Variable`, which costs more
//! than the search itself.
//!
//! The analysis follows each sub-expression's value while it is a place in the object (a chain of
//! fields). Where a value is used in any other way, everything under its place is needed. What a
//! sub-expression cannot tell apart may be missing, so a result is the same on the whole object
//! and on the needed part; a property test compares.

use std::collections::BTreeMap;

use jmespath::ast::Ast;
use jmespath::{Rcvar, Variable};
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::super::json::{Key, Read, Reader, Scalar, skip_list};

/// Keys up to which looking at each is as quick as searching.
const FEW: usize = 16;

/// What is needed of one value.
#[derive(Debug, Clone)]
pub(super) enum Needs {
    /// All of it.
    All,
    /// If it is an object, these keys of it; else only that it is something.
    Keys(BTreeMap<String, Needs>),
}

impl Needs {
    /// What `ast` needs of the object that it is evaluated on.
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

    /// Needs a chain of fields as well.
    pub(super) fn add(&mut self, fields: &[&str]) {
        let path: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        self.all(&Some(path));
    }

    /// What is needed of one field; `None`: nothing.
    pub(super) fn under(&self, key: &str) -> Option<&Self> {
        match self {
            Self::All => Some(self),
            // Nearly no key of an object is needed: their lengths mostly tell, sooner than their
            // texts.
            Self::Keys(keys) if keys.len() <= FEW => {
                let same = |known: &str| known.len() == key.len() && known == key;
                keys.iter().find(|(known, _)| same(known)).map(|(_, needs)| needs)
            }
            Self::Keys(keys) => keys.get(key),
        }
    }

    /// Adds what `ast` needs where it is evaluated at the place `at`; returns the place of its
    /// result, if that is one. `None` is a value whose every part is there already.
    fn follow(&mut self, ast: &Ast, at: &Place) -> Place {
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
            // Evaluated on elements of other arguments, which are all there.
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

    fn whole(&mut self, ast: &Ast, at: &Place) -> Place {
        let place = self.follow(ast, at);
        self.all(&place);
        None
    }

    /// Everything under a place is needed.
    fn all(&mut self, place: &Place) {
        if let Some(path) = place
            && let Some(needs) = self.at(path)
        {
            *needs = Self::All;
        }
    }

    /// Whether a place is null matters.
    fn reach(&mut self, place: &Place) {
        if let Some(path) = place {
            self.at(path);
        }
    }

    /// The node of a place; `None` where everything around it is needed already.
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
type Place = Option<Vec<String>>;

/// A value that holds no others.
pub(super) fn variable(scalar: Scalar<'_>) -> Variable {
    match scalar {
        Scalar::Null => Variable::Null,
        Scalar::Bool(value) => Variable::Bool(value),
        Scalar::Number(number) => Variable::Number(number),
        Scalar::Text(text) => Variable::String(text.into_owned()),
    }
}

/// Reads the needed part of a value.
impl<'de> Reader<'de> for &Needs {
    type Output = Rcvar;

    fn scalar(self, scalar: Scalar<'de>) -> Rcvar {
        Rcvar::new(variable(scalar))
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Rcvar, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(Key(key)) = map.next_key()? {
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

    /// Of a list the elements are needed where all of it is; else only that it is there.
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
