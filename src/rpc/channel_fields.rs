//! The fields of channels: protobuf -> domain.

use std::collections::HashMap;
use std::time::Duration;

use super::decode::Fields;
use super::pb;
use crate::app::channels::NamedMember;
use crate::domain::channels::state::{ChannelMemberState, ChannelState};
use crate::domain::channels::wish::{ChannelWish, NameTaken, problem_of_name};
use crate::domain::ids::{ChannelKey, UserId};
use crate::domain::limits;

impl Fields {
    pub(super) fn channel_key(&mut self, text: String) -> Option<ChannelKey> {
        self.take("channel_key", ChannelKey::parse(text))
    }

    /// The wish; its problems are noted.
    pub(super) fn wish(&mut self, given: Option<pb::ChannelWish>) -> Option<ChannelWish> {
        let Some(given) = given else {
            self.bad("wish", "must be set");
            return None;
        };
        let wish = ChannelWish {
            name_taken: self.name_taken(given.name_taken),
            create_not_before: self.time("wish.create_not_before", given.create_not_before),
            archive_after: self.time("wish.archive_after", given.archive_after),
            archive_notice: self.archive_notice(given.archive_notice),
            name: given.name,
            is_private: given.is_private,
            topic: given.topic,
            purpose: given.purpose,
            follow_name: given.follow_name,
            remove_unlisted: given.remove_unlisted,
        };
        for (field, problem) in wish.problems() {
            self.bad(format!("wish.{field}"), problem);
        }
        Some(wish)
    }

    /// The name of a RenameChannel, which has the limits of a wish's.
    pub(super) fn channel_name(&mut self, name: String) -> String {
        if let Some(problem) = problem_of_name(&name) {
            self.bad("name", problem);
        }
        name
    }

    fn name_taken(&mut self, given: i32) -> NameTaken {
        match pb::NameTaken::try_from(given) {
            Ok(pb::NameTaken::Unspecified | pb::NameTaken::Fail) => NameTaken::Fail,
            Ok(pb::NameTaken::Suffix) => NameTaken::Suffix,
            Ok(pb::NameTaken::Adopt) => NameTaken::Adopt,
            Err(_) => {
                self.bad("wish.name_taken", "must be one of FAIL, SUFFIX, ADOPT");
                NameTaken::Fail
            }
        }
    }

    /// The upper bound is a problem of the wish.
    fn archive_notice(&mut self, given: Option<prost_types::Duration>) -> Duration {
        let Some(given) = given else { return limits::DEFAULT_CHANNEL_NOTICE };
        Duration::try_from(given).unwrap_or_else(|_| {
            let most = limits::CHANNEL_NOTICE.as_secs() / 86_400;
            self.bad("wish.archive_notice", format!("must be between 0 and {most} days"));
            limits::DEFAULT_CHANNEL_NOTICE
        })
    }

    /// Members, each person once, at least `least` of them.
    pub(super) fn members(
        &mut self,
        field: &str,
        given: Vec<pb::ChannelMember>,
        least: usize,
    ) -> Vec<NamedMember> {
        if !self.are_within(field, given.len(), least) {
            return Vec::new();
        }
        let (mut members, mut seen) = (Vec::with_capacity(given.len()), HashMap::new());
        for (index, member) in given.into_iter().enumerate() {
            let at = format!("{field}[{index}]");
            if let Some(member) = self.member(&at, member)
                && self.is_first(&mut seen, field, index, &member.user)
            {
                members.push(member);
            }
        }
        members
    }

    fn member(&mut self, at: &str, given: pb::ChannelMember) -> Option<NamedMember> {
        use pb::channel_member::Target;
        let roles = self.roles(&format!("{at}.roles"), given.roles);
        let roles = roles.into_iter().map(String::from).collect();
        match given.target {
            Some(Target::UserId(id)) => {
                let user = self.user(&format!("{at}.user_id"), id)?;
                Some(NamedMember { user, person: None, roles })
            }
            Some(Target::Person(person)) => {
                let person = self.person(&format!("{at}.person"), person)?;
                Some(NamedMember { user: person.user_id.clone(), person: Some(person), roles })
            }
            None => {
                self.bad(at, "must be one of user_id, person");
                None
            }
        }
    }

    /// People by id, each once.
    pub(super) fn users(&mut self, field: &str, given: Vec<String>) -> Vec<UserId> {
        if !self.are_within(field, given.len(), 1) {
            return Vec::new();
        }
        let (mut users, mut seen) = (Vec::with_capacity(given.len()), HashMap::new());
        for (index, id) in given.into_iter().enumerate() {
            if let Some(user) = self.user(&format!("{field}[{index}]"), id)
                && self.is_first(&mut seen, field, index, &user)
            {
                users.push(user);
            }
        }
        users
    }

    fn are_within(&mut self, field: &str, was: usize, least: usize) -> bool {
        let max = limits::CHANNEL_MEMBERS_PER_CALL;
        let fits = (least..=max).contains(&was);
        if !fits {
            self.bad(field, format!("must be between {least} and {max}, was {was}"));
        }
        fits
    }

    /// Whether the person was not named before; a repetition is noted.
    fn is_first(
        &mut self,
        seen: &mut HashMap<UserId, usize>,
        field: &str,
        index: usize,
        user: &UserId,
    ) -> bool {
        let Some(first) = seen.get(user) else {
            seen.insert(user.clone(), index);
            return true;
        };
        let at = format!("{field}[{index}]");
        self.bad(at, format!("names the same person as {field}[{first}]; name each once"));
        false
    }

    /// An unspecified state means any.
    pub(super) fn channel_state(&mut self, given: i32) -> Option<ChannelState> {
        use pb::ChannelState as Given;
        match Given::try_from(given) {
            Ok(Given::Unspecified) => None,
            Ok(Given::Scheduled) => Some(ChannelState::Scheduled),
            Ok(Given::Creating) => Some(ChannelState::Creating),
            Ok(Given::Ready) => Some(ChannelState::Ready),
            Ok(Given::Blocked) => Some(ChannelState::Blocked),
            Ok(Given::Archived) => Some(ChannelState::Archived),
            Ok(Given::Deleted) => Some(ChannelState::Deleted),
            Err(_) => {
                self.bad("state", "is not a known state");
                None
            }
        }
    }

    /// The same for a member.
    pub(super) fn member_state(&mut self, given: i32) -> Option<ChannelMemberState> {
        use pb::ChannelMemberState as Given;
        match Given::try_from(given) {
            Ok(Given::Unspecified) => None,
            Ok(Given::Queued) => Some(ChannelMemberState::Queued),
            Ok(Given::NotInSlack) => Some(ChannelMemberState::NotInSlack),
            Ok(Given::Inviting) => Some(ChannelMemberState::Inviting),
            Ok(Given::Member) => Some(ChannelMemberState::Member),
            Ok(Given::Left) => Some(ChannelMemberState::Left),
            Ok(Given::Failed) => Some(ChannelMemberState::Failed),
            Ok(Given::Removing) => Some(ChannelMemberState::Removing),
            Err(_) => {
                self.bad("state", "is not a known state");
                None
            }
        }
    }
}
