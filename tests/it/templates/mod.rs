//! Templates: a tenant's administrators change the words of messages, and Notify uses them at once.

mod concurrent;
mod event_types;
mod impossible;
mod levels;
mod life;
mod newer;
mod people;
mod refused;
mod waiting;

use std::collections::BTreeMap;

use herald::rpc::pb;
use tonic::Status;

use crate::support::client::Client;
pub(super) use crate::support::templates::{At, TYPE, heading, save, template};
use crate::support::world::{TENANT, World};

/// The English template of [`TYPE`] for all content items.
pub(super) const HERE: At<'static> = (TYPE, "", "en");

/// Saves a message with this heading.
pub(super) async fn set(client: &Client, at: At<'_>, text: &str) -> Result<pb::Template, Status> {
    save(client, template(at, heading(text))).await
}

pub(super) async fn get(
    client: &Client,
    (event_type, content_id, locale): At<'_>,
    version: i32,
) -> Result<pb::GetTemplateResponse, Status> {
    let request = pb::GetTemplateRequest {
        tenant_id: TENANT.into(),
        event_type: event_type.into(),
        content_id: content_id.into(),
        locale: locale.into(),
        version,
        actor: None,
    };
    client.get_template(request).await
}

pub(super) async fn reset(
    client: &Client,
    (event_type, content_id, locale): At<'_>,
    etag: &str,
) -> Result<(), Status> {
    let request = pb::ResetTemplateRequest {
        tenant_id: TENANT.into(),
        event_type: event_type.into(),
        content_id: content_id.into(),
        locale: locale.into(),
        etag: etag.into(),
        actor: None,
    };
    client.reset_template(request).await.map(drop)
}

pub(super) async fn roll_back(
    client: &Client,
    (event_type, content_id, locale): At<'_>,
    version: i32,
    etag: &str,
) -> Result<pb::Template, Status> {
    let request = pb::RollbackTemplateRequest {
        tenant_id: TENANT.into(),
        event_type: event_type.into(),
        content_id: content_id.into(),
        locale: locale.into(),
        version,
        etag: etag.into(),
        actor: None,
    };
    Ok(client.rollback_template(request).await?.template.unwrap())
}

/// The pages of a list.
pub(super) async fn list(
    client: &Client,
    (event_type, content_id): (&str, &str),
    page_size: i32,
) -> Vec<Vec<pb::Template>> {
    let mut pages = Vec::new();
    let mut request = pb::ListTemplatesRequest {
        tenant_id: TENANT.into(),
        event_type: event_type.into(),
        content_id: content_id.into(),
        page_size,
        ..Default::default()
    };
    loop {
        let page = client.list_templates(request.clone()).await.unwrap();
        pages.push(page.templates);
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

/// All places that have a template, as text.
pub(super) async fn places(client: &Client) -> Vec<String> {
    let all = list(client, ("", ""), 0).await.concat();
    let place = |it: &pb::Template| format!("{} {} {}", it.event_type, it.content_id, it.locale);
    all.iter().map(place).collect()
}

/// A person of the demo workspace who reads this locale.
pub(super) fn reader(name: &str, locale: &str) -> pb::Person {
    pb::Person { locale: locale.into(), ..crate::support::client::demo_person(name) }
}

/// Sends a notification, and returns the text that each member got.
pub(super) async fn sent(world: &World, request: pb::NotifyRequest) -> BTreeMap<String, String> {
    let before = world.sandbox.messages().len();
    let id = world.client.notify(request).await.unwrap().notification_id;
    world.client.ended(TENANT, &id).await;
    let messages = world.sandbox.messages().split_off(before);
    messages.into_iter().map(|it| (it.user.unwrap_or_default(), it.text)).collect()
}

/// A number that each change of a template changes.
pub(super) async fn stored(world: &World) -> (i64, i64, i64) {
    (
        world.count("SELECT COUNT(*) FROM templates").await,
        world.count("SELECT COUNT(*) FROM template_versions").await,
        world.count("SELECT CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM tenants").await,
    )
}
