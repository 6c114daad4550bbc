//! Channels that Herald makes and keeps in Slack, and the members wished for in them.
//!
//! A row holds a wish and the progress towards it, both encrypted with the tenant's key. Calls
//! change the wish (`wishes`). A reconciler takes a lease on a row that is due (`claim`), brings
//! Slack to the wish, and saves its progress (`progress`). Every holder has its own epoch, which
//! each of its writes names, so that a holder whose lease was taken over changes nothing. A call
//! that changes the wish meanwhile increments its version, and the row stays due.
//!
//! Reading order: `rows`, `members`, `records`; `wishes`, the calls; `claim`, `progress`,
//! `observe`, `notices`, `releases`, the reconciler; `changes`, the feed; `erasing`.

mod rows;

mod members;

mod claim;
mod erasing;
mod notices;
mod records;
mod releases;
mod wishes;

mod changes;
mod observe;
mod progress;

pub use changes::{ChannelChange, ChannelChangeKind};
pub use claim::ChannelLease;
pub use members::{MemberRecord, MembersChange, WishedMember};
pub use notices::{NoticePlace, NoticesDue};
pub use observe::ChannelObservation;
pub use progress::{ChannelSave, ChannelSaved, MemberUpdate};
pub use records::{ChannelCounts, ChannelTotals};
pub use rows::{ManagedChannel, MemberCounts};
pub use wishes::{ChannelEdit, Released};

#[cfg(test)]
pub(in crate::store) use claim::{NEXT_DUE, due_first};
pub(in crate::store) use erasing::{erase, rename};
