//! Slack's opaque cursors: base64 of a kind and a position in a list.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(in crate::sandbox) fn encode(kind: &str, position: &str) -> String {
    STANDARD.encode(format!("{kind}:{position}"))
}

/// The position, or `invalid_cursor`.
pub(in crate::sandbox) fn decode(kind: &str, cursor: &str) -> Result<String, &'static str> {
    let bytes = STANDARD.decode(cursor).map_err(|_| "invalid_cursor")?;
    let text = String::from_utf8(bytes).map_err(|_| "invalid_cursor")?;
    let position = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':'));
    position.map(str::to_owned).ok_or("invalid_cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_opaque_and_of_one_kind() {
        let cursor = encode("user", "U0G9WFXNZ");
        assert_eq!(cursor, "dXNlcjpVMEc5V0ZYTlo=");
        assert_eq!(decode("user", &cursor).unwrap(), "U0G9WFXNZ");
        assert_eq!(decode("next_ts", &cursor), Err("invalid_cursor"));
        assert_eq!(decode("user", "???"), Err("invalid_cursor"));
    }
}
