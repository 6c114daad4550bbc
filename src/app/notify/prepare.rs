//! A call before its recipients are considered: its event type, the subject that the type's
//! `subject_key_path` names, and all checks that need neither people nor Slack.

use super::Request;
use crate::app::{Error, Violation};
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{EventType, SubjectKey};
use crate::domain::message::event::tenant_types::{KnownType, TenantTypes};

/// Checks a call of this event type, and completes it with the subject that the type finds in its
/// data.
pub(super) fn prepare<'a>(
    types: &'a TenantTypes,
    event: &'a EventType,
    request: &mut Request,
) -> Result<KnownType<'a>, Error> {
    if types.is_unread(event) {
        return Err(Error::newer_event_type());
    }
    let kind = types.find(event).ok_or_else(|| unknown(types))?;
    let mut violations = Vec::new();
    if request.subject.is_none()
        && let Some((path, text)) = kind.subject(&request.data)
    {
        match SubjectKey::parse(text) {
            Ok(subject) => request.subject = Some(subject),
            Err(problem) => {
                let problem = format!("{problem} (it is the subject)");
                violations.push(Violation::new(format!("data.{path}"), problem));
            }
        }
    }
    if request.subject.is_none() && request.action != Action::Post && violations.is_empty() {
        violations.push(Violation::new("subject_key", "is needed with this subject_action"));
    }
    // An action without a message needs no data and no link.
    if request.action.speaks() {
        let problems = kind.data_problems(&request.data).into_iter();
        violations.extend(problems.map(|it| Violation::new(it.field, it.problem)));
        if request.link.is_none() && kind.needs_link() {
            let problem = format!("{event} needs a link to the thing itself");
            violations.push(Violation::new("link", problem));
        }
    }
    if violations.is_empty() { Ok(kind) } else { Err(Error::Invalid(violations)) }
}

fn unknown(types: &TenantTypes) -> Error {
    let known: Vec<_> = types.names().map(|name| name.to_string()).collect();
    let problem = format!("is not a known event type; known are {}", known.join(", "));
    Error::invalid("event_type", problem)
}
