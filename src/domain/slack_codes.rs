//! The meaning of each of Slack's error codes, in one table.
//!
//! The codes are those of Slack's page on chat.postMessage and, below them, of the other methods
//! that Herald calls. Slack says its lists are not complete, so an unlisted code is an ordinary
//! refusal of class [`ErrorClass::Other`]: shown unchanged, never retried.

/// The consequence of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// This request is refused, and a repetition would be too.
    Reject(ErrorClass),
    /// The token is no longer valid.
    Reconnect,
    /// The token lacks a scope.
    Scope,
    /// Too many calls, reported without HTTP 429.
    Throttle,
    /// The call was not executed; it may succeed later.
    Transient,
    /// The call may have been executed: Slack documents these codes as possibly partly successful.
    Ambiguous,
}

/// The subject of a refusal, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The person or conversation: look it up again.
    Target,
    /// A rule of the workspace: its administrator can change it.
    Policy,
    /// The request: a fault of Herald or of a template.
    Payload,
    /// Anything else, including new codes.
    Other,
}

const CODES: &[(Meaning, &[&str])] = &[
    (
        Meaning::Reject(ErrorClass::Target),
        &[
            "channel_not_found",
            "is_archived",
            "not_in_channel",
            "team_not_found",
            "user_not_found",
            "user_disabled",
            "user_not_visible",
            "cannot_dm_bot",
            "messages_tab_disabled",
            "cannot_reply_to_message",
            "method_not_supported_for_channel_type",
            "invalid_user_combination",
            // users.lookupByEmail uses the plural; a thread may have been deleted.
            "users_not_found",
            "thread_not_found",
            "message_not_found",
            // chat.update and chat.delete: the message exists, but the app may not change it (any
            // more).
            "cant_update_message",
            "cant_delete_message",
            "edit_window_closed",
            "is_inactive",
            // conversations.*: the channel, or the person in it.
            "already_archived",
            "already_in_channel",
            "app_cannot_join_channel",
            "cant_archive_general",
            "cant_archive_required",
            "cant_invite",
            "cant_invite_self",
            "cant_kick_from_general",
            "cant_kick_self",
            "channel_is_limited_access",
            "invitee_cant_see_channel",
            "name_taken",
            "not_archived",
            "not_supported",
            "org_user_not_in_team",
            "too_many_members",
            "ura_max_channels",
        ],
    ),
    (
        Meaning::Reject(ErrorClass::Policy),
        &[
            "restricted_action",
            "restricted_action_read_only_channel",
            "restricted_action_thread_only_channel",
            "restricted_action_non_threadable_channel",
            "restricted_action_thread_locked",
            "ekm_access_denied",
            "app_access_restricted",
            "access_denied",
            "no_permission",
            "send_on_behalf_not_allowed",
            "slack_connect_canvas_sharing_blocked",
            "slack_connect_file_link_sharing_blocked",
            "slack_connect_lists_sharing_blocked",
            "accesslimited",
            "enterprise_is_restricted",
            "two_factor_setup_required",
            // conversations.*: the right to create, rename and fill channels.
            "cannot_create_channel",
            "no_external_invite_permission",
            "not_authorized",
            "user_is_restricted",
            // views.publish: the Home tab of the app is off.
            "not_enabled",
        ],
    ),
    (
        Meaning::Reject(ErrorClass::Payload),
        &[
            "no_text",
            "msg_too_long",
            "invalid_blocks",
            "invalid_blocks_format",
            "msg_blocks_too_long",
            "too_many_attachments",
            "attachment_payload_limit_exceeded",
            "too_many_contact_cards",
            "markdown_text_conflict",
            "invalid_metadata_format",
            "invalid_metadata_schema",
            "metadata_too_large",
            "metadata_must_be_sent_from_app",
            "invalid_arguments",
            "invalid_arg_name",
            "invalid_array_arg",
            "invalid_charset",
            "invalid_form_data",
            "invalid_post_type",
            "missing_post_type",
            "missing_file_data",
            "unknown_method",
            "method_deprecated",
            // Slack's codes for a JSON body that it cannot read.
            "invalid_json",
            "json_not_object",
            "missing_argument",
            // conversations.*: names, texts, lists of people and pages.
            "invalid_name",
            "invalid_name_maxlength",
            "invalid_name_punctuation",
            "invalid_name_required",
            "invalid_name_specials",
            "invalid_limit",
            "invalid_types",
            "no_channel",
            "no_user",
            "too_long",
            "too_many_users",
            // views.publish.
            "view_too_large",
        ],
    ),
    (
        Meaning::Reconnect,
        &[
            "account_inactive",
            "token_revoked",
            "invalid_auth",
            "token_expired",
            "not_authed",
            "not_allowed_token_type",
            "team_access_not_granted",
            // oauth.v2.access with grant_type=refresh_token: no further refresh is possible.
            "invalid_refresh_token",
        ],
    ),
    (Meaning::Scope, &["missing_scope"]),
    (Meaning::Throttle, &["ratelimited", "rate_limited"]),
    (
        Meaning::Transient,
        &[
            "service_unavailable",
            "team_added_to_org",
            "org_login_required",
            "external_channel_migrating",
            "message_limit_exceeded",
            // conversations.members.
            "fetch_members_failed",
            // views.publish: another view was published meanwhile.
            "hash_conflict",
        ],
    ),
    (
        Meaning::Ambiguous,
        &[
            "internal_error",
            "fatal_error",
            "request_timeout",
            // chat.update: Slack does not say whether the message was changed. Another attempt is
            // harmless.
            "update_failed",
        ],
    ),
];

