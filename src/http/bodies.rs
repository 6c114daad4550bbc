//! Bodies of requests: read within a time and a share of the memory for them, because nothing is
//! known about their senders yet.

use std::net::IpAddr;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use crate::listen::{Held, ResourcePool};
use crate::telemetry::Metrics;

/// Bytes of all bodies under way; one address gets half of those that are left free.
const UNDER_WAY: usize = 16 << 20;

/// The room for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    under_way: ResourcePool<IpAddr>,
    metrics: Metrics,
}

/// A body that has arrived, with its part of the room.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    held: Held<IpAddr>,
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
        Self { under_way: ResourcePool::new(UNDER_WAY), metrics }
    }

    /// Reads a body of at most `most` bytes from this address, if it has arrived by then.
    pub(super) async fn read(
        &self,
        address: IpAddr,
        body: Body,
        most: usize,
        until: Instant,
    ) -> Result<Whole, Unread> {
        let reading = tokio::time::timeout_at(until, self.collect(address, body, most));
        reading.await.unwrap_or(Err(Unread::Late))
    }

    async fn collect(&self, address: IpAddr, mut body: Body, most: usize) -> Result<Whole, Unread> {
        let mut whole = Whole { bytes: Vec::new(), held: self.under_way.nothing(&address) };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Cut)?.into_data() else {
                continue;
            };
            if whole.bytes.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            if !whole.held.grow(data.len(), 1) {
                self.metrics.refused("http.bytes_under_way");
                return Err(Unread::NoRoom);
            }
            whole.bytes.extend_from_slice(&data);
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Later than the end of these tests.
    fn in_time() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_time_or_not_at_all() {
        let bodies = Bodies::new(Metrics::unobserved());
        let read = async |body, until| {
            bodies.read(ADDRESS, body, 4, until).await.map(|whole| whole.bytes.len())
        };
        assert_eq!(read(Body::from("four"), in_time()).await, Ok(4));
        assert_eq!(read(Body::from("five!"), in_time()).await, Err(Unread::TooLarge));
        let parts = stream::iter(["a", "b"].map(Ok::<_, Infallible>));
        assert_eq!(read(Body::from_stream(parts.clone()), in_time()).await, Ok(2));
        let unending = Body::from_stream(parts.chain(stream::pending()));
        assert_eq!(read(unending, Instant::now()).await, Err(Unread::Late));
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_the_next() {
        let bodies = Bodies::new(Metrics::unobserved());
        let half = || Body::from(vec![0; UNDER_WAY / 2]);
        let read = async |address, body| bodies.read(address, body, UNDER_WAY, in_time()).await;
        let first = read(ADDRESS, half()).await.unwrap();
        assert_eq!(read(ADDRESS, Body::from("x")).await.unwrap_err(), Unread::NoRoom);
        read(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Body::from("x")).await.unwrap();
        drop(first);
        read(ADDRESS, half()).await.unwrap();
    }
}
