//! The Home tab of a person (views.publish).

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use crate::domain::capacity::slack_method::Method;
use crate::domain::ids::SlackUserId;
use crate::domain::secret::Secret;

impl Client {
    /// Publishes a person's Home tab in place of the one before. Without a hash of that one, which
    /// would make Slack refuse a newer view: the caller reads the facts just before each call.
    pub async fn views_publish(
        &self,
        token: &Secret,
        user: &SlackUserId,
        blocks: &Value,
    ) -> Result<(), Error> {
        let view = json!({ "type": "home", "blocks": blocks });
        let arguments = json!({ "user_id": user.as_str(), "view": view });
        let call = MethodCall {
            method: Method::ViewsPublish,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Json(arguments),
        };
        self.call::<IgnoredAny>(call).await.map(drop)
    }
}