/// The meaning of `code`.
#[must_use]
pub fn meaning(code: &str) -> Meaning {
    CODES
        .iter()
        .find(|(_, codes)| codes.contains(&code))
        .map_or(Meaning::Reject(ErrorClass::Other), |(meaning, _)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of codes once more, as a cross-check; `{a,b}` stands for one code each.
    const SECTION: &[(&[Meaning], &str)] = &[
        (
            &[Meaning::Reject(ErrorClass::Target)],
            "`channel_not_found`, `is_archived`, `not_in_channel`, `team_not_found`, \
             `user_not_found`, `user_disabled`, `user_not_visible`, `cannot_dm_bot`, \
             `messages_tab_disabled`, `cannot_reply_to_message`, \
             `method_not_supported_for_channel_type`, `invalid_user_combination`",
        ),
        (
            &[Meaning::Reject(ErrorClass::Policy)],
            "`restricted_action` and `restricted_action_{read_only_channel,thread_only_channel,\
             non_threadable_channel,thread_locked}`, `ekm_access_denied`, \
             `app_access_restricted`, `access_denied`, `no_permission`, \
             `send_on_behalf_not_allowed`, `slack_connect_{canvas,file_link,lists}_sharing_blocked`\
             , `accesslimited`, `enterprise_is_restricted`, `two_factor_setup_required`",
        ),
        (
            &[Meaning::Reject(ErrorClass::Payload)],
            "`no_text`, `msg_too_long`, `invalid_blocks`, `invalid_blocks_format`, \
             `msg_blocks_too_long`, `too_many_attachments` (>100), \
             `attachment_payload_limit_exceeded`, `too_many_contact_cards` (>10), \
             `markdown_text_conflict`, `invalid_metadata_format`, `invalid_metadata_schema`, \
             `metadata_too_large`, `metadata_must_be_sent_from_app`, `invalid_arguments`, \
             `invalid_arg_name`, `invalid_array_arg`, `invalid_charset`, `invalid_form_data`, \
             `invalid_post_type`, `missing_post_type`, `missing_file_data`, `unknown_method`, \
             `method_deprecated`",
        ),
        (
            &[Meaning::Reconnect, Meaning::Scope],
            "`account_inactive`, `token_revoked`, `invalid_auth`, `token_expired` (refresh first), \
             `not_authed`, `missing_scope`, `not_allowed_token_type`, `team_access_not_granted`",
        ),
        (
            &[Meaning::Transient, Meaning::Throttle],
            "HTTP 429/5xx, `ratelimited`, `rate_limited`, `service_unavailable`, \
             `team_added_to_org` and `org_login_required` (org migration), \
             `external_channel_migrating`, `message_limit_exceeded`",
        ),
        (
            &[Meaning::Ambiguous],
            "`internal_error`, `fatal_error`, `request_timeout` (documented as a truncated POST \
             body), `update_failed`, lost connection",
        ),
        // Channels.
        (
            &[Meaning::Reject(ErrorClass::Target)],
            "`already_archived`, `already_in_channel`, `app_cannot_join_channel`, \
             `cant_archive_{general,required}`, `cant_invite`, `cant_invite_self`, \
             `cant_kick_{from_general,self}`, `channel_is_limited_access`, \
             `invitee_cant_see_channel`, `name_taken`, `not_archived`, `not_supported`, \
             `org_user_not_in_team`, `too_many_members`, `ura_max_channels`",
        ),
        (
            &[Meaning::Reject(ErrorClass::Policy)],
            "`cannot_create_channel`, `no_external_invite_permission`, `not_authorized`, \
             `user_is_restricted`",
        ),
        (
            &[Meaning::Reject(ErrorClass::Payload)],
            "`invalid_name`, `invalid_name_{maxlength,punctuation,required,specials}`, \
             `invalid_limit`, `invalid_types`, `no_channel`, `no_user`, `too_long`, \
             `too_many_users`",
        ),
        (&[Meaning::Transient], "`fetch_members_failed`"),
        // The Home tab.
        (&[Meaning::Reject(ErrorClass::Policy)], "`not_enabled`"),
        (&[Meaning::Reject(ErrorClass::Payload)], "`view_too_large`"),
        (&[Meaning::Transient], "`hash_conflict`"),
    ];

    fn codes_of(row: &str) -> Vec<String> {
        row.split('`')
            .skip(1)
            .step_by(2)
            .flat_map(|word| match word.split_once('{') {
                None => vec![word.to_owned()],
                Some((before, rest)) => {
                    let (list, after) = rest.split_once('}').unwrap();
                    list.split(',').map(|part| format!("{before}{part}{after}")).collect()
                }
            })
            .collect()
    }

    #[test]
    fn every_code_of_the_section_is_classified_as_it_says() {
        let mut seen = 0;
        for (meanings, row) in SECTION {
            for code in codes_of(row) {
                assert!(meanings.contains(&meaning(&code)), "{code}: {:?}", meaning(&code));
                seen += 1;
            }
        }
        assert_eq!(seen, 12 + 16 + 23 + 8 + 7 + 4 + 17 + 4 + 11 + 1 + 3);
    }

    #[test]
    fn no_code_is_there_twice() {
        let mut all: Vec<&str> =
            CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        all.sort_unstable();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn a_new_code_is_an_ordinary_refusal() {
        assert_eq!(meaning("invented_next_year"), Meaning::Reject(ErrorClass::Other));
    }
}
