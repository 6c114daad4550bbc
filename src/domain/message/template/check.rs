//! The check of a template before it is saved.

use std::collections::BTreeSet;

use super::cases::cases;
use super::{Locale, fields, fields_read, names};
use crate::domain::ids::EventType;
use crate::domain::message::event;
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::problem::Problem;
use crate::domain::message::render::{Compiled, Context, Language, RenderError};
use crate::domain::message::wording::form::Form;
use crate::domain::time::Timestamp;

/// Problems that one answer has.
const PROBLEMS: usize = 50;
/// The time of the messages that are tried: 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

/// Everything for which a template is refused, under the names of the fields in the request. Only a
/// template without other problems is tried with data.
#[must_use]
pub fn check(
    form: &Form,
    locale: &Locale,
    kind: &KnownType<'_>,
    event: &EventType,
) -> Vec<Problem> {
    let mut problems = match form {
        Form::Simple(simple) => simple.check(),
        Form::Blocks(template) => template.check(),
    };
    problems.extend(unknown(form, kind, event));
    if problems.is_empty() {
        problems = tried(form, locale, kind, event);
    }
    problems.truncate(PROBLEMS);
    problems.into_iter().map(|problem| in_request(form, problem)).collect()
}

/// The problem under the name of its field in the request.
fn in_request(form: &Form, problem: Problem) -> Problem {
    let field = match form {
        Form::Simple(_) => format!("template.simple.{}", problem.field),
        Form::Blocks(_) => match problem.field.strip_prefix("blocks") {
            Some(place) => format!("template.blocks.blocks_json{place}"),
            None => format!("template.blocks.{}", problem.field),
        },
    };
    Problem { field, ..problem }
}

/// The variables, filters, tests and functions that there are not, each once in a field.
fn unknown(form: &Form, kind: &KnownType<'_>, event: &EventType) -> Vec<Problem> {
    let specs = kind.specs();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for located in names(form) {
        // Looking for the name that was meant takes long, and no answer has more.
        if problems.len() == PROBLEMS {
            break;
        }
        let problem = located.unknown().or_else(|| fields::unknown(&located.name, &specs, event));
        if let Some(problem) = problem
            && seen.insert((located.field.clone(), problem.clone()))
        {
            problems.push(located.problem(problem));
        }
    }
    problems
}

/// The problems of the messages that are tried, the first of each field.
fn tried(form: &Form, locale: &Locale, kind: &KnownType<'_>, event: &EventType) -> Vec<Problem> {
    let language = Language::of(locale.as_str()).unwrap_or_default();
    let template = form.template();
    let compiled = Compiled::of(&template, Some(language));
    let mut problems: Vec<Problem> = Vec::new();
    for (index, case) in cases(kind, locale, &fields_read(form)).iter().enumerate() {
        let context = Context {
            event,
            data: &case.data,
            reader: &case.reader,
            link: case.link.as_ref(),
            button: event::button(event, language),
            now: NOW,
        };
        let problem = match compiled.tried(&context) {
            // The text that a message without one gets.
            Ok(message) if index == 0 && message.text == language.notice() => {
                (template.text != message.text).then(|| empty(form))
            }
            Ok(_) => None,
            Err(error) => {
                let problem = placed(form, error, &context, language);
                let sentence = format!("{} (with {})", problem.problem, case.name);
                Some(Problem { problem: sentence, ..problem })
            }
        };
        problems.extend(problem.filter(|new| problems.iter().all(|old| old.field != new.field)));
    }
    problems
}

fn empty(form: &Form) -> Problem {
    let field = match form {
        Form::Simple(simple) if simple.body.is_empty() => "heading",
        Form::Simple(_) => "body",
        Form::Blocks(_) => "text",
    };
    Problem::new(field, "comes out empty with the example data").at_the_beginning()
}

/// The problem of a message that cannot be rendered, at its place in what the author wrote.
fn placed(form: &Form, error: RenderError, context: &Context<'_>, language: Language) -> Problem {
    let mut problem = Problem::from(error);
    match form {
        Form::Simple(simple) => simple.failed(context, language, problem),
        Form::Blocks(template) => {
            template.place(&mut problem);
            problem
        }
    }
}

#[cfg(test)]
mod tests;
