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

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Output, State, Template, UndefinedBehavior, Value};

use super::helpers::{self, Special, VALUE_UNITS, bounded, text_of};
use super::language::Language;
use super::{Context, escape, fit};

/// Bytes of one template string.
pub const SOURCE_BYTES: usize = 4_000;
/// Steps of one template string.
const FUEL: u64 = 20_000;

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
    scope.insert(helpers::TIME_ZONE.into(), context.reader.time_zone.as_str().into());
    let reader = [
        ("name", context.reader.name.clone()),
        ("locale", context.reader.locales.first().cloned()),
        ("language", Some(language.tag().to_owned())),
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

/// The problem of a text that contains [`fit::MENTION`].
const MENTION_PROBLEM: &str =
    "`<@herald:` is what `mention` leaves in a message; write {{ id | mention }} instead";

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
        let problem = if mode == Mode::Mrkdwn && fit::value_inside_token(&filled) {
            "a placeholder stands inside <...>; write {{ label | linked(url) }} instead"
        } else if mode != Mode::Url && fit::forges_mention(&filled) {
            MENTION_PROBLEM
        } else {
            return Ok(filled);
        };
        Err(Error::new(ErrorKind::InvalidOperation, problem))
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

/// Whether the string has a placeholder, a statement or a comment.
pub(super) fn is_filled_in(source: &str) -> bool {
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
    let (mut rest, mut literal) = (source, String::new());
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min() {
        literal.push_str(&rest[..at]);
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
                let after = harmless(inside, "%}")?;
                if word == "for" {
                    takes_data(&inside[..inside.len() - after.len()])?;
                }
                after
            }
        };
    }
    literal.push_str(rest);
    if literal.contains(fit::MENTION) {
        return refuse(MENTION_PROBLEM.to_owned());
    }
    Ok(())
}

/// Refuses multiplication, addition and concatenation, which make long strings in few steps;
/// returns the text after the `end` of the expression.
fn harmless<'a>(expression: &'a str, end: &str) -> Result<&'a str, Error> {
    let mut quote = None;
    let mut chars = expression.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) => quote = (c != open).then_some(open),
            None if c == '"' || c == '\'' => quote = Some(c),
            // The white-space control of a tag: `{%+` and `+%}`.
            None if c == '+' && !end.is_empty() && at == 0 => {}
            None if c == '+' && !end.is_empty() && expression[at + 1..].starts_with(end) => {}
            None if matches!(c, '*' | '+' | '~') => {
                return refuse(format!("`{c}` is not available in expressions"));
            }
            None if !end.is_empty() && expression[at..].starts_with(end) => {
                return Ok(&expression[at + end.len()..]);
            }
            None => {}
        }
    }
    Ok("")
}

/// Refuses a `for` over a list, a tuple or a map that the template writes, and a recursive one: its
/// variable could hold such a list of itself, and nested loops could double it again and again.
fn takes_data(statement: &str) -> Result<(), Error> {
    let tokens = tokens(statement);
    let iterated = tokens.iter().position(|token| *token == "in").map_or(0, |at| at + 1);
    let mut before = "in";
    // The open brackets; true for those of a call or an index.
    let mut open = Vec::new();
    let mut condition = false;
    for &token in &tokens[iterated..] {
        condition |= token == "if" && open.is_empty();
        let literal = match token {
            "recursive" => before != ".",
            _ if condition => false,
            "{" => true,
            "[" | "(" => {
                open.push(ends_operand(before));
                token == "[" && !ends_operand(before)
            }
            "," => open.last() != Some(&true),
            _ => false,
        };
        if literal {
            return refuse("`for` takes a list of data, without `recursive`".to_owned());
        }
        if matches!(token, "]" | ")") {
            open.pop();
        }
        before = token;
    }
    Ok(())
}

/// Whether a `(` or `[` after this token is a call or an index.
fn ends_operand(token: &str) -> bool {
    let ends = |c: char| is_word(c) || matches!(c, '"' | '\'' | ')' | ']');
    let keyword = matches!(token, "in" | "if" | "else" | "not" | "and" | "or" | "is");
    token.starts_with(ends) && !keyword
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words, the quoted texts and the signs of a statement.
fn tokens(statement: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = statement.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' => quoted(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// The end of the quoted text at the beginning.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn refuse<T>(problem: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::SyntaxError, problem))
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
