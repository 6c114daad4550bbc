//! All limits on requests, in one place. Proto comments and docs repeat these figures.

/// Bytes of a tenant id.
pub const TENANT_ID_BYTES: usize = 128;
/// Bytes of a user id.
pub const USER_ID_BYTES: usize = 256;
/// Bytes of a request id.
pub const REQUEST_ID_BYTES: usize = 128;
/// Bytes of a content id.
pub const CONTENT_ID_BYTES: usize = 256;
/// Bytes of a subject key.
pub const SUBJECT_KEY_BYTES: usize = 256;
/// Bytes of a channel's key.
pub const CHANNEL_KEY_BYTES: usize = 128;
/// Bytes of a channel's name, as people write it.
pub const CHANNEL_NAME_BYTES: usize = 250;
/// UTF-16 code units of a channel's topic: Slack's limit.
pub const CHANNEL_TOPIC: usize = 250;
/// UTF-16 code units of a channel's purpose: Slack's limit of 250, less the mark
/// (`domain::channels::mark`).
pub const CHANNEL_PURPOSE: usize = 220;
/// The longest time between the notice and the archiving of a channel.
pub const CHANNEL_NOTICE: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
/// That time if the caller names none.
pub const DEFAULT_CHANNEL_NOTICE: std::time::Duration =
    std::time::Duration::from_secs(3 * 24 * 3600);
