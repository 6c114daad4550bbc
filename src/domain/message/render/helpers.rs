//! The filters that Herald adds to the template language. The state gives them the reader's zone
//! and the language of the message.
//!
//! - `date`, `time`, `datetime` (also `when('date')` and so on): a time in the reader's zone, `Fri
//!   27 Nov 2026, 17:00 CET`;
//! - `until(end)`: from one time to another, the day once: `Thu 3 Dec 2026, 09:00–12:00 CET`;
//! - `how_soon`: a time as `in 15 minutes`, counted from the notification; `in_minutes`: the same
//!   for a number; `relative`: the same, also for the past (`3 hours ago`);
//! - `plural(one=…, other=…)`: the form that the number asks for;
//! - `join(separator)`, `and_join`: a list, the latter with the language's "and";
//! - `truncate(n)`: at most n characters, ending in "…" if shortened;
//! - `link(label)`: a link to the value; `linked(url)`: a link whose label is the value. If the URL
//!   is not an http(s) URL, or has a user name or password, only the label;
//! - `mention(name)`: a person by user id: [`mentions`](super::mentions);
//! - `multiline`: keeps the value's line breaks (every other value is one line).

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::language::{Category, Language};
use super::region::DateForm;
use super::zone::{Moment, Style};
use super::{ReaderName, calendar, escape, fit, mentions};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// The largest output of one template string, in bytes.
pub(super) const OUTPUT_BYTES: usize = 1024 * 1024;
/// Units of one value; more than any place in a message holds, so a value that is cut here is
/// visibly shortened later.
pub(super) const VALUE_UNITS: usize = fit::TEXT + 1;
/// More bytes than [`VALUE_UNITS`] can have.
const VALUE_BYTES: usize = 4 * VALUE_UNITS;
/// A longer URL is not put into a text: it would leave no room for the template's own text.
const INLINE_URL_UNITS: usize = 1_000;
/// Items of a list that are written; the rest would be shortened away in any case.
const ITEMS: usize = 1_000;

/// The result of `link`, `mention` and `multiline`. The formatter writes it; other filters take its
/// text.
#[derive(Debug)]
pub(super) enum Special {
    Link { url: String, label: String },
    Lines(String),
    Mention { placeholder: String, name: String },
}

impl Object for Special {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.text().is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Special {
    fn text(&self) -> &str {
        match self {
            Self::Link { label: text, .. }
            | Self::Lines(text)
            | Self::Mention { name: text, .. } => text,
        }
    }
}

/// One line; empty if there is no value. The beginning, if it is a long list or a map.
pub(super) fn text_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => escape::one_line(text),
        None if value.is_none() => String::new(),
        None => {
            let mut beginning = Beginning(String::new());
            // An error ends the writing of a value that is too long.
            write!(beginning, "{value}").ok();
            escape::one_line(&beginning.0)
        }
    }
}

/// Takes at most [`VALUE_BYTES`]: a list that holds the same list many times is written in full.
struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > VALUE_BYTES {
            self.0.push_str(bounded(text, VALUE_UNITS));
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// At most `max` characters of the text.
pub(super) fn bounded(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(at, _)| &text[..at])
}

/// This filter and the three below are those of Jinja. They take at most [`VALUE_UNITS`], of which
/// no place shows more, so that one step never takes long.
pub(super) fn upper(text: Cow<'_, str>) -> String {
    bounded(&text, VALUE_UNITS).to_uppercase()
}

pub(super) fn lower(text: Cow<'_, str>) -> String {
    bounded(&text, VALUE_UNITS).to_lowercase()
}

pub(super) fn title(text: Cow<'_, str>) -> String {
    minijinja::filters::title(Cow::Borrowed(bounded(&text, VALUE_UNITS)))
}

pub(super) fn capitalize(text: Cow<'_, str>) -> String {
    let mut rest = bounded(&text, VALUE_UNITS).chars();
    let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
    first + &rest.as_str().to_lowercase()
}

