//! Domain -> protobuf, exhaustive: a new variant does not compile until it is handled here.

use prost_types::Timestamp as ProtoTimestamp;

use super::{json, pb};
use crate::app::resolve_identity::Resolved;
use crate::app::set_preference::PreferenceEffect;
use crate::app::test_slack::{self, TestDelivery, Tested};
use crate::domain::delivery::State;
use crate::domain::delivery::fallback::Fallback;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::verdict::{
    Addressee, Answer, Decided, FoundMember, Guarantee, Verdict,
};
use crate::domain::identity::matching::Unmatched;
use crate::domain::identity::person::Person;
use crate::domain::ids::InstallationId;
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::settings::{Identity, Preference, Rule, Settings};
use crate::domain::time::Timestamp;

pub(super) fn time(at: Timestamp) -> ProtoTimestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    ProtoTimestamp { seconds: at.0.div_euclid(1_000_000), nanos }
}

pub(super) fn no_match_reason(reason: NoMatch) -> pb::NoMatchReason {
    match reason {
        NoMatch::NotConnected => pb::NoMatchReason::NotConnected,
        NoMatch::DirectoryNotReady => pb::NoMatchReason::DirectoryNotReady,
        NoMatch::NoUserValue => pb::NoMatchReason::NoUserValue,
        NoMatch::NoEmail => pb::NoMatchReason::MemberWithoutEmail,
        NoMatch::Deactivated => pb::NoMatchReason::MemberDeactivated,
        NoMatch::Bot => pb::NoMatchReason::MemberIsBot,
        NoMatch::SlackAttributeEmpty => pb::NoMatchReason::SlackAttributeEmpty,
        NoMatch::FieldsNotFetched => pb::NoMatchReason::CustomFieldsNotFetched,
        NoMatch::Ambiguous => pb::NoMatchReason::Ambiguous,
        NoMatch::NoMember => pb::NoMatchReason::NoMember,
        NoMatch::TooCostly => pb::NoMatchReason::ExpressionTooCostly,
    }
}

pub(super) fn no_match(reason: NoMatch, members_without_email: u64) -> pb::NoMatch {
    pb::NoMatch {
        reason: no_match_reason(reason).into(),
        sentence: no_match_sentence(reason, members_without_email),
        members_without_email: count(members_without_email),
    }
}

/// The reason as a sentence; if the person may be hidden among members without an address, with the
/// number of those.
fn no_match_sentence(reason: NoMatch, members_without_email: u64) -> String {
    let sentence = reason.sentence();
    match (reason, members_without_email) {
        (NoMatch::NoMember, 1) => format!(
            "{sentence} 1 member cannot match, because Slack shows no e-mail address for them."
        ),
        (NoMatch::NoMember, many @ 2..) => format!(
            "{sentence} {many} members cannot match, because Slack shows no e-mail address for \
             them."
        ),
        _ => sentence.into(),
    }
}

pub(super) fn suppression(by: Suppression) -> pb::SuppressionReason {
    match by {
        Suppression::SendingOff => pb::SuppressionReason::SendingOff,
        Suppression::EventTypeOff => pb::SuppressionReason::EventTypeOff,
        Suppression::PreferenceAll => pb::SuppressionReason::PreferenceAll,
        Suppression::PreferenceType => pb::SuppressionReason::PreferenceType,
        Suppression::OptIn => pb::SuppressionReason::OptIn,
        Suppression::SameMember => pb::SuppressionReason::SameMember,
        Suppression::NotInAudience => pb::SuppressionReason::NotInAudience,
        Suppression::OwnAct => pb::SuppressionReason::OwnAct,
    }
}

pub(super) fn state(state: State) -> pb::DeliveryState {
    match state {
        State::Resolving => pb::DeliveryState::Resolving,
        State::Held => pb::DeliveryState::Held,
        State::Collected => pb::DeliveryState::Collected,
        State::Pending => pb::DeliveryState::Pending,
        State::Sending => pb::DeliveryState::Sending,
        State::Unknown => pb::DeliveryState::Unknown,
        State::Sent => pb::DeliveryState::Sent,
        State::Failed => pb::DeliveryState::Failed,
        State::Expired => pb::DeliveryState::Expired,
        State::Suppressed => pb::DeliveryState::Suppressed,
        State::Canceled => pb::DeliveryState::Canceled,
        State::Parked => pb::DeliveryState::Parked,
        State::Unreachable => pb::DeliveryState::Unreachable,
        State::Newer => pb::DeliveryState::Unspecified,
    }
}

