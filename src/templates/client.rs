//! Herald's API, called as any other client calls it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::written::printable;
use crate::domain::ids::{ContentId, EventType};
use crate::domain::message::template::{Locale, Place};
use crate::rpc::pb;
use crate::rpc::pb::admin_service_client::AdminServiceClient;
use crate::rpc::pb::template::Form;

/// Stands for the etag of a place without a template.
pub(super) const ABSENT: &str = "absent";
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(60);
/// Templates a page, and the most pages.
const PAGE: i32 = 50;
const PAGES: usize = 1000;
/// The most bytes of an answer: a page of the largest templates is below that.
const ANSWER_BYTES: usize = 16 << 20;

// Where Herald is, and the tenant. No doc comment: clap would show it instead of the command's.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerAddress {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// The address of Herald's gRPC port: http or https. The environment variable HERALD_KEY has
    /// the API key.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    address: String,
    /// The certificates (PEM) of the authority of Herald's certificate. Default: those of the
    /// system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Calls for one tenant.
pub(crate) struct TemplatesClient {
    admin: AdminServiceClient<InterceptedService<Channel, CallerKey>>,
    tenant: String,
}

/// Adds the API key to each call.
#[derive(Clone)]
pub(super) struct CallerKey(Option<MetadataValue<Ascii>>);

impl Interceptor for CallerKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// A template that Herald has.
pub(super) struct StoredTemplate {
    pub(super) form: Form,
    pub(super) etag: String,
}

/// The answer to a call that pins people.
pub(crate) struct PinnedPeople {
    pub(crate) pinned: usize,
    /// The places of the pairs that were not pinned, with the reasons.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Why Herald did not save a template.
pub(super) enum SaveRefusal {
    /// Fields of the request with their problems.
    Invalid(Vec<(String, String)>),
    /// The template has another state than the one that was read.
    Changed,
    Other(anyhow::Error),
}

impl From<Status> for SaveRefusal {
    fn from(status: Status) -> Self {
        if status.code() == Code::Aborted {
            return Self::Changed;
        }
        match status.get_details_bad_request() {
            Some(bad) if status.code() == Code::InvalidArgument => Self::Invalid(
                bad.field_violations
                    .into_iter()
                    .map(|violation| (violation.field, printable(&violation.description)))
                    .collect(),
            ),
            _ => Self::Other(refused(&status)),
        }
    }
}

/// A call that was refused, as a sentence.
fn refused(status: &Status) -> anyhow::Error {
    anyhow!("Herald: {:?}: {}", status.code(), printable(status.message()))
}

/// The same, with the fields that were refused.
fn bad_fields(status: &Status) -> anyhow::Error {
    let Some(bad) = status.get_details_bad_request() else { return refused(status) };
    let fields = bad.field_violations.into_iter().map(|violation| {
        format!("{} {}", printable(&violation.field), printable(&violation.description))
    });
    anyhow!("Herald: {}", fields.collect::<Vec<_>>().join("; "))
}

impl TemplatesClient {
    pub(crate) async fn connect(
        server: &ServerAddress,
        key: Option<String>,
    ) -> anyhow::Result<Self> {
        let key = key.filter(|key| !key.trim().is_empty()).map(|key| {
            let bearer = format!("Bearer {}", key.trim());
            let mut bearer: MetadataValue<Ascii> = bearer.try_into()?;
            bearer.set_sensitive(true);
            anyhow::Ok(bearer)
        });
        let key = key.transpose().map_err(|_| anyhow!("HERALD_KEY is not an API key"))?;
        let cannot = || format!("cannot connect to {}", server.address);
        let channel = endpoint(server)?.connect().await.with_context(cannot)?;
        let admin = AdminServiceClient::with_interceptor(channel, CallerKey(key))
            .max_decoding_message_size(ANSWER_BYTES);
        Ok(Self { admin, tenant: server.tenant.clone() })
    }

