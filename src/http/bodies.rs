//! Bodies of requests: read within a time and a share of the memory for them, because nothing is
//! known about their senders yet.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;

use crate::listen::{Held, Pool};
use crate::telemetry::Metrics;

/// Bytes of all bodies under way; one address gets half of those that are left free.
const UNDER_WAY: usize = 16 << 20;
/// The longest that a body may take to arrive. Slack waits three seconds for the whole answer.
const LONGEST: Duration = Duration::from_secs(3);

/// The room for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    under_way: Pool<IpAddr>,
    metrics: Metrics,
}

/// A body that has arrived, with its part of the room.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    held: Option<Held<IpAddr>>,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than allowed.
    TooLarge,
    /// Its end is missing.
    Cut,
    /// It did not arrive in time.
    Late,
    /// There is no room for it.
    NoRoom,
}

impl Bodies {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { under_way: Pool::new(UNDER_WAY), metrics }
    }

    /// Reads a body of at most `most` bytes from this address.
    pub(super) async fn read(
        &self,
        address: IpAddr,
        body: Body,
        most: usize,
    ) -> Result<Whole, Unread> {
        let reading = tokio::time::timeout(LONGEST, self.collect(address, body, most));
        reading.await.unwrap_or(Err(Unread::Late))
    }

    async fn collect(&self, address: IpAddr, mut body: Body, most: usize) -> Result<Whole, Unread> {
        let mut whole = Whole::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Cut)?.into_data() else {
                continue;
            };
            if whole.bytes.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            if !self.hold(&mut whole.held, address, data.len()) {
                self.metrics.refused("http.bytes_under_way");
                return Err(Unread::NoRoom);
            }
            whole.bytes.extend_from_slice(&data);
        }
        Ok(whole)
    }

    /// Takes room for more bytes of one body; returns whether there is any.
    fn hold(&self, held: &mut Option<Held<IpAddr>>, address: IpAddr, more: usize) -> bool {
        if let Some(held) = held {
            return held.grow(more);
        }
        *held = self.under_way.take(&address, more, 1);
        held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_body_is_read_whole_in_time_or_not_at_all() {
        let bodies = Bodies::new(Metrics::unobserved());
        let read = async |body, most| {
            bodies.read(ADDRESS, body, most).await.map(|whole| whole.bytes.len())
        };
        assert_eq!(read(Body::from("four"), 4).await, Ok(4));
        assert_eq!(read(Body::from("five!"), 4).await, Err(Unread::TooLarge));
        let parts = stream::iter(["a", "b"].map(Ok::<_, Infallible>));
        assert_eq!(read(Body::from_stream(parts.clone()), 4).await, Ok(2));
        let unending = Body::from_stream(parts.chain(stream::pending()));
        assert_eq!(read(unending, 4).await, Err(Unread::Late));
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_the_next() {
        let bodies = Bodies::new(Metrics::unobserved());
        let half = || Body::from(vec![0; UNDER_WAY / 2]);
        let first = bodies.read(ADDRESS, half(), UNDER_WAY).await.unwrap();
        let again = bodies.read(ADDRESS, Body::from("x"), UNDER_WAY).await;
        assert_eq!(again.unwrap_err(), Unread::NoRoom);
        let other = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        bodies.read(other, Body::from("x"), UNDER_WAY).await.unwrap();
        drop(first);
        bodies.read(ADDRESS, half(), UNDER_WAY).await.unwrap();
    }
}
