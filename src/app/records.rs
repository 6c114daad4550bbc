//! What the store keeps, as the layers above see it: they know `app`, not `store`.

pub use crate::store::{
    AttemptRecord, ConnectAttempt, ConnectStatus, DeliveryRecord, DirectoryState, Installation,
    InstallationState, NotificationRecord, StoredPerson,
};
