//! Domain -> protobuf for the store's records: notifications, workspaces, people.

use super::encode::{
    count, fallback, guarantee, identity, person_message, preference, settings, small, state, time,
};
use super::sentences::RecipientKind;
use super::{encode_trace, pb, sentences};
use crate::app::get_notification;
use crate::app::get_person::Profile;
use crate::app::get_workspace::{MappingProblem, Overview, Workspace};
use crate::app::records::{
    AttemptRecord, ChannelCounts, ConnectAttempt, ConnectStatus, CrawlProgress, DeliveryChange,
    DeliveryRecord, FieldsProgress, InstallationState, NotificationRecord,
};
use crate::domain::delivery::detail::Detail;
use crate::domain::delivery::fallback::Fallback;
use crate::domain::delivery::trace::Trace;
use crate::domain::features::{Feature, FeatureState};

pub(super) fn notification(record: NotificationRecord) -> pb::Notification {
    pb::Notification {
        notification_id: record.id.to_string(),
        request_id: record.request_id.into(),
        event_type: record.event_type.into(),
        created_at: Some(time(record.created_at)),
        expires_at: Some(time(record.expires_at)),
        deliveries: record.deliveries.into_iter().map(delivery).collect(),
    }
}

/// A notification with the facts that are not in its record.
pub(super) fn found(found: get_notification::NotificationDetails) -> pb::Notification {
    let ids: Vec<_> = found.record.deliveries.iter().map(|record| record.id).collect();
    let mut message = notification(found.record);
    for (id, delivery) in ids.iter().zip(&mut message.deliveries) {
        delivery.estimated_send_time = found.send_times.get(id).copied().map(time);
        if let Some(promised) = found.guarantees.get(id) {
            delivery.set_delivery_guarantee(guarantee(*promised));
        }
    }
    message
}

pub(super) fn delivery(record: DeliveryRecord) -> pb::Delivery {
    let awaits_channel = record.awaits_channel();
    let waiting = !record.state.is_terminal() && !awaits_channel;
    let why = record.trace.as_deref().map(Trace::from_bytes);
    let detail = why.as_ref().and_then(|why| why.detail.as_ref()).map(Detail::expose);
    let detail = detail.unwrap_or_default().to_owned();
    let fallback_of = Fallback::of(record.state, record.reason.as_deref(), record.action);
    let about = record.subject.as_ref().map(|_| encode_trace::action(record.action));
    pb::Delivery {
        sentence: if awaits_channel {
            sentences::AWAITS_CHANNEL.into()
        } else {
            sentences::delivery(
                RecipientKind::of(record.user.as_ref()),
                record.state,
                record.reason.as_deref(),
                record.code.as_deref(),
            )
        },
        delivery_id: record.id.to_string(),
        user_id: record.user.map(Into::into).unwrap_or_default(),
        channel_key: record.channel_key.map(Into::into).unwrap_or_default(),
        workspace_id: record.workspace.map(|id| id.to_string()).unwrap_or_default(),
        slack_target: record.lane.unwrap_or_default(),
        state: state(record.state).into(),
        reason: record.reason.unwrap_or_default(),
        code: record.code.unwrap_or_default(),
        attempts: small(record.attempt),
        channel_id: record.channel.map(Into::into).unwrap_or_default(),
        ts: record.ts.unwrap_or_default(),
        due_at: waiting.then(|| time(record.due_at)),
        updated_at: Some(time(record.updated_at)),
        attempt_log: record.attempts.into_iter().map(attempt).collect(),
        also_user_ids: record.also.into_iter().map(Into::into).collect(),
        subject_action: about.unwrap_or_default().into(),
        subject_key: record.subject.map(Into::into).unwrap_or_default(),
        replay_of: record.replay_of.map(|id| id.to_string()).unwrap_or_default(),
        replayed_as: record.replayed_as.map(|id| id.to_string()).unwrap_or_default(),
        detail,
        trace: why.map(encode_trace::trace),
        fallback: fallback(fallback_of).into(),
        // Only GetNotification returns these: see [`found`].
        estimated_send_time: None,
        delivery_guarantee: pb::DeliveryGuarantee::Unspecified.into(),
    }
}

