//! The permissions that a link asks for, and those that a workspace has not granted.

use super::connect_end::LackingFeature;
use super::{App, Error, Violation};
use crate::domain::features::{self, Feature, FeatureState};
use crate::domain::ids::TenantId;

impl App {
    /// These features and the one that every app needs, in the table's order; all that are not
    /// switched off if none are named.
    pub(super) fn features_of(
        &self,
        wished: &[&'static Feature],
    ) -> Result<Vec<&'static Feature>, Error> {
        let mut used = features::in_use(self.workspaces.features_off());
        if wished.is_empty() {
            return Ok(used);
        }
        let off = wished.iter().enumerate().filter(|(_, feature)| !used.contains(feature));
        let problem = "is switched off by the setting app.features_off";
        let off = off.map(|(index, _)| Violation::new(format!("features[{index}]"), problem));
        let off: Vec<Violation> = off.collect();
        if !off.is_empty() {
            return Err(Error::Invalid(off));
        }
        used.retain(|feature| feature.code == features::ALWAYS || wished.contains(feature));
        Ok(used)
    }

    /// The scopes that the tenant's workspace has granted, and those of these features; none for
    /// all that the settings name. The granted ones are asked for again because a token that
    /// rotates has only those of its last installation.
    pub(super) async fn scopes_of(
        &self,
        tenant: &TenantId,
        wished: &[&'static Feature],
    ) -> Result<Vec<String>, Error> {
        if wished.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = features::scopes(&self.features_of(wished)?);
        let installation = self.store.tenancy().installation_of(tenant).await?;
        let mut scopes = installation.map(|installation| installation.scopes).unwrap_or_default();
        scopes.extend(wanted.into_iter().map(str::to_owned));
        scopes.sort_unstable();
        scopes.dedup();
        Ok(scopes)
    }

    /// The features that must have scopes which are not among these. A workspace may refuse those
    /// of an optional feature.
    pub(super) fn lacking(&self, granted: &[String]) -> Vec<LackingFeature> {
        let states = features::states(granted, self.workspaces.features_off());
        let lacking = states.into_iter().filter(|(feature, state)| {
            !feature.optional && matches!(state, FeatureState::WaitsForScopes(_))
        });
        lacking
            .map(|(feature, _)| LackingFeature { code: feature.code, name: feature.name })
            .collect()
    }
}