pub(super) fn preference(value: Preference) -> pb::PreferenceValue {
    match value {
        Preference::On => pb::PreferenceValue::On,
        Preference::Off => pb::PreferenceValue::Off,
        Preference::Inherit => pb::PreferenceValue::Inherit,
    }
}

pub(super) fn rule(rule: Rule) -> pb::IdentityRule {
    match rule {
        Rule::Matched => pb::IdentityRule::Matched,
        Rule::Pinned => pb::IdentityRule::Pinned,
    }
}

pub(super) fn guarantee(guarantee: Guarantee) -> pb::DeliveryGuarantee {
    match guarantee {
        Guarantee::EffectivelyOnce => pb::DeliveryGuarantee::EffectivelyOnce,
        Guarantee::AtLeastOnce => pb::DeliveryGuarantee::AtLeastOnce,
    }
}

pub(super) fn member(
    installation: InstallationId,
    slack_user_id: impl Into<String>,
    display_name: impl Into<String>,
) -> pb::SlackMember {
    pb::SlackMember {
        workspace_id: installation.to_string(),
        slack_user_id: slack_user_id.into(),
        display_name: display_name.into(),
    }
}

pub(super) fn found(found: FoundMember) -> pb::SlackMember {
    member(found.installation, found.slack_user_id, found.display_name)
}

pub(super) fn answer(answer: Answer) -> pb::NotifyResponse {
    pb::NotifyResponse {
        notification_id: answer.notification.to_string(),
        verdicts: answer.verdicts.into_iter().map(|it| verdict(answer.action, it)).collect(),
    }
}

pub(super) fn fallback(fallback: Fallback) -> pb::Fallback {
    match fallback {
        Fallback::Undecided => pb::Fallback::Undecided,
        Fallback::NotWanted => pb::Fallback::NotWanted,
        Fallback::Wanted => pb::Fallback::Wanted,
    }
}

fn verdict(action: Action, verdict: Verdict) -> pb::Verdict {
    let delivery_id = verdict.delivery().map(|id| id.to_string()).unwrap_or_default();
    let fallback = fallback(verdict.fallback(action)).into();
    let recipient = match verdict.addressee {
        Addressee::Person(user) => pb::verdict::Recipient::UserId(user.into()),
        Addressee::Channel(channel) => pb::verdict::Recipient::ChannelId(channel.into()),
        Addressee::ChannelKey(key) => pb::verdict::Recipient::ChannelKey(key.into()),
    };
    let is_person = matches!(recipient, pb::verdict::Recipient::UserId(_));
    let mut message =
        pb::Verdict { recipient: Some(recipient), delivery_id, fallback, ..pb::Verdict::default() };
    match verdict.decided {
        Decided::Queued {
            found: who,
            estimated_send_time,
            guarantee: promised,
            awaits_channel,
            ..
        } => {
            message.set_kind(pb::VerdictKind::Queued);
            let sentence = if awaits_channel {
                super::sentences::AWAITS_CHANNEL
            } else {
                super::sentences::queued(action, is_person && who.is_none())
            };
            message.sentence = sentence.into();
            message.member = who.map(found);
            message.estimated_send_time = estimated_send_time.map(time);
            message.set_delivery_guarantee(guarantee(promised));
        }
        Decided::Held { reason, members_without_email, guarantee: promised, .. } => {
            message.set_kind(pb::VerdictKind::Held);
            let why = no_match_sentence(reason, members_without_email);
            message.sentence = format!("Waits until the person appears in Slack. {why}");
            message.no_match = Some(no_match(reason, members_without_email));
            message.set_delivery_guarantee(guarantee(promised));
        }
        Decided::Suppressed { by } => {
            message.set_kind(pb::VerdictKind::Suppressed);
            message.set_suppression(suppression(by));
            message.sentence = by.sentence().into();
        }
        Decided::Unreachable { reason, members_without_email } => {
            message.set_kind(pb::VerdictKind::Unreachable);
            message.sentence = no_match_sentence(reason, members_without_email);
            message.no_match = Some(no_match(reason, members_without_email));
        }
    }
    message
}

