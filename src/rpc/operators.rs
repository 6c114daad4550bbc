//! ListTenants and ListWorkspaces: their filters, positions and page tokens.

use std::time::Duration;

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::time;
use super::page::{self, List};
use super::{encode_records, pb};
use crate::app::Error;
use crate::app::operators::{TenantShown, WorkspaceShown, WorkspaceWish};
use crate::domain::connection::ConnectionState;
use crate::domain::features::{self, Feature};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::limits;

pub(super) async fn list_tenants(
    server: &Server,
    inbound: Inbound,
    message: pb::ListTenantsRequest,
) -> Result<pb::ListTenantsResponse, Error> {
    let mut fields = Fields::default();
    let list = List::of(&["ListTenants"]);
    let size = size(&mut fields, message.page_size);
    let after = list.position(&mut fields, &message.page_token, |text| TenantId::parse(text).ok());
    fields.end()?;
    let page = server.app.list_tenants(&inbound.into_caller(), after.as_ref(), size).await?;
    Ok(pb::ListTenantsResponse {
        tenants: page.tenants.into_iter().map(tenant).collect(),
        next_page_token: page.more_after.map(|last| list.token(last.as_str())).unwrap_or_default(),
    })
}

pub(super) async fn list_workspaces(
    server: &Server,
    inbound: Inbound,
    message: pb::ListWorkspacesRequest,
) -> Result<pb::ListWorkspacesResponse, Error> {
    let mut fields = Fields::default();
    let older = message.token_older_than;
    let (state, older_text) = (message.state.to_string(), format!("{older:?}"));
    let list = List::of(&["ListWorkspaces", &state, &message.lacks_feature, &older_text]);
    let size = size(&mut fields, message.page_size);
    let after =
        list.position(&mut fields, &message.page_token, |text| InstallationId::parse(text).ok());
    let wish = WorkspaceWish {
        state: fields.connection_state(message.state),
        lacks: fields.feature("lacks_feature", &message.lacks_feature),
        token_older_than: older.and_then(|older| fields.age("token_older_than", older)),
    };
    fields.end()?;
    let page = server.app.list_workspaces(&inbound.into_caller(), wish, after, size).await?;
    let next_page_token =
        page.more_after.map(|last| list.token(&last.to_string())).unwrap_or_default();
    let workspaces = page.workspaces.into_iter().map(workspace).collect();
    Ok(pb::ListWorkspacesResponse { workspaces, next_page_token })
}

fn size(fields: &mut Fields, given: i32) -> u32 {
    match given {
        0 => limits::DEFAULT_OPERATORS_PAGE,
        given => page::size(fields, given, limits::OPERATORS_PAGE),
    }
}

impl Fields {
    /// An unspecified state means any.
    fn connection_state(&mut self, given: i32) -> Option<ConnectionState> {
        use pb::ConnectionState as Given;
        Some(match Given::try_from(given) {
            Ok(Given::Unspecified) => return None,
            Ok(Given::Disconnected) => ConnectionState::Disconnected,
            Ok(Given::Connecting) => ConnectionState::Connecting,
            Ok(Given::Active) => ConnectionState::Active,
            Ok(Given::Degraded) => ConnectionState::Degraded,
            Ok(Given::Migrating) => ConnectionState::Migrating,
            Ok(Given::ReconnectRequired) => ConnectionState::ReconnectRequired,
            Err(_) => {
                self.bad("state", "is not a known state");
                return None;
            }
        })
    }

    /// An empty code means any.
    fn feature(&mut self, field: &str, code: &str) -> Option<&'static Feature> {
        let found = features::find(code);
        if found.is_none() && !code.is_empty() {
            self.bad(field, "is not the code of a feature; GetWorkspace lists them");
        }
        found
    }

    fn age(&mut self, field: &str, given: prost_types::Duration) -> Option<Duration> {
        self.take(field, Duration::try_from(given).map_err(|_| "must not be negative"))
    }
}

fn tenant(shown: TenantShown) -> pb::TenantSummary {
    let TenantShown { listed, state: now } = shown;
    let installation = listed.connection.installation;
    pb::TenantSummary {
        tenant_id: listed.connection.tenant.into(),
        state: state(now).into(),
        workspace_id: installation.map(|one| one.id.to_string()).unwrap_or_default(),
        sending_allowed: listed.sending_allowed,
        deleting: listed.deleting,
    }
}

fn workspace(shown: WorkspaceShown) -> pb::WorkspaceSummary {
    let WorkspaceShown { listed, state: now, workspace } = shown;
    pb::WorkspaceSummary {
        workspace: Some(encode_records::installation(workspace)),
        state: state(now).into(),
        tenant_ids: listed.tenants.into_iter().map(Into::into).collect(),
        token_issued_at: Some(time(listed.token_issued_at)),
        token_expires_at: listed.token_expires_at.map(time),
    }
}

fn state(now: ConnectionState) -> pb::ConnectionState {
    match now {
        ConnectionState::Disconnected => pb::ConnectionState::Disconnected,
        ConnectionState::Connecting => pb::ConnectionState::Connecting,
        ConnectionState::Active => pb::ConnectionState::Active,
        ConnectionState::Degraded => pb::ConnectionState::Degraded,
        ConnectionState::Migrating => pb::ConnectionState::Migrating,
        ConnectionState::ReconnectRequired => pb::ConnectionState::ReconnectRequired,
    }
}
