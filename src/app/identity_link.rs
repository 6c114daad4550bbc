//! CreateIdentityLink: a person proves which Slack member they are, by *Sign in with Slack*, and
//! the member that Slack names is pinned.
//!
//! The link opens a page of Herald's, which sets a cookie with the state and leads to Slack. The
//! answer of Slack counts only in that browser, and only with the nonce that belongs to the state,
//! so that no person can finish an attempt that another person began.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::refresh_directory::not_connected;
use super::{App, Call, Cookie, Error, Unusable};
use crate::domain::access;
use crate::domain::access::audit::{AuditOutcome, AuditPerson, Entry, PROVE_IDENTITY};
use crate::domain::directory::member::{Member, MemberKind};
use crate::domain::ids::{SlackUserId, TenantId, UserId};
use crate::domain::settings::{Identity, Rule};
use crate::domain::time::Timestamp;
use crate::slack;
use crate::store::{FoundIdentityLink, Installation};
use crate::workspace::{self, SignInError, SignInTerms};

/// A link for one person.
#[derive(Debug, Clone)]
pub struct IdentityLink {
    pub url: Url,
    pub expires_at: Timestamp,
}

/// The contents of the page that a link opens.
#[derive(Debug)]
pub struct IdentityStart {
    pub tenant: TenantId,
    /// The name of the workspace.
    pub workspace: String,
    /// Slack's page.
    pub sign_in_url: Url,
    pub cookie: Cookie,
}

/// The contents of Slack's redirect.
#[derive(Clone, Default)]
pub struct IdentityCallback {
    pub state: Option<String>,
    pub code: Option<String>,
    /// Such as `access_denied`.
    pub error: Option<String>,
    /// The state that the browser kept when it opened the link.
    pub browser: Option<String>,
    /// The path of the tenant's app that the address named; empty: the deployment's app.
    pub app_path: String,
}

/// The outcome of a callback; each has its own page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// Pinned to the member with this name.
    Done {
        member: String,
    },
    /// Canceled in Slack.
    Denied,
    Unusable(Unusable),
    /// The person signed in to another workspace than this one.
    OtherWorkspace {
        workspace: String,
    },
    /// The member cannot get messages: a guest whose account is deactivated, or a bot.
    NotReachable,
    /// The workspace is not connected, or its token is dead.
    NotConnected,
    /// Slack refused, with its code.
    Refused {
        code: String,
    },
    /// Slack did not answer: start again.
    NoAnswer,
}

/// A link, or Slack's redirect, that is looked at.
#[derive(Debug)]
pub enum IdentityUse<T> {
    Usable(T),
    Unusable(Unusable),
}

/// A link that can be used.
struct OpenLink {
    tenant: TenantId,
    user: UserId,
    left: Duration,
}

fn usable(found: FoundIdentityLink) -> IdentityUse<OpenLink> {
    match found {
        FoundIdentityLink::Open { tenant, user, left } => {
            IdentityUse::Usable(OpenLink { tenant, user, left })
        }
        FoundIdentityLink::Used => IdentityUse::Unusable(Unusable::AlreadyUsed),
        FoundIdentityLink::Expired => IdentityUse::Unusable(Unusable::Expired),
        FoundIdentityLink::Unknown => IdentityUse::Unusable(Unusable::UnknownState),
    }
}

impl App {
    /// Creates a link with a fresh state: for single use, stored only as a hash.
    pub async fn create_identity_link(
        &self,
        call: &Call,
        user: &UserId,
        life: Duration,
    ) -> Result<IdentityLink, Error> {
        call.may_about(&access::CREATE_IDENTITY_LINK, user)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let installation = self.store.tenancy().installation_of(&call.tenant).await?;
        // The link would lead nowhere.
        self.workspaces.credentials_of(installation.ok_or_else(not_connected)?.id).await?;
        // Read before the link is stored, so that the link never outlives the reported time.
        let expires_at = self.store.now().await?.plus(life);
        let subject = Some(AuditPerson { user: user.clone(), detail: String::new() });
        let entry = Entry { subject, ..call.entry("CreateIdentityLink") };
        let store = self.store.noting(&entry).await?;
        let state = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        if !store.identity_links().begin(&call.tenant, user, &state, life).await? {
            return Err(Error::Exhausted {
                reason: "IDENTITY_LINKS_FULL",
                limit: "identity links of the tenant",
                sentence: "10,000 identity links of the tenant can still be used; wait until some \
                           have been used or have expired",
                retry_after: FULL,
            });
        }
        let mut url = self.config.identity_url.clone();
        url.query_pairs_mut().append_pair("state", &state);
        Ok(IdentityLink { url, expires_at })
    }

