//! What the store keeps, as the layers above see it: they know `app`, not `store`.

pub use crate::store::{
    AttemptRecord, Canceled, ConnectAttempt, ConnectStatus, CrawlProgress, DeliveryChange,
    DeliveryRecord, DirectoryState, Erased, FailedFilter, FailedPosition, FieldsProgress,
    Installation, InstallationState, NotificationFilter, NotificationPage, NotificationPosition,
    NotificationRecord, NotificationSummary, Replayed, Skip, StoredPerson,
};
