//! The permissions that a link asks for, and those that a workspace has not granted.

use super::connect_end::LackingFeature;
use super::{App, Error};
use crate::domain::features::{self, FEATURES, FeatureState};
use crate::domain::ids::TenantId;

impl App {
    /// The scopes that the tenant's workspace has granted, and those of these features; none for
    /// all that the settings name.
    pub(super) async fn scopes_of(
        &self,
        tenant: &TenantId,
        features: &[String],
    ) -> Result<Vec<String>, Error> {
        let mut asked = Vec::new();
        for (index, code) in features.iter().enumerate() {
            let Some(feature) = FEATURES.iter().find(|feature| feature.code == code) else {
                let known: Vec<&str> = FEATURES.iter().map(|feature| feature.code).collect();
                let problem = format!("must be one of {}", known.join(", "));
                return Err(Error::invalid(format!("features[{index}]"), problem));
            };
            asked.extend(feature.scopes.iter().map(ToString::to_string));
        }
        if asked.is_empty() {
            return Ok(asked);
        }
        let installation = self.store.tenancy().installation_of(tenant).await?;
        let mut scopes = installation.map(|installation| installation.scopes).unwrap_or_default();
        scopes.extend(asked);
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