    /// Pins people to members: pairs of their ids.
    pub(crate) async fn pin(
        &mut self,
        pairs: Vec<(String, String)>,
    ) -> anyhow::Result<PinnedPeople> {
        let pins = pairs
            .into_iter()
            .map(|(user_id, slack_user_id)| pb::IdentityPin { user_id, slack_user_id });
        let request = pb::PinIdentitiesRequest {
            tenant_id: self.tenant.clone(),
            pins: pins.collect(),
            actor: None,
        };
        let answer = self.admin.pin_identities(request).await;
        let answer = answer.map_err(|status| bad_fields(&status))?.into_inner();
        let refused = answer.refused.into_iter().map(|refused| {
            let index = usize::try_from(refused.index).unwrap_or(usize::MAX);
            (index, printable(&refused.sentence))
        });
        let pinned = usize::try_from(answer.pinned).unwrap_or(0);
        Ok(PinnedPeople { pinned, refused: refused.collect() })
    }

    /// All templates of the tenant.
    pub(super) async fn list(&mut self) -> anyhow::Result<BTreeMap<Place, StoredTemplate>> {
        let mut all = BTreeMap::new();
        let mut page_token = String::new();
        for _ in 0..PAGES {
            let request = pb::ListTemplatesRequest {
                tenant_id: self.tenant.clone(),
                page_size: PAGE,
                page_token,
                ..pb::ListTemplatesRequest::default()
            };
            let page = self.admin.list_templates(request).await;
            let page = page.map_err(|status| refused(&status))?.into_inner();
            for template in page.templates {
                let (place, stored) = stored(template)?;
                all.insert(place, stored);
            }
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
        bail!("Herald's list of templates does not end")
    }

    /// Saves a template; `dry_run`: only checks it. `etag`: the state that it replaces; empty: any.
    pub(super) async fn set(
        &mut self,
        place: &Place,
        form: &Form,
        etag: &str,
        dry_run: bool,
    ) -> Result<(), SaveRefusal> {
        let template = pb::Template {
            event_type: place.event.as_str().to_owned(),
            content_id: content_id(place),
            locale: place.locale.as_str().to_owned(),
            form: Some(form.clone()),
            etag: etag.to_owned(),
            ..pb::Template::default()
        };
        let request = pb::SetTemplateRequest {
            tenant_id: self.tenant.clone(),
            template: Some(template),
            dry_run,
            actor: None,
        };
        self.admin.set_template(request).await?;
        Ok(())
    }

    /// Removes a template that is in this state.
    pub(super) async fn reset(&mut self, place: &Place, etag: &str) -> Result<(), SaveRefusal> {
        let request = pb::ResetTemplateRequest {
            tenant_id: self.tenant.clone(),
            event_type: place.event.as_str().to_owned(),
            content_id: content_id(place),
            locale: place.locale.as_str().to_owned(),
            etag: etag.to_owned(),
            actor: None,
        };
        self.admin.reset_template(request).await?;
        Ok(())
    }
}

fn endpoint(server: &ServerAddress) -> anyhow::Result<Endpoint> {
    let address = Endpoint::from_shared(server.address.clone());
    let endpoint =
        address.context("--address must be a URL such as https://herald.example:50051")?;
    let endpoint = endpoint.connect_timeout(CONNECTING).timeout(CALL);
    match (endpoint.uri().scheme_str(), &server.ca_file) {
        (Some("http"), None) => Ok(endpoint),
        (Some("http"), Some(_)) => bail!("--ca-file is only for an --address with https"),
        (Some("https"), file) => {
            let tls = ClientTlsConfig::new();
            let tls = match file {
                None => tls.with_enabled_roots(),
                Some(file) => {
                    let read = std::fs::read(file);
                    let pem = read.with_context(|| format!("cannot read {}", file.display()))?;
                    tls.ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint.tls_config(tls).context("the certificates of authorities cannot be used")
        }
        _ => bail!("--address must begin with http:// or https://"),
    }
}

fn content_id(place: &Place) -> String {
    place.content.as_ref().map(|content| content.as_str().to_owned()).unwrap_or_default()
}

/// A template of an answer. A name in it becomes a path, so it is checked like one of a request.
fn stored(template: pb::Template) -> anyhow::Result<(Place, StoredTemplate)> {
    let unusable = "Herald's answer has a template that this version cannot use";
    let content = Some(template.content_id).filter(|content| !content.is_empty());
    let place = Place {
        event: EventType::parse(template.event_type).context(unusable)?,
        content: content.map(ContentId::parse).transpose().context(unusable)?,
        locale: Locale::parse(&template.locale).context(unusable)?,
    };
    let form = template.form.context(unusable)?;
    Ok((place, StoredTemplate { form, etag: template.etag }))
}
