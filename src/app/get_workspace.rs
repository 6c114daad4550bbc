//! GetWorkspace: the tenant's workspace, connect attempt, member list and settings.

use super::{App, Call, Error};
use crate::domain::settings::Settings;
use crate::domain::snapshot::Counts;
use crate::store::{ConnectAttempt, DirectoryState, FieldsProgress, Installation};
use crate::workspace::scopes;

/// Everything an administrator sees about a tenant.
pub struct Overview {
    pub settings: Settings,
    pub attempt: Option<ConnectAttempt>,
    pub workspace: Option<Workspace>,
}

/// The connected workspace.
pub struct Workspace {
    pub installation: Installation,
    /// Features that wait, each with the scopes that were not granted.
    pub missing: Vec<(&'static str, Vec<&'static str>)>,
    /// `None` before the first reading was tried.
    pub directory: Option<DirectoryState>,
    /// How far the fetching of custom profile fields has come; `None` where the mapping reads none.
    pub fields: Option<FieldsProgress>,
    /// Members by kind, and of which generation: the one that this replica has in memory, which
    /// follows the one in force. `None` before the first reading.
    pub counts: Option<(u64, Counts)>,
    /// The list is too old to decide about anybody new.
    pub directory_stale: bool,
}

impl App {
    /// [`Error::NotFound`] for a tenant that no administrator ever named.
    pub async fn get_workspace(&self, call: &Call) -> Result<Overview, Error> {
        call.acting()?.may_administer()?;
        let tenant = self.tenant(&call.tenant).await?;
        let attempt = self.store.latest_connect(&call.tenant).await?;
        let view = self.view(&tenant).await?;
        let workspace = match tenant.installation {
            None => None,
            Some(installation) => Some(Workspace {
                missing: scopes::missing(&installation.scopes),
                directory: self.directory.status(installation.id).await?,
                fields: if tenant.mapping.slack.reads_profile_fields() {
                    self.directory.fields_progress(installation.id).await?
                } else {
                    None
                },
                counts: view.snapshot.map(|snapshot| (snapshot.generation(), snapshot.counts())),
                directory_stale: view.stale,
                installation,
            }),
        };
        Ok(Overview { settings: tenant.settings, attempt, workspace })
    }
}