/// The notification's time in microseconds, for filters. A template cannot spell these names, so no
/// variable of a `for` hides them.
pub(super) const NOW: &str = "@now";
/// The tag of the message's language, for filters.
pub(super) const LANGUAGE: &str = "@language";
/// The region whose form dates have, for filters.
pub(super) const REGION: &str = "@region";
/// The reader's zone, for filters.
pub(super) const TIME_ZONE: &str = "@time_zone";

fn zone_of(state: &State<'_, '_>) -> String {
    let zone = state.lookup(TIME_ZONE);
    zone.and_then(|zone| zone.as_str().map(str::to_owned)).unwrap_or_default()
}

fn language_of(state: &State<'_, '_>) -> Language {
    let tag = state.lookup(LANGUAGE);
    tag.and_then(|tag| tag.as_str().and_then(Language::of)).unwrap_or_default()
}

fn form_of(state: &State<'_, '_>) -> DateForm {
    let region = state.lookup(REGION);
    let region = region.as_ref().and_then(Value::as_str).unwrap_or_default();
    DateForm::in_region(language_of(state), region)
}

fn now(state: &State<'_, '_>) -> Timestamp {
    let now = state.lookup(NOW).and_then(|now| i64::try_from(now).ok());
    Timestamp(now.unwrap_or_default())
}

/// A value that is not a time is shown as it is: data was checked at acceptance, and a message with
/// an odd date is better than none.
fn moment(value: &Value) -> Result<Moment, String> {
    let json = serde_json::to_value(value).unwrap_or_default();
    Moment::parse(&json).map_err(|_| if json.is_null() { String::new() } else { text_of(value) })
}

fn shown(state: &State<'_, '_>, value: &Value, style: Style) -> String {
    let text = moment(value).map(|at| at.format(style, &zone_of(state), form_of(state)));
    text.unwrap_or_else(|shown| shown)
}

pub(super) fn date(state: &State<'_, '_>, value: &Value) -> String {
    shown(state, value, Style::Date)
}

pub(super) fn time(state: &State<'_, '_>, value: &Value) -> String {
    shown(state, value, Style::Time)
}

pub(super) fn datetime(state: &State<'_, '_>, value: &Value) -> String {
    shown(state, value, Style::DateTime)
}

pub(super) fn when(
    state: &State<'_, '_>,
    value: &Value,
    style: Option<&str>,
) -> Result<String, Error> {
    let style = match style {
        Some("date") => Style::Date,
        None | Some("datetime") => Style::DateTime,
        Some("time") => Style::Time,
        Some(_) => return refuse("`when` takes 'date', 'datetime' or 'time'"),
    };
    Ok(shown(state, value, style))
}

/// A moment without an end is shown without a range.
pub(super) fn until(state: &State<'_, '_>, value: &Value, end: Option<&Value>) -> String {
    match (moment(value), moment(end.unwrap_or(&Value::UNDEFINED))) {
        (Ok(from), Ok(to)) => from.until(to, &zone_of(state), form_of(state)),
        _ => shown(state, value, Style::DateTime),
    }
}

pub(super) fn how_soon(state: &State<'_, '_>, value: &Value) -> String {
    let text = moment(value).map(|at| at.how_soon(now(state), &zone_of(state), language_of(state)));
    text.unwrap_or_else(|shown| shown)
}

pub(super) fn relative(state: &State<'_, '_>, value: &Value) -> String {
    let text = moment(value).map(|at| at.relative(now(state), &zone_of(state), language_of(state)));
    text.unwrap_or_else(|shown| shown)
}

pub(super) fn in_minutes(state: &State<'_, '_>, value: &Value) -> String {
    let minutes = number(value);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    minutes.map_or_else(
        || text_of(value),
        |minutes| calendar::in_minutes(minutes as u64, language_of(state)),
    )
}

fn number(value: &Value) -> Option<f64> {
    f64::try_from(value.clone()).ok().filter(|number| number.is_finite())
}

