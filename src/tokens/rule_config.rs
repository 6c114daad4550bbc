//! The fields of an entry of `[[rpc.issuers.callers]]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::access::caller::RoleName;

/// A caller that some tokens of an issuer admit (`[[rpc.issuers.callers]]`). `principal`, `user_id`
/// and `tenants` may name claims of the token, as `{sub}`, or `{/kubernetes.io/namespace}` for a
/// nested one (a JSON pointer, RFC 6901).
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The `sub` that a token must have. Default: none.
    #[serde(default)]
    pub subject: Option<String>,
    /// The prefix that the `sub` of a token must have. Default: none.
    #[serde(default)]
    pub subject_prefix: Option<String>,
    /// Claims that a token must have, with their values; a claim that is a list must contain the
    /// value. Default: none. At least one of `subject`, `subject_prefix` and `claims` is needed.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The caller's name; part of the idempotency key, shown in the audit trail. Needed.
    pub principal: String,
    /// `service`, `user` or `administrator`. Needed.
    pub role: RoleName,
    /// For role `user`: the id of the user. Default: none.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The tenants it may access; `["*"]` for all. `{claim}` stands for every tenant that this
    /// claim of the token names. Needed.
    pub tenants: Vec<String>,
    /// Whether it may name an actor, as for keys. Default `false`.
    #[serde(default)]
    pub may_act_for_users: bool,
    /// Whether that actor may administer. Needs `may_act_for_users`. Default `false`.
    #[serde(default)]
    pub may_administer_for_users: bool,
}

/// Omits the user id, which may be an e-mail address, and the required subjects and claims, for the
/// same reason.
impl std::fmt::Debug for RuleConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleConfig")
            .field("principal", &self.principal)
            .field("role", &self.role)
            .field("tenants", &self.tenants)
            .field("may_act_for_users", &self.may_act_for_users)
            .field("may_administer_for_users", &self.may_administer_for_users)
            .finish_non_exhaustive()
    }
}
