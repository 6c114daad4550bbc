//! Workspaces that move into an Enterprise organization, with new ids of their people.

use std::sync::Arc;

use serde_json::{Value, json};

use super::directory;
use super::state::State;

impl State {
    /// The workspaces begin to move: methods answer `team_added_to_org`, and the apps are notified.
    pub(in crate::sandbox) fn begin_migration(&mut self, enterprise: &str) {
        self.moving_into = Some(enterprise.to_owned());
        self.migration_event("grid_migration_started", enterprise);
    }

    /// The workspaces are in the organization: people have ids of the organization, and the apps
    /// are notified. False if no workspace is moving.
    ///
    /// Slack translates the old ids for apps that want that. The sandbox plays the other kind of
    /// app: only `migration.exchange` knows the old ids.
    pub(in crate::sandbox) fn finish_migration(&mut self) -> bool {
        let Some(enterprise) = self.moving_into.take() else { return false };
        for team in self.teams.values_mut() {
            Arc::make_mut(team).enterprise_id = Some(enterprise.clone());
        }
        self.go_home();
        let (members, _) = self.directory.page(None, usize::MAX).unwrap_or_default();
        let people = members.iter().filter(|member| directory::kind(member) != "bot");
        let ids: Vec<_> = people.filter_map(|member| member["id"].as_str()).collect();
        for old in ids {
            if let Some(rest) = old.strip_prefix('U') {
                let new = format!("W{rest}");
                let user = json!({ "id": new, "enterprise_id": enterprise,
                    "enterprise_name": self.enterprise().map(|it| it["name"].clone()) });
                self.directory.rename(old, &new, &user);
                self.conversations.rename_person(old, &new);
                let groups = self.usergroups.iter_mut().map(|group| &mut group["users"]);
                let users = groups.filter_map(Value::as_array_mut).flatten();
                for user in users.filter(|user| **user == *old) {
                    *user = json!(new);
                }
            }
        }
        self.migration_event("grid_migration_finished", &enterprise);
        true
    }

    fn migration_event(&mut self, kind: &str, enterprise: &str) {
        self.for_installations(|state| {
            state.event(json!({ "type": kind, "enterprise_id": enterprise }));
        });
    }
}
