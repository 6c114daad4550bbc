//! Reading JSON of unknown shape in one pass, from bytes or from a parsed value.
//!
//! serde needs eleven methods to accept any value; a [`JsonReader`] has three, and skips parts that
//! it does not ask for without parsing them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Number;

/// A value that is neither an object nor a list.
pub(in crate::domain) enum Scalar<'de> {
    Null,
    Bool(bool),
    Number(Number),
    /// Borrowed if the JSON text has no escapes.
    Text(Cow<'de, str>),
}

/// Decides how to handle a value, by its shape.
pub(in crate::domain) trait JsonReader<'de>: Sized {
    type Output;

    fn scalar(self, scalar: Scalar<'de>) -> Self::Output;

    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Output, A::Error>;

    fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Output, A::Error>;
}

/// Reads the next value with a [`JsonReader`].
pub(in crate::domain) struct Read<R>(pub(in crate::domain) R);

impl<'de, R: JsonReader<'de>> DeserializeSeed<'de> for Read<R> {
    type Value = R::Output;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Output, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: JsonReader<'de>> Visitor<'de> for Read<R> {
    type Value = R::Output;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<R::Output, E> {
        let scalar = Number::from_f64(value).map_or(Scalar::Null, Scalar::Number);
        Ok(self.0.scalar(scalar))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Text(Cow::Borrowed(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<R::Output, E> {
        Ok(self.0.scalar(Scalar::Text(Cow::Owned(value.to_owned()))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R::Output, A::Error> {
        self.0.object(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<R::Output, A::Error> {
        self.0.list(seq)
    }
}

/// Skips the rest of an object.
pub(in crate::domain) fn skip_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Skips the rest of a list.
pub(in crate::domain) fn skip_list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// A key of an object, borrowed if it has no escapes.
pub(in crate::domain) struct ObjectKey<'de>(pub(in crate::domain) Cow<'de, str>);

impl<'de> Deserialize<'de> for ObjectKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = ObjectKey<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<ObjectKey<'de>, E> {
                Ok(ObjectKey(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<ObjectKey<'de>, E> {
                Ok(ObjectKey(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
