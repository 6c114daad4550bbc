//! The template language: minijinja, limited to the features that a message needs and to bounded
//! cost.
//!
//! The only statements are `if` and `for`; there are no includes, macros, assignments, functions or
//! multiplication; steps and output are bounded. So a hostile template causes an error for its
//! author and costs no one else anything. The formatter cleans every `{{ value }}`, escapes it for
//! its place and marks it for [`fit`]; a template cannot turn that off.
//!
//! Filters: `default upper lower title capitalize trim length first last round int join` as in
//! Jinja, and
//! - `when('date' | 'datetime' | 'time')`: a time in the reader's zone, `Fri 27 Nov 2026, 17:00
//!   CET`;
//! - `until(end)`: from one time to another, the day once: `Thu 3 Dec 2026, 09:00–12:00 CET`;
//! - `how_soon`: a time as `in 15 minutes`, counted from the notification; `in_minutes`: the same
//!   for a number;
//! - `truncate(n)`: at most n characters, ending in "…" if shortened;
//! - `linked(url)`: a link whose label is the value; only the value if the URL is not an http(s)
//!   URL;
//! - `multiline`: keeps the value's line breaks (every other value is one line).

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

use minijinja::value::{Object, Serde};
use minijinja::{Environment, Error, ErrorKind, Output, State, Template, UndefinedBehavior, Value};

use super::zone::{self, Moment, Style};
use super::{Context, escape, fit};
use crate::domain::time::Timestamp;

/// Bytes of one template string.
pub const SOURCE_BYTES: usize = 4_000;
/// Steps of one template string.
const FUEL: u64 = 20_000;
/// The largest output of one template string, in bytes.
const OUTPUT_BYTES: usize = 1024 * 1024;
/// Units of one value; more than any place in a message holds, so a value that is cut here is
/// visibly shortened later.
const VALUE_UNITS: usize = fit::TEXT + 1;
/// A longer URL is not put into a text: it would leave no room for the template's own text.
const INLINE_URL_UNITS: usize = 1_000;

/// The place of a string, which decides how values in it are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Mrkdwn,
    /// plain_text, and strings outside text objects.
    Plain,
    /// A URL: not marked, but checked as a whole afterwards.
    Url,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Mrkdwn => "mrkdwn",
            Self::Plain => "plain",
            Self::Url => "url",
        }
    }
}

/// The names that a template sees, and their values.
pub(super) type Scope = Value;

/// Names that outrank fields of data.
const RESERVED: [&str; 5] = ["data", "event_type", "link", "now", "reader"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

pub(super) fn scope(context: &Context<'_>) -> Scope {
    let mut scope = BTreeMap::<String, Value>::new();
    if let Some(object) = context.data.as_object() {
        let fields = object.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        scope.extend(fields.map(|(name, value)| (name.clone(), Value::from(Serde(value)))));
    }
    scope.insert("data".into(), Value::from(Serde(context.data)));
    scope.insert("event_type".into(), context.event.as_str().into());
    scope.insert("now".into(), context.now.0.into());
    let reader = [
        ("name", context.reader.name.clone()),
        ("locale", context.reader.locale.clone()),
        ("time_zone", Some(context.reader.time_zone.clone())),
    ];
    scope.insert("reader".into(), Value::from_pairs(reader));
    if let Some(link) = context.link {
        let label = link.label.as_deref().map(escape::one_line).filter(|label| !label.is_empty());
        let label = label.unwrap_or_else(|| context.button.to_owned());
        let link = Value::from_pairs([("url", link.url.clone()), ("label", label)]);
        scope.insert("link".into(), link);
    }
    Value::from_pairs(scope)
}

/// The strings of one template, compiled once for any number of readers. A string that does not
/// compile is reported when it is needed.
#[derive(Debug, Clone)]
pub(super) struct Strings {
    /// Templates named by mode and source; an expression is the condition of an `if`.
    environment: Environment<'static>,
}

/// The prefix in the name of an expression, in place of a mode.
const CONDITION: &str = "if";
/// The output of an expression that is true.
const HOLDS: &str = "1";

impl Strings {
    pub(super) fn new() -> Self {
        Self { environment: ENVIRONMENT.clone() }
    }

    pub(super) fn add(&mut self, source: &str, mode: Mode) {
        let cleaned = clean(source);
        if allowed(&cleaned).is_ok() && is_filled_in(&cleaned) {
            // An error is reported when the string is filled in.
            self.environment.add_template_owned(name(mode.name(), source), cleaned).ok();
        }
    }

    pub(super) fn add_condition(&mut self, expression: &str) {
        if is_expression(expression).is_ok() {
            let source = format!("{{% if {} %}}{HOLDS}{{% endif %}}", clean(expression));
            self.environment.add_template_owned(name(CONDITION, expression), source).ok();
        }
    }

    /// The filled-in string, with its values marked for [`fit::fit`].
    pub(super) fn fill(&self, source: &str, mode: Mode, scope: &Scope) -> Result<String, Error> {
        let name = name(mode.name(), source);
        let filled = if let Ok(template) = self.environment.get_template(&name) {
            rendered(&template, scope)?
        } else {
            let cleaned = clean(source);
            allowed(&cleaned)?;
            if !is_filled_in(&cleaned) {
                return Ok(cleaned);
            }
            rendered(&self.environment.template_from_named_str(&name, &cleaned)?, scope)?
        };
        if mode == Mode::Mrkdwn && fit::value_inside_token(&filled) {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "a placeholder stands inside <...>; write {{ label | linked(url) }} instead",
            ));
        }
        Ok(filled)
    }

    /// Whether the expression is true.
    pub(super) fn holds(&self, expression: &str, scope: &Scope) -> Result<bool, Error> {
        if let Ok(template) = self.environment.get_template(&name(CONDITION, expression)) {
            return Ok(rendered(&template, scope)? == HOLDS);
        }
        is_expression(expression)?;
        let expression = clean(expression);
        Ok(self.environment.compile_expression(&expression)?.eval(scope.clone())?.is_true())
    }
}

