//! A second `herald serve` on one SQLite file.

use super::site_on;
use crate::support::process::refused;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_sqlite_file_is_refused() {
    let site = site_on(false, 1).await.unwrap();
    let mut first = site.start_connected().await;
    let said = refused(&site.settings()).await;
    assert!(said.contains("another process serves from"), "{said}");
    assert!(said.contains("store.url"), "{said}");
    // A process that dies leaves no lock behind.
    first.kill();
    site.start().await;
}
