//! If one part of upkeep fails, all the other parts continue.

use sea_orm::{ConnectionTrait as _, Database};

use super::sites;
use crate::support::process::{migrate, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_logged_once_and_the_others_go_on() {
    for site in sites(1).await {
        migrate(&site.settings());
        let url = match &site.store.url {
            Some(url) => url.expose().to_owned(),
            None => format!("sqlite:{}", site.store.data_dir.join("herald.db").display()),
        };
        let raw = Database::connect(url).await.unwrap();
        raw.execute_unprepared("ALTER TABLE replays RENAME TO gone").await.unwrap();
        let herald = site.start().await;
        let page = format!("http://{}/metrics", herald.http);
        // They follow the failing part in each round, so it has failed at least twice.
        until("the other parts are done and the failure is counted", async || {
            let text = reqwest::get(&page).await.ok()?.text().await.ok()?;
            let failed = text.lines().find(|line| {
                line.starts_with("herald_upkeep_failures_total") && line.contains("\"replays\"")
            })?;
            let count: f64 = failed.rsplit(' ').next()?.parse().ok()?;
            (count >= 3.0 && text.contains("herald_outbox_rows")).then_some(())
        })
        .await;
        let said = herald.log().matches("upkeep of the outbox failed").count();
        assert_eq!(said, 1, "{}", herald.log());
        raw.execute_unprepared("ALTER TABLE gone RENAME TO replays").await.unwrap();
        until("the log says that it works again", async || {
            herald.log().contains("upkeep of the outbox works again").then_some(())
        })
        .await;
    }
}