    /// The page that a link opens. Opening it does not use the link up.
    pub async fn start_identity(&self, state: &str) -> Result<IdentityUse<IdentityStart>, Error> {
        let link = match usable(self.store.identity_links().find(state).await?) {
            IdentityUse::Usable(link) => link,
            IdentityUse::Unusable(unusable) => return Ok(IdentityUse::Unusable(unusable)),
        };
        let installation = self.store.tenancy().installation_of(&link.tenant).await?;
        let installation = installation.ok_or_else(not_connected)?;
        let (redirect, nonce) = (self.identity_redirect(&installation, state), nonce_of(state));
        let terms = terms(&installation, &redirect, &nonce);
        let sign_in_url = self.workspaces.sign_in_url(terms, state).await?;
        Ok(IdentityUse::Usable(IdentityStart {
            tenant: link.tenant,
            workspace: installation.team_name,
            sign_in_url,
            cookie: Cookie {
                attempt: attempt_of(state),
                state: state.to_owned(),
                lifetime: link.left,
            },
        }))
    }

    /// Handles Slack's redirect. The link is used up first, so that a repeated callback changes
    /// nothing; but a browser that did not open the link cannot use it up.
    pub async fn complete_identity(&self, callback: IdentityCallback) -> Result<Proved, Error> {
        let state = callback.state.unwrap_or_default();
        let browser = callback.browser.unwrap_or_default();
        let links = self.store.identity_links();
        let link = match usable(links.find(&state).await?) {
            IdentityUse::Unusable(unusable) => return Ok(Proved::Unusable(unusable)),
            IdentityUse::Usable(link) => link,
        };
        if !bool::from(browser.as_bytes().ct_eq(state.as_bytes())) {
            tracing::warn!(tenant = %link.tenant, "Slack redirected a browser that did not open \
                the identity link");
            self.trail().refused_identity_browser(&link.tenant);
            return Ok(Proved::Unusable(Unusable::OtherBrowser));
        }
        let installation = self.store.tenancy().installation_of(&link.tenant).await?;
        let Some(installation) = installation else { return Ok(Proved::NotConnected) };
        // An answer at the address of one app never counts for another.
        if callback.app_path != installation.app_path {
            return Ok(Proved::Unusable(Unusable::UnknownState));
        }
        if let IdentityUse::Unusable(unusable) = usable(links.take(&state).await?) {
            return Ok(Proved::Unusable(unusable));
        }
        let proved = match (callback.code, callback.error) {
            (Some(code), None) => self.prove(&link, &installation, &state, &code).await?,
            (_, Some(error)) if error != "access_denied" => Proved::Refused { code: error },
            _ => Proved::Denied,
        };
        // A success was recorded in the transaction that pinned. Another outcome is final: a
        // failure to record it must not show the person a different one.
        if let Some(reason) = failure(&proved)
            && let Err(error) = self.note_unproved(&link, reason).await
        {
            tracing::warn!(%error, "the outcome of an identity link was not recorded");
        }
        Ok(proved)
    }

    /// Asks Slack who signed in, and pins that member.
    async fn prove(
        &self,
        link: &OpenLink,
        installation: &Installation,
        state: &str,
        code: &str,
    ) -> Result<Proved, Error> {
        let (redirect, nonce) = (self.identity_redirect(installation, state), nonce_of(state));
        let terms = terms(installation, &redirect, &nonce);
        let member = match self.workspaces.signed_in(terms, code).await {
            Ok(member) => member,
            Err(SignInError::OtherWorkspace) => {
                return Ok(Proved::OtherWorkspace { workspace: installation.team_name.clone() });
            }
            Err(SignInError::OtherAttempt) => {
                tracing::warn!(tenant = %link.tenant, "an id token has the nonce of another link");
                return Ok(Proved::Unusable(Unusable::UnknownState));
            }
            Err(SignInError::Workspace(error)) => return unanswered(error),
        };
        let found = match self.workspaces.user_info(installation.id, &member).await {
            Ok(found) => found,
            Err(error) => return unanswered(error),
        };
        let Some(found) = found else { return Ok(Proved::NotReachable) };
        let found = Member::from_slice(found.get().as_bytes())
            .map_err(|error| Error::Internal(error.into()))?;
        if matches!(found.kind, MemberKind::Deactivated | MemberKind::Bot) {
            return Ok(Proved::NotReachable);
        }
        let name = found.display_name.into_owned();
        self.pin_proved(link, installation, member, &name).await?;
        Ok(Proved::Done { member: name })
    }

