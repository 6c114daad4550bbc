//! The meaning of a complete list of the workspace's channels: for a create whose answer was
//! unclear, and for a name that is to be adopted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::mark;
use super::progress::{CreateAttempt, SeenChannel};
use super::state::ChannelObstacle;
use super::wish::ChannelWish;
use crate::domain::ids::{ChannelId, ManagedChannelId, SlackUserId};

/// The difference between Slack's clock, which dates the channel, and the database's, which dates
/// the attempt.
const CLOCKS: Duration = Duration::from_secs(300);

/// The result of looking for the channel of an unclear create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnLook {
    /// This is the channel: `Progress::created`.
    Ours(SeenChannel),
    /// Several requests were carried out: keep one, and archive the others.
    Several { keep: SeenChannel, archive: Vec<ChannelId> },
    /// It is not in the list: `Progress::not_there`.
    NotThere,
}

/// Which of the channels with the attempt's name are those of its requests: created by this bot
/// since the first of them, and neither owned by another row (`owned`) nor marked for one. One with
/// the row's mark counts whenever it was created, and after a recovery whatever its name is. As
/// many channels count as requests are not settled; those with the mark come first, then the
/// oldest.
#[must_use]
pub fn settled_by_look(
    attempt: &CreateAttempt,
    bot: &SlackUserId,
    seen: &[SeenChannel],
    owned: &BTreeSet<ChannelId>,
) -> OwnLook {
    let is_of_attempt = |channel: &&SeenChannel| {
        let mark = mark::read(&channel.purpose);
        let is_marked = mark.is_some() && mark == attempt.of;
        let is_from_it = channel.name == attempt.name
            && (is_marked || channel.created_at.plus(CLOCKS) >= attempt.since)
            && (mark.is_none() || is_marked);
        channel.is_private == attempt.is_private
            && channel.creator.as_ref() == Some(bot)
            && !owned.contains(&channel.id)
            && (is_from_it || (is_marked && attempt.recovered))
    };
    let mut found: Vec<&SeenChannel> = seen.iter().filter(is_of_attempt).collect();
    found.sort_by_key(|channel| {
        (mark::read(&channel.purpose).is_none(), channel.created_at, channel.id.clone())
    });
    found.dedup_by_key(|channel| channel.id.clone());
    let most = usize::try_from(attempt.sent.max(1)).unwrap_or(usize::MAX);
    let mut found = found.into_iter().take(most);
    let Some(keep) = found.next().cloned() else { return OwnLook::NotThere };
    // One that is archived already needs nothing.
    let others = found.filter(|channel| !channel.is_archived);
    let archive: Vec<ChannelId> = others.map(|channel| channel.id.clone()).collect();
    if archive.is_empty() { OwnLook::Ours(keep) } else { OwnLook::Several { keep, archive } }
}

