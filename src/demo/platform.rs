//! The demo's platform: calls Herald over gRPC as an integrator's back end would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tonic::transport::Channel;
use url::Url;

use super::cast::{PEOPLE, Sending};
use crate::rpc::pb;
use crate::rpc::pb::admin_service_client::AdminServiceClient;
use crate::rpc::pb::herald_service_client::HeraldServiceClient;

/// The demo's tenant.
pub(super) const TENANT: &str = "acme";

/// A connected caller.
pub(super) struct Platform {
    herald: HeraldServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
}

/// An accepted notification.
pub(super) struct AcceptedNotification {
    pub(super) event: &'static str,
    pub(super) verdicts: Vec<pb::Verdict>,
}

impl Platform {
    pub(super) async fn connect(rpc: SocketAddr) -> anyhow::Result<Self> {
        let channel = Channel::from_shared(format!("http://{rpc}"))?.connect().await?;
        Ok(Self {
            herald: HeraldServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        })
    }

    pub(super) async fn begin_connect(&mut self) -> anyhow::Result<Url> {
        let request = pb::BeginConnectRequest {
            tenant_id: TENANT.into(),
            ..pb::BeginConnectRequest::default()
        };
        let link = self.admin.begin_connect(request).await?.into_inner();
        Ok(Url::parse(&link.authorize_url)?)
    }

    pub(super) async fn allow_sending(&mut self) -> anyhow::Result<()> {
        let request = pb::AllowSendingRequest { tenant_id: TENANT.into(), actor: None };
        self.admin.allow_sending(request).await?;
        Ok(())
    }

    pub(super) async fn load_people(&mut self) -> anyhow::Result<()> {
        let people = PEOPLE.iter().map(|(user_id, email, name, time_zone)| pb::Person {
            user_id: (*user_id).into(),
            email: (*email).into(),
            display_name: (*name).into(),
            time_zone: (*time_zone).into(),
            ..pb::Person::default()
        });
        let request = pb::UpsertPeopleRequest {
            tenant_id: TENANT.into(),
            people: people.collect(),
            actor: None,
        };
        self.admin.upsert_people(request).await?;
        Ok(())
    }

    /// Waits until the member list was read, and returns its length.
    pub(super) async fn wait_for_members(&mut self) -> anyhow::Result<i64> {
        const LOOK: Duration = Duration::from_millis(50);
        for _ in 0..200 {
            let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
            let workspace = self.admin.get_workspace(request).await?.into_inner();
            let directory = workspace.directory.context("no workspace is connected")?;
            if directory.generation > 0 {
                return Ok(directory.members);
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("the member list was not read within 10 s")
    }

    /// The changes of all deliveries, from the beginning.
    pub(super) async fn watch(
        &mut self,
    ) -> anyhow::Result<tonic::Streaming<pb::WatchDeliveriesResponse>> {
        let request = pb::WatchDeliveriesRequest {
            tenant_id: TENANT.into(),
            after_sequence: Some(0),
            ..pb::WatchDeliveriesRequest::default()
        };
        Ok(self.herald.watch_deliveries(request).await?.into_inner())
    }

    pub(super) async fn notify(
        &mut self,
        sending: &Sending,
    ) -> anyhow::Result<AcceptedNotification> {
        let recipients = sending.to.iter().map(|user| pb::Recipient {
            target: Some(pb::recipient::Target::UserId((*user).into())),
            roles: Vec::new(),
        });
        let request = pb::NotifyRequest {
            tenant_id: TENANT.into(),
            request_id: format!("demo-{}", sending.event),
            event_type: sending.event.into(),
            recipients: recipients.collect(),
            data: Some(crate::rpc::to_struct(serde_json::from_str(sending.data)?)),
            link: sending.link.into(),
            ..pb::NotifyRequest::default()
        };
        let answer = self.herald.notify(request).await?.into_inner();
        Ok(AcceptedNotification { event: sending.event, verdicts: answer.verdicts })
    }
}
