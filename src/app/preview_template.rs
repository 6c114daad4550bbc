//! PreviewTemplate: a message as it would be sent. It is rendered from the words in force, or from
//! those of the request, with the same code as the messages of Notify; on request a browser shows
//! it (`page`), Slack checks its blocks, and one person gets it, marked as a preview.

mod page;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::direct::{Direct, MemberLookup};
use super::event_types::NAME;
use super::refresh_directory::not_connected;
use super::templates::invalid;
use super::tenant::{Known, Tenant};
use super::test_slack::NOT_FOUND;
use super::{App, Call, Error};
use crate::directory::View;
use crate::domain::access;
use crate::domain::delivery::{DeliveryKind, State};
use crate::domain::ids::{ChannelId, ContentId, EventType, NotificationId, SlackUserId, UserId};
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::preview::{Previewed, preview};
use crate::domain::message::render::mentions::{Mentions, mentioned, resolved};
use crate::domain::message::render::{Link, PartSize, Reader, Rendered, marked, sizes};
use crate::domain::message::stored::Stored;
use crate::domain::message::template::{Form, Locale};
use crate::domain::message::wording::candidates::{Candidate, Candidates, ReadyWords};
use crate::domain::message::wording::levels::Level;
use crate::domain::reason::NoMatch;
use crate::slack::Objection;

use page::NewPage;
pub use page::{PreviewLink, PreviewPage};

/// The link of a message for which the request gives none.
const EXAMPLE_LINK: &str = "https://platform.example/preview";

/// The caller's request.
#[derive(Debug, Clone)]
pub struct PreviewRequest {
    pub event: EventType,
    pub content_id: Option<ContentId>,
    /// `None`: the words in force.
    pub template: Option<GivenTemplate>,
    pub source: PreviewSource,
    /// The person who reads it; `None`: a reader without a name.
    pub reader: Option<UserId>,
    /// `None`: the person's locale, or the tenant's.
    pub locale: Option<Locale>,
    pub link: Option<String>,
    pub open_in_browser: bool,
    /// The person who gets it.
    pub send_to: Option<UserId>,
    pub check_with_slack: bool,
}

/// Words that are not saved.
#[derive(Debug, Clone)]
pub struct GivenTemplate {
    pub form: Form,
    /// `None`: that of the reader.
    pub locale: Option<Locale>,
}

/// The data of the message.
#[derive(Debug, Clone)]
pub enum PreviewSource {
    /// The examples of the event type.
    Example,
    /// An object.
    Given(Value),
    /// A notification of the tenant.
    Past(NotificationId),
}

/// The content of the message. No `Debug`: it may be about a person.
struct PreviewData {
    /// `None`: the examples of the event type.
    data: Option<Value>,
    link: Option<String>,
    past: Option<PastNotification>,
}

/// The notification whose data the message shows. No `Debug`: it may be about a person.
struct PastNotification {
    id: NotificationId,
    /// Its data, as it was read.
    data: Vec<u8>,
}

/// The message. No `Debug`: it may be about a person.
pub struct TemplatePreview {
    pub rendered: Rendered,
    /// The origin of the words; `None`: the request.
    pub level: Option<Level>,
    pub locale: String,
    pub version: u32,
    pub sizes: Vec<PartSize>,
    pub page: Option<PreviewLink>,
    pub sent: Option<PreviewSent>,
    /// Slack's objections, if it was asked.
    pub objections: Option<Vec<Objection>>,
}

/// A preview that was queued for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewSent {
    pub member: SlackUserId,
    /// The message in Slack; `None` while it waits.
    pub place: Option<(ChannelId, String)>,
}

