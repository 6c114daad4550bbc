//! BeginConnect: the wishes of a caller for a connect link.

use url::Url;

use super::call::Inbound;
use super::decode::{Fields, non_empty};
use super::pb;
use crate::app::{Call, ConnectWish, Error};
use crate::domain::features::{self, FEATURES, Feature};
use crate::domain::limits;

pub(super) fn wish(
    inbound: Inbound,
    message: pb::BeginConnectRequest,
) -> Result<(Call, ConnectWish), Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let wish = ConnectWish {
        shared: message.allow_shared_workspace,
        return_url: fields.return_url(message.return_url),
        expected_team: fields.team("expected_team_id", message.expected_team_id),
        features: fields.features("features", &message.features),
    };
    inbound.complete(fields, tenant, actor, Some(wish))
}

impl Fields {
    /// Features by their codes, each once.
    pub(super) fn features(&mut self, field: &str, codes: &[String]) -> Vec<&'static Feature> {
        if codes.len() > FEATURES.len() {
            self.bad(field, format!("must be at most {}", FEATURES.len()));
            return Vec::new();
        }
        let mut found: Vec<&'static Feature> = Vec::with_capacity(codes.len());
        for (index, code) in codes.iter().enumerate() {
            match features::find(code) {
                None => self.bad(
                    format!("{field}[{index}]"),
                    "is not the code of a feature; GetWorkspace lists them",
                ),
                Some(feature) if found.contains(&feature) => {
                    self.bad(format!("{field}[{index}]"), "is there twice");
                }
                Some(feature) => found.push(feature),
            }
        }
        found
    }

    /// An address for browsers. Whether it is allowed is decided later.
    fn return_url(&mut self, text: String) -> Option<Url> {
        const FORM: &str = "must be an https address without a user name or fragment, such as \
             https://platform.example.com/settings (http only for localhost)";
        let text = non_empty(text)?;
        if text.len() > limits::URL_BYTES {
            self.bad("return_url", format!("must be at most {} bytes", limits::URL_BYTES));
            return None;
        }
        let good = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(&text).ok().filter(good);
        if url.is_none() {
            self.bad("return_url", FORM);
        }
        url
    }

    /// Slack's id of a workspace; empty: none.
    fn team(&mut self, field: &str, text: String) -> Option<String> {
        let text = non_empty(text)?;
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        let shaped = text.len() <= limits::TEAM_ID_BYTES
            && text.strip_prefix('T').is_some_and(|rest| !rest.is_empty())
            && text.bytes().all(upper);
        if !shaped {
            self.bad(field, "must be Slack's id of a workspace, such as T012AB3CD");
            return None;
        }
        Some(text)
    }
}