    async fn pin_proved(
        &self,
        link: &OpenLink,
        installation: &Installation,
        member: SlackUserId,
        name: &str,
    ) -> Result<(), Error> {
        let detail = format!("member:{member}");
        let identity = Identity {
            slack_user_id: member,
            display_name: name.to_owned(),
            rule: Rule::Pinned,
            installation: installation.id,
            stored_at: self.store.now().await?,
        };
        let subject = Some(AuditPerson { user: link.user.clone(), detail });
        let entry = Entry { subject, ..Entry::of_browser(link.tenant.clone(), PROVE_IDENTITY) };
        let store = self.store.noting(&entry).await?;
        store.people().store_identity(&link.tenant, &link.user, &identity).await?;
        let people = std::slice::from_ref(&link.user);
        Ok(self.store.waiting().recheck_held(&link.tenant, people).await?)
    }

    /// Records that a link was used up without a proof.
    async fn note_unproved(&self, link: &OpenLink, reason: &str) -> Result<(), Error> {
        let subject = Some(AuditPerson { user: link.user.clone(), detail: String::new() });
        let entry = Entry {
            outcome: AuditOutcome::Failed,
            reason: reason.to_owned(),
            subject,
            ..Entry::of_browser(link.tenant.clone(), PROVE_IDENTITY)
        };
        let store = self.store.noting(&entry).await?;
        Ok(store.identity_links().note().await?)
    }

    /// The address that Slack sends the person back to: below the one that is registered for the
    /// app by which the workspace is connected.
    fn identity_redirect(&self, installation: &Installation, state: &str) -> String {
        let registered = self.slack_app_addresses(&installation.app_path).redirect_url;
        format!("{registered}/identity/{}", attempt_of(state))
    }
}

/// How long a caller should wait when too many links are open.
const FULL: Duration = Duration::from_secs(60);

fn terms<'a>(installation: &Installation, redirect: &'a str, nonce: &'a str) -> SignInTerms<'a> {
    SignInTerms { workspace: installation.id, redirect_uri: redirect, nonce }
}

/// The page for a question that Slack did not answer with a member.
fn unanswered(error: workspace::Error) -> Result<Proved, Error> {
    match error {
        workspace::Error::Reconnect { .. } | workspace::Error::Unknown => Ok(Proved::NotConnected),
        workspace::Error::Slack(error) => {
            let code = error.code().to_owned();
            tracing::warn!(code, "Slack did not say who signed in");
            Ok(match error {
                slack::Error::Rejected { .. }
                | slack::Error::Unauthorized { .. }
                | slack::Error::MissingScope { .. } => Proved::Refused { code },
                _ => Proved::NoAnswer,
            })
        }
        workspace::Error::Store(error) => Err(error.into()),
        _ => Ok(Proved::NoAnswer),
    }
}

/// The audit trail's reason for a link that was used up without a proof.
fn failure(proved: &Proved) -> Option<&'static str> {
    Some(match proved {
        Proved::Done { .. } => return None,
        Proved::Denied => "access_denied",
        Proved::Unusable(_) => "other_attempt",
        Proved::OtherWorkspace { .. } => "other_workspace",
        Proved::NotReachable => "not_reachable",
        Proved::NotConnected => "not_connected",
        Proved::Refused { .. } => "refused",
        Proved::NoAnswer => "no_answer",
    })
}

/// Names an attempt without revealing its state.
fn attempt_of(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(&derived(b"identity attempt:", state)[..12])
}

/// The nonce of an attempt. It reaches Slack in the browser's address, as the state does.
fn nonce_of(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(derived(b"identity nonce:", state))
}

fn derived(label: &[u8], state: &str) -> [u8; 32] {
    Sha256::new().chain_update(label).chain_update(state).finalize().into()
}
