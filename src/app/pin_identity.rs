//! PinIdentity: an administrator sets a person's member.

use super::refresh_directory::not_connected;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditPerson, Entry};
use crate::domain::directory::member::{Member, MemberKind};
use crate::domain::ids::{SlackUserId, UserId};
use crate::domain::settings::{Identity, Rule};

impl App {
    /// Stores the pin; the member is looked up in Slack first, so that no person is pinned to an
    /// account that no longer exists. The person need not be stored yet.
    pub async fn pin_identity(
        &self,
        call: &Call,
        user: UserId,
        member: SlackUserId,
    ) -> Result<Identity, Error> {
        call.may(&access::PIN_IDENTITY)?;
        let tenant = self.tenant(&call.tenant).await?;
        let installation = tenant.installation.ok_or_else(not_connected)?.id;
        let refused = |problem: &str| Error::invalid("slack_user_id", problem);
        let Some(found) = self.workspaces.user_info(installation, &member).await? else {
            return Err(refused("is not a member of the connected workspace"));
        };
        let found = Member::from_slice(found.get().as_bytes())
            .map_err(|error| Error::Internal(error.into()))?;
        match found.kind {
            MemberKind::Deactivated => return Err(refused("is a deactivated member")),
            MemberKind::Bot => return Err(refused("is a bot")),
            MemberKind::Matchable | MemberKind::NoEmail => {}
        }
        let identity = Identity {
            slack_user_id: member,
            display_name: found.display_name.into_owned(),
            rule: Rule::Pinned,
            installation,
            stored_at: self.store.now().await?,
        };
        let detail = format!("member:{}", identity.slack_user_id);
        let subject = Some(AuditPerson { user: user.clone(), detail });
        let entry = Entry { subject, ..call.entry("PinIdentity") };
        let store = self.store.noting(&entry).await?;
        store.people().store_identity(&call.tenant, &user, &identity).await?;
        self.store.waiting().recheck_held(&call.tenant, &[user]).await?;
        Ok(identity)
    }
}
