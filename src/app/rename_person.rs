//! RenamePerson: the platform gave a person another id.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::delivery::verdict::{Addressee, Answer};
use crate::domain::ids::UserId;
use crate::store::{RenameOutcome, Succession};

impl App {
    /// Returns the number of messages that have not ended. Safe to repeat: it continues.
    pub async fn rename_person(
        &self,
        call: &Call,
        from: &UserId,
        to: &UserId,
    ) -> Result<u64, Error> {
        call.may_about(&access::RENAME_PERSON, from)?;
        different("new_user_id", from, to)?;
        // The entry does not name the person: the key that would encrypt the name moves.
        let store = self.store.noting(&call.entry("RenamePerson")).await?;
        let succession = Succession { tenant: &call.tenant, from, to, rename: renamed };
        match store.ends().rename_person(&succession).await? {
            RenameOutcome::Renamed(waiting) => {
                let people = std::slice::from_ref(to);
                self.store.waiting().recheck_held(&call.tenant, people).await?;
                Ok(waiting)
            }
            RenameOutcome::Unknown => Err(Error::NotFound("person")),
            RenameOutcome::Occupied => Err(Error::Precondition {
                reason: "PERSON_EXISTS",
                sentence: "something is stored about the new id; if both ids are one person, call \
                           MergePeople",
            }),
        }
    }
}

pub(super) fn different(field: &'static str, from: &UserId, to: &UserId) -> Result<(), Error> {
    if from == to { Err(Error::invalid(field, "must be another id than user_id")) } else { Ok(()) }
}

/// A stored answer with the second person in place of the first.
pub(super) fn renamed(answer: &[u8], from: &UserId, to: &UserId) -> Vec<u8> {
    // One that only a newer release can read stays as it is.
    let Ok(mut decoded) = serde_json::from_slice::<Answer>(answer) else { return answer.to_vec() };
    for verdict in &mut decoded.verdicts {
        if let Addressee::Person(named) = &mut verdict.addressee
            && named == from
        {
            named.clone_from(to);
        }
    }
    serde_json::to_vec(&decoded).unwrap_or_else(|_| answer.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::subject::Action;
    use crate::domain::delivery::verdict::{Decided, Verdict};
    use crate::domain::ids::NotificationId;
    use crate::domain::reason::Suppression;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn answer(users: &[&str]) -> Vec<u8> {
        let verdicts = users.iter().map(|id| Verdict {
            addressee: Addressee::Person(user(id)),
            decided: Decided::Suppressed { by: Suppression::OptIn },
            delivery: None,
        });
        let notification = NotificationId(uuid::Uuid::nil());
        let (action, verdicts) = (Action::Post, verdicts.collect());
        serde_json::to_vec(&Answer { notification, action, verdicts }).unwrap()
    }

    #[test]
    fn one_person_takes_the_place_of_another() {
        let after = renamed(&answer(&["ada", "ben", "ada"]), &user("ada"), &user("a-1"));
        assert_eq!(after, answer(&["a-1", "ben", "a-1"]));
        assert_eq!(renamed(b"newer", &user("ada"), &user("a-1")), b"newer");
    }
}
