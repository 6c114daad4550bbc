//! The people who are a certain member of a workspace, by their stored identities.

use std::collections::BTreeMap;

use crate::domain::ids::{InstallationId, SlackUserId, TenantId, UserId};
use crate::domain::limits;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Error, People};

/// The people of one tenant who are a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeopleOfMember {
    One(UserId),
    /// More than one, so none of them is certain.
    Several,
}

impl People<'_> {
    /// The people whose stored identity is this member of this workspace, by tenant.
    pub async fn of_member(
        self,
        installation: InstallationId,
        member: &SlackUserId,
    ) -> Result<BTreeMap<TenantId, PeopleOfMember>, Error> {
        const SQL: &str = "SELECT tenant, MIN(user_id), COUNT(*)
            FROM people
            WHERE installation = $1 AND slack_user_id = $2
            GROUP BY tenant
            ORDER BY tenant
            LIMIT $3";
        let most = i64::from(limits::TENANTS_OF_WORKSPACE);
        let values = params![installation.to_string(), member.as_str(), most];
        let mut found = BTreeMap::new();
        for row in sql::all(self.store.reader(), SQL, values).await? {
            let mut columns = Columns::of(&row);
            let tenant = columns.id(TenantId::parse)?;
            let user = columns.id(UserId::parse)?;
            let people: i64 = columns.take()?;
            let people =
                if people == 1 { PeopleOfMember::One(user) } else { PeopleOfMember::Several };
            found.insert(tenant, people);
        }
        Ok(found)
    }
}
