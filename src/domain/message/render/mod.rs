//! The rendering of one message: a template, data and a reader become text and Block Kit blocks in
//! the form that Slack accepts.
//!
//! A template is a fallback text and a JSON array of blocks. The JSON is parsed **first**; each of
//! its strings is then a template of its own ([`blocks`]), so data can never break the structure.
//! Every value is escaped where it is written ([`filters`], [`escape`]), so an author cannot forget
//! it. Then the message is fitted to Slack's limits ([`fit`]): users' values are visibly shortened,
//! the template's own text stays whole.
//!
//! Names in a template: the fields of `data` (and all of them as `data`), `reader` (`name`,
//! `locale`, `time_zone`, and `language`, that of the message), `link` (`url`, `label`; undefined
//! if there is none), `event_type` and `now`. Those five names outrank fields of data. Missing
//! values are empty.

pub mod language;

mod region;

mod calendar;
pub mod escape;
pub mod fit;

pub mod mentions;
pub mod zone;

mod done;
mod helpers;
mod marked;

mod tokens;

pub mod names;

pub mod filters;

mod places;

pub mod kit;

mod bounds;
mod keys;
mod relations;
mod sizes;

pub mod blocks;
pub mod check;

mod markdown;
pub mod simple;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::region::DateForm;
use super::problem::FieldProblem;
use crate::domain::directory::snapshot::MemberView;
use crate::domain::identity::person::Person;
use crate::domain::ids::{EventType, UserId};
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;

pub use super::problem::Problem;
pub use check::Located;
pub use done::done;
pub use language::Language;
pub use marked::marked;
pub use places::{json_offset, line_and_column};
pub use sizes::{PartSize, sizes};

/// The message of one event type, before it is filled in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template {
    /// The text for notifications and screen readers; minijinja over mrkdwn.
    pub text: String,
    /// Block Kit JSON, an array; its strings are minijinja templates.
    pub blocks: String,
}

/// The name of a reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReaderName {
    /// The name when the message is written.
    pub name: String,
    /// The person, whose name is looked up again when the message is sent.
    pub user: Option<UserId>,
}

impl From<&str> for ReaderName {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), user: None }
    }
}

/// The reader of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reader {
    pub name: Option<ReaderName>,
    /// BCP 47 tags, in the order in which a wording is looked for.
    pub locales: Vec<String>,
    /// IANA name; an unknown one counts as UTC.
    pub time_zone: String,
}

impl Reader {
    /// A recipient: their own settings first, then Slack's data about the member, then the tenant's
    /// settings. `None` for the readers of a channel.
    #[must_use]
    pub fn of(
        person: Option<&Person>,
        member: Option<&MemberView<'_>>,
        settings: &Settings,
    ) -> Self {
        let own = |field: fn(&Person) -> &Option<String>| person.and_then(|p| field(p).clone());
        let in_slack = |text: Option<&str>| text.map(str::to_owned);
        let locales = [
            own(|person| &person.locale),
            in_slack(member.and_then(|member| member.locale)),
            Some(settings.locale.clone()),
        ];
        let time_zone = own(|person| &person.time_zone)
            .or_else(|| in_slack(member.and_then(|member| member.time_zone)));
        let name = own(|person| &person.display_name)
            .or_else(|| in_slack(member.map(|member| member.display_name)))
            .filter(|name| !name.trim().is_empty());
        let user = person.map(|person| person.user_id.clone());
        Self {
            name: name.map(|name| ReaderName { name, user }),
            locales: locales.into_iter().flatten().collect(),
            time_zone: time_zone.unwrap_or_else(|| settings.time_zone.clone()),
        }
    }

    /// The language in which Herald writes to this reader.
    #[must_use]
    pub fn language(&self) -> Language {
        Language::preferred(&self.locales)
    }
}

/// The target of the message's button.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// Absolute, http or https: see [`Link::problem`].
    pub url: String,
    /// The label of the button; if there is none, the event type's default.
    pub label: Option<String>,
}

impl Link {
    /// The problem of the link, reported at acceptance; `field` is the name of its URL.
    #[must_use]
    pub fn problem(&self, field: &str) -> Option<FieldProblem> {
        let problem = escape::url(&self.url).err()?.to_string();
        Some(FieldProblem { field: field.to_owned(), problem })
    }
}

/// All input for filling in a template.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub event: &'a EventType,
    /// An object that passed [`validate`](super::event::validate()).
    pub data: &'a Value,
    pub reader: &'a Reader,
    pub link: Option<&'a Link>,
    /// The label of the link's button if the link has none: see [`button`](super::event::button).
    pub button: &'a str,
    /// The notification's time, by the database's clock; "in 15 minutes" counts from it.
    pub now: Timestamp,
}