impl App {
    /// Renders the message, and does with it what the request asks for. It is sent last: a caller
    /// whose call failed may make it again, and the person does not get the message twice. Waits up
    /// to `patience` for it to be sent.
    pub async fn preview_template(
        &self,
        call: &Call,
        request: PreviewRequest,
        patience: Duration,
    ) -> Result<TemplatePreview, Error> {
        call.may(&access::PREVIEW_TEMPLATE)?;
        let started = tokio::time::Instant::now();
        let tenant = self.tenant(&call.tenant).await?;
        let view = self.view(&tenant).await?;
        let (previewed, past) = self.render_preview(&tenant, &view, &request).await?;
        let (message, people) = (&previewed.rendered, self.mentions_of(&tenant, &previewed).await?);
        let rendered = resolved(message.clone(), &people);
        let objections = if request.check_with_slack {
            Some(self.objections(&tenant, &rendered).await?)
        } else {
            None
        };
        let mut shown = TemplatePreview {
            sizes: sizes(&rendered),
            level: request.template.is_none().then_some(previewed.level),
            locale: previewed.locale.clone(),
            version: previewed.version,
            page: None,
            sent: None,
            objections,
            rendered,
        };
        if request.open_in_browser {
            let people = self.people_in(&tenant, &request, message).await?;
            let content = page::content(&view, &request, &shown)?;
            let page = NewPage { content, people, past };
            shown.page = Some(self.store_preview(&tenant, page).await?);
        }
        if let Some(user) = &request.send_to {
            let left = patience.saturating_sub(started.elapsed());
            let event = &request.event;
            shown.sent = Some(self.send_preview(call, &tenant, user, event, message, left).await?);
        }
        Ok(shown)
    }

    async fn render_preview(
        &self,
        tenant: &Tenant,
        view: &View,
        request: &PreviewRequest,
    ) -> Result<(Previewed, Option<PastNotification>), Error> {
        let types = self.types_of(&tenant.id, tenant.settings.version).await?;
        let event = &request.event;
        if types.is_unread(event) {
            return Err(Error::newer_event_type());
        }
        let kind = types.find(event).ok_or(Error::NotFound(NAME))?;
        let PreviewData { data, link, past } = self.preview_data(tenant, &kind, request).await?;
        let mut reader = self.preview_reader(tenant, view, request).await?;
        let words = if let Some(given) = &request.template {
            let locale = given_locale(given, &reader)?;
            let problems =
                self.template_problems(&tenant.id, &types, event, &locale, &given.form).await?;
            if !problems.is_empty() {
                return Err(invalid(problems));
            }
            reader.locales.insert(0, locale.as_str().to_owned());
            given_words(given, &locale, &kind)
        } else {
            let content = request.content_id.as_ref();
            self.words_for(tenant, &types, &kind, event, content).await?
        };
        let link = link.map(|url| Link { url, label: None });
        let data = data.as_ref();
        let previewed = preview(&words, event, &kind, data, &reader, link.as_ref(), tenant.now);
        Ok((previewed.map_err(invalid)?, past))
    }

    /// The data of the message, without which it shows the examples of its type, and its link.
    async fn preview_data(
        &self,
        tenant: &Tenant,
        kind: &KnownType<'_>,
        request: &PreviewRequest,
    ) -> Result<PreviewData, Error> {
        let given = request.link.clone();
        let example = || Some(EXAMPLE_LINK.to_owned());
        let made_up = |data| PreviewData { data, link: given.clone().or_else(example), past: None };
        match &request.source {
            PreviewSource::Example => Ok(made_up(None)),
            PreviewSource::Given(data) => Ok(made_up(Some(data.clone()))),
            PreviewSource::Past(id) => {
                let record = self.store.records().notification(&tenant.id, *id).await?;
                let record = record.ok_or(Error::NotFound("notification"))?;
                if record.event_type != request.event {
                    let problem = format!("is a notification of {}", record.event_type);
                    return Err(Error::invalid("notification_id", problem));
                }
                let stored = Stored::from_bytes(&record.data).ok_or_else(unreadable)?;
                if is_erased(kind, &stored.data) {
                    return Err(erased());
                }
                let past = PastNotification { id: *id, data: record.data };
                let link = given.or(record.link);
                Ok(PreviewData { data: Some(stored.data), link, past: Some(past) })
            }
        }
    }

    async fn preview_reader(
        &self,
        tenant: &Tenant,
        view: &View,
        request: &PreviewRequest,
    ) -> Result<Reader, Error> {
        let known = match &request.reader {
            Some(user) => Some(self.stored_person(tenant, user).await?),
            None => None,
        };
        let identity = known.as_ref().and_then(|known| tenant.identity_here(known));
        let member = identity.and_then(|identity| view.member(&identity.slack_user_id));
        let person = known.as_ref().map(|known| &known.person);
        let mut reader = Reader::of(person, member.as_ref(), &tenant.settings);
        if let Some(locale) = &request.locale {
            reader.locales.insert(0, locale.as_str().to_owned());
        }
        Ok(reader)
    }

