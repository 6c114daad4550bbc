//! The members of a workspace. All arguments are forms: these methods accept no JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire::{self, MemberJson, Paging};
use super::{Error, ErrorClass};
use crate::domain::capacity::slack_method::Method;
use crate::domain::ids::SlackUserId;
use crate::domain::secret::Secret;

/// One page of users.list. Pages may be short; only the absence of a cursor ends the list.
#[derive(Debug, Clone)]
pub struct MembersPage {
    pub members: Vec<MemberJson>,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct WirePage {
    members: Vec<MemberJson>,
    response_metadata: Option<Paging>,
}

#[derive(Deserialize)]
struct WireProfile {
    profile: WireFields,
}

#[derive(Deserialize)]
struct WireFields {
    #[serde(default)]
    fields: Option<Box<RawValue>>,
}

/// Most bytes of one member's custom fields that are kept.
const FIELDS_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct WireUser {
    user: MemberJson,
}

impl Client {
    /// One page of at most `limit` members (below 1,000), including bots and deactivated people.
    /// `team_id` is needed for org-wide installations and ignored for others. A page that is too
    /// large for the body limit is [`Error::Transient`] with code `body_too_large`: ask for fewer.
    /// Among the refusals, `invalid_cursor` means to begin again, and `limit_required` to ask for
    /// fewer.
    pub async fn users_list(
        &self,
        token: &Secret,
        cursor: Option<&str>,
        limit: u32,
        team_id: Option<&str>,
    ) -> Result<MembersPage, Error> {
        let mut fields = vec![("limit", limit.to_string()), ("include_locale", "true".to_owned())];
        fields.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        fields.extend(team_id.map(|team| ("team_id", team.to_owned())));
        let page: WirePage = self.call(read(Method::UsersList, token, fields)).await?.value;
        Ok(MembersPage {
            members: page.members,
            next_cursor: wire::next_cursor(page.response_metadata),
        })
    }

    /// The member with this e-mail address. None if there is no such member, or it is deactivated.
    pub async fn users_lookup_by_email(
        &self,
        token: &Secret,
        email: &str,
    ) -> Result<Option<MemberJson>, Error> {
        let call = read(Method::UsersLookupByEmail, token, vec![("email", email.to_owned())]);
        absent(self.call::<WireUser>(call).await.map(|answer| answer.value), "users_not_found")
    }

    /// The member with this id, deactivated or not. None if there is no such member.
    pub async fn users_info(
        &self,
        token: &Secret,
        user: &SlackUserId,
    ) -> Result<Option<MemberJson>, Error> {
        let fields =
            vec![("user", user.as_str().to_owned()), ("include_locale", "true".to_owned())];
        let call = read(Method::UsersInfo, token, fields);
        absent(self.call::<WireUser>(call).await.map(|answer| answer.value), "user_not_found")
    }

    /// The custom profile fields of one member: a JSON object of field id to `{value, alt}`, which
    /// `users.list` does not contain. None if there is no such member. Labels are not requested:
    /// Slack throttles that heavily.
    pub async fn users_profile_get(
        &self,
        token: &Secret,
        user: &SlackUserId,
    ) -> Result<Option<FieldsJson>, Error> {
        let fields = vec![("user", user.as_str().to_owned())];
        let call = read(Method::UsersProfileGet, token, fields);
        let found: Result<WireProfile, _> = self.call(call).await.map(|answer| answer.value);
        match found {
            Ok(found) => Ok(Some(FieldsJson::of(found.profile.fields))),
            Err(Error::Rejected { class: ErrorClass::Target, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The custom fields of one member, a JSON object. Personal data, so `Debug` shows none of it.
#[derive(Clone)]
pub struct FieldsJson(String);

impl FieldsJson {
    /// The JSON text of an object.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Slack writes null, an empty list or an empty object if a member has none.
    fn of(fields: Option<Box<RawValue>>) -> Self {
        let object = fields.as_deref().map(RawValue::get).filter(|text| text.starts_with('{'));
        Self(object.filter(|text| text.len() <= FIELDS_BYTES).unwrap_or("{}").to_owned())
    }
}

impl std::fmt::Debug for FieldsJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FieldsJson({} bytes)", self.0.len())
    }
}

fn read<'a>(
    method: Method,
    token: &'a Secret,
    fields: Vec<(&'static str, String)>,
) -> MethodCall<'a> {
    MethodCall {
        method,
        effect: Effect::Repeatable,
        auth: Auth::Bearer(token),
        body: Body::Form(fields),
    }
}

fn absent(result: Result<WireUser, Error>, none: &str) -> Result<Option<MemberJson>, Error> {
    match result {
        Ok(found) => Ok(Some(found.user)),
        Err(Error::Rejected { code, .. }) if code == none => Ok(None),
        Err(error) => Err(error),
    }
}
