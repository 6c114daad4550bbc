//! `google.protobuf.Struct` <-> JSON values, with the limits of `domain::limits`.
//!
//! Protobuf numbers are doubles. Integral ones within 2^53 become JSON integers, so that they print
//! and compare as decimal text; larger ones stay doubles and never match.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::{Map, Value};

use crate::domain::limits;

/// The largest integer that a double holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A struct as a JSON object; the error continues the name of the field.
pub(super) fn object(source: Struct, max_bytes: usize) -> Result<Map<String, Value>, String> {
    let map = convert_map(source, limits::JSON_DEPTH)?;
    let bytes = serde_json::to_vec(&map).map_err(|error| error.to_string())?.len();
    if bytes > max_bytes {
        return Err(format!("must be at most {max_bytes} bytes as JSON, was {bytes}"));
    }
    Ok(map)
}

/// A value as JSON; the error continues the name of the field.
pub(super) fn value(source: ProtoValue) -> Result<Value, String> {
    convert(source, limits::JSON_DEPTH)
}

fn convert_map(source: Struct, depth: usize) -> Result<Map<String, Value>, String> {
    source
        .fields
        .into_iter()
        .map(|(key, value)| Ok((key, convert(value, descend(depth)?)?)))
        .collect()
}

fn descend(depth: usize) -> Result<usize, String> {
    depth
        .checked_sub(1)
        .ok_or_else(|| format!("must be nested at most {} levels deep", limits::JSON_DEPTH))
}

fn convert(value: ProtoValue, depth: usize) -> Result<Value, String> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => number_value(number)?,
        Some(Kind::StructValue(inner)) => Value::Object(convert_map(inner, depth)?),
        Some(Kind::ListValue(ListValue { values })) => {
            let depth = descend(depth)?;
            Value::Array(values.into_iter().map(|v| convert(v, depth)).collect::<Result<_, _>>()?)
        }
    })
}

fn number_value(number: f64) -> Result<Value, String> {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
        return Ok(Value::from(number as i64));
    }
    serde_json::Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| "must not hold NaN or an infinite number".to_owned())
}

/// A JSON object as a struct.
pub fn to_struct(map: Map<String, Value>) -> Struct {
    Struct { fields: map.into_iter().map(|(key, value)| (key, to_value(value))).collect() }
}

pub(super) fn to_value(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(to_value).collect() })
        }
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    ProtoValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Struct {
        let mut inner = Struct::default();
        for _ in 0..levels {
            let value = ProtoValue { kind: Some(Kind::StructValue(inner)) };
            inner = Struct { fields: [("x".to_owned(), value)].into() };
        }
        inner
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(number_value(42.0), Ok(Value::from(42)));
        assert_eq!(number_value(-0.5), Ok(Value::from(-0.5)));
        assert!(number_value(1e300).unwrap().is_f64());
        assert!(number_value(f64::NAN).is_err());
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert!(object(nested(limits::JSON_DEPTH), 1 << 20).is_ok());
        assert!(object(nested(limits::JSON_DEPTH + 1), 1 << 20).unwrap_err().contains("16 levels"));
        assert!(object(nested(3), 5).unwrap_err().contains("5 bytes"));
    }

    #[test]
    fn there_and_back() {
        let map = serde_json::json!({"a": [1, "x", null, true, {"b": 1.5}]});
        let Value::Object(map) = map else { unreachable!() };
        assert_eq!(object(to_struct(map.clone()), 1000), Ok(map));
    }
}
