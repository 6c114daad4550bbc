//! The parts of a replica that one caller, and one tenant, may take: shares of its capacity, and
//! rates. A share is not set aside: a single holder gets half, and there is always something left
//! for the next ([`crate::domain::capacity::shares`]).

use std::num::NonZeroU32;

use tonic::Status;

use super::{Config, status};
use crate::app::{Caller, Error, Role};
use crate::domain::ids::{Principal, TenantId};
use crate::listen::{Held, Rates, ResourcePool};

/// A key of one person may hold this fraction of a share: a person waits only for their own calls.
const PART_OF_A_USER: u64 = 16;
/// The unit in which bytes a second are counted; a message counts as at least one.
const KIB: u64 = 1 << 10;
/// The setting of bytes a second.
const BYTE_RATE: &str = "rpc.caller_bytes_per_second";

/// All limits of a replica.
#[derive(Debug)]
pub(super) struct Limits {
    bytes: ResourcePool<Principal>,
    calls: Both,
    watches: Both,
    tests: Both,
    rates: Rates<Principal>,
    user_rates: Rates<Principal>,
    tenant_rates: Rates<TenantId>,
    byte_rates: Rates<Principal>,
    user_byte_rates: Rates<Principal>,
}

/// The same capacity, shared among callers and shared among tenants.
#[derive(Debug)]
struct Both {
    limit: &'static str,
    callers: ResourcePool<Principal>,
    tenants: ResourcePool<TenantId>,
}

/// The part of a caller.
pub(super) type OfCaller = Held<Principal>;
/// The part of a tenant.
pub(super) type OfTenant = Held<TenantId>;

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        let both = |limit, capacity| Both {
            limit,
            callers: ResourcePool::new(capacity),
            tenants: ResourcePool::new(capacity),
        };
        let (caller, user) = (config.caller_calls_per_second, config.user_calls_per_second);
        let tenant = config.tenant_calls_per_second;
        let byte_rate = config.caller_bytes_per_second as u64;
        // A message of the largest size must be possible.
        let largest = kib(config.max_request_bytes as u64);
        let bytes = |rate| Rates::new(kib(rate), kib(rate).max(largest));
        Self {
            bytes: ResourcePool::new(config.max_bytes_under_way),
            calls: both("rpc.max_concurrent_calls", config.max_concurrent_calls),
            watches: both("rpc.max_watches", config.max_watches),
            tests: both("rpc.max_waiting_tests", config.max_waiting_tests),
            rates: Rates::new(caller, caller),
            user_rates: Rates::new(user, user),
            tenant_rates: Rates::new(tenant, tenant),
            byte_rates: bytes(byte_rate),
            user_byte_rates: bytes(byte_rate.div_ceil(PART_OF_A_USER)),
        }
    }

    /// A call of this caller begins.
    pub(super) fn call(&self, caller: &Caller) -> Result<OfCaller, Status> {
        let (rates, limit) = match caller.role {
            Role::User(_) => (&self.user_rates, "rpc.user_calls_per_second"),
            Role::Service | Role::Administrator => (&self.rates, "rpc.caller_calls_per_second"),
        };
        rates.take(&caller.principal).map_err(|wait| status::quota(limit, wait))?;
        self.calls.of_caller(caller)
    }

    /// The same call is about this tenant.
    pub(super) fn call_about(&self, tenant: &TenantId) -> Result<OfTenant, Status> {
        let rate = self.tenant_rates.take(tenant);
        rate.map_err(|wait| status::quota("rpc.tenant_calls_per_second", wait))?;
        self.calls.of_tenant(tenant)
    }

    /// A stream is opened.
    pub(super) fn watch(&self, caller: &Caller) -> Result<OfCaller, Status> {
        self.watches.of_caller(caller)
    }

    /// The same stream is about this tenant.
    pub(super) fn watch_about(&self, tenant: &TenantId) -> Result<OfTenant, Status> {
        self.watches.of_tenant(tenant)
    }

    /// A message of this many bytes is about to be read.
    pub(super) fn message(&self, caller: &Caller, bytes: usize) -> Result<OfCaller, Status> {
        let room = self.bytes(caller, bytes)?;
        let rates = match caller.role {
            Role::User(_) => &self.user_byte_rates,
            Role::Service | Role::Administrator => &self.byte_rates,
        };
        if let Some(amount) = NonZeroU32::new(kib(bytes as u64)) {
            let rate = rates.take_many(&caller.principal, amount);
            rate.map_err(|wait| status::byte_quota(BYTE_RATE, wait))?;
        }
        Ok(room)
    }

    /// A request needs this much memory.
    pub(super) fn bytes(&self, caller: &Caller, bytes: usize) -> Result<OfCaller, Status> {
        let held = self.bytes.take(&caller.principal, bytes, part(caller));
        held.ok_or_else(|| status::overloaded("rpc.max_bytes_under_way"))
    }

    /// A TestSlack, or a PreviewTemplate that may wait for Slack, begins. It uses nothing of a
    /// tenant out of the caller's reach.
    pub(super) fn test(
        &self,
        caller: &Caller,
        tenant: Option<&TenantId>,
    ) -> Result<(OfCaller, Option<OfTenant>), Error> {
        let waiting = || Error::Exhausted {
            reason: "OVERLOADED",
            limit: self.tests.limit,
            sentence: "too many tests wait for Slack (rpc.max_waiting_tests); try again in 1 s",
            retry_after: std::time::Duration::from_secs(1),
        };
        let of_caller = self.tests.callers.take(&caller.principal, 1, part(caller));
        let of_caller = of_caller.ok_or_else(waiting)?;
        let tenant = tenant.filter(|tenant| caller.reach.contains(tenant));
        let of_tenant = tenant.map(|tenant| self.tests.tenants.take(tenant, 1, 1));
        let of_tenant = of_tenant.map(|held| held.ok_or_else(waiting)).transpose()?;
        Ok((of_caller, of_tenant))
    }
}