/// A change of a delivery.
pub(super) fn change(change: DeliveryChange) -> pb::DeliveryChange {
    let (reason, code) = (change.reason.as_deref(), change.code.as_deref());
    pb::DeliveryChange {
        fallback: fallback(Fallback::of(change.state, reason, change.action)).into(),
        sentence: sentences::delivery(
            RecipientKind::of(change.user.as_ref()),
            change.state,
            reason,
            code,
        ),
        sequence: change.sequence,
        delivery_id: change.delivery.to_string(),
        notification_id: change.notification.to_string(),
        user_id: change.user.map(Into::into).unwrap_or_default(),
        channel_key: change.channel_key.map(Into::into).unwrap_or_default(),
        event_type: change.event_type.into(),
        state: state(change.state).into(),
        reason: change.reason.unwrap_or_default(),
        code: change.code.unwrap_or_default(),
        channel_id: change.channel.map(Into::into).unwrap_or_default(),
        ts: change.ts.unwrap_or_default(),
        changed_at: Some(time(change.at)),
        also_user_ids: change.also.into_iter().map(Into::into).collect(),
        tenant_id: change.tenant.into(),
        position: change.position.unwrap_or_default(),
    }
}

fn attempt(attempt: AttemptRecord) -> pb::Attempt {
    pb::Attempt {
        number: small(attempt.number),
        started_at: Some(time(attempt.started_at)),
        ended_at: Some(time(attempt.ended_at)),
        outcome: attempt.outcome,
        code: attempt.code.unwrap_or_default(),
        method: attempt.method.unwrap_or_default(),
        took: attempt.took.and_then(|took| took.try_into().ok()),
    }
}

pub(super) fn workspace(overview: Overview) -> pb::GetWorkspaceResponse {
    let directory = overview.workspace.as_ref().map(directory);
    pb::GetWorkspaceResponse {
        workspace: overview.workspace.map(installation),
        connect_attempt: overview.attempt.map(connect_attempt),
        settings: Some(settings(overview.settings)),
        directory,
        mapping_problems: overview.problems.into_iter().map(mapping_problem).collect(),
        channels: Some(channels(overview.channels)),
    }
}

fn channels(counts: ChannelCounts) -> pb::ChannelStateCounts {
    let ChannelCounts { scheduled, creating, ready, blocked, archived, deleted } = counts;
    let number = |count| i32::try_from(count).unwrap_or(i32::MAX);
    pb::ChannelStateCounts {
        scheduled: number(scheduled),
        creating: number(creating),
        ready: number(ready),
        blocked: number(blocked),
        archived: number(archived),
        deleted: number(deleted),
    }
}

fn mapping_problem(problem: MappingProblem) -> pb::MappingProblem {
    let MappingProblem { field, sentence, seen_at } = problem;
    pb::MappingProblem { field: field.into(), sentence, seen_at: seen_at.map(time) }
}

pub(super) fn installation(workspace: Workspace) -> pb::Workspace {
    let features: Vec<_> =
        workspace.features.into_iter().map(|(of, state)| feature(of, state)).collect();
    let waiting = features.iter().filter(|feature| !feature.missing_scopes.is_empty());
    let missing_scopes = waiting
        .map(|feature| pb::MissingScopes {
            feature: feature.name.clone(),
            scopes: feature.missing_scopes.clone(),
        })
        .collect();
    let installation = workspace.installation;
    let state = match installation.state {
        InstallationState::Active => pb::WorkspaceState::Active,
        InstallationState::Dead => pb::WorkspaceState::ReconnectRequired,
    };
    pb::Workspace {
        workspace_id: installation.id.to_string(),
        team_id: installation.team_id.unwrap_or_default(),
        enterprise_id: installation.enterprise_id.unwrap_or_default(),
        name: installation.team_name,
        app_id: installation.app_id,
        bot_user_id: installation.bot_user_id,
        bot_name: installation.bot_name,
        state: state.into(),
        state_reason: installation.state_reason.unwrap_or_default(),
        scopes: installation.scopes,
        missing_scopes,
        connected_at: Some(time(installation.installed_at)),
        installed_by: installation.installed_by.unwrap_or_default(),
        other_tenants: small(workspace.others),
        features,
    }
}

