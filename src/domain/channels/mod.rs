//! The life of a channel that Herald makes and keeps for a platform.
//!
//! A caller states a wish ([`wish`]). The store keeps it with a record of the work done in Slack so
//! far ([`progress`]). A reconciler asks [`next::next`] for one step after the other,
//! carries each out, and notes its outcome ([`next::done`], [`next::refused`],
//! [`next::inspected`]) until the answer is to rest. Everything is decided here, from values only.
//!
//! A life in plain words: The channel waits for `create_not_before`. Its name is made legal
//! ([`name`]), the intent is committed, and the channel is created. If the answer is unclear, it is
//! looked for in the list of channels, at once and again when Slack has had enough time; only then
//! may it be created again. If the name is taken, the wish says whether that is an obstacle, or the
//! next number is tried, or the other channel is adopted: only if no other row owns it or has
//! marked it. An archived one is opened first, and the app joins it. Then the mark is written into
//! the purpose ([`mark`]) and read back, name and topic are brought to the wish, the members in
//! Slack are read, and the members' turn comes ([`members`]). At the end of the wish's time the
//! channel is archived. A new wish opens it again, but only if Herald archived it; a channel that a
//! person archived stays so until UnarchiveChannel is called. Events from Slack and doubts lead to
//! a reading of the channel, never to a guess.
//!
//! | state | meaning | obstacle |
//! |---|---|---|
//! | `Scheduled` | waits for `create_not_before` | of the workspace, ahead of time |
//! | `Creating` | about to be created, or being looked for | none |
//! | `Ready` | exists; messages go to it | none, or a step it can do without is refused |
//! | `Blocked` | cannot be created or used | the reason |
//! | `Archived` | archived as wished, or the wish ended before creation | none |
//! | `Archived` | archived by a person, or cannot be opened | the reason |
//! | `Deleted` | deleted by a person | the deletion |
//!
//! A ready channel can do without a new name or topic, its mark, the list of its members, being
//! archived, and the scopes (messages need none of them).
//!
//! An obstacle of the workspace (not connected, token dead, scopes missing, another workspace) is a
//! fact that is looked at each time. A refusal by Slack is stored with the step that it belongs to,
//! and the step is tried again after some minutes, or at once if the wish changes it.

pub mod name;
pub mod place;

pub mod mark;
pub mod state;
pub mod wish;

pub mod refusal;

pub mod members;
pub mod progress;

pub mod look;
pub mod step;

pub mod outcome;

pub mod next;