/// Attempts to connect a tenant's workspace that are kept, of each kind of link. A service makes
/// one with each wish that is refused for missing scopes.
pub const CONNECT_LINKS: u32 = 1000;
/// Channels of one tenant, in any state.
pub const CHANNELS_OF_TENANT: u32 = 10_000;
/// Members of a channel in one call.
pub const CHANNEL_MEMBERS_PER_CALL: usize = 1000;
/// Members of a channel.
pub const CHANNEL_MEMBERS: u32 = 10_000;
/// Channels in one page of a list.
pub const CHANNELS_PAGE: u32 = 200;
/// Members in one page of a list.
pub const CHANNEL_MEMBERS_PAGE: u32 = 1000;
/// Members in one page of a list if the caller names no size.
pub const DEFAULT_CHANNEL_MEMBERS_PAGE: u32 = 200;
/// Conversations that one Notify about a subject reaches if it names no recipients.
pub const SUBJECT_CONVERSATIONS: usize = 10_000;
/// Messages about one subject in one conversation that a later notification considers.
pub const SUBJECT_MESSAGES: u32 = 100;
/// Bytes of an event type.
pub const EVENT_TYPE_BYTES: usize = 64;
/// Bytes of a Slack id.
pub const SLACK_ID_BYTES: usize = 32;
/// Bytes of a principal's name.
pub const PRINCIPAL_BYTES: usize = 128;
/// Bytes of a mapping expression.
pub const EXPRESSION_BYTES: usize = 1024;
/// Nesting depth of a mapping expression.
pub const EXPRESSION_DEPTH: usize = 64;
/// Steps that the evaluation of an expression on one value may take (decision 28): a few
/// milliseconds.
pub const EVALUATION_STEPS: u64 = 100_000;
/// Bytes that the evaluation of an expression on one value may produce.
pub const EVALUATION_BYTES: u64 = 4 * 1024 * 1024;
/// Steps that one pass over many values may take, besides [`PASS_STEPS_EACH`].
pub const PASS_STEPS: u64 = 1_000_000;
/// Steps that each value adds to the budget of its pass.
pub const PASS_STEPS_EACH: u64 = 1_000;
/// Different values that one person or member may have.
pub const VALUES: usize = 100;
/// Members that are counted if several have a person's value.
pub const CANDIDATES: usize = 1_000;
/// Bytes of one person's record, as JSON.
pub const PERSON_BYTES: usize = 16 * 1024;
/// Nesting depth of a person's record and of notification data.
pub const JSON_DEPTH: usize = 16;
/// Bytes of one notification's data, as JSON.
pub const DATA_BYTES: usize = 32 * 1024;
/// JSON values in one request, in all its people and its data together: entries of objects and of
/// lists.
pub const JSON_VALUES: usize = 200_000;
/// Bytes of the client id of a Slack app.
pub const CLIENT_ID_BYTES: usize = 64;
/// Bytes of the client secret or the signing secret of a Slack app.
pub const SLACK_SECRET_BYTES: usize = 128;
/// How long a replaced secret of a Slack app is still accepted if the caller does not say: as long
/// as Slack accepts a replaced client secret.
pub const DEFAULT_KEEP_PREVIOUS: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// The longest that a replaced secret of a Slack app may still be accepted.
pub const MAX_KEEP_PREVIOUS: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
/// Longest app configuration token of Slack's in a call, in bytes; Slack documents no limit.
pub const CONFIGURATION_TOKEN_BYTES: usize = 1024;
/// Recipients of one Notify.
pub const RECIPIENTS: usize = 1000;
/// Pairs in one PinIdentities.
pub const PINS_PER_CALL: usize = 1000;
/// Features that a call may name.
pub const FEATURES: usize = 20;
/// Tenants or workspaces in one page of a list.
pub const OPERATORS_PAGE: u32 = 1000;
/// The same if the caller names no size.
pub const DEFAULT_OPERATORS_PAGE: u32 = 100;
/// Tenants that a list names with one workspace.
pub const TENANTS_OF_WORKSPACE: u32 = 100;
/// The longest that a link for a person's identity may work.
pub const MAX_IDENTITY_LINK: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
/// How long it works if the caller does not say.
pub const DEFAULT_IDENTITY_LINK: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Links for identities of one tenant that may be open at the same time.
pub const IDENTITY_LINKS: u32 = 10_000;
/// People in one UpsertPeople.
pub const PEOPLE_PER_CALL: usize = 1000;
/// Permissions of one actor.
pub const PERMISSIONS: usize = 16;
/// Bytes of Slack's id of a workspace.
pub const TEAM_ID_BYTES: usize = 32;
/// Bytes of a link target (Slack: button `url` is at most 3,000 characters).
pub const URL_BYTES: usize = 3000;
/// Bytes of a person's short text fields (e-mail, display name, locale, time zone).
pub const SHORT_TEXT_BYTES: usize = 320;
/// Bytes of a tenant's BCP 47 tag (RFC 5646 section 4.4.1 requires at least 35).
pub const LOCALE_BYTES: usize = 35;
/// The longest time until expiry.
pub const MAX_EXPIRY: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
/// Expiry if the caller names none.
pub const DEFAULT_EXPIRY: std::time::Duration = std::time::Duration::from_secs(72 * 3600);
/// The longest time that a Notify waits for Slack's answer about people who are not in the member
/// list.
pub const DECIDE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// Event types that one tenant may switch off, and as many that it may have held.
pub const EVENT_TYPES_IN_SETTINGS: usize = 200;
/// Event types of one tenant's own. With the built-in ones and the deleted ones they fit into
/// [`EVENT_TYPES_IN_SETTINGS`].
pub const EVENT_TYPES_OF_TENANT: usize = 150;
/// Deleted event types of one tenant that remain switched off, and as many that remain mandatory.
pub const DELETED_EVENT_TYPES_IN_SETTINGS: usize = 30;
/// Bytes of an event type's name for people.
pub const EVENT_TYPE_DISPLAY_BYTES: usize = 128;
/// Bytes of an event type's summary.
pub const EVENT_TYPE_SUMMARY_BYTES: usize = 512;
/// Bytes of an event type's category.
pub const EVENT_TYPE_CATEGORY_BYTES: usize = 64;
/// Fields of one event type.
pub const EVENT_FIELDS: usize = 30;
/// Bytes of a field's path.
pub const EVENT_FIELD_PATH_BYTES: usize = 100;
/// Parts of a field's path.
pub const EVENT_FIELD_PATH_PARTS: usize = 4;
/// Bytes of a field's meaning.
pub const EVENT_FIELD_MEANING_BYTES: usize = 256;
/// Bytes of a field's example, as JSON.
pub const EVENT_FIELD_EXAMPLE_BYTES: usize = 256;
/// Bytes of a role.
pub const ROLE_BYTES: usize = 64;
/// Roles of one recipient, and of an event type's audience.
pub const ROLES: usize = 20;
/// Templates of one tenant.
pub const TEMPLATES_OF_TENANT: usize = 1000;
/// Locales in which one event type is worded for one content item, and as many for all content
/// items: a notification carries all of them.
pub const TEMPLATE_LOCALES: usize = 20;
/// Versions of a template that are kept.
pub const TEMPLATE_VERSIONS: u32 = 20;
/// Templates of one tenant that were removed and whose versions are kept.
pub const RESET_TEMPLATES: u32 = 1000;
/// Bytes of each text of a template that is not limited further.
pub const TEMPLATE_TEXT_BYTES: usize = 4000;
/// Bytes of a template's blocks, as JSON.
pub const TEMPLATE_BLOCKS_BYTES: usize = 32 * 1024;
/// Bytes of a whole template: of all its texts.
pub const TEMPLATE_BYTES: usize = 36 * 1024;
/// Labelled values of a simple template. Slack: fields of a section.
pub const TEMPLATE_FIELDS: usize = 10;
/// Templates in one page of a list: at 36 KiB each they fit into the default message size of
/// clients (4 MiB).
pub const TEMPLATES_PAGE: u32 = 100;
/// Bytes of the etag of an event type or a template; issued ones are shorter.
pub const ETAG_BYTES: usize = 64;
/// Rows of a page if the caller names no size.
pub const DEFAULT_PAGE: u32 = 50;
/// Notifications in one page of a list.
pub const NOTIFICATIONS_PAGE: u32 = 1000;
/// People in one page of a list: at 16 KiB each they fit into the default message size of clients
/// (4 MiB).
pub const PEOPLE_PAGE: u32 = 100;
/// Dead letters in one page of a list.
pub const FAILED_PAGE: u32 = 500;
/// Entries in one page of ListAudit.
pub const AUDIT_PAGE: u32 = 500;
/// Event types in one page of a list: at about 25 KiB each they fit into the default message size
/// of clients (4 MiB).
pub const EVENT_TYPES_PAGE: u32 = 100;
/// API keys in one page of a list.
pub const API_KEYS_PAGE: u32 = 500;
/// Valid API keys of one caller at the same time: the current one and its successor.
pub const API_KEYS_OF_CALLER: usize = 2;
/// Valid API keys made for one tenant (or for none) at the same time.
pub const API_KEYS_OF_TENANT: usize = 100;
/// Tenants that an API key names.
pub const API_KEY_TENANTS: usize = 100;
/// The longest life of an API key.
pub const API_KEY_LIFE: std::time::Duration = std::time::Duration::from_secs(400 * 24 * 3600);
/// The life of an API key if the caller names none.
pub const API_KEY_DEFAULT_LIFE: std::time::Duration =
    std::time::Duration::from_secs(90 * 24 * 3600);
/// How long an API key is still listed after its end.
pub const API_KEY_KEPT: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3600);
/// Dead letters that one call may replay.
pub const REPLAYS: usize = 1000;
/// Bytes of a page token; issued tokens stay below it.
pub const PAGE_TOKEN_BYTES: usize = 1024;