fn feature(of: &Feature, state: FeatureState) -> pb::WorkspaceFeature {
    let (state, missing) = match state {
        FeatureState::On => (pb::FeatureState::On, Vec::new()),
        FeatureState::WaitsForScopes(scopes) => (pb::FeatureState::WaitsForScopes, scopes),
        FeatureState::Off => (pb::FeatureState::Off, Vec::new()),
    };
    pb::WorkspaceFeature {
        code: of.code.into(),
        name: of.name.into(),
        state: state.into(),
        missing_scopes: missing.into_iter().map(Into::into).collect(),
        optional: of.optional,
    }
}

pub(super) fn connect_attempt(attempt: ConnectAttempt) -> pb::ConnectAttempt {
    let (state, sentence) = match attempt.status {
        ConnectStatus::AwaitingCallback => (
            pb::ConnectState::AwaitingCallback,
            "Awaiting the answer from Slack, perhaps awaiting approval by an administrator of the \
             workspace. Connecting again is always possible.",
        ),
        ConnectStatus::Completed => (pb::ConnectState::Completed, "Connected."),
        ConnectStatus::Denied => (pb::ConnectState::Denied, "Canceled in Slack."),
        ConnectStatus::Failed => (pb::ConnectState::Failed, "Slack refused to connect."),
        ConnectStatus::Expired => (
            pb::ConnectState::Expired,
            "Slack never answered: the request may have been declined, or still await approval. \
             Begin again.",
        ),
    };
    pb::ConnectAttempt {
        state: state.into(),
        sentence: attempt.detail.unwrap_or_else(|| sentence.to_owned()),
        created_at: Some(time(attempt.created_at)),
        expires_at: Some(time(attempt.expires_at)),
    }
}

fn directory(workspace: &Workspace) -> pb::Directory {
    let mut message = pb::Directory::default();
    if let Some(state) = &workspace.directory {
        message.generation = state.generation;
        message.members = state.members;
        message.read_at = state.refreshed_at.map(time);
        message.next_refresh_at = Some(time(state.next_refresh_at));
        message.last_event_at = state.event_heard_at.map(time);
        message.last_error = state.last_error.clone().unwrap_or_default();
        let age = state.refreshed_at.map(|read| state.as_of.since(read));
        message.age = age.and_then(|age| age.try_into().ok());
        message.crawl = state.crawl.as_ref().map(crawl);
        message.pending_shrink = state.shrink.map(|shrink| pb::PendingShrink {
            members: shrink.doubt.members,
            found_at: Some(time(shrink.found_at)),
            accepted: shrink.doubt.accepted,
        });
    }
    message.stale = workspace.directory_stale;
    if let Some((generation, counts)) = &workspace.counts {
        if count(*generation) == message.generation {
            message.members = count(counts.members as u64);
        }
        message.matchable = count(counts.matchable as u64);
        message.without_email = count(counts.no_email as u64);
        message.deactivated = count(counts.deactivated as u64);
        message.bots = count(counts.bots as u64);
        message.invited = count(counts.invited as u64);
    }
    message.custom_fields = workspace.fields.as_ref().map(custom_fields);
    message
}

fn crawl(crawl: &CrawlProgress) -> pb::Crawl {
    pb::Crawl {
        started_at: Some(time(crawl.started_at)),
        pages: crawl.pages,
        members: crawl.members,
        page_size: crawl.page_size,
        restarts: crawl.restarts,
        holder: crawl.holder.clone().unwrap_or_default(),
    }
}

fn custom_fields(progress: &FieldsProgress) -> pb::CustomFields {
    pb::CustomFields {
        wanted: progress.wanted,
        fetched: progress.fetched,
        complete: progress.fetched >= progress.wanted && progress.wanted > 0,
        fetching_since: progress.started_at.map(time),
        next_look_at: progress.started_at.is_none().then(|| time(progress.due_at)),
        last_error: progress.last_error.clone().unwrap_or_default(),
    }
}

pub(super) fn profile(profile: Profile) -> pb::GetPersonResponse {
    pb::GetPersonResponse {
        updated_at: Some(time(profile.stored.updated_at)),
        person: Some(person_message(profile.stored.person)),
        identity: profile.stored.identity.map(identity),
        preference: preference(profile.preferences.all).into(),
        preferences_by_event_type: profile
            .preferences
            .by_type
            .into_iter()
            .map(|(event, value)| (event.into(), preference(value).into()))
            .collect(),
    }
}