pub(super) fn unmatched(unmatched: Unmatched) -> pb::NoMatch {
    no_match(unmatched.reason, unmatched.without_email as u64)
}

pub(super) fn person_message(person: Person) -> pb::Person {
    pb::Person {
        user_id: person.user_id.into(),
        email: person.email.unwrap_or_default(),
        display_name: person.display_name.unwrap_or_default(),
        locale: person.locale.unwrap_or_default(),
        time_zone: person.time_zone.unwrap_or_default(),
        metadata: Some(json::to_struct(person.metadata)),
        attributes: Some(json::to_struct(person.attributes)),
    }
}

pub(super) fn identity(identity: Identity) -> pb::Identity {
    pb::Identity {
        member: Some(member(identity.installation, identity.slack_user_id, identity.display_name)),
        rule: rule(identity.rule).into(),
        stored_at: Some(time(identity.stored_at)),
    }
}

pub(super) fn settings(settings: Settings) -> pb::Settings {
    pb::Settings {
        sending_allowed: settings.sending_allowed,
        user_attribute: settings.user_attribute,
        slack_attribute: settings.slack_attribute,
        opt_in: settings.opt_in,
        locale: settings.locale,
        time_zone: settings.time_zone,
        disabled_event_types: settings.disabled_event_types.into_iter().map(Into::into).collect(),
        held_event_types: settings.held_event_types.into_iter().map(Into::into).collect(),
        share_workspace: settings.share_workspace,
        version: settings.version,
    }
}

/// A small count or number in protobuf's type.
pub(super) fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A count in protobuf's type.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn resolved(resolved: Resolved) -> pb::ResolveIdentityResponse {
    let mut message = pb::ResolveIdentityResponse {
        directory_read_at: resolved.read_at.map(time),
        directory_stale: resolved.directory_stale,
        ..pb::ResolveIdentityResponse::default()
    };
    match resolved.outcome {
        Ok(member) => {
            message.member = Some(found(member.found));
            message.set_rule(rule(member.rule));
            message.stale = member.stale;
        }
        Err(nobody) => message.no_match = Some(unmatched(nobody)),
    }
    message
}

pub(super) fn tested(tested: Tested) -> pb::TestSlackResponse {
    match tested.outcome {
        Err(nobody) => pb::TestSlackResponse {
            message: test_slack::NOT_FOUND.into(),
            no_match: Some(unmatched(nobody)),
            ..pb::TestSlackResponse::default()
        },
        Ok(sent) => {
            let delivery = test_delivery(sent.delivery);
            pb::TestSlackResponse {
                member: Some(found(sent.found)),
                identity_stored: true,
                message: delivery.sentence.clone(),
                no_match: None,
                delivery: Some(delivery),
            }
        }
    }
}

fn test_delivery(delivery: TestDelivery) -> pb::TestDelivery {
    match delivery {
        TestDelivery::Suppressed(by) => pb::TestDelivery {
            state: pb::DeliveryState::Suppressed.into(),
            code: by.code().into(),
            sentence: by.sentence().into(),
            ..pb::TestDelivery::default()
        },
        TestDelivery::Queued { record, estimated_send_time } => {
            let sentence = super::sentences::delivery(
                super::sentences::RecipientKind::Person,
                record.state,
                record.reason.as_deref(),
                record.code.as_deref(),
            );
            pb::TestDelivery {
                delivery_id: record.id.to_string(),
                state: state(record.state).into(),
                code: record.code.or(record.reason).unwrap_or_default(),
                sentence,
                channel_id: record.channel.map(Into::into).unwrap_or_default(),
                ts: record.ts.unwrap_or_default(),
                estimated_send_time: estimated_send_time.map(time),
            }
        }
    }
}

pub(super) fn effect(effect: PreferenceEffect) -> pb::SetPreferenceResponse {
    let mut message = pb::SetPreferenceResponse {
        effective: effect.suppression.is_none(),
        member: effect.found.map(found),
        channel_id: effect.channel.map(Into::into).unwrap_or_default(),
        obstacles: effect
            .obstacles
            .into_iter()
            .map(|obstacle| pb::Obstacle { code: obstacle.code, sentence: obstacle.sentence })
            .collect(),
        ..pb::SetPreferenceResponse::default()
    };
    if let Some(by) = effect.suppression {
        message.set_suppression(suppression(by));
    }
    message
}
