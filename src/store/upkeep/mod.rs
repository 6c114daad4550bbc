//! After events outside of the store: `recovery`, after a copy of the database took over.

pub(in crate::store) mod recovery;
