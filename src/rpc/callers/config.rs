//! Callers in the settings (`[[rpc.callers]]`): the fields of an entry, and their checks.

use serde::Deserialize;

use crate::app::Caller;
use crate::domain::access::caller::Described;
pub use crate::domain::access::caller::RoleName as RoleConfig;

/// One API key or certificate in the settings (`[[rpc.callers]]`). Several entries may name one
/// `principal`, so that keys rotate without touching idempotency.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// The caller's name; part of the idempotency key, shown in the audit trail. Needed.
    pub principal: String,
    /// SHA-256 of the key, as 64 hexadecimal digits; `herald keys issue` prints one. Default: none;
    /// this or `certificate` is needed.
    #[serde(default)]
    pub key_sha256: Option<String>,
    /// The SPIFFE id (`spiffe://...`) or the DNS name in the certificate that the client shows
    /// (`tls_client_ca`). It identifies the caller if the call has neither a key nor a token.
    /// Default: none.
    #[serde(default)]
    pub certificate: Option<String>,
    /// `service`, `user` or `administrator`. Needed.
    pub role: RoleConfig,
    /// For role `user`: the id of the user who holds the key. Default: none.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The tenants it may access; `["*"]` for all. Needed.
    pub tenants: Vec<String>,
    /// Whether it may name an actor: the user on whose behalf it calls. The actor's permissions
    /// then limit the call (docs/access.md). Default `false`.
    #[serde(default)]
    pub may_act_for_users: bool,
    /// Whether an actor that it names may have `PERMISSION_ADMINISTER`, and so act as an
    /// administrator. Needs `may_act_for_users`; a caller with the role `administrator` does not
    /// need it. Default `false`: such a call is refused.
    #[serde(default)]
    pub may_administer_for_users: bool,
}

/// Omits the hash, and the user id, which may be an e-mail address.
impl std::fmt::Debug for CallerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerConfig")
            .field("principal", &self.principal)
            .field("role", &self.role)
            .field("tenants", &self.tenants)
            .field("may_act_for_users", &self.may_act_for_users)
            .field("may_administer_for_users", &self.may_administer_for_users)
            .finish_non_exhaustive()
    }
}

impl CallerConfig {
    /// The caller that the entry describes. The error is a sentence that begins with the setting.
    pub(super) fn caller(&self) -> Result<Caller, String> {
        let described = Described {
            principal: self.principal.clone(),
            role: self.role,
            user_id: self.user_id.clone(),
            tenants: self.tenants.clone(),
            may_act_for_users: self.may_act_for_users,
            may_administer_for_users: self.may_administer_for_users,
        };
        described.caller()
    }
}
