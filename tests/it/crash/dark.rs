//! Every connection to PostgreSQL breaks unnoticed at once, as in a failover: no FIN, no RST, while
//! new ones work. A replica replaces its connections, sends every accepted message, and its health
//! tells the truth meanwhile (I1, I6, I14).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tonic_health::pb::health_check_response::ServingStatus;

use super::database::insist;
use super::{Site, all_sent, member_id, message, service, site_on};
use crate::support::process::{Herald, until};
use crate::support::proxy::Proxy;

const PEOPLE: usize = 5;
/// The number of concurrent callers, and the pause between two calls of each: less than can be
/// sent.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);
/// A replica works again within this time. It gives up a statement after 5.5 s
/// (`store.statement_timeout` and the time for the answer) and then tests all other connections at
/// once, for a second. The bound allows for one such round and a busy machine, and for no second
/// round. Health is checked every second, and an answer may take 2 s.
const RECOVERED: Duration = Duration::from_secs(10);

async fn site() -> Option<(Site, Proxy)> {
    let mut site = site_on(true, PEOPLE).await?;
    let proxy = Proxy::start(&site.store).await;
    site.store = proxy.config.clone();
    Some((site, proxy))
}

/// The status and the text of `/readyz`.
async fn readyz(herald: &Herald) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}/readyz", herald.http)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn ready(herald: &Herald) {
    until("readyz answers 200", async || (readyz(herald).await.0 == 200).then_some(())).await;
}

/// Calls, each repeated until it is answered, until stopped.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(herald: &Herald, next: &Arc<AtomicUsize>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let call = |_| {
            let mut service = service(herald.channel());
            let (next, stop) = (next.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut ids, mut ticks) = (Vec::new(), tokio::time::interval(PAUSE));
                while !stop.load(Ordering::SeqCst) {
                    let request = message(next.fetch_add(1, Ordering::SeqCst), PEOPLE);
                    ids.push(loop {
                        ticks.tick().await;
                        if let Ok(answer) = service.notify(request.clone()).await {
                            break answer.into_inner().notification_id;
                        }
                    });
                }
                ids
            })
        };
        Self { stop: stop.clone(), callers: (0..CALLERS).map(call).collect() }
    }

    /// Stops, and returns the accepted notifications.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut ids = Vec::new();
        for caller in self.callers {
            ids.extend(caller.await.unwrap());
        }
        ids
    }
}

fn assert_each_stored_once(site: &Site, messages: usize) {
    let each: HashMap<_, _> = (0..PEOPLE).map(|number| (member_id(number), messages)).collect();
    assert_eq!(site.stored(), each);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_dark_under_load_are_replaced() {
    let Some((site, proxy)) = site().await else { return };
    let herald = site.start_connected().await;
    let next = Arc::new(AtomicUsize::new(0));
    let load = Load::start(&herald, &next);
    until("messages go out", async || (site.sandbox.messages().len() > 20).then_some(())).await;

    proxy.darken();
    let began = Instant::now();
    // Called and sent after the connections went dark.
    let number = next.fetch_add(1, Ordering::SeqCst);
    let id = insist(&herald, message(number, PEOPLE)).await.0;
    let accepted = began.elapsed();
    all_sent(&herald.channel(), std::slice::from_ref(&id)).await;
    let sent = began.elapsed();
    assert!(sent <= RECOVERED, "under load: accepted in {accepted:?}, sent in {sent:?}");
    ready(&herald).await;

    let mut ids = load.stop().await;
    ids.push(id);
    all_sent(&herald.channel(), &ids).await;
    assert_each_stored_once(&site, ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_names_a_database_that_answers_nothing_and_takes_it_back() {
    let Some((site, proxy)) = site().await else { return };
    let herald = site.start_connected().await;
    proxy.black_out();
    let began = Instant::now();
    let said = until("readyz reports that it is not ready", async || {
        let said = readyz(&herald).await;
        (said.0 != 200).then_some(said)
    })
    .await;
    assert_eq!(said.0, 503);
    assert!(said.1.contains("database"), "{}", said.1);
    let noticed = began.elapsed();
    let status = herald.status().await;
    assert_eq!(status, Some(ServingStatus::NotServing));

    proxy.darken();
    let lit = Instant::now();
    ready(&herald).await;
    let back = lit.elapsed();
    assert!(noticed <= RECOVERED && back <= RECOVERED, "noticed in {noticed:?}, back in {back:?}");
    let id = insist(&herald, message(0, PEOPLE)).await.0;
    all_sent(&herald.channel(), std::slice::from_ref(&id)).await;
    assert_each_stored_once(&site, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_dark_while_idle_are_replaced() {
    let Some((site, proxy)) = site().await else { return };
    let herald = site.start_connected().await;
    // This load opens many connections, and then ends.
    let next = Arc::new(AtomicUsize::new(0));
    let load = Load::start(&herald, &next);
    until("messages go out", async || (site.sandbox.messages().len() > 20).then_some(())).await;
    let mut ids = load.stop().await;
    all_sent(&herald.channel(), &ids).await;

    proxy.darken();
    let began = Instant::now();
    let mut late = Vec::new();
    for _ in 0..3 {
        let number = next.fetch_add(1, Ordering::SeqCst);
        late.push(insist(&herald, message(number, PEOPLE)).await.0);
    }
    let accepted = began.elapsed();
    all_sent(&herald.channel(), &late).await;
    let sent = began.elapsed();
    assert!(sent <= RECOVERED, "idle: accepted in {accepted:?}, sent in {sent:?}");
    ready(&herald).await;
    ids.extend(late);
    assert_each_stored_once(&site, ids.len());
}
