//! The person on whose behalf a template was changed.

use herald::rpc::pb;

use super::{HERE, get, heading, list, template};
use crate::support::world::{TENANT, for_each_database};

const ROOT: &str = "canary-root-4711";

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_person_is_named_in_no_version() {
    for_each_database(async |world| {
        let client = &world.client;
        for (text, user) in [("First", ROOT), ("Second", "stays"), ("Third", ROOT)] {
            let permissions = vec![pb::Permission::Administer.into()];
            let request = pb::SetTemplateRequest {
                tenant_id: TENANT.into(),
                template: Some(template(HERE, heading(text))),
                actor: Some(pb::Actor { user_id: user.into(), permissions }),
                ..Default::default()
            };
            client.set_template(request).await.unwrap();
        }
        let actors = async || {
            let read = get(client, HERE, 0).await.unwrap();
            let changes = read.changes.iter().map(|change| change.actor_user_id.clone());
            changes.collect::<Vec<_>>()
        };
        assert_eq!(actors().await, [ROOT, "stays", ROOT]);
        // The database has no name in clear text.
        let actor =
            if world.is_postgres() { "encode(actor, 'escape')" } else { "CAST(actor AS TEXT)" };
        for column in ["caller", actor] {
            let text =
                format!("SELECT COUNT(*) FROM template_versions WHERE {column} LIKE '%{ROOT}%'");
            assert_eq!(world.count(&text).await, 0, "{column}");
        }
        let deleted =
            pb::DeletePersonRequest { tenant_id: TENANT.into(), user_id: ROOT.into(), actor: None };
        client.delete_person(deleted).await.unwrap();
        assert_eq!(actors().await, ["", "stays", ""]);
        let present = list(client, ("", ""), 0).await.concat().remove(0).saved.unwrap();
        assert!(present.actor_user_id.is_empty() && !present.caller.is_empty(), "{present:?}");
        let earlier = get(client, HERE, 1).await.unwrap().template.unwrap();
        assert_eq!(earlier.form, Some(heading("First")));
        assert_eq!(earlier.saved.unwrap().actor_user_id, "");
    })
    .await;
}
