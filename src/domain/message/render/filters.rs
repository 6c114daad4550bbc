//! The template language: minijinja, limited to the features that a message needs and to bounded
//! cost.
//!
//! The only statements are `if` and `for`; there are no includes, macros, assignments, functions,
//! `*`, `+` or `~`, and a `for` takes only data; steps and output are bounded. So a hostile
//! template causes an error for its author and costs no one else anything. The formatter cleans
//! every `{{ value }}`, escapes it for its place and marks it for [`fit`]; a template cannot turn
//! that off.
//!
//! Filters: `default upper lower title capitalize trim length first last round int join` as in
//! Jinja, and those of `helpers`. `docs/templates.md` shows each with an example.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Output, State, Template, UndefinedBehavior, Value};

use super::helpers::{self, Special, VALUE_UNITS, bounded, text_of};
use super::language::Language;
use super::region::DateForm;
use super::tokens::{RESERVED, SHOWN_NAME, clean, is_word, shown_when_sent, split, tokens};
use super::{Context, escape, fit, names};
use crate::domain::limits::TEMPLATE_TEXT_BYTES;

/// Steps of one template string.
const FUEL: u64 = 20_000;
/// Steps of all strings of one message: a template may have hundreds.
const STEPS: u64 = 100_000;
/// Steps that are counted for a string that failed before it used up its own: how many it took is
/// not known. So the strings of a message never take more than ten times [`STEPS`].
const FAILED: u64 = 2_000;

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

/// The names that the strings of one message see, with their values, and the steps that are left
/// for them.
pub(super) struct Scope {
    values: Value,
    steps: Cell<u64>,
}

