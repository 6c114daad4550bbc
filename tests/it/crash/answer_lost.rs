//! Killed between commit and answer: the caller repeats the call, at the same process or another,
//! and there is one notification (I2, I3; faults.md 3 and 9).

use std::net::SocketAddr;

use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Site, all_sent, judge, message, service, sites};
use crate::support::process::{Dice, PATIENCE, channel};

const ROUNDS: usize = 6;

/// A proxy to the process that loses answers once it is muted, but no requests.
struct Proxy {
    address: SocketAddr,
    muted: CancellationToken,
}

impl Proxy {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let muted = CancellationToken::new();
        let mute = muted.clone();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(upstream).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            let answers = copy(&mut from_server, &mut to_client);
            mute.run_until_cancelled(answers).await;
            // Read and dropped until the server ends; then the client's connection ends too.
            copy(&mut from_server, &mut tokio::io::sink()).await.ok();
        });
        Self { address, muted }
    }
}

/// The call as a caller repeats it.
async fn again(address: SocketAddr, number: usize) -> Result<String, Status> {
    let answer = service(channel(address)).notify(message(number, 1)).await?;
    Ok(answer.into_inner().notification_id)
}

async fn lose_answers(site: Site) {
    let mut dice = Dice::new();
    let mut herald = site.start_connected().await;
    let other = if site.is_postgres() { Some(site.start().await) } else { None };
    let mut stored = site.sandbox.stored();
    let mut ids = Vec::new();
    for number in 0..ROUNDS {
        let proxy = Proxy::to(herald.rpc).await;
        let mut caller = service(channel(proxy.address));
        // The connection is established before answers get lost.
        caller.notify(herald::rpc::pb::NotifyRequest::default()).await.unwrap_err();
        proxy.muted.cancel();
        let call = tokio::spawn(async move { caller.notify(message(number, 1)).await });
        let committed = number % 2 == 0;
        if committed {
            // A message that Slack stored was committed.
            let wanted = number as u64 + 1;
            let there = stored.wait_for(|count| *count >= wanted);
            tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap();
        } else {
            for _ in 0..dice.below(3000) {
                tokio::task::yield_now().await;
            }
        }
        herald.kill();
        assert!(call.await.unwrap().is_err(), "the answer got through");
        // At once at another replica, if there is one.
        let early = match &other {
            Some(other) => Some(again(other.rpc, number).await.unwrap()),
            None => None,
        };
        herald = site.start().await;
        let id = again(herald.rpc, number).await.unwrap();
        assert_eq!(early.as_ref().unwrap_or(&id), &id);
        assert_eq!(again(herald.rpc, number).await.unwrap(), id);
        ids.push(id);
        all_sent(&herald.channel(), &ids).await;
        assert_eq!(judge::verdict(&site.sandbox.messages(), 1, number + 1), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_got_lost_is_one_notification() {
    for site in sites(1).await {
        lose_answers(site).await;
    }
}