fn name(kind: &str, source: &str) -> String {
    format!("{kind} {source}")
}

/// The name of the [`Mode`] of the string that is being filled in.
fn kind<'a>(state: &'a State<'_, '_>) -> &'a str {
    let name = state.name();
    name.split_once(' ').map_or(name, |(kind, _)| kind)
}

fn is_filled_in(source: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| source.contains(tag))
}

fn rendered(template: &Template<'_, '_>, scope: &Scope) -> Result<String, Error> {
    let mut bounded = Bounded(Vec::new());
    template.render_captured_to(scope.clone(), &mut bounded)?;
    Ok(String::from_utf8_lossy(&bounded.0).into_owned())
}

/// Whether the string is a valid expression; the error gives the place of the problem.
pub(super) fn is_expression(expression: &str) -> Result<(), Error> {
    let source = clean(expression);
    if source.len() > SOURCE_BYTES {
        return refuse(format!("one string may have at most {SOURCE_BYTES} bytes"));
    }
    harmless(&source, "")?;
    ENVIRONMENT.compile_expression(&source).map(drop)
}

/// Whether the string is a valid template; the error gives the place of the problem.
pub(super) fn compiles(source: &str) -> Result<(), Error> {
    let source = clean(source);
    allowed(&source)?;
    ENVIRONMENT.template_from_named_str("mrkdwn", &source).map(drop)
}

/// Marks are control characters, so the author's text must not contain any.
fn clean(source: &str) -> String {
    source.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// Refuses constructs that could grow without bound: fuel counts steps, not bytes.
fn allowed(source: &str) -> Result<(), Error> {
    if source.len() > SOURCE_BYTES {
        return refuse(format!("one string may have at most {SOURCE_BYTES} bytes"));
    }
    let mut rest = source;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min() {
        let (tag, inside) = rest[at..].split_at(2);
        rest = match tag {
            "{#" => inside.split_once("#}").map_or("", |(_, after)| after),
            "{{" => harmless(inside, "}}")?,
            _ => {
                let word = inside.trim_start_matches(['-', '+']).trim_start();
                let word = word.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let word = word.unwrap_or_default();
                if !matches!(word, "if" | "elif" | "else" | "endif" | "for" | "endfor") {
                    return refuse(format!("`{word}` is not available; there are `if` and `for`"));
                }
                harmless(inside, "%}")?
            }
        };
    }
    Ok(())
}

/// Refuses multiplication, which makes long strings in one step; returns the text after the `end`
/// of the expression.
fn harmless<'a>(expression: &'a str, end: &str) -> Result<&'a str, Error> {
    let mut quote = None;
    let mut chars = expression.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) => quote = (c != open).then_some(open),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '*' => return refuse("`*` is not available in expressions".to_owned()),
            None if !end.is_empty() && expression[at..].starts_with(end) => {
                return Ok(&expression[at + end.len()..]);
            }
            None => {}
        }
    }
    Ok("")
}

fn refuse<T>(problem: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::SyntaxError, problem))
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES {
            return Err(io::Error::other("the text grows too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The result of `linked` and `multiline`; only the formatter writes it.
#[derive(Debug)]
enum Special {
    Link { url: String, label: String },
    Lines(String),
}

impl Object for Special {}

fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(());
    }
    let mode = kind(state).to_owned();
    let mut write = |text: &str| -> Result<(), Error> {
        let text = bounded(text, VALUE_UNITS);
        match mode.as_str() {
            "url" => out.write_str(text)?,
            "plain" => write!(out, "{}{}{}", fit::VALUE.0, escape::plain(text), fit::VALUE.1)?,
            _ => write!(out, "{}{}{}", fit::VALUE.0, escape::mrkdwn(text), fit::VALUE.1)?,
        }
        Ok(())
    };
    match value.downcast_object_ref::<Special>() {
        Some(Special::Lines(text)) => write(text),
        Some(Special::Link { label, .. }) if mode != "mrkdwn" => write(label),
        Some(Special::Link { url, label }) => {
            let label = escape::mrkdwn(bounded(&label.replace('|', "¦"), VALUE_UNITS));
            let ((open, close), (begin, end)) = (fit::MARKUP, fit::VALUE);
            let url = escape::mrkdwn(url);
            write!(out, "{open}<{url}|{close}{begin}{label}{end}{open}>{close}")?;
            Ok(())
        }
        None => write(&text_of(value)),
    }
}

fn text_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => escape::one_line(text),
        None => escape::one_line(&value.to_string()),
    }
}