impl Scope {
    /// Takes these steps away; whether as many were left.
    fn use_up(&self, steps: u64) -> bool {
        let left = self.steps.get();
        self.steps.set(left.saturating_sub(steps));
        steps <= left
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// The scope of a message in `language`.
pub(super) fn scope(context: &Context<'_>, language: Language) -> Scope {
    let mut scope = BTreeMap::<String, Value>::new();
    if let Some(object) = context.data.as_object() {
        let fields = object.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        scope.extend(fields.map(|(name, value)| (name.clone(), Value::from(Serde(value)))));
    }
    scope.insert("data".into(), Value::from(Serde(context.data)));
    scope.insert("event_type".into(), context.event.as_str().into());
    scope.insert("now".into(), context.now.0.div_euclid(1_000_000).into());
    scope.insert(helpers::NOW.into(), context.now.0.into());
    scope.insert(helpers::LANGUAGE.into(), language.tag().into());
    let form = DateForm::preferred(language, &context.reader.locales);
    scope.insert(helpers::REGION.into(), form.region().into());
    scope.insert(helpers::TIME_ZONE.into(), context.reader.time_zone.as_str().into());
    let reader = [
        ("name", context.reader.name.as_ref().map(|name| name.name.clone())),
        ("locale", context.reader.locales.first().cloned()),
        ("language", Some(language.tag().to_owned())),
        ("time_zone", Some(context.reader.time_zone.clone())),
    ];
    scope.insert("reader".into(), Value::from_pairs(reader));
    let shown = context.reader.name.as_ref().map(helpers::shown_name);
    scope.extend(shown.map(|name| (SHOWN_NAME.to_owned(), name)));
    if let Some(link) = context.link {
        let label = link.label.as_deref().map(escape::one_line).filter(|label| !label.is_empty());
        let label = label.unwrap_or_else(|| context.button.to_owned());
        let link = Value::from_pairs([("url", link.url.clone()), ("label", label)]);
        scope.insert("link".into(), link);
    }
    Scope { values: Value::from_pairs(scope), steps: Cell::new(STEPS) }
}

/// The strings of one template, compiled once for any number of readers. A string that does not
/// compile is reported when it is needed.
#[derive(Debug, Clone)]
pub(super) struct Strings {
    /// Templates named by mode and source; an expression is the condition of an `if`.
    environment: Environment<'static>,
    /// Whether a string reads more of the reader than the zone and the language.
    personal: bool,
}

/// The problem of a text that contains [`fit::MENTION`].
const MENTION_PROBLEM: &str =
    "`<@herald:` is the placeholder of `mention`; write {{ id | mention }} instead";

/// The prefix in the name of an expression, in place of a mode.
const CONDITION: &str = "if";
/// Begins the template of an expression.
const IF: &str = "{% if ";
/// The output of an expression that is true.
const HOLDS: &str = "1";

impl Strings {
    pub(super) fn new() -> Self {
        Self { environment: ENVIRONMENT.clone(), personal: false }
    }

    /// Whether messages depend on more of the reader than the zone and the language.
    pub(super) fn is_personal(&self) -> bool {
        self.personal
    }

    pub(super) fn add(&mut self, source: &str, mode: Mode) {
        let cleaned = clean(source);
        if allowed(&cleaned).is_ok() && is_filled_in(&cleaned) {
            self.personal |= names::of_template(source).iter().any(names::Name::is_personal);
            // An error is reported when the string is filled in.
            let shown = shown_when_sent(cleaned);
            self.environment.add_template_owned(name(mode.name(), source), shown).ok();
        }
    }

    pub(super) fn add_condition(&mut self, expression: &str) {
        if is_expression(expression).is_ok() {
            self.personal |= names::of_expression(expression).iter().any(names::Name::is_personal);
            let source = format!("{IF}{} %}}{HOLDS}{{% endif %}}", clean(expression));
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
            let shown = shown_when_sent(cleaned);
            rendered(&self.environment.template_from_named_str(&name, &shown)?, scope)?
        };
        let problem = if mode == Mode::Mrkdwn && fit::value_inside_token(&filled) {
            "a placeholder is inside <...>; write {{ label | linked(url) }} instead"
        } else if mode != Mode::Url && fit::forges_mention(&filled) {
            MENTION_PROBLEM
        } else {
            return Ok(filled);
        };
        let error = Error::new(ErrorKind::InvalidOperation, problem);
        Err(error.with_source(At(open_token(&clean(source)))))
    }

    /// Whether the expression is true.
    pub(super) fn holds(&self, expression: &str, scope: &Scope) -> Result<bool, Error> {
        if let Ok(template) = self.environment.get_template(&name(CONDITION, expression)) {
            return Ok(rendered(&template, scope).map_err(in_condition)? == HOLDS);
        }
        is_expression(expression)?;
        let expression = clean(expression);
        Ok(self.environment.compile_expression(&expression)?.eval(scope.values.clone())?.is_true())
    }
}

/// The place of the first `<` with a placeholder before its `>`.
fn open_token(source: &str) -> usize {
    let around = |at: &usize| {
        let rest = &source[*at..];
        rest[..rest.find('>').unwrap_or(rest.len())].contains("{{")
    };
    source.match_indices('<').map(|(at, _)| at).find(around).unwrap_or_default()
}

fn name(kind: &str, source: &str) -> String {
    format!("{kind} {source}")
}

/// The name of the [`Mode`] of the string that is being filled in.
fn kind<'a>(state: &'a State<'_, '_>) -> &'a str {
    let name = state.name();
    name.split_once(' ').map_or(name, |(kind, _)| kind)
}

/// Whether the string has a placeholder, a statement or a comment.
pub(super) fn is_filled_in(source: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| source.contains(tag))
}

fn rendered(template: &Template<'_, '_>, scope: &Scope) -> Result<String, Error> {
    let too_many = || Error::from(ErrorKind::OutOfFuel);
    // A message goes on after a string that failed, but not after all its steps.
    if scope.steps.get() == 0 {
        return Err(too_many());
    }
    let mut bounded = Bounded(Vec::new());
    let captured =
        template.render_captured_to(scope.values.clone(), &mut bounded).inspect_err(|error| {
            let is_long = matches!(error.kind(), ErrorKind::OutOfFuel | ErrorKind::WriteFailure);
            scope.use_up(if is_long { FUEL } else { FAILED });
        })?;
    let used = captured.state().fuel_levels().map_or(0, |(used, _)| used);
    if !scope.use_up(used) {
        return Err(too_many());
    }
    Ok(String::from_utf8_lossy(&bounded.0).into_owned())
}

