//! DeletePerson: erases the data of a person; counts and fingerprints of requests remain.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::delivery::verdict::{Addressee, Answer, Decided};
use crate::domain::ids::UserId;
use crate::store::{Erased, Redacted};

/// Replaces a person in stored answers.
const NOBODY: &str = "deleted-person";

impl App {
    /// Cancels their queued messages and erases what was written about them. Safe to repeat; an
    /// unknown person is no error, so that callers cannot probe for people.
    pub async fn delete_person(&self, call: &Call, user: UserId) -> Result<Erased, Error> {
        call.may(&access::DELETE_PERSON)?;
        // The entry does not name the person: nothing readable about them remains.
        let store = self.store.noting(&call.entry("DeletePerson")).await?;
        Ok(store.ends().erase_person(&call.tenant, &user, redact).await?)
    }
}

/// A stored answer without the person: the same verdicts, with the name replaced.
fn redact(answer: &[u8], user: &UserId) -> Redacted {
    let Ok(mut decoded) = serde_json::from_slice::<Answer>(answer) else {
        return Redacted { answer: Vec::new(), names_others: true };
    };
    let mut names_others = false;
    for verdict in &mut decoded.verdicts {
        match &verdict.addressee {
            Addressee::Person(named) if named == user => {
                if let Ok(nobody) = UserId::parse(NOBODY) {
                    verdict.addressee = Addressee::Person(nobody);
                }
                if let Decided::Queued { found, .. } = &mut verdict.decided {
                    *found = None;
                }
            }
            Addressee::Person(named) => names_others |= named.as_str() != NOBODY,
            Addressee::Channel(_) | Addressee::ChannelKey(_) => names_others = true,
        }
    }
    Redacted { answer: serde_json::to_vec(&decoded).unwrap_or_default(), names_others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::subject::Action;
    use crate::domain::delivery::verdict::Verdict;
    use crate::domain::ids::NotificationId;
    use crate::domain::reason::Suppression;

    fn answer(users: &[&str]) -> Vec<u8> {
        let verdicts = users.iter().map(|user| Verdict {
            addressee: Addressee::Person(UserId::parse(*user).unwrap()),
            decided: Decided::Suppressed { by: Suppression::OptIn },
            delivery: None,
        });
        let notification = NotificationId(uuid::Uuid::nil());
        let (action, verdicts) = (Action::Post, verdicts.collect());
        serde_json::to_vec(&Answer { notification, action, verdicts }).unwrap()
    }

    #[test]
    fn a_person_disappears_and_others_stay() {
        let gone = UserId::parse("ada").unwrap();
        let redacted = redact(&answer(&["ada", "ben", "ada"]), &gone);
        assert_eq!(redacted.answer, answer(&[NOBODY, "ben", NOBODY]));
        assert!(redacted.names_others);
        let last = UserId::parse("ben").unwrap();
        assert!(!redact(&redacted.answer, &last).names_others);
    }
}
