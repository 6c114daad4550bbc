//! Every string, list, number and time in a request has a limit, and its comment in the proto
//! states the figure that the code enforces (`domain::limits`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herald::domain::limits;
use herald::domain::slack_manifest::NAME_CHARS;

use super::read;

/// The text that the comment of a field with this name must contain.
fn figures() -> BTreeMap<&'static str, String> {
    let bytes = |n: usize| format!("{} bytes", thousands(n));
    let rows = |n: u32| format!("1 to {}, default {}", thousands(n as usize), limits::DEFAULT_PAGE);
    let operators_page = format!(
        "1 to {}, default {}",
        thousands(limits::OPERATORS_PAGE as usize),
        limits::DEFAULT_OPERATORS_PAGE
    );
    let days = |time: Duration| format!("{} days", time.as_secs() / 86_400);
    BTreeMap::from([
        ("tenant_id", bytes(limits::TENANT_ID_BYTES)),
        ("user_id", bytes(limits::USER_ID_BYTES)),
        ("test_user_id", bytes(limits::USER_ID_BYTES)),
        ("new_user_id", bytes(limits::USER_ID_BYTES)),
        ("into_user_id", bytes(limits::USER_ID_BYTES)),
        ("request_id", bytes(limits::REQUEST_ID_BYTES)),
        ("event_type", bytes(limits::EVENT_TYPE_BYTES)),
        ("content_id", bytes(limits::CONTENT_ID_BYTES)),
        ("channel_id", bytes(limits::SLACK_ID_BYTES)),
        ("slack_user_id", bytes(limits::SLACK_ID_BYTES)),
        ("recipients", format!("1 to {}", thousands(limits::RECIPIENTS))),
        ("people", format!("1 to {}", thousands(limits::PEOPLE_PER_CALL))),
        ("pins", format!("1 to {}", thousands(limits::PINS_PER_CALL))),
        ("email", bytes(limits::SHORT_TEXT_BYTES)),
        ("display_name", bytes(limits::SHORT_TEXT_BYTES)),
        ("roles", format!("at most {}, each 1 to {}", limits::ROLES, bytes(limits::ROLE_BYTES))),
        ("actor_user_id", bytes(limits::USER_ID_BYTES)),
        ("name", bytes(limits::EVENT_TYPE_BYTES)),
        ("etag", bytes(limits::ETAG_BYTES)),
        ("EventType.display_name", bytes(limits::EVENT_TYPE_DISPLAY_BYTES)),
        ("EventType.summary", bytes(limits::EVENT_TYPE_SUMMARY_BYTES)),
        ("EventType.category", bytes(limits::EVENT_TYPE_CATEGORY_BYTES)),
        ("EventType.fields", format!("at most {}", limits::EVENT_FIELDS)),
        (
            "EventType.audience_roles",
            format!("at most {}, each 1 to {}", limits::ROLES, bytes(limits::ROLE_BYTES)),
        ),
        ("EventType.subject_key_path", bytes(limits::EVENT_FIELD_PATH_BYTES)),
        (
            "EventField.path",
            format!(
                "{} and {} parts",
                bytes(limits::EVENT_FIELD_PATH_BYTES),
                limits::EVENT_FIELD_PATH_PARTS
            ),
        ),
        ("EventField.meaning", bytes(limits::EVENT_FIELD_MEANING_BYTES)),
        ("EventField.example", bytes(limits::EVENT_FIELD_EXAMPLE_BYTES)),
        ("locale", bytes(limits::SHORT_TEXT_BYTES)),
        ("Settings.locale", bytes(limits::LOCALE_BYTES)),
        ("time_zone", bytes(limits::SHORT_TEXT_BYTES)),
        ("metadata", format!("{} KiB", limits::PERSON_BYTES / 1024)),
        ("attributes", format!("{} KiB", limits::PERSON_BYTES / 1024)),
        ("data", format!("{} KiB", limits::DATA_BYTES / 1024)),
        ("link", bytes(limits::URL_BYTES)),
        ("return_url", bytes(limits::URL_BYTES)),
        ("expected_team_id", bytes(limits::TEAM_ID_BYTES)),
        ("app_id", bytes(limits::SLACK_ID_BYTES)),
        ("client_id", bytes(limits::CLIENT_ID_BYTES)),
        ("client_secret", bytes(limits::SLACK_SECRET_BYTES)),
        ("signing_secret", bytes(limits::SLACK_SECRET_BYTES)),
        ("keep_previous", days(limits::MAX_KEEP_PREVIOUS)),
        ("valid_for", days(limits::MAX_IDENTITY_LINK)),
        ("expires_in", days(limits::MAX_EXPIRY)),
        ("decide_within", format!("0 to {} seconds", limits::DECIDE_WITHIN.as_secs())),
        ("permissions", format!("at most {}", limits::PERMISSIONS)),
        ("user_attribute", bytes(limits::EXPRESSION_BYTES)),
        ("slack_attribute", bytes(limits::EXPRESSION_BYTES)),
        ("disabled_event_types", format!("at most {}", limits::EVENT_TYPES_IN_SETTINGS)),
        ("held_event_types", format!("at most {}", limits::EVENT_TYPES_IN_SETTINGS)),
        ("page_token", bytes(limits::PAGE_TOKEN_BYTES)),
        ("subject_key", bytes(limits::SUBJECT_KEY_BYTES)),
        ("reason", "64 bytes".into()),
        ("code", "64 bytes".into()),
        ("delivery_ids", format!("1 to {}", thousands(limits::REPLAYS))),
        ("max_deliveries", format!("1 to {}", thousands(limits::REPLAYS))),
        ("principal", bytes(limits::PRINCIPAL_BYTES)),
        ("action", "64 bytes".into()),
        ("ListAuditRequest.page_size", rows(limits::AUDIT_PAGE)),
        ("ListFailedRequest.page_size", rows(limits::FAILED_PAGE)),
        ("ListNotificationsRequest.page_size", rows(limits::NOTIFICATIONS_PAGE)),
        ("ListPeopleRequest.page_size", rows(limits::PEOPLE_PAGE)),
        ("SimulateMappingRequest.page_size", rows(limits::PEOPLE_PAGE)),
        ("GetMatchCoverageRequest.page_size", rows(limits::PEOPLE_PAGE)),
        ("ListApiKeysRequest.page_size", rows(limits::API_KEYS_PAGE)),
        ("ListTenantsRequest.page_size", operators_page.clone()),
        ("ListWorkspacesRequest.page_size", operators_page),
        ("ListEventTypesRequest.page_size", rows(limits::EVENT_TYPES_PAGE)),
        ("ListTemplatesRequest.page_size", rows(limits::TEMPLATES_PAGE)),
        ("Template.locale", bytes(limits::LOCALE_BYTES)),
        ("GetTemplateRequest.locale", bytes(limits::LOCALE_BYTES)),
        ("ResetTemplateRequest.locale", bytes(limits::LOCALE_BYTES)),
        ("RollbackTemplateRequest.locale", bytes(limits::LOCALE_BYTES)),
        ("PreviewTemplateRequest.locale", bytes(limits::LOCALE_BYTES)),
        ("heading", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("body", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("context", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("button", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("SimpleMessage.fields", format!("at most {}", limits::TEMPLATE_FIELDS)),
        ("label", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("value", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("url", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("alt", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("BlocksMessage.text", bytes(limits::TEMPLATE_TEXT_BYTES)),
        ("blocks_json", format!("{} KiB", limits::TEMPLATE_BLOCKS_BYTES / 1024)),
        ("send_to_user_id", bytes(limits::USER_ID_BYTES)),
        ("tenant_ids", format!("at most {}", limits::API_KEY_TENANTS)),
        ("channel_key", bytes(limits::CHANNEL_KEY_BYTES)),
        ("ChannelWish.name", bytes(limits::CHANNEL_NAME_BYTES)),
        ("RenameChannelRequest.name", bytes(limits::CHANNEL_NAME_BYTES)),
        ("topic", format!("{} characters", limits::CHANNEL_TOPIC)),
        ("purpose", format!("{} characters", limits::CHANNEL_PURPOSE)),
        ("create_not_before", "years 1 to 9999".into()),
        ("archive_after", "years 1 to 9999".into()),
        ("archive_notice", days(limits::CHANNEL_NOTICE)),
        ("members", format!("0 to {}", thousands(limits::CHANNEL_MEMBERS_PER_CALL))),
        (
            "AddChannelMembersRequest.members",
            format!("1 to {}", thousands(limits::CHANNEL_MEMBERS_PER_CALL)),
        ),
        ("user_ids", format!("1 to {}", thousands(limits::CHANNEL_MEMBERS_PER_CALL))),
        ("ListChannelsRequest.page_size", rows(limits::CHANNELS_PAGE)),
        (
            "ListChannelMembersRequest.page_size",
            format!(
                "1 to {}, default {}",
                thousands(limits::CHANNEL_MEMBERS_PAGE as usize),
                limits::DEFAULT_CHANNEL_MEMBERS_PAGE
            ),
        ),
        ("CreateApiKeyRequest.expires_in", days(limits::API_KEY_LIFE)),
        ("CreateSlackAppManifestRequest.name", format!("{NAME_CHARS} characters")),
        ("configuration_token", bytes(limits::CONFIGURATION_TOKEN_BYTES)),
        // Kinds of values instead of amounts.
        ("features", "The codes of the features".into()),
        ("lacks_feature", "by its code".into()),
        ("token_older_than", "0 or more".into()),
        ("EventType.recipients", "Output only".into()),
        ("EventType.any_of", "Output only".into()),
        ("EventType.button", "Output only".into()),
        ("EventType.opens", "Output only".into()),
        ("EventType.demo_data", "Output only".into()),
        ("FieldSet.paths", "the fields".into()),
        ("Template.version", "Output only".into()),
        ("TemplateChange.version", "The number".into()),
        ("TemplateChange.time", "The time".into()),
        ("TemplateChange.caller", "The name".into()),
        ("TemplateChange.actor_user_id", "was deleted".into()),
        ("TemplateChange.rolled_back_to", "The version".into()),
        ("GetTemplateRequest.version", "0: the present one".into()),
        ("RollbackTemplateRequest.version", "at least 1".into()),
        ("key_id", "a UUID".into()),
        ("notification_id", "a UUID".into()),
        ("update_mask", "names of fields".into()),
        ("created_from", "years 1 to 9999".into()),
        ("created_before", "years 1 to 9999".into()),
        ("ended_from", "years 1 to 9999".into()),
        ("ended_before", "years 1 to 9999".into()),
        ("deliver_after", "years 1 to 9999".into()),
        ("version", "0: the update applies to any version".into()),
        ("after_sequence", "0 or more".into()),
    ])
}

#[test]
fn every_field_of_a_request_says_its_limit() {
    let messages = messages();
    let figures = figures();
    let mut waiting: Vec<&String> =
        messages.keys().filter(|name| name.ends_with("Request")).collect();
    assert!(waiting.len() > 20, "the protos were not understood");
    let (mut seen, mut faults) = (BTreeSet::new(), Vec::new());
    while let Some(message) = waiting.pop() {
        if !seen.insert(message) {
            continue;
        }
        for field in &messages[message] {
            if let Some((inner, _)) = messages.get_key_value(&field.kind) {
                waiting.push(inner);
            }
            if !field.is_bounded_by_its_kind(&messages) {
                let full = format!("{message}.{}", field.name);
                match figures.get(full.as_str()).or_else(|| figures.get(field.name.as_str())) {
                    None => faults.push(format!("{full}: no row in figures()")),
                    Some(figure) if !field.comment.contains(figure.as_str()) => {
                        faults.push(format!("{full}: its comment does not say {figure:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

struct Field {
    name: String,
    /// The type, without the package.
    kind: String,
    repeated: bool,
    comment: String,
}

impl Field {
    /// Whether it is a boolean, an enum, or a message whose own fields have limits.
    fn is_bounded_by_its_kind(&self, messages: &BTreeMap<String, Vec<Self>>) -> bool {
        let scalar = ["string", "bytes", "int32", "int64", "uint32", "uint64", "float", "double"];
        let well_known = ["Struct", "Timestamp", "Duration", "FieldMask", "Value"];
        let limited = self.repeated
            || self.kind.starts_with("map<")
            || scalar.contains(&self.kind.as_str())
            || (well_known.contains(&self.kind.as_str()) && !messages.contains_key(&self.kind));
        !limited
    }
}

/// All messages and their fields, of every proto.
fn messages() -> BTreeMap<String, Vec<Field>> {
    let mut messages = BTreeMap::<String, Vec<Field>>::new();
    for file in ["types", "herald", "admin", "templates", "channels", "errors", "workspaces"] {
        // For each open brace, the message that its fields belong to.
        let mut open: Vec<Option<String>> = Vec::new();
        let mut comment = String::new();
        for line in read(&format!("proto/herald/v1/{file}.proto")).lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
                continue;
            }
            let comment = std::mem::take(&mut comment);
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["message", name, rest @ ..] => {
                    messages.insert((*name).to_owned(), Vec::new());
                    if !rest.concat().contains('}') && !name.ends_with("{}") {
                        open.push(Some((*name).to_owned()));
                    }
                }
                ["oneof", ..] => open.push(open.last().cloned().flatten()),
                [.., "{"] => open.push(None),
                ["}", ..] => drop(open.pop()),
                [before @ .., name, "=", _] => {
                    let Some(Some(message)) = open.last() else { continue };
                    let kind = before.last().unwrap_or(&"").rsplit('.').next().unwrap_or_default();
                    messages.get_mut(message).unwrap().push(Field {
                        name: (*name).to_owned(),
                        kind: kind.to_owned(),
                        repeated: before.contains(&"repeated"),
                        comment,
                    });
                }
                _ => {}
            }
        }
    }
    messages
}

/// `32768` is written `32,768`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
