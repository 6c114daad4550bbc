//! Changes of an event type, part by part.

use std::collections::BTreeSet;

use super::definition::{Definition, Own, OwnField, TypeSwitches};
use crate::domain::capacity::priority::Priority;
use crate::domain::ids::{AudienceRole, EventType};
use crate::domain::message::problem::FieldProblem;

/// The new value of one part of an event type.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    Enabled(bool),
    Mandatory(bool),
    HoldUntilArrival(bool),
    AudienceRoles(BTreeSet<AudienceRole>),
    /// `None`: the default of the type.
    Priority(Option<Priority>),
    SkipActor(bool),
    DisplayName(String),
    Summary(String),
    Category(String),
    Fields(Vec<OwnField>),
    /// `None`: none.
    SubjectKeyPath(Option<String>),
}

impl Edit {
    /// The name of the part in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enabled(_) => "enabled",
            Self::Mandatory(_) => "mandatory",
            Self::HoldUntilArrival(_) => "hold_until_arrival",
            Self::AudienceRoles(_) => "audience_roles",
            Self::Priority(_) => "default_priority",
            Self::SkipActor(_) => "skip_actor",
            Self::DisplayName(_) => "display_name",
            Self::Summary(_) => "summary",
            Self::Category(_) => "category",
            Self::Fields(_) => "fields",
            Self::SubjectKeyPath(_) => "subject_key_path",
        }
    }

    /// Whether the part was set; `false`: built-in types do not have it.
    fn set(self, definition: &mut Definition, switches: &mut TypeSwitches) -> bool {
        let rules = &mut definition.rules;
        match self {
            Self::Enabled(enabled) => switches.enabled = enabled,
            Self::Mandatory(mandatory) => switches.mandatory = mandatory,
            Self::HoldUntilArrival(hold) => switches.hold_until_arrival = hold,
            Self::AudienceRoles(roles) => rules.audience_roles = roles,
            Self::Priority(priority) => rules.priority = priority,
            Self::SkipActor(skip) => rules.skip_actor = skip,
            own => return definition.own.as_mut().is_some_and(|of| own.set_own(of)),
        }
        true
    }

    fn set_own(self, own: &mut Own) -> bool {
        match self {
            Self::DisplayName(name) => own.display_name = name,
            Self::Summary(summary) => own.summary = summary,
            Self::Category(category) => own.category = category,
            Self::Fields(fields) => own.fields = fields,
            Self::SubjectKeyPath(path) => own.subject_key_path = path,
            Self::Enabled(_)
            | Self::Mandatory(_)
            | Self::HoldUntilArrival(_)
            | Self::AudienceRoles(_)
            | Self::Priority(_)
            | Self::SkipActor(_) => return false,
        }
        true
    }
}

/// The state after the edits, or the parts that built-in types do not have.
pub fn edited(
    event: &EventType,
    mut definition: Definition,
    mut switches: TypeSwitches,
    edits: impl IntoIterator<Item = Edit>,
) -> Result<(Definition, TypeSwitches), Vec<FieldProblem>> {
    let mut problems = Vec::new();
    for edit in edits {
        let name = edit.name();
        if !edit.set(&mut definition, &mut switches) {
            let problem = format!("cannot be changed: {event} is built in");
            problems.push(FieldProblem::new(format!("event_type.{name}"), problem));
        }
    }
    if problems.is_empty() { Ok((definition, switches)) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits() -> Vec<Edit> {
        vec![
            Edit::Enabled(false),
            Edit::Mandatory(true),
            Edit::HoldUntilArrival(true),
            Edit::AudienceRoles(BTreeSet::from([AudienceRole::parse("owner").unwrap()])),
            Edit::Priority(Some(Priority::Urgent)),
            Edit::SkipActor(true),
            Edit::DisplayName("Name".into()),
            Edit::Summary("Summary".into()),
            Edit::Category("Category".into()),
            Edit::Fields(Vec::new()),
            Edit::SubjectKeyPath(Some("a".into())),
        ]
    }

    #[test]
    fn an_own_type_has_all_parts_and_a_built_in_one_six() {
        let own = EventType::parse("training.cancelled").unwrap();
        let definition = Definition { own: Some(Own::default()), ..Definition::default() };
        let (changed, switches) =
            edited(&own, definition, TypeSwitches::default(), edits()).unwrap();
        assert!(!switches.enabled && switches.mandatory && switches.hold_until_arrival);
        assert!(changed.rules.skip_actor && changed.rules.audience_roles.len() == 1);
        assert_eq!(changed.rules.priority, Some(Priority::Urgent));
        let parts = changed.own.unwrap();
        assert_eq!((&*parts.display_name, &*parts.summary), ("Name", "Summary"));
        assert_eq!((&*parts.category, parts.subject_key_path.as_deref()), ("Category", Some("a")));

        let due = EventType::parse("task.due").unwrap();
        let refused = edited(&due, Definition::default(), TypeSwitches::default(), edits());
        let refused = refused.unwrap_err();
        assert_eq!(refused.len(), 5);
        assert_eq!(
            refused[0].to_string(),
            "event_type.display_name cannot be changed: task.due is built in"
        );
        let six = edits().into_iter().take(6);
        assert!(edited(&due, Definition::default(), TypeSwitches::default(), six).is_ok());
    }
}
