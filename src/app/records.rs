//! The types of the store that the layers above `app` use: those layers import from `app`, not from
//! `store`.

pub use crate::store::{
    ApiKeyPage, ApiKeyPosition, AttemptRecord, AuditFilter, AuditPage, AuditPosition, Canceled,
    ChannelChange, ChannelChangeKind, ChannelCounts, ConnectAttempt, ConnectStatus, CrawlProgress,
    DeliveryChange, DeliveryRecord, DirectoryState, Erased, FailedFilter, FailedPosition,
    FieldsProgress, Installation, InstallationState, ListedApiKey, ManagedChannel, MemberCounts,
    MemberRecord, NotificationFilter, NotificationPage, NotificationPosition, NotificationRecord,
    NotificationSummary, Replayed, SkipReason, StoredPerson,
};
