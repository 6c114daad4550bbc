//! PinIdentities: an administrator sets the members of many people, by the member list.

use std::collections::BTreeMap;

use serde_json::json;

use super::refresh_directory::not_connected;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::directory::member::MemberKind;
use crate::domain::ids::{SlackUserId, UserId};
use crate::domain::settings::{Identity, Rule};

/// A person and the member to pin them to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinWish {
    pub user: UserId,
    pub member: SlackUserId,
}

/// A pair that was not pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPin {
    /// Its place in the call.
    pub index: usize,
    pub pin: PinWish,
    pub sentence: &'static str,
}

impl App {
    /// Stores the pins whose members are in the list and can get messages; returns their number,
    /// and the others. People need not be stored yet.
    pub async fn pin_identities(
        &self,
        call: &Call,
        pins: Vec<PinWish>,
    ) -> Result<(usize, Vec<RefusedPin>), Error> {
        call.may(&access::PIN_IDENTITIES)?;
        let tenant = self.tenant(&call.tenant).await?;
        let installation = tenant.installation.as_ref().ok_or_else(not_connected)?.id;
        let view = self.view(&tenant).await?;
        let snapshot = view.snapshot.as_ref().ok_or(Error::Precondition {
            reason: "DIRECTORY_NOT_READY",
            sentence: "the member list was not read yet; GetWorkspace shows when it is",
        })?;
        let (mut pinned, mut refused) = (BTreeMap::new(), Vec::new());
        for (index, pin) in pins.into_iter().enumerate() {
            let found = snapshot.member(&pin.member);
            let sentence = match found.as_ref().map(|found| found.kind) {
                None => Some(
                    "is not in the member list as it was read last; if the member is new, call \
                     RefreshDirectory first",
                ),
                Some(MemberKind::Deactivated) => Some("is a deactivated member"),
                Some(MemberKind::Bot) => Some("is a bot"),
                Some(MemberKind::Matchable | MemberKind::NoEmail) => None,
            };
            if let Some(sentence) = sentence {
                refused.push(RefusedPin { index, pin, sentence });
                continue;
            }
            let identity = Identity {
                display_name: found.map(|found| found.display_name.to_owned()).unwrap_or_default(),
                slack_user_id: pin.member,
                rule: Rule::Pinned,
                installation,
                stored_at: tenant.now,
            };
            pinned.insert(pin.user, identity);
        }
        let after = json!({ "pinned": pinned.len(), "refused": refused.len() });
        let detail = AuditDetail { after: Some(after), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("PinIdentities") };
        let store = self.store.noting(&entry).await?;
        store.people().store_identities(&call.tenant, &pinned).await?;
        // Messages may wait for some of them.
        let users: Vec<_> = pinned.keys().cloned().collect();
        self.store.waiting().recheck_held(&call.tenant, &users).await?;
        Ok((pinned.len(), refused))
    }
}
