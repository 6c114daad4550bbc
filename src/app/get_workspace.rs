//! GetWorkspace: the tenant's workspace, connect attempt, member list and settings, and the
//! problems of its mapping.

use super::tenant::Tenant;
use super::{App, Call, Error};
use crate::directory::{self, View};
use crate::domain::access;
use crate::domain::directory::snapshot::SnapshotCounts;
use crate::domain::features::{self, Feature, FeatureState};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::limits;
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;
use crate::store::{
    ChannelCounts, ConnectAttempt, DirectoryState, FieldsProgress, Installation, TenantFacts,
};

/// Everything an administrator sees about a tenant.
pub struct Overview {
    pub settings: Settings,
    pub attempt: Option<ConnectAttempt>,
    pub workspace: Option<Workspace>,
    /// The known problems of the mapping in force.
    pub problems: Vec<MappingProblem>,
    /// The number of channels in each state.
    pub channels: ChannelCounts,
}

/// A problem of a stored mapping.
pub struct MappingProblem {
    /// `user_attribute` or `slack_attribute`.
    pub field: &'static str,
    /// The problem, and how to solve it.
    pub sentence: String,
    /// When it was last seen; `None`: it exists now.
    pub seen_at: Option<Timestamp>,
}

/// The connected workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub installation: Installation,
    pub features: Vec<(&'static Feature, FeatureState)>,
    /// `None` before the first reading was tried.
    pub directory: Option<DirectoryState>,
    /// The progress of fetching custom profile fields; `None` if the mapping reads none.
    pub fields: Option<FieldsProgress>,
    /// Members by kind, with their generation: that of the list in this replica's memory, which
    /// follows the one in force. `None` before the first reading.
    pub counts: Option<(u64, SnapshotCounts)>,
    /// Whether the list is too old to identify new people.
    pub directory_stale: bool,
    /// How many other tenants use it.
    pub others: usize,
}

impl App {
    /// [`Error::NotFound`] for a tenant that no administrator ever named. A stored mapping that is
    /// no longer accepted is reported, and does not hide the rest.
    pub async fn get_workspace(&self, call: &Call) -> Result<Overview, Error> {
        call.may(&access::GET_WORKSPACE)?;
        let Some(facts) = self.store.tenancy().tenant_facts(&call.tenant).await? else {
            return Err(Error::NotFound("tenant"));
        };
        let attempt = self.store.tenancy().latest_connect(&call.tenant).await?;
        let channels = self.store.channels().count(&call.tenant).await?;
        let TenantFacts { settings, installation, now, .. } = facts;
        let mapping = match self.directory.mapping(&settings).await {
            Ok(mapping) => mapping,
            Err(directory::Error::Mapping(error)) => {
                let problems = vec![MappingProblem::refused(error.field, &error.error)];
                let workspace = match installation {
                    Some(installation) => Some(
                        self.workspace(&call.tenant, installation, false, View::default()).await?,
                    ),
                    None => None,
                };
                return Ok(Overview { settings, attempt, workspace, problems, channels });
            }
            Err(error) => return Err(error.into()),
        };
        let tenant = Tenant { id: call.tenant.clone(), settings, mapping, installation, now };
        let view = self.view(&tenant).await?;
        let problems = self.problems(&tenant, &view).await?;
        let reads_fields = tenant.mapping.slack.reads_profile_fields();
        let workspace = match tenant.installation {
            None => None,
            Some(installation) => {
                let id = &tenant.id;
                Some(self.workspace(id, installation, reads_fields, view).await?)
            }
        };
        Ok(Overview { settings: tenant.settings, attempt, workspace, problems, channels })
    }

    /// A workspace without its member list.
    pub(super) fn bare_workspace(&self, installation: Installation, others: usize) -> Workspace {
        Workspace {
            features: features::states(&installation.scopes, self.workspaces.features_off()),
            directory: None,
            fields: None,
            counts: None,
            directory_stale: false,
            others,
            installation,
        }
    }

    async fn workspace(
        &self,
        tenant: &TenantId,
        installation: Installation,
        reads_fields: bool,
        view: View,
    ) -> Result<Workspace, Error> {
        Ok(Workspace {
            features: features::states(&installation.scopes, self.workspaces.features_off()),
            directory: self.directory.status(installation.id).await?,
            fields: if reads_fields {
                self.directory.fields_progress(installation.id).await?
            } else {
                None
            },
            counts: view.snapshot.map(|snapshot| (snapshot.generation(), snapshot.counts())),
            directory_stale: view.stale,
            others: self.others(tenant, installation.id).await?,
            installation,
        })
    }

    /// Problems from evaluating the mapping: on people, anywhere in the cluster; on members,
    /// according to the list in memory.
    async fn problems(&self, tenant: &Tenant, view: &View) -> Result<Vec<MappingProblem>, Error> {
        let mut problems = Vec::new();
        let source = tenant.mapping.user.source();
        if let Some(at) = self.store.tenancy().costly_since(&tenant.id, source).await? {
            problems.push(MappingProblem::costly_on_people(at));
        }
        let counts = view.snapshot.as_ref().map(|snapshot| snapshot.counts()).unwrap_or_default();
        if counts.too_costly > 0 {
            problems.push(MappingProblem::costly_on_members(&counts));
        }
        Ok(problems)
    }

    async fn others(&self, tenant: &TenantId, id: InstallationId) -> Result<usize, Error> {
        let tenants = self.store.tenancy().tenants_of(id).await?;
        Ok(tenants.iter().filter(|other| *other != tenant).count())
    }
}

impl MappingProblem {
    fn refused(field: &'static str, problem: &impl ToString) -> Self {
        let sentence = format!(
            "The stored expression is no longer accepted: {}. No person is found until it is set \
             again.",
            problem.to_string()
        );
        Self { field, sentence, seen_at: None }
    }

    fn costly_on_people(at: Timestamp) -> Self {
        let sentence = format!(
            "The expression is broken: it costs too much to evaluate on some people, so they are \
             not found. It may take {} steps on one person, {} on average over many, and yield \
             {} values. Set a simpler one.",
            limits::EVALUATION_STEPS,
            limits::PASS_STEPS_EACH,
            limits::VALUES
        );
        Self { field: "user_attribute", sentence, seen_at: Some(at) }
    }

    fn costly_on_members(counts: &SnapshotCounts) -> Self {
        let sentence = format!(
            "The expression is broken: it costs too much to evaluate on {} of {} members of the \
             workspace, so they are not found. It may take {} steps on one member, {} on average \
             over many, and yield {} values. Set a simpler one.",
            counts.too_costly,
            counts.matchable,
            limits::EVALUATION_STEPS,
            limits::PASS_STEPS_EACH,
            limits::VALUES
        );
        Self { field: "slack_attribute", sentence, seen_at: None }
    }
}
