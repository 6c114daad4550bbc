//! Three replicas restarted one after the other under load: callers that repeat refused calls see
//! no failure, and every message is in Slack once (I11; faults.md 23, shortened).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use herald::rpc::pb;
use tokio::sync::watch;
use tonic::Code;

use super::{Site, all_sent, message, service, site_on};
use crate::support::process::channel;

const PEOPLE: usize = 10;
const CALLERS: usize = 4;

/// As a platform does: uses another replica if one is down.
pub(super) async fn notify(
    replicas: &watch::Receiver<Vec<SocketAddr>>,
    request: pb::NotifyRequest,
) -> String {
    let mut attempt = 0;
    loop {
        let all = replicas.borrow().clone();
        let at = all[attempt % all.len()];
        match service(channel(at)).notify(request.clone()).await {
            Ok(answer) => return answer.into_inner().notification_id,
            Err(status) => {
                let passing =
                    [Code::Unavailable, Code::ResourceExhausted, Code::Cancelled, Code::Unknown];
                assert!(passing.contains(&status.code()), "{status:?}");
                tokio::task::yield_now().await;
            }
        }
        attempt += 1;
    }
}

async fn roll(site: Site) {
    let mut replicas = [site.start_connected().await, site.start().await, site.start().await];
    let (serving, seen) = watch::channel(replicas.iter().map(|replica| replica.rpc).collect());
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (seen, over) = (seen.clone(), Arc::clone(&over));
        callers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let mut call = message(ids.len() % 1000, PEOPLE);
                call.request_id = format!("caller {caller}, call {}", ids.len());
                ids.push(notify(&seen, call).await);
            }
            ids
        }));
    }
    let mut stored = site.sandbox.stored();
    for replica in [0, 1, 2, 0] {
        // There is load, and the replica that was just started handles its part.
        let before = *stored.borrow();
        stored.wait_for(|count| *count >= before + 20).await.unwrap();
        replicas[replica].signal("TERM");
        assert_eq!(replicas[replica].ended().await.code(), Some(0));
        replicas[replica] = site.start().await;
        serving.send_replace(replicas.iter().map(|replica| replica.rpc).collect());
    }
    over.store(true, Ordering::SeqCst);
    let mut ids = Vec::new();
    for caller in callers {
        ids.extend(caller.await.unwrap());
    }
    all_sent(&replicas[0].channel(), &ids).await;
    let mut seen = std::collections::HashMap::new();
    for message in site.sandbox.messages() {
        let delivery = message.metadata["event_payload"]["delivery_id"].to_string();
        *seen.entry(delivery).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), ids.len() * PEOPLE);
    assert!(seen.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_call_and_repeats_no_message() {
    if let Some(site) = site_on(true, PEOPLE).await {
        roll(site).await;
    }
}
