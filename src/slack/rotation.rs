//! Exchanges tokens for the next ones, finds the workspaces of an org-wide token, and translates
//! ids of members after a workspace joined an organization.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire::{self, NamedTeam, Paging};
use crate::domain::capacity::slack_method::Method;
use crate::domain::ids::SlackUserId;
use crate::domain::secret::Secret;

/// Most ids in one call of `migration.exchange`.
pub const EXCHANGED_IDS: usize = 400;
/// Workspaces that are requested with one page of `auth.teams.list`.
const TEAMS: u32 = 200;

/// The next token of an installation (oauth.v2.access with a refresh token, oauth.v2.exchange).
#[derive(Debug, Clone)]
pub struct NextToken {
    pub access_token: Secret,
    /// Works once.
    pub refresh_token: Option<Secret>,
    /// Slack's time, not scaled.
    pub expires_in: Option<Duration>,
}

/// One page of auth.teams.list.
#[derive(Debug, Clone)]
pub struct TeamsPage {
    pub teams: Vec<NamedTeam>,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct WireToken {
    access_token: Secret,
    #[serde(default, deserialize_with = "wire::lenient")]
    refresh_token: Option<Secret>,
    #[serde(default, deserialize_with = "wire::lenient")]
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct WireTeams {
    teams: Vec<NamedTeam>,
    response_metadata: Option<Paging>,
}

#[derive(Deserialize)]
struct WireMap {
    #[serde(default, deserialize_with = "wire::lenient")]
    user_id_map: Option<HashMap<String, String>>,
}

impl Client {
    /// The next token of an installation, for its refresh token, which works once. After
    /// [`Error::Unknown`] it may be used up; Slack then accepts it once more for a short time.
    pub async fn oauth_v2_refresh(
        &self,
        client_id: &str,
        client_secret: &Secret,
        refresh_token: &Secret,
    ) -> Result<NextToken, Error> {
        let fields = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", refresh_token.expose().to_owned()),
        ];
        let auth = Auth::Basic(client_id, client_secret);
        self.next_token(Method::OauthV2Access, auth, fields).await
    }

    /// An expiring token with its refresh token, for a token that does not expire; that one ends.
    pub async fn oauth_v2_exchange(
        &self,
        client_id: &str,
        client_secret: &Secret,
        token: &Secret,
    ) -> Result<NextToken, Error> {
        let fields = vec![
            ("client_id", client_id.to_owned()),
            ("client_secret", client_secret.expose().to_owned()),
        ];
        self.next_token(Method::OauthV2Exchange, Auth::Bearer(token), fields).await
    }

    async fn next_token(
        &self,
        method: Method,
        auth: Auth<'_>,
        fields: Vec<(&'static str, String)>,
    ) -> Result<NextToken, Error> {
        let call = MethodCall { method, effect: Effect::Once, auth, body: Body::Form(fields) };
        let wire: WireToken = self.call(call).await?.value;
        if wire.access_token.is_empty() {
            return Err(Effect::Once.ambiguous("unreadable_answer"));
        }
        Ok(NextToken {
            access_token: wire.access_token,
            refresh_token: wire.refresh_token.filter(|token| !token.is_empty()),
            expires_in: wire.expires_in.map(Duration::from_secs),
        })
    }

    /// One page of the workspaces that an org-wide token may be used for.
    pub async fn auth_teams_list(
        &self,
        token: &Secret,
        cursor: Option<&str>,
    ) -> Result<TeamsPage, Error> {
        let mut fields = vec![("limit", TEAMS.to_string())];
        fields.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let call = MethodCall {
            method: Method::AuthTeamsList,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(fields),
        };
        let page: WireTeams = self.call(call).await?.value;
        let next_cursor = wire::next_cursor(page.response_metadata);
        Ok(TeamsPage { teams: page.teams, next_cursor })
    }

    /// The present ids of members, by the ids from before their workspace joined an organization;
    /// at most [`EXCHANGED_IDS`]. Ids that Slack does not know are absent.
    pub async fn migration_exchange(
        &self,
        token: &Secret,
        users: &[SlackUserId],
        team_id: Option<&str>,
    ) -> Result<Vec<(SlackUserId, SlackUserId)>, Error> {
        let users: Vec<&str> = users.iter().map(SlackUserId::as_str).collect();
        let mut fields = vec![("users", users.join(","))];
        fields.extend(team_id.map(|team| ("team_id", team.to_owned())));
        let call = MethodCall {
            method: Method::MigrationExchange,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(fields),
        };
        let wire: WireMap = self.call(call).await?.value;
        let map = wire.user_id_map.unwrap_or_default();
        let pairs = map.into_iter().take(EXCHANGED_IDS).filter_map(|(old, new)| {
            Some((SlackUserId::parse(old).ok()?, SlackUserId::parse(new).ok()?))
        });
        Ok(pairs.collect())
    }
}
