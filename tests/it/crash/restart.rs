//! A restart does not read a member list that is already stored.

use herald::rpc::pb;

use super::{TENANT, person, service, sites};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_read_the_members_again() {
    for site in sites(3).await {
        let mut herald = site.start_connected().await;
        let read = site.calls("users.list").len();
        assert!(read > 0);
        for orderly in [false, true] {
            if orderly {
                herald.signal("TERM");
                assert_eq!(herald.ended().await.code(), Some(0));
            } else {
                herald.kill();
            }
            herald = site.start().await;
            let request = pb::ResolveIdentityRequest {
                tenant_id: TENANT.into(),
                subject: Some(pb::resolve_identity_request::Subject::UserId(person(2))),
                actor: None,
            };
            let answer = service(herald.channel()).resolve_identity(request).await.unwrap();
            assert_eq!(answer.into_inner().member.unwrap().slack_user_id, super::member_id(2));
        }
        herald.signal("TERM");
        assert_eq!(herald.ended().await.code(), Some(0));
        assert_eq!(site.calls("users.list").len(), read, "over the whole life of three processes");
    }
}