impl Both {
    fn of_caller(&self, caller: &Caller) -> Result<OfCaller, Status> {
        let held = self.callers.take(&caller.principal, 1, part(caller));
        held.ok_or_else(|| status::overloaded(self.limit))
    }

    fn of_tenant(&self, tenant: &TenantId) -> Result<OfTenant, Status> {
        self.tenants.take(tenant, 1, 1).ok_or_else(|| status::overloaded(self.limit))
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

/// The divisor of the caller's share.
fn part(caller: &Caller) -> u64 {
    match caller.role {
        Role::Service | Role::Administrator => 1,
        Role::User(_) => PART_OF_A_USER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Reach;
    use crate::domain::ids::UserId;

    fn caller(name: &str, role: Role) -> Caller {
        Caller {
            principal: Principal::parse(name).unwrap(),
            role,
            reach: Reach::All,
            may_act_for_users: false,
            may_administer_for_users: false,
        }
    }

    /// The limit that refuses one of many calls that are made one after the other, each of which
    /// ends at once.
    fn refuses<T>(call: impl Fn() -> Result<T, Status>) -> Option<String> {
        let refused = (0..1_000_000).find_map(|_| call().err());
        status::limit(&refused.expect("a limit"))
    }

    #[test]
    fn every_rate_has_a_limit_by_default() {
        let limits = Limits::new(&Config::default());
        let service = caller("platform", Role::Service);
        let of_service = refuses(|| limits.call(&service));
        assert_eq!(of_service.as_deref(), Some("rpc.caller_calls_per_second"));
        let user = caller("app", Role::User(UserId::parse("ben").unwrap()));
        let of_user = refuses(|| limits.call(&user));
        assert_eq!(of_user.as_deref(), Some("rpc.user_calls_per_second"));
        for caller in [&user, &service] {
            let of_bytes = refuses(|| limits.message(caller, 64 << 10));
            assert_eq!(of_bytes.as_deref(), Some(BYTE_RATE));
        }
        let tenant = TenantId::parse("acme").unwrap();
        let of_tenant = refuses(|| limits.call_about(&tenant));
        assert_eq!(of_tenant.as_deref(), Some("rpc.tenant_calls_per_second"));
    }
}