/// The channel of this name that may be adopted: visible to the app and of the kind that is wished
/// for, not the general channel, and neither owned by another row (`owned`) nor marked for one that
/// was not released (`released`). An archived one may be adopted; it is opened first.
pub fn adoptable(
    seen: &[SeenChannel],
    name: &str,
    wish: &ChannelWish,
    owned: &BTreeSet<ChannelId>,
    released: &BTreeSet<ManagedChannelId>,
    id: ManagedChannelId,
) -> Result<SeenChannel, ChannelObstacle> {
    let is_foreign = |mark: ManagedChannelId| mark != id && !released.contains(&mark);
    let mut obstacle = ChannelObstacle::NotAdoptable;
    let mut found: Vec<&SeenChannel> = Vec::new();
    for channel in seen.iter().filter(|channel| channel.name == name) {
        let mark = mark::read(&channel.purpose);
        if owned.contains(&channel.id) || mark.is_some_and(is_foreign) {
            obstacle = ChannelObstacle::OwnedByAnother;
        } else if channel.is_private == wish.is_private
            && !channel.is_general
            && (channel.is_member || !channel.is_private)
        {
            found.push(channel);
        }
    }
    let best = found.into_iter().min_by_key(|channel| {
        let is_marked = mark::read(&channel.purpose) == Some(id);
        (!is_marked, channel.is_archived, channel.created_at, channel.id.clone())
    });
    best.cloned().ok_or(obstacle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::channels::wish::NameTaken;
    use crate::domain::time::Timestamp;

    const OURS: ManagedChannelId = ManagedChannelId(uuid::Uuid::from_u128(1));
    const OTHER: ManagedChannelId = ManagedChannelId(uuid::Uuid::from_u128(2));
    const RELEASED: ManagedChannelId = ManagedChannelId(uuid::Uuid::from_u128(3));

    fn bot() -> SlackUserId {
        SlackUserId::parse("UBOT").unwrap()
    }

    fn channel(id: &str, change: impl FnOnce(&mut SeenChannel)) -> SeenChannel {
        let mut channel = SeenChannel {
            id: ChannelId::parse(id).unwrap(),
            name: "course".into(),
            creator: Some(bot()),
            created_at: Timestamp(10_000_000_000),
            is_private: false,
            is_archived: false,
            is_member: true,
            is_general: false,
            topic: String::new(),
            purpose: String::new(),
        };
        change(&mut channel);
        channel
    }

    fn attempt(sent: u32) -> CreateAttempt {
        CreateAttempt {
            name: "course".into(),
            at: Timestamp(10_000_000_000),
            unclear: true,
            looked: 0,
            is_private: false,
            of: Some(OURS),
            installation: None,
            since: Timestamp(10_000_000_000),
            sent,
            taken: false,
            recovered: false,
            compared: false,
        }
    }

    fn wish(is_private: bool) -> ChannelWish {
        let name_taken = NameTaken::Adopt;
        ChannelWish { is_private, name_taken, ..ChannelWish::named("Course") }
    }

    fn none() -> BTreeSet<ChannelId> {
        BTreeSet::new()
    }

    #[test]
    fn only_a_channel_of_the_attempt_is_ours() {
        let good = channel("C1", |_| {});
        let of = |one: &SeenChannel| {
            settled_by_look(&attempt(1), &bot(), std::slice::from_ref(one), &none())
        };
        assert_eq!(of(&good), OwnLook::Ours(good.clone()));
        let marked = channel("C1", |it| it.purpose = mark::marked("p", OURS));
        assert_eq!(of(&marked), OwnLook::Ours(marked.clone()));
        let old = channel("C1", |it| {
            it.purpose = mark::marked("p", OURS);
            it.created_at = Timestamp(1);
        });
        assert_eq!(of(&old), OwnLook::Ours(old.clone()), "the copy of the database is older");
        // The clocks may differ by a little.
        let early = channel("C1", |it| it.created_at = it.created_at.minus(CLOCKS));
        assert_eq!(of(&early), OwnLook::Ours(early.clone()));
        for other in [
            channel("C1", |it| it.name = "course-2".into()),
            channel("C1", |it| it.creator = SlackUserId::parse("UANN").ok()),
            channel("C1", |it| it.creator = None),
            channel("C1", |it| it.is_private = true),
            channel("C1", |it| it.purpose = mark::marked("p", OTHER)),
            channel("C1", |it| it.created_at = it.created_at.minus(CLOCKS * 2)),
        ] {
            assert_eq!(of(&other), OwnLook::NotThere, "{other:?}");
        }
        let owned = BTreeSet::from([good.id.clone()]);
        let look = settled_by_look(&attempt(1), &bot(), &[good], &owned);
        assert_eq!(look, OwnLook::NotThere);
    }

    #[test]
    fn after_a_recovery_the_mark_counts_whatever_the_name_is() {
        let moved = |change: fn(&mut SeenChannel)| {
            let mut moved = channel("C1", |it| it.name = "moved".into());
            change(&mut moved);
            moved
        };
        let recovered = CreateAttempt { recovered: true, ..attempt(1) };
        let of = |one: &SeenChannel| {
            settled_by_look(&recovered, &bot(), std::slice::from_ref(one), &none())
        };
        let ours = moved(|it| it.purpose = mark::marked("p", OURS));
        assert_eq!(of(&ours), OwnLook::Ours(ours.clone()));
        for other in [
            moved(|_| {}),
            moved(|it| it.purpose = mark::marked("p", OTHER)),
            // A person copied the purpose.
            SeenChannel { creator: SlackUserId::parse("UANN").ok(), ..ours.clone() },
            SeenChannel { is_private: true, ..ours.clone() },
        ] {
            assert_eq!(of(&other), OwnLook::NotThere, "{other:?}");
        }
        let look = settled_by_look(&attempt(1), &bot(), &[ours], &none());
        assert_eq!(look, OwnLook::NotThere, "otherwise the name counts");
    }

    #[test]
    fn no_more_channels_count_as_ours_than_requests_were_made() {
        let first = channel("C1", |it| it.created_at = it.created_at.plus(CLOCKS));
        let second = channel("C2", |_| {});
        let third = channel("C3", |it| it.purpose = mark::marked("", OURS));
        let all = [first.clone(), second.clone(), third.clone(), third.clone()];
        let look = |sent| settled_by_look(&attempt(sent), &bot(), &all, &none());
        assert_eq!(look(1), OwnLook::Ours(third.clone()));
        let archive = vec![second.id.clone()];
        assert_eq!(look(2), OwnLook::Several { keep: third.clone(), archive });
        let archive = vec![second.id, first.id];
        assert_eq!(look(3), OwnLook::Several { keep: third, archive });
    }

    #[test]
    fn only_a_free_and_fitting_channel_is_adopted() {
        let people = |change: fn(&mut SeenChannel)| {
            let mut channel = channel("C1", |it| it.creator = SlackUserId::parse("UANN").ok());
            change(&mut channel);
            channel
        };
        let released = BTreeSet::from([RELEASED]);
        let adopt = |seen: &SeenChannel, is_private: bool| {
            let seen = std::slice::from_ref(seen);
            adoptable(seen, "course", &wish(is_private), &none(), &released, OURS)
        };
        for good in [
            people(|_| {}),
            people(|it| it.is_member = false),
            people(|it| it.is_archived = true),
            people(|it| it.purpose = mark::marked("p", OURS)),
            people(|it| it.purpose = mark::marked("p", RELEASED)),
        ] {
            assert_eq!(adopt(&good, false), Ok(good));
        }
        let private = people(|it| it.is_private = true);
        assert_eq!(adopt(&private, true), Ok(private.clone()));
        for (bad, is_private) in [
            (private, false),
            (people(|_| {}), true),
            (people(|it| it.is_general = true), false),
            (people(|it| it.name = "other".into()), false),
        ] {
            assert_eq!(adopt(&bad, is_private), Err(ChannelObstacle::NotAdoptable), "{bad:?}");
        }
        let outside = people(|it| {
            it.is_private = true;
            it.is_member = false;
        });
        assert_eq!(adopt(&outside, true), Err(ChannelObstacle::NotAdoptable));
        let foreign = people(|it| it.purpose = mark::marked("p", OTHER));
        assert_eq!(adopt(&foreign, false), Err(ChannelObstacle::OwnedByAnother));
        let owned = BTreeSet::from([ChannelId::parse("C1").unwrap()]);
        let taken = adoptable(&[people(|_| {})], "course", &wish(false), &owned, &released, OURS);
        assert_eq!(taken, Err(ChannelObstacle::OwnedByAnother));
    }

    #[test]
    fn of_several_channels_the_marked_one_is_adopted_then_an_open_one() {
        let archived = channel("C1", |it| it.is_archived = true);
        let open = channel("C2", |_| {});
        let marked = channel("C3", |it| it.purpose = mark::marked("", OURS));
        let foreign = channel("C0", |it| it.purpose = mark::marked("", OTHER));
        let released = BTreeSet::new();
        let adopt = |seen: &[SeenChannel]| {
            adoptable(seen, "course", &wish(false), &none(), &released, OURS)
        };
        let all = [foreign, archived.clone(), open.clone(), marked.clone()];
        assert_eq!(adopt(&all), Ok(marked));
        assert_eq!(adopt(&all[..3]), Ok(open));
        assert_eq!(adopt(&all[..2]), Ok(archived));
    }
}
