//! The number of connections of a port: in total, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The places of one port. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

/// The table has at most one entry per connection, so the limit on connections bounds its size.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    places: Places,
    /// `None` if its address is not counted.
    address: Option<IpAddr>,
}

/// The setting that refuses a connection.
pub(super) type LimitName = &'static str;

impl Places {
    pub(super) fn new(most: usize, per_address: usize) -> Self {
        Self(Arc::new(Shared { most, per_address, taken: Mutex::default() }))
    }

    /// Takes a place for a connection from this address; `counted`: whether it also counts towards
    /// the limit of its address.
    pub(super) fn take(
        &self,
        address: IpAddr,
        counted: bool,
    ) -> Result<ConnectionPlace, LimitName> {
        let address = counted.then(|| network(address));
        let mut taken = self.taken();
        if taken.all >= self.0.most {
            return Err("listen.max_connections");
        }
        if let Some(address) = address {
            let own = taken.by_address.entry(address).or_default();
            if *own >= self.0.per_address {
                return Err("listen.max_connections_per_address");
            }
            *own += 1;
        }
        taken.all += 1;
        Ok(ConnectionPlace { places: self.clone(), address })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(address) = self.address else {
            return;
        };
        if let Some(own) = taken.by_address.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// The network that an address stands for: for IPv6 its /64, since one owner has all of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_places_and_all_together_theirs() {
        let places = Places::new(3, 2);
        let (one, two) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = places.take(one, true).unwrap();
        let second = places.take(one, true).unwrap();
        assert_eq!(places.take(one, true).unwrap_err(), "listen.max_connections_per_address");
        let third = places.take(two, true).unwrap();
        assert_eq!(places.take(two, true).unwrap_err(), "listen.max_connections");
        drop((first, second, third));
        assert!(places.taken().by_address.is_empty() && places.taken().all == 0);
        let proxied = (0..3).map(|_| places.take(one, false).unwrap());
        assert_eq!(proxied.collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let places = Places::new(10, 1);
        let _one = places.take(address("2001:db8:0:1::1"), true).unwrap();
        assert!(places.take(address("2001:db8:0:1:ffff::2"), true).is_err());
        assert!(places.take(address("2001:db8:0:2::1"), true).is_ok());
        let _mapped = places.take(address("::ffff:10.0.0.1"), true).unwrap();
        assert!(places.take(address("10.0.0.1"), true).is_err());
    }
}
