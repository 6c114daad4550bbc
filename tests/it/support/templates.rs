//! Templates of tests, and the call that saves one.

use herald::rpc::pb::{self, template::Form};
use tonic::Status;

use super::client::Client;
use super::world::TENANT;

/// The event type that most templates of tests are for.
pub(crate) const TYPE: &str = "task.assigned";

/// The place of a template: event type, content item (empty: all) and locale.
pub(crate) type At<'a> = (&'a str, &'a str, &'a str);

/// A message with this heading.
pub(crate) fn heading(heading: &str) -> Form {
    message(heading, "")
}

/// A message with this heading and this body.
pub(crate) fn message(heading: &str, body: &str) -> Form {
    let (heading, body) = (heading.into(), body.into());
    Form::Simple(pb::SimpleMessage { heading, body, ..Default::default() })
}

pub(crate) fn template((event_type, content_id, locale): At<'_>, form: Form) -> pb::Template {
    pb::Template {
        event_type: event_type.into(),
        content_id: content_id.into(),
        locale: locale.into(),
        form: Some(form),
        ..Default::default()
    }
}

/// Saves a template of [`TENANT`].
pub(crate) async fn save(client: &Client, template: pb::Template) -> Result<pb::Template, Status> {
    let template = Some(template);
    let request =
        pb::SetTemplateRequest { tenant_id: TENANT.into(), template, ..Default::default() };
    Ok(client.set_template(request).await?.template.unwrap())
}
