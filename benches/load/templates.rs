//! Notify with a tenant's own words beside Notify with built-in ones: half of the messages with own
//! words are of a content item that has its own, the others have the tenant's.
//!
//! As in `accept`, the workspace's token is dead, so only accepting is measured: choosing the words
//! and rendering them belongs to it.

use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;

use super::accept::put_to_sleep;
use super::floor::closed_loop;
use super::stage::{Database, Plan, Stage, TENANT, message};
use super::{Effort, tell_ratio};

const CALLERS: usize = 64;
const PEOPLE: usize = 1000;
/// A type whose required data `message` has; the type of `message` keeps its built-in words.
const OWN: &str = "task.due";
const CONTENT: &str = "course-7";

pub(crate) async fn run(database: Database, effort: Effort) {
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings: Vec::new() };
    let stage = Stage::start(database, &plan).await;
    put_to_sleep(&stage).await;
    set(&stage, "", "Due soon").await;
    set(&stage, CONTENT, "Course 7: due soon").await;
    // Alternating, so that both meet the same noise.
    let (mut own, mut built_in) = (0.0, 0.0);
    let turns = if effort.quick { 1 } else { 3 };
    for _ in 0..turns {
        own += rate(&stage, effort.span, true).await;
        built_in += rate(&stage, effort.span, false).await;
    }
    let turns = f64::from(turns);
    let row = "Notify with own words beside built-in ones, 64 in flight";
    tell_ratio(row, database.name(), own / turns, built_in / turns, ">= 0.9 x");
}

async fn rate(stage: &Stage, span: Duration, own: bool) -> f64 {
    let herald = stage.herald();
    closed_loop(CALLERS, span, move |_| {
        let mut herald = herald.clone();
        async move {
            let person = rand::random_range(0..PEOPLE);
            let id = uuid::Uuid::now_v7().to_string();
            let mut call = message(&id, [person]);
            let content = if person.is_multiple_of(2) { CONTENT } else { "course-8" };
            content.clone_into(&mut call.content_id);
            if own {
                OWN.clone_into(&mut call.event_type);
            }
            herald.notify(call).await.unwrap();
        }
    })
    .await
}

/// Saves the tenant's words for the type, or for one content item.
async fn set(stage: &Stage, content: &str, heading: &str) {
    let field =
        |label: &str, value: &str| pb::SimpleField { label: label.into(), value: value.into() };
    let simple = pb::SimpleMessage {
        heading: format!("{heading}: {{{{ task.name }}}}"),
        body: "**{{ task.name }}** is due {{ due_at | relative }}.".into(),
        fields: vec![
            field("Process", "{{ process.name }}"),
            field("Due", "{{ due_at | datetime }}"),
        ],
        context: "You get this because the task is yours.".into(),
        ..pb::SimpleMessage::default()
    };
    let template = pb::Template {
        event_type: OWN.into(),
        content_id: content.into(),
        locale: "en".into(),
        form: Some(pb::template::Form::Simple(simple)),
        ..pb::Template::default()
    };
    let request = pb::SetTemplateRequest {
        tenant_id: TENANT.into(),
        template: Some(template),
        ..pb::SetTemplateRequest::default()
    };
    AdminServiceClient::new(stage.channel.clone()).set_template(request).await.unwrap();
}