/// A message in the form that Slack accepts.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rendered {
    /// Never empty, at most [`fit::TEXT`] units.
    pub text: String,
    /// An array of blocks, within all of Slack's limits; empty if nothing was left to show.
    pub blocks: Value,
    /// Something did not fit and ends in "…"; or was omitted, or became "…", because it did not
    /// fit, its URL is impossible, or it could not be filled in.
    pub shortened: bool,
    /// The parts that were shortened, or of which something was omitted, such as
    /// `blocks[0].text.text`; `blocks` if blocks were omitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// Why a message cannot be rendered: the template fails and must be changed. A retry would not
/// help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(Problem);

impl From<RenderError> for Problem {
    fn from(error: RenderError) -> Self {
        error.0
    }
}

/// A template, parsed and compiled for any number of readers.
#[derive(Debug, Clone)]
pub struct Compiled {
    text: String,
    blocks: blocks::Blocks,
    strings: filters::Strings,
    /// The language of its words, and so of its dates, plurals and lists; `None`: that of the
    /// reader. Dates are written as in the reader's region.
    language: Option<Language>,
}

impl Compiled {
    /// From any template: a string that does not compile is reported when it is rendered.
    /// `language` is that of its words; `None` if its dates, plurals and lists follow the reader.
    #[must_use]
    pub fn of(template: &Template, language: Option<Language>) -> Self {
        let mut strings = filters::Strings::new();
        strings.add(&template.text, filters::Mode::Mrkdwn);
        let blocks = blocks::Blocks::compile(&template.blocks, &mut strings);
        Self { text: template.text.clone(), blocks, strings, language }
    }

    /// The reader, reduced to the fields that this template can use: equal views give equal
    /// messages.
    #[must_use]
    pub fn view(&self, reader: Reader) -> Reader {
        let locale = self.language_for(&reader).tag();
        self.view_in(locale, reader)
    }

    /// [`Compiled::view`] with this locale for readers whose name and locale are not used, if it
    /// also gives the form of their dates.
    pub(in crate::domain::message) fn view_in(&self, locale: &str, reader: Reader) -> Reader {
        if self.strings.is_personal() {
            return reader;
        }
        // Readers of some regions have dates of another form.
        let language = self.language_for(&reader);
        let form = |locales: &[String]| DateForm::preferred(language, locales);
        let locales = vec![locale.to_owned()];
        let reduced = form(&locales) == form(&reader.locales);
        let locales = if reduced { locales } else { reader.locales };
        Reader { name: None, locales, ..reader }
    }

    fn language_for(&self, reader: &Reader) -> Language {
        self.language.unwrap_or_else(|| reader.language())
    }

    /// Fills the template in, escapes, and fits the message to Slack's limits. A part that fails
    /// with this data costs the message that part only; the error is of a template that fails with
    /// any data.
    pub fn render(&self, context: &Context<'_>) -> Result<Rendered, RenderError> {
        self.rendered(context, false)
    }

    /// [`Compiled::render`] for a template that is checked: the error is that of the first part
    /// that fails with this data.
    pub fn tried(&self, context: &Context<'_>) -> Result<Rendered, RenderError> {
        self.rendered(context, true)
    }

    fn rendered(&self, context: &Context<'_>, strict: bool) -> Result<Rendered, RenderError> {
        let language = self.language_for(context.reader);
        let scope = filters::scope(context, language);
        let mut filling = blocks::Filling::new(&self.strings, scope, strict);
        let marked = filling.string(&self.text, filters::Mode::Mrkdwn, |error| {
            places::failed(error, "text", &self.text)
        })?;
        let failed = marked.is_none();
        let mut text = fit::fit(&marked.unwrap_or_default(), fit::TEXT, usize::MAX, true);
        if text.text.trim().is_empty() {
            language.notice().clone_into(&mut text.text);
        }
        let blocks = self.blocks.render(&mut filling, context)?;
        let mut cut = blocks.cut;
        if failed || text.shortened {
            cut.insert(0, "text".to_owned());
        }
        Ok(Rendered {
            text: text.text,
            shortened: failed || text.shortened || blocks.shortened,
            blocks: Value::Array(blocks.blocks),
            cut,
        })
    }
}

/// [`Compiled::render`] for a template that is used once and is in the language of its reader.
pub fn render(template: &Template, context: &Context<'_>) -> Result<Rendered, RenderError> {
    Compiled::of(template, None).render(context)
}
