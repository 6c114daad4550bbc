//! After events outside of the store: `era` and `recovery`, after a copy of the
//! database took over; `clock`, after its clock stepped back; `unread`, rows of newer releases.

pub(in crate::store) mod clock;
pub(in crate::store) mod era;
pub(in crate::store) mod recovery;
pub(in crate::store) mod unread;