/// Whether a string with this error may work with other data.
pub(super) fn is_of_data(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::SyntaxError
            | ErrorKind::BadEscape
            | ErrorKind::MissingArgument
            | ErrorKind::TooManyArguments
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
    )
}

/// Whether the string is a valid expression; the error gives the place of the problem.
pub(super) fn is_expression(expression: &str) -> Result<(), Error> {
    let source = clean(expression);
    if source.len() > TEMPLATE_TEXT_BYTES {
        return Err(refusal(format!("one string may have at most {TEMPLATE_TEXT_BYTES} bytes")));
    }
    harmless(&source, 0)?;
    ENVIRONMENT.compile_expression(&source).map(drop)
}

/// Whether the string is a valid template; the error gives the place of the problem.
pub(super) fn compiles(source: &str) -> Result<(), Error> {
    let source = clean(source);
    allowed(&source)?;
    ENVIRONMENT.template_from_named_str("mrkdwn", &source).map(drop)
}

/// Refuses constructs that could grow without bound: fuel counts steps, not bytes.
fn allowed(source: &str) -> Result<(), Error> {
    if source.len() > TEMPLATE_TEXT_BYTES {
        return Err(refusal(format!("one string may have at most {TEMPLATE_TEXT_BYTES} bytes")));
    }
    let (tags, literal) = split(source);
    for tag in tags {
        let words = tokens(tag.inside);
        let word = words.first().filter(|_| tag.is_statement);
        if let Some(word) = word
            && !matches!(word.text, "if" | "elif" | "else" | "endif" | "for" | "endfor")
        {
            let problem = format!("`{}` is not available; there are `if` and `for`", word.text);
            return refuse(problem, tag.at + word.at);
        }
        harmless(tag.inside, tag.at)?;
        if word.is_some_and(|word| word.text == "for") {
            takes_data(tag.inside, tag.at)?;
        }
    }
    if literal.contains(fit::MENTION) {
        let at = source.find(fit::MENTION).unwrap_or_default();
        return refuse(MENTION_PROBLEM.to_owned(), at);
    }
    Ok(())
}

/// Refuses multiplication, addition and concatenation, which make long strings in few steps.
/// `start` is the place of the expression.
fn harmless(expression: &str, start: usize) -> Result<(), Error> {
    match tokens(expression).into_iter().find(|token| matches!(token.text, "*" | "+" | "~")) {
        Some(token) => {
            let problem = format!("`{}` is not available in expressions", token.text);
            refuse(problem, start + token.at)
        }
        None => Ok(()),
    }
}

/// Refuses a `for` over a list, a tuple or a map that the template writes, and a recursive one: its
/// variable could hold such a list of itself, and nested loops could double it again and again.
fn takes_data(statement: &str, start: usize) -> Result<(), Error> {
    let tokens = tokens(statement);
    let iterated = tokens.iter().position(|token| token.text == "in").map_or(0, |at| at + 1);
    let mut before = "in";
    // The open brackets; true for those of a call or an index.
    let mut open = Vec::new();
    let mut condition = false;
    for token in &tokens[iterated..] {
        condition |= token.text == "if" && open.is_empty();
        let literal = match token.text {
            "recursive" => before != ".",
            _ if condition => false,
            "{" => true,
            "[" | "(" => {
                open.push(ends_operand(before));
                token.text == "[" && !ends_operand(before)
            }
            "," => open.last() != Some(&true),
            _ => false,
        };
        if literal {
            let problem = "`for` takes a list from the data, and cannot be `recursive`".to_owned();
            return refuse(problem, start + token.at);
        }
        if matches!(token.text, "]" | ")") {
            open.pop();
        }
        before = token.text;
    }
    Ok(())
}

/// Whether a `(` or `[` after this token is a call or an index.
fn ends_operand(token: &str) -> bool {
    let ends = |c: char| is_word(c) || matches!(c, '"' | '\'' | ')' | ']');
    let keyword = matches!(token, "in" | "if" | "else" | "not" | "and" | "or" | "is");
    token.starts_with(ends) && !keyword
}