fn bounded(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(at, _)| &text[..at])
}

fn environment() -> Environment<'static> {
    use minijinja::filters as jinja;
    let mut env = Environment::empty();
    env.set_formatter(format);
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(32);
    env.add_filter("default", jinja::default);
    env.add_filter("upper", jinja::upper);
    env.add_filter("lower", jinja::lower);
    env.add_filter("title", jinja::title);
    env.add_filter("capitalize", jinja::capitalize);
    env.add_filter("trim", jinja::trim);
    env.add_filter("length", jinja::length);
    env.add_filter("first", jinja::first);
    env.add_filter("last", jinja::last);
    env.add_filter("round", jinja::round);
    env.add_filter("int", jinja::int);
    env.add_filter("join", join);
    env.add_filter("when", when);
    env.add_filter("until", until);
    env.add_filter("how_soon", how_soon);
    env.add_filter("in_minutes", in_minutes);
    env.add_filter("truncate", truncate);
    env.add_filter("linked", linked);
    env.add_filter("multiline", multiline);
    env.add_test("defined", |value: &Value| !value.is_undefined() && !value.is_none());
    env.add_test("none", |value: &Value| value.is_undefined() || value.is_none());
    env.add_test("number", minijinja::tests::is_number);
    env.add_test("string", minijinja::tests::is_string);
    env.add_test("sequence", minijinja::tests::is_sequence);
    env.add_test("mapping", minijinja::tests::is_mapping);
    env.add_test("startingwith", minijinja::tests::is_startingwith);
    env.add_test("endingwith", minijinja::tests::is_endingwith);
    env
}

fn zone_of(state: &State<'_, '_>) -> String {
    let zone = state.lookup("reader").and_then(|reader| reader.get_attr("time_zone").ok());
    zone.and_then(|zone| zone.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A value that is not a time is shown as it is: data was checked at acceptance, and a message with
/// an odd date is better than none.
fn moment(value: &Value) -> Result<Moment, String> {
    let json = serde_json::to_value(value).unwrap_or_default();
    Moment::parse(&json).map_err(|_| if json.is_null() { String::new() } else { text_of(value) })
}

fn when(state: &State<'_, '_>, value: &Value, style: Option<&str>) -> Result<String, Error> {
    let style = match style {
        Some("date") => Style::Date,
        None | Some("datetime") => Style::DateTime,
        Some("time") => Style::Time,
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "`when` takes 'date', 'datetime' or 'time'",
            ));
        }
    };
    let text = moment(value).map(|moment| moment.format(style, &zone_of(state)));
    Ok(text.unwrap_or_else(|shown| shown))
}

/// A moment without an end is shown without a range.
fn until(state: &State<'_, '_>, value: &Value, end: Option<&Value>) -> Result<String, Error> {
    match (moment(value), moment(end.unwrap_or(&Value::UNDEFINED))) {
        (Ok(from), Ok(to)) => Ok(from.until(to, &zone_of(state))),
        _ => when(state, value, None),
    }
}

fn how_soon(state: &State<'_, '_>, value: &Value) -> String {
    let now = state.lookup("now").and_then(|now| i64::try_from(now).ok()).unwrap_or_default();
    let text = moment(value).map(|moment| moment.how_soon(Timestamp(now), &zone_of(state)));
    text.unwrap_or_else(|shown| shown)
}

fn in_minutes(value: &Value) -> String {
    let minutes = f64::try_from(value.clone()).ok().filter(|minutes| minutes.is_finite());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    minutes.map_or_else(|| text_of(value), |minutes| zone::in_minutes(minutes as u64))
}

fn truncate(value: &Value, max: usize) -> String {
    fit::cut(&text_of(value), max.max(1), false)
}

fn linked(value: &Value, url: &Value) -> Value {
    let label = text_of(value);
    match escape::url(url.as_str().unwrap_or_default()) {
        Ok(url) if fit::units(&url) <= INLINE_URL_UNITS && !label.is_empty() => {
            Value::from_object(Special::Link { url, label })
        }
        _ => label.into(),
    }
}

fn multiline(value: &Value) -> Value {
    let text = value.as_str().map_or_else(|| text_of(value), escape::lines);
    Value::from_object(Special::Lines(text))
}

fn join(value: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(separator.unwrap_or(", "));
        }
        joined.push_str(&text_of(&item));
        if joined.len() > OUTPUT_BYTES {
            break;
        }
    }
    Ok(joined)
}
