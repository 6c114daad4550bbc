//! WatchWorkspace and WatchWorkspaces: the streams of connections.

use super::call::{Inbound, Server};
use super::watch::MessageSource;
use super::{encode, encode_records, pb};
use crate::app::Error;
use crate::app::watch_workspace::{AllConnectionsWatch, ConnectionWatch, ShownConnection};
use crate::domain::connection::ConnectionState;

pub(super) async fn watch(
    server: &Server,
    inbound: Inbound,
    message: pb::WatchWorkspaceRequest,
) -> Result<ConnectionWatch, Error> {
    let call = inbound.tenant_call(message.tenant_id, message.actor)?;
    server.app.watch_workspace(&call).await
}

pub(super) async fn watch_all(
    server: &Server,
    inbound: Inbound,
    message: pb::WatchWorkspacesRequest,
) -> Result<AllConnectionsWatch, Error> {
    let pb::WatchWorkspacesRequest {} = message;
    server.app.watch_workspaces(&inbound.into_caller()).await
}

impl MessageSource for ConnectionWatch {
    type Message = pb::WatchWorkspaceResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Error> {
        let shown = Self::next(self).await?;
        Ok(shown
            .map(|shown| pb::WatchWorkspaceResponse { connection: Some(encode_connection(shown)) }))
    }
}

impl MessageSource for AllConnectionsWatch {
    type Message = pb::WatchWorkspacesResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Error> {
        let batch = Self::next(self).await?;
        let connections = batch.into_iter().map(encode_connection).collect();
        Ok(Some(pb::WatchWorkspacesResponse { connections }))
    }
}

pub(super) fn encode_connection(shown: ShownConnection) -> pb::Connection {
    let ShownConnection { tenant, state, reason, sentence, workspace, attempt, changed_at } = shown;
    pb::Connection {
        tenant_id: tenant.into(),
        state: encode_state(state).into(),
        reason,
        sentence,
        workspace: workspace.map(encode_records::installation),
        connect_attempt: attempt.map(encode_records::connect_attempt),
        changed_at: changed_at.map(encode::time),
    }
}

fn encode_state(state: ConnectionState) -> pb::ConnectionState {
    match state {
        ConnectionState::Disconnected => pb::ConnectionState::Disconnected,
        ConnectionState::Connecting => pb::ConnectionState::Connecting,
        ConnectionState::Active => pb::ConnectionState::Active,
        ConnectionState::Degraded => pb::ConnectionState::Degraded,
        ConnectionState::Migrating => pb::ConnectionState::Migrating,
        ConnectionState::ReconnectRequired => pb::ConnectionState::ReconnectRequired,
    }
}
