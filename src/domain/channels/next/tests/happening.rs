//! Everything that may happen to a row and its channel in the model.

use proptest::prelude::*;

use crate::domain::channels::wish::NameTaken;

/// Names that wishes and other channels have in common; two of them are one to Slack.
pub(super) const NAMES: [&str; 4] = ["Course", "course", "Course 2", "Other"];

/// The fate of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// Carried out, and the answer is lost; for the row the same as a crash.
    Lost,
    /// Not carried out, and no answer.
    Dropped,
    /// Carried out later, within Slack's time.
    Late,
    Limited,
    Restricted,
}

/// The origin of another channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Person,
    General,
    /// Another row of the same Herald.
    Row,
    /// Marked for an id that no row of this Herald owns.
    Marked,
    /// Created by the bot long ago, and not marked.
    Old,
}

#[derive(Debug, Clone)]
pub(super) enum Happening {
    Turn(Fate),
    Pass(u64),
    Doubt,
    Connect(Option<bool>),
    Dead(bool),
    Scopes(bool),
    // People, in the row's channel.
    Archive(bool),
    Delete,
    Kick,
    Invite,
    Convert(bool),
    Rename(usize),
    Purpose(bool),
    // People and other rows, elsewhere.
    Make { name: usize, origin: Origin, is_private: bool, is_archived: bool, is_member: bool },
    Free(usize),
    Bots(bool),
    // The wish.
    Name(usize),
    RenameTo(usize),
    Policy(NameTaken),
    Follow(bool),
    Private(bool),
    Texts(bool),
    Begin(Option<u64>),
    End(Option<u64>),
    WishArchived(bool),
}

pub(super) fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        24 => any_fate().prop_map(Happening::Turn),
        3 => prop::sample::select(vec![1u64, 59, 61, 700]).prop_map(Happening::Pass),
        2 => Just(Happening::Doubt),
        3 => of_people(),
        2 => another_channel(),
        2 => of_the_workspace(),
        4 => of_the_wish(),
    ]
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Dropped),
        1 => Just(Fate::Late),
        1 => Just(Fate::Limited),
        1 => Just(Fate::Restricted),
    ]
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn on() -> impl Strategy<Value = bool> {
    any::<bool>()
}

fn another_channel() -> impl Strategy<Value = Happening> {
    use Origin::{General, Marked, Old, Person, Row};
    let origin = prop::sample::select(vec![Person, General, Row, Marked, Old]);
    (name(), origin, on(), on(), on()).prop_map(
        |(name, origin, is_private, is_archived, is_member)| Happening::Make {
            name,
            origin,
            is_private,
            is_archived,
            is_member,
        },
    )
}

fn of_people() -> impl Strategy<Value = Happening> {
    prop_oneof![
        on().prop_map(Happening::Archive),
        Just(Happening::Delete),
        Just(Happening::Kick),
        Just(Happening::Invite),
        on().prop_map(Happening::Convert),
        name().prop_map(Happening::Rename),
        on().prop_map(Happening::Purpose),
        name().prop_map(Happening::Free),
        on().prop_map(Happening::Bots),
    ]
}

fn of_the_workspace() -> impl Strategy<Value = Happening> {
    prop_oneof![
        prop::option::of(on()).prop_map(Happening::Connect),
        on().prop_map(Happening::Dead),
        on().prop_map(Happening::Scopes),
    ]
}

fn of_the_wish() -> impl Strategy<Value = Happening> {
    let policy = any_policy();
    let seconds = || prop::option::of(prop::sample::select(vec![1u64, 100, 5000]));
    prop_oneof![
        name().prop_map(Happening::Name),
        name().prop_map(Happening::RenameTo),
        policy.prop_map(Happening::Policy),
        on().prop_map(Happening::Follow),
        on().prop_map(Happening::Private),
        on().prop_map(Happening::Texts),
        seconds().prop_map(Happening::Begin),
        seconds().prop_map(Happening::End),
        on().prop_map(Happening::WishArchived),
    ]
}

pub(super) fn any_policy() -> impl Strategy<Value = NameTaken> {
    prop::sample::select(vec![NameTaken::Fail, NameTaken::Suffix, NameTaken::Adopt])
}