    /// A person that the tenant has stored.
    async fn stored_person(&self, tenant: &Tenant, user: &UserId) -> Result<Known, Error> {
        let stored = self.store.people().get(&tenant.id, user).await?;
        let stored = stored.ok_or(Error::NotFound("person"))?;
        Ok(Known { person: stored.person, identity: stored.identity })
    }

    /// The people that the message mentions, as they are known now.
    async fn mentions_of(&self, tenant: &Tenant, previewed: &Previewed) -> Result<Mentions, Error> {
        self.mentions(tenant, &mentioned(&stored_form(&previewed.rendered)?)).await
    }

    async fn objections(
        &self,
        tenant: &Tenant,
        rendered: &Rendered,
    ) -> Result<Vec<Objection>, Error> {
        let workspace = tenant.installation.as_ref().ok_or_else(not_connected)?.id;
        Ok(self.workspaces.check_blocks(workspace, &rendered.blocks).await?)
    }

    /// Sends the message, marked, by the path of test messages.
    async fn send_preview(
        &self,
        call: &Call,
        tenant: &Tenant,
        user: &UserId,
        event: &EventType,
        message: &Rendered,
        patience: Duration,
    ) -> Result<PreviewSent, Error> {
        let known = self.stored_person(tenant, user).await?;
        let member = match self.find_and_store(tenant, &known).await? {
            MemberLookup::Found(member) => member,
            MemberLookup::Unmatched(unmatched) if unmatched.reason == NoMatch::NotConnected => {
                return Err(not_connected());
            }
            MemberLookup::Unmatched(unmatched) => {
                let sentence = format!("{NOT_FOUND} {}", unmatched.reason.sentence());
                return Err(Error::NotReached { reason: "NO_SLACK_MEMBER", sentence });
            }
        };
        let view = self.view(tenant).await?;
        let in_slack = view.member(&member.slack_user_id);
        let reader = Reader::of(Some(&known.person), in_slack.as_ref(), &tenant.settings);
        let content = stored_form(&marked(message.clone(), event, reader.language()))?;
        let (kind, purpose) = (DeliveryKind::AdministratorTest, "preview");
        let direct = Direct { call, user, member: &member, kind, content, purpose };
        let (record, _) = self.send_and_wait(direct, patience).await?;
        if record.state.is_terminal() && record.state != State::Sent {
            let code = record.code.or(record.reason);
            let code = code.unwrap_or_else(|| record.state.code().to_owned());
            let sentence = format!("the preview was not delivered: {code}");
            return Err(Error::NotReached { reason: "PREVIEW_NOT_SENT", sentence });
        }
        Ok(PreviewSent { member: member.slack_user_id, place: record.channel.zip(record.ts) })
    }
}

/// The locale of a given template's words.
fn given_locale(given: &GivenTemplate, reader: &Reader) -> Result<Locale, Error> {
    let of_reader = || reader.locales.iter().find_map(|locale| Locale::parse(locale.as_str()).ok());
    let locale = given.locale.clone().or_else(of_reader);
    locale.ok_or_else(|| Error::invalid("template.locale", "must be set"))
}

/// The words of a given template, for a reader with its locale.
fn given_words(given: &GivenTemplate, locale: &Locale, kind: &KnownType<'_>) -> ReadyWords {
    let (level, locale, form) = (Level::Tenant, locale.as_str().to_owned(), given.form.clone());
    let candidate = Candidate { level, locale, version: 0, form };
    ReadyWords::Chosen(Arc::new(Candidates::new(vec![candidate], kind.words())))
}

/// The message in the form in which messages are stored.
fn stored_form(message: &Rendered) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(message).map_err(|error| Error::Internal(error.into()))
}

/// Whether the texts are gone: an erasure leaves an empty object, and actions without a message
/// have none.
fn is_erased(kind: &KnownType<'_>, data: &Value) -> bool {
    let nothing = data.as_object().is_none_or(serde_json::Map::is_empty);
    nothing && !kind.data_problems(data).is_empty()
}

fn erased() -> Error {
    Error::Precondition {
        reason: "NOTIFICATION_ERASED",
        sentence: "the notification has no data for a message: give data instead",
    }
}

fn unreadable() -> Error {
    Error::Internal("the data of a stored notification cannot be read".into())
}
