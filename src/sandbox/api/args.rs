//! Arguments of a Web API call: from the query, a form, or JSON if the method accepts JSON.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::sandbox::world::error::Error;

/// Decoded arguments. Scalars are strings whatever the encoding was; null counts as absent; lists
/// and objects appear only if they were sent as JSON.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Args(pub(in crate::sandbox) Map<String, Value>);

/// A decoded call.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Decoded {
    pub(in crate::sandbox) args: Args,
    /// The form field `token`. One in the query or in JSON is not accepted and not kept here.
    pub(in crate::sandbox) token: Option<String>,
    pub(in crate::sandbox) warning: Option<&'static str>,
}

impl Args {
    pub(in crate::sandbox) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// The text, or Slack's error for a missing argument.
    pub(in crate::sandbox) fn required(&self, key: &str) -> Result<&str, Error> {
        self.text(key).ok_or_else(|| {
            let message = format!("[ERROR] missing required field: {key}");
            Error::messages("invalid_arguments", vec![message])
        })
    }

    /// True for `true`, `1` and the like.
    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key), Some("true" | "1" | "True" | "TRUE"))
    }

    pub(in crate::sandbox) fn number(&self, key: &str) -> Option<usize> {
        self.text(key)?.parse().ok()
    }

    /// A list of ids: `a,b` or `["a","b"]`.
    pub(in crate::sandbox) fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key) {
            Some(Value::Array(items)) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(Value::String(text)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A structured argument, or one written as JSON text. `Err` if the text is not JSON.
    pub(in crate::sandbox) fn json(&self, key: &str) -> Option<Result<Value, ()>> {
        match self.0.get(key)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(serde_json::from_str(text).map_err(|_| ())),
            other => Some(Ok(other.clone())),
        }
    }
}

/// Reads the arguments as Slack does. `takes_json` is the method's flag; a JSON body sent to a
/// method without it is ignored, so the arguments are missing.
pub(super) fn decode(
    takes_json: bool,
    headers: &HeaderMap,
    query: &str,
    body: &[u8],
) -> Result<Decoded, &'static str> {
    let mut decoded = Decoded::default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if key != "token" {
            decoded.args.0.insert(key.into_owned(), Value::String(value.into_owned()));
        }
    }
    if body.is_empty() {
        return Ok(decoded);
    }
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err("missing_post_type");
    };
    let content_type = content_type.to_str().map_err(|_| "invalid_post_type")?;
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parameter(content_type, "charset");
    if charset.as_ref().is_some_and(|c| !c.eq_ignore_ascii_case("utf-8")) {
        return Err("invalid_charset");
    }
    match kind.as_str() {
        "application/json" => {
            decoded.warning = charset.is_none().then_some("missing_charset");
            if takes_json {
                json_body(body, &mut decoded)?;
            }
        }
        "application/x-www-form-urlencoded" => {
            decoded.warning = charset.map(|_| "superfluous_charset");
            std::str::from_utf8(body).map_err(|_| "invalid_form_data")?;
            for (key, value) in url::form_urlencoded::parse(body) {
                keep(&mut decoded, &key, value.into_owned());
            }
        }
        "multipart/form-data" => {
            decoded.warning = charset.map(|_| "superfluous_charset");
            let boundary = parameter(content_type, "boundary").ok_or("invalid_form_data")?;
            multipart(body, &boundary, &mut decoded)?;
        }
        _ => return Err("invalid_post_type"),
    }
    Ok(decoded)
}

fn keep(decoded: &mut Decoded, key: &str, value: String) {
    if key == "token" {
        decoded.token = Some(value);
    } else {
        decoded.args.0.insert(key.to_owned(), Value::String(value));
    }
}

fn json_body(body: &[u8], decoded: &mut Decoded) -> Result<(), &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "invalid_json")?;
    let Value::Object(object) = value else { return Err("json_not_object") };
    for (key, value) in object {
        let value = match value {
            Value::Null => continue,
            Value::Bool(flag) => Value::String(flag.to_string()),
            Value::Number(number) => Value::String(number.to_string()),
            other => other,
        };
        if key != "token" {
            decoded.args.0.insert(key, value);
        }
    }
    Ok(())
}

/// Text fields of a multipart form; no method here accepts files.
fn multipart(body: &[u8], boundary: &str, decoded: &mut Decoded) -> Result<(), &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "invalid_form_data")?;
    let delimiter = format!("--{boundary}");
    for part in text.split(delimiter.as_str()).skip(1) {
        if part.starts_with("--") {
            break;
        }
        let (head, value) = part.split_once("\r\n\r\n").ok_or("invalid_form_data")?;
        let disposition = head.lines().find(|line| {
            line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:"))
        });
        let name = disposition.and_then(|line| parameter(line, "name"));
        if let Some(name) = name {
            keep(decoded, &name, value.strip_suffix("\r\n").unwrap_or(value).to_owned());
        }
    }
    Ok(())
}

/// A parameter of a header's value, without quotes.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())])
    }

    #[test]
    fn three_encodings_say_the_same() {
        let json = br#"{"limit":5,"flag":true,"token":"t","none":null}"#;
        let from_json = decode(true, &headers("application/json"), "", json).unwrap();
        let form = headers("application/x-www-form-urlencoded");
        let from_form = decode(false, &form, "", b"limit=5&flag=true&token=t").unwrap();
        let multi = headers("multipart/form-data; boundary=\"b\"");
        let body = "--b\r\nContent-Disposition: form-data; name=\"limit\"\r\n\r\n5\r\n\
                    --b\r\ncontent-disposition: form-data; name=\"flag\"\r\n\r\ntrue\r\n--b--\r\n";
        let from_multi = decode(false, &multi, "", body.as_bytes()).unwrap();
        let from_query =
            decode(false, &HeaderMap::new(), "limit=5&flag=true&token=t", b"").unwrap();
        assert_eq!(from_json.args.0, from_form.args.0);
        assert_eq!(from_json.args.0, from_multi.args.0);
        assert_eq!(from_json.args.0, from_query.args.0);
        assert_eq!((from_json.token, from_form.token.as_deref()), (None, Some("t")));
        assert_eq!(from_query.token, None);
        assert_eq!(from_json.warning, Some("missing_charset"));
    }

    #[test]
    fn a_form_needs_no_charset() {
        let form = headers("application/x-www-form-urlencoded; charset=utf-8");
        let decoded = decode(false, &form, "", b"limit=5").unwrap();
        assert_eq!(
            (decoded.warning, decoded.args.text("limit")),
            (Some("superfluous_charset"), Some("5"))
        );
    }

    #[test]
    fn wrong_bodies_get_their_codes() {
        let json = headers("application/json; charset=utf-8");
        let code = |body: &[u8]| decode(true, &json, "", body).unwrap_err();
        assert_eq!(code(b"{"), "invalid_json");
        assert_eq!(code(b"[]"), "json_not_object");
        assert_eq!(decode(true, &HeaderMap::new(), "", b"x").unwrap_err(), "missing_post_type");
        assert_eq!(
            decode(true, &headers("text/plain"), "", b"x").unwrap_err(),
            "invalid_post_type"
        );
        assert!(decode(false, &json, "", br#"{"a":"b"}"#).unwrap().args.0.is_empty());
    }
}