/// Forms that a language does not have may be given; `other` serves for all that are not.
pub(super) fn plural(state: &State<'_, '_>, value: &Value, forms: Kwargs) -> Result<String, Error> {
    let one: Option<String> = forms.get("one")?;
    let many: Option<String> = forms.get("many")?;
    let other: Option<String> = forms.get("other")?;
    forms.assert_all_used()?;
    let Some(other) = other else {
        return refuse("`plural` takes one='…' and other='…'; other is required");
    };
    let form = match number(value).map(|number| language_of(state).category(number)) {
        Some(Category::One) => one,
        Some(Category::Many) => many,
        Some(Category::Other) | None => None,
    };
    Ok(form.unwrap_or(other))
}

fn refuse<T>(problem: &'static str) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, problem))
}

pub(super) fn truncate(value: &Value, max: usize) -> String {
    fit::cut(&text_of(value), max.max(1), false)
}

pub(super) fn linked(value: &Value, url: &Value) -> Value {
    let label = (value != url).then(|| text_of(value));
    labelled(label, url)
}

pub(super) fn link(url: &Value, label: Option<&Value>) -> Value {
    labelled(label.map(text_of).filter(|label| !label.is_empty()), url)
}

/// Without a label of its own, a link shows the URL that it opens, not the spelling in data.
fn labelled(label: Option<String>, target: &Value) -> Value {
    match escape::url(target.as_str().unwrap_or_default()) {
        Ok(url) if fit::units(&url) <= INLINE_URL_UNITS && label.as_deref() != Some("") => {
            let label = label.unwrap_or_else(|| url.clone());
            Value::from_object(Special::Link { url, label })
        }
        _ => label.unwrap_or_else(|| text_of(target)).into(),
    }
}

/// A value that cannot be a user id is shown as the name, or as it is.
pub(super) fn mention(value: &Value, name: Option<&Value>) -> Value {
    let (id, name) = (text_of(value), name.map(text_of).unwrap_or_default());
    match UserId::parse(id.clone()) {
        Ok(user) => {
            let placeholder = mentions::placeholder(&user, &name);
            let name = if name.is_empty() { id } else { name };
            Value::from_object(Special::Mention { placeholder, name })
        }
        Err(_) if name.is_empty() => id.into(),
        Err(_) => name.into(),
    }
}

/// The reader's name where it is only shown: that of the moment of sending.
pub(super) fn shown_name(reader: &ReaderName) -> Value {
    let name = escape::one_line(&reader.name);
    match &reader.user {
        Some(user) => {
            let placeholder = mentions::name_of(user, &name);
            Value::from_object(Special::Mention { placeholder, name })
        }
        None => name.into(),
    }
}

/// A missing value stays missing.
pub(super) fn multiline(value: &Value) -> Value {
    if value.is_undefined() || value.is_none() {
        return value.clone();
    }
    let text = value.as_str().map_or_else(|| text_of(value), escape::lines);
    Value::from_object(Special::Lines(text))
}

/// At most [`VALUE_UNITS`]. White space at the ends of texts is kept: the Markdown of a template
/// joins the parts of a link's label with this filter.
pub(super) fn join(value: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(separator.unwrap_or(", "));
        }
        match item.as_str() {
            Some(text) => joined.push_str(bounded(text, VALUE_UNITS)),
            None => joined.push_str(&text_of(&item)),
        }
        if joined.len() > VALUE_BYTES {
            break;
        }
    }
    Ok(bounded(&joined, VALUE_UNITS).to_owned())
}

/// Empty items are left out, and those after [`VALUE_BYTES`].
pub(super) fn and_join(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for item in value.try_iter()?.take(ITEMS).map(|item| text_of(&item)) {
        if !item.is_empty() {
            bytes += item.len();
            items.push(item);
        }
        if bytes > VALUE_BYTES {
            break;
        }
    }
    Ok(language_of(state).list(&items))
}
