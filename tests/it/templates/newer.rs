//! Templates that only a newer release can read.

use tonic::Code;

use super::{HERE, TYPE, get, list, reader, roll_back, sent, set};
use crate::support::client::{notify, task};
use crate::support::world::{TENANT, for_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_with_other_words_and_other_types_go_on() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        set(client, HERE, "First").await.unwrap();
        set(client, HERE, "Second").await.unwrap();
        set(client, ("task.due", "", "en"), "Due").await.unwrap();
        let newer = format!(
            "UPDATE template_versions SET form = '{{\"form\": \"newer\"}}' \
             WHERE event_type = '{TYPE}' AND version = 2"
        );
        assert_eq!(world.execute(&newer).await.unwrap(), 1);
        let refused = client.notify(task("one", &["ben"])).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("newer release"), "{}", refused.message());
        for refused in [
            get(client, HERE, 0).await.map(drop),
            set(client, HERE, "Third").await.map(drop),
            roll_back(client, HERE, 1, "").await.map(drop),
        ] {
            assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        }
        let listed = list(client, ("", ""), 0).await.concat();
        assert_eq!(listed.iter().map(|it| &*it.event_type).collect::<Vec<_>>(), ["task.due"]);
        let due = sent(world, notify("due", "task.due", &["ben"])).await;
        assert_eq!(due["U0DEMOBEN"], "Due");
    })
    .await;
}