/// The place of an error in the cleaned source, in bytes.
#[derive(Debug, thiserror::Error)]
#[error("at byte {0}")]
struct At(usize);

fn refusal(problem: String) -> Error {
    Error::new(ErrorKind::SyntaxError, problem)
}

fn refuse<T>(problem: String, at: usize) -> Result<T, Error> {
    Err(refusal(problem).with_source(At(at)))
}

/// The place of an error in the cleaned source, in bytes, if it is known.
pub(super) fn place_of(error: &Error) -> Option<usize> {
    let source = std::error::Error::source(error);
    let own = source.and_then(|source| source.downcast_ref::<At>()).map(|at| at.0);
    own.or_else(|| error.range().map(|range| range.start))
}

/// The error of a condition that was compiled as [`IF`] and the expression, placed in the latter.
fn in_condition(error: Error) -> Error {
    let Some(range) = error.range() else { return error };
    let bare = match error.detail() {
        Some(detail) => Error::new(error.kind(), detail.to_owned()),
        None => Error::from(error.kind()),
    };
    bare.with_source(At(range.start.saturating_sub(IF.len())))
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > helpers::OUTPUT_BYTES {
            return Err(io::Error::other("the text grows too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
        Some(Special::Mention { name, .. }) if mode == "url" => write(name),
        Some(Special::Mention { placeholder, .. }) => {
            write!(out, "{}{placeholder}{}", fit::MARKUP.0, fit::MARKUP.1)?;
            Ok(())
        }
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

/// Whether there is a filter of this name.
pub(super) fn is_filter(name: &str) -> bool {
    let applied = ENVIRONMENT.empty_state().apply_filter(name, &[]);
    applied.err().is_none_or(|error| error.kind() != ErrorKind::UnknownFilter)
}

/// Whether there is a test of this name.
pub(super) fn is_test(name: &str) -> bool {
    let performed = ENVIRONMENT.empty_state().perform_test(name, &[]);
    performed.err().is_none_or(|error| error.kind() != ErrorKind::UnknownTest)
}

fn environment() -> Environment<'static> {
    use minijinja::filters as jinja;
    let mut env = Environment::empty();
    // The places of errors are known without it; it would keep the values of their variables.
    env.set_debug(false);
    env.set_formatter(format);
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(32);
    env.add_filter("default", jinja::default);
    env.add_filter("upper", helpers::upper);
    env.add_filter("lower", helpers::lower);
    env.add_filter("title", helpers::title);
    env.add_filter("capitalize", helpers::capitalize);
    env.add_filter("trim", jinja::trim);
    env.add_filter("length", jinja::length);
    env.add_filter("first", jinja::first);
    env.add_filter("last", jinja::last);
    env.add_filter("round", jinja::round);
    env.add_filter("int", jinja::int);
    env.add_filter("join", helpers::join);
    env.add_filter("and_join", helpers::and_join);
    env.add_filter("when", helpers::when);
    env.add_filter("date", helpers::date);
    env.add_filter("time", helpers::time);
    env.add_filter("datetime", helpers::datetime);
    env.add_filter("until", helpers::until);
    env.add_filter("how_soon", helpers::how_soon);
    env.add_filter("relative", helpers::relative);
    env.add_filter("in_minutes", helpers::in_minutes);
    env.add_filter("plural", helpers::plural);
    env.add_filter("truncate", helpers::truncate);
    env.add_filter("link", helpers::link);
    env.add_filter("linked", helpers::linked);
    env.add_filter("mention", helpers::mention);
    env.add_filter("multiline", helpers::multiline);
    env.add_test("defined", |value: &Value| !value.is_undefined() && !value.is_none());
    env.add_test("none", |value: &Value| value.is_undefined() || value.is_none());
    env.add_test("blank", |value: &Value| text_of(value).is_empty());
    env.add_test("number", minijinja::tests::is_number);
    env.add_test("string", minijinja::tests::is_string);
    env.add_test("sequence", minijinja::tests::is_sequence);
    env.add_test("mapping", minijinja::tests::is_mapping);
    env.add_test("startingwith", minijinja::tests::is_startingwith);
    env.add_test("endingwith", minijinja::tests::is_endingwith);
    env
}
