//! The time at which a request arrived, and the deadline of its caller.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// When a request arrived: an extension of every admitted request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived(pub(super) Instant);

/// The trail's description of the caller's credentials: an extension of requests that had some.
#[derive(Debug, Clone)]
pub(super) struct ShownCredentials(pub(super) String);

/// The caller's deadline from `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2).
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = if digits.len() <= 8 { digits.parse().ok()? } else { return None };
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_and_rubbish_is_not() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        for rubbish in ["", "S", "5", "-1S", "123456789S", "5x"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }
}
