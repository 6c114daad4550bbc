//! Slack's answers that show that something is wrong: a clock, and a sign-in of another attempt.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use herald::rpc::pb::CheckFinding;
use herald::sandbox::browser::Browser;
use herald::sandbox::{self, Fault, FaultKind, Raw};
use serde_json::{Value, json};
use tonic::Code;

use super::doctor::{check, row};
use super::people::{BEN, link, sign_in};
use crate::support::world::{TENANT, for_each_database};

/// The next call of a method is answered with this body, and with this header if there is one.
fn answering(method: &str, body: &Value, header: Option<(&str, &str)>) -> Fault {
    let headers = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = headers.into_iter().collect();
    let body = Raw::Text(body.to_string());
    Fault::new(method, FaultKind::Body { body, headers }).times(1)
}

/// Red if `clock_ahead` in `workspace/examine.rs` is always 0, or if `clock` in
/// `domain/checkup/rows.rs` forgets the side.
#[tokio::test]
async fn a_wrong_clock_is_found_with_its_side() {
    for_each_database(async |world| {
        let config = sandbox::Config::default();
        let test = json!({
            "ok": true, "team_id": config.team.id, "user_id": world.sandbox.bot_user_id(),
            "is_enterprise_install": false, "app_id": config.app_id,
        });
        for (date, side) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", "ahead of"),
            ("Sat, 06 Nov 2094 08:49:37 GMT", "behind"),
        ] {
            world.sandbox.script(answering("auth.test", &test, Some(("date", date))));
            let checked = check(world, "").await;
            let clock = row(&checked, "clock");
            assert_eq!(clock.finding(), CheckFinding::Broken, "{clock:?}");
            assert!(clock.sentence.contains(side), "{clock:?}");
            assert!(clock.remedy.contains("NTP"), "{clock:?}");
        }
        let checked = check(world, "").await;
        assert_eq!(row(&checked, "clock").finding(), CheckFinding::Ok);
    })
    .await;
}

/// An id token that Slack issued for another link, or for none. Red without the comparison of the
/// nonce in `signed_in` in `workspace/sign_in.rs`.
#[tokio::test]
async fn an_id_token_with_another_nonce_proves_nothing() {
    for_each_database(async |world| {
        let config = sandbox::Config::default();
        for nonce in [json!("another"), Value::Null] {
            let claims = json!({
                "iss": "https://slack.com", "aud": config.client_id, "nonce": nonce, "sub": BEN,
                "https://slack.com/user_id": BEN, "https://slack.com/team_id": config.team.id,
            });
            let payload = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
            let token = json!({ "ok": true, "access_token": "x", "token_type": "Bearer",
                "id_token": format!("e30.{payload}.c2ln") });
            world.sandbox.script(answering("openid.connect.token", &token, None));
            let link = link(world, "sam").await;
            let mut browser = Browser::new().unwrap();
            let page = sign_in(&mut browser, &link, BEN).await;
            assert_eq!(page.status, 400, "{}", page.html);
            let unknown = world.client.person(TENANT, "sam").await.unwrap_err();
            assert_eq!(unknown.code(), Code::NotFound);
            assert_eq!(browser.open(&link).await.unwrap().status, 410, "it is used up");
        }
    })
    .await;
}
