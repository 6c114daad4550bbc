//! Determines the installations that an event is for.
//!
//! An event says where it happened (`team_id`, `enterprise_id`) and names one installation that
//! sees it (`authorizations`, at most one; Slack's documentation: Events API). These differ if the
//! app is installed for a whole Enterprise organisation, and if companies share a channel. Both
//! count: Slack sends an event once for all installations of an app, so using only the named one
//! would miss it for others.
//!
//! An event about a member of an organization names one of its workspaces at most, and is for each
//! that the member belongs to.
//!
//! A member event is only for the places that the member belongs to. A person from another company
//! is not in `users.list`, and must not get into a member list, and be matched, through an event.

use serde::Deserialize;

/// Most workspaces of one member that an event is for, and the longest id of one, in bytes.
const HOMES: usize = 200;
const HOME_BYTES: usize = 64;

/// Ids of the places whose installations an event is for; each id once, none empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventAudience {
    /// Workspaces, for installations in a single workspace.
    pub teams: Vec<String>,
    /// Organisations, for installations in a whole organisation.
    pub enterprises: Vec<String>,
}

/// One of `authorizations`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Authorization {
    enterprise_id: Option<String>,
    team_id: Option<String>,
    is_enterprise_install: Option<bool>,
}

/// The places that a member belongs to.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Home {
    deleted: Option<bool>,
    team_id: Option<String>,
    teams: Option<Vec<String>>,
    enterprise_id: Option<String>,
    enterprise_user: Option<EnterpriseUser>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EnterpriseUser {
    enterprise_id: Option<String>,
    teams: Option<Vec<String>>,
}

impl EventAudience {
    pub(super) fn of(
        team_id: Option<&String>,
        enterprise_id: Option<&String>,
        authorizations: &[Authorization],
    ) -> Self {
        let org_wide = |it: &&Authorization| it.is_enterprise_install == Some(true);
        let named = |it: &&Authorization| !org_wide(it);
        let teams = authorizations.iter().filter(named).filter_map(|it| it.team_id.as_ref());
        let enterprises =
            authorizations.iter().filter(org_wide).filter_map(|it| it.enterprise_id.as_ref());
        Self {
            teams: each_once(team_id.into_iter().chain(teams)),
            enterprises: each_once(enterprise_id.into_iter().chain(enterprises)),
        }
    }

    /// Keeps only the places that a member belongs to; all, if the object does not say. A
    /// deactivated member never matches, so it is safe to notify all places. All workspaces of a
    /// member of an organization that the event is for are added.
    pub(super) fn of_member(mut self, member: &str) -> Self {
        // An object of another shape names no places.
        let home: Home = serde_json::from_str(member).unwrap_or_default();
        if home.deleted == Some(true) {
            return self;
        }
        let org = home.enterprise_user.unwrap_or_default();
        let teams = [home.teams, org.teams];
        let in_org = org.enterprise_id.or(home.enterprise_id).filter(|id| !id.is_empty());
        let team = home.team_id.filter(|id| !id.is_empty());
        // For members of an organisation, `team_id` excludes other workspaces only if the object
        // also has a list of workspaces.
        let unsaid = in_org.is_some() && teams.iter().flatten().flatten().next().is_none();
        self.teams.retain(|id| {
            let among = teams.iter().flatten().flatten().any(|known| known == id);
            among || unsaid || team.as_ref().is_none_or(|team| team == id)
        });
        if in_org.as_ref().is_some_and(|org| self.enterprises.contains(org)) {
            let homes = teams.iter().flatten().flatten().filter(|id| id.len() <= HOME_BYTES);
            self.teams = each_once(self.teams.iter().chain(homes.take(HOMES)));
        }
        self.enterprises.retain(|id| match &in_org {
            Some(org) => org == id,
            None => team.is_none(),
        });
        self
    }

    /// Whether an id is longer than `bytes`.
    pub(super) fn is_longer_than(&self, bytes: usize) -> bool {
        self.teams.iter().chain(&self.enterprises).any(|id| id.len() > bytes)
    }
}

fn each_once<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut once: Vec<String> = ids.filter(|id| !id.is_empty()).cloned().collect();
    once.sort_unstable();
    once.dedup();
    once
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn audience(team: &str, enterprise: Option<&str>, authorization: Value) -> EventAudience {
        let authorization: Authorization = serde_json::from_value(authorization).unwrap();
        let enterprise = enterprise.map(ToOwned::to_owned);
        EventAudience::of(Some(&team.to_owned()), enterprise.as_ref(), &[authorization])
    }

    fn ids(audience: &EventAudience) -> (Vec<&str>, Vec<&str>) {
        (texts(&audience.teams), texts(&audience.enterprises))
    }

    fn texts(ids: &[String]) -> Vec<&str> {
        ids.iter().map(|id| &**id).collect()
    }

    #[test]
    fn where_it_happened_and_who_sees_it() {
        let one = json!({"enterprise_id": null, "team_id": "T1", "is_enterprise_install": false});
        assert_eq!(ids(&audience("T1", None, one.clone())), (vec!["T1"], vec![]));
        assert_eq!(ids(&audience("T2", None, one)), (vec!["T1", "T2"], vec![]));
        let all = json!({"enterprise_id": "E1", "team_id": null, "is_enterprise_install": true});
        assert_eq!(ids(&audience("", None, all.clone())), (vec![], vec!["E1"]));
        assert_eq!(ids(&audience("T1", Some("E1"), all.clone())), (vec!["T1"], vec!["E1"]));
        // Named by its workspace; the organisation's own installation is a different one.
        let in_org =
            json!({"enterprise_id": "E1", "team_id": "T1", "is_enterprise_install": false});
        assert_eq!(ids(&audience("T1", None, in_org)), (vec!["T1"], vec![]));
        assert_eq!(EventAudience::of(None, None, &[]), EventAudience::default());
    }

    #[test]
    fn a_member_is_told_of_where_they_belong() {
        let all = json!({"enterprise_id": "E1", "team_id": "T1", "is_enterprise_install": true});
        let audience =
            EventAudience { teams: vec!["T1".into(), "T2".into()], ..audience("", None, all) };
        let of = |member: Value| {
            let audience = audience.clone().of_member(&member.to_string());
            let (teams, enterprises) = ids(&audience);
            (teams.join(","), enterprises.join(","))
        };
        let both = |teams: &str, enterprises: &str| (teams.to_owned(), enterprises.to_owned());
        assert_eq!(of(json!({"id": "U1"})), both("T1,T2", "E1"), "unsaid");
        assert_eq!(of(json!({"id": "U1", "team_id": "T1"})), both("T1", ""));
        assert_eq!(of(json!({"id": "U1", "team_id": "T9"})), both("", ""), "a stranger");
        assert_eq!(of(json!({"id": "U1", "team_id": "T9", "deleted": true})), both("T1,T2", "E1"));
        let org = |enterprise: &str, teams: Value| {
            let home = json!({"enterprise_id": enterprise, "teams": teams});
            json!({"id": "U1", "team_id": "T9", "enterprise_user": home})
        };
        assert_eq!(of(org("E1", json!(["T9", "T2"]))), both("T2,T9", "E1"), "each workspace");
        let long = "T".repeat(65);
        assert_eq!(of(org("E1", json!([long, "T2"]))), both("T2", "E1"));
        assert_eq!(of(org("E1", json!(null))), both("T1,T2", "E1"));
        assert_eq!(of(org("E2", json!(["T9"]))), both("", ""));
        assert_eq!(of(json!({"team_id": 7})), both("T1,T2", "E1"), "an object of another shape");
    }
}
