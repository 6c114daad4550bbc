//! Domain -> protobuf for the reasons of decisions: traces, and the results of a dry run.

use super::encode::{answer, count, preference, small, time};
use super::{json, pb};
use crate::app::notify::Tried;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::trace::{
    Cause, Stage, Switches, Trace, TraceBasis, TraceChoice, TraceDecision, TraceRule, Wait,
};
use crate::domain::message::render::Rendered;

/// The answer that a Notify would give, with messages and reasons; it names nothing that is stored.
pub(super) fn tried(tried: Tried) -> pb::NotifyResponse {
    let mut message = answer(tried.answer);
    message.notification_id.clear();
    for (verdict, (rendered, why)) in message.verdicts.iter_mut().zip(tried.details) {
        verdict.delivery_id.clear();
        verdict.preview = rendered.map(preview);
        verdict.trace = Some(trace(why));
    }
    message
}

fn preview(rendered: Rendered) -> pb::MessagePreview {
    let blocks = rendered.blocks.as_array().cloned().unwrap_or_default();
    pb::MessagePreview {
        text: rendered.text,
        blocks: Some(prost_types::ListValue {
            values: blocks.into_iter().map(json::to_value).collect(),
        }),
        shortened: rendered.shortened,
    }
}

pub(super) fn trace(trace: Trace) -> pb::Trace {
    pb::Trace {
        decisions: trace.decisions.into_iter().map(decision).collect(),
        waits: trace.waits.into_iter().map(wait).collect(),
        left_out: small(trace.left_out),
    }
}

fn decision(decision: TraceDecision) -> pb::Decision {
    let stage = match decision.stage {
        Stage::Accepted => pb::DecisionStage::Accepted,
        Stage::Resolved => pb::DecisionStage::Resolved,
        Stage::Turn => pb::DecisionStage::Turn,
        Stage::Replayed => pb::DecisionStage::Replayed,
    };
    pb::Decision {
        stage: stage.into(),
        decided_at: Some(time(decision.at)),
        verdict: decision.verdict,
        switches: decision.switches.map(switches),
        choice: decision.choice.map(choice),
        identity: decision.identity.map(identity),
        template: decision.template.unwrap_or_default(),
    }
}

fn switches(switches: Switches) -> pb::DecisionSwitches {
    pb::DecisionSwitches {
        sending_allowed: switches.sending_allowed,
        event_type_on: switches.event_type_on,
        opt_in: switches.opt_in,
        mandatory: switches.mandatory,
    }
}

fn choice(choice: TraceChoice) -> pb::DecisionChoice {
    pb::DecisionChoice {
        value: preference(choice.value).into(),
        everything: choice.everything,
        set_by: choice.set_by,
        set_at: Some(time(choice.set_at)),
    }
}

fn identity(basis: TraceBasis) -> pb::DecisionIdentity {
    let rule = match basis.rule {
        TraceRule::Pinned => pb::DecisionRule::Pinned,
        TraceRule::Matched => pb::DecisionRule::Matched,
        TraceRule::Stale => pb::DecisionRule::Stale,
        TraceRule::Stored => pb::DecisionRule::Stored,
    };
    pb::DecisionIdentity {
        rule: rule.into(),
        directory_generation: count(basis.generation),
        directory_read_at: basis.read_at.map(time),
    }
}

fn wait(wait: Wait) -> pb::Wait {
    let cause = match wait.cause {
        Cause::Time => pb::WaitCause::DeliverAfter,
        Cause::Directory => pb::WaitCause::Directory,
        Cause::Arrival => pb::WaitCause::Arrival,
        Cause::Channel => pb::WaitCause::Channel,
        Cause::Conversation => pb::WaitCause::Conversation,
        Cause::Budget => pb::WaitCause::Budget,
        Cause::Throttled => pb::WaitCause::Throttled,
        Cause::TokenDead => pb::WaitCause::TokenDead,
        Cause::Unknown => pb::WaitCause::Unknown,
        Cause::Retry => pb::WaitCause::Retry,
    };
    pb::Wait {
        cause: cause.into(),
        started_at: Some(time(wait.from)),
        until: wait.until.map(time),
        times: small(wait.times),
        code: wait.code.unwrap_or_default(),
    }
}

pub(super) fn action(action: Action) -> pb::SubjectAction {
    match action {
        Action::Post => pb::SubjectAction::NewMessage,
        Action::Reply => pb::SubjectAction::Reply,
        Action::Replace => pb::SubjectAction::Replace,
        Action::Retract => pb::SubjectAction::Retract,
        Action::Done => pb::SubjectAction::Done,
    }
}
