//! The attackers of `pace`, in a process of their own with the lowest scheduling class.
//!
//! On a platform, attackers have machines of their own, and take from Herald only the time that it
//! spends on their requests. Here they share its processors, and the time to *make* the requests
//! would be taken from it too. So they run under SCHED_IDLE (`chrt` of util-linux): they get the
//! time that the server, its database and the measured caller leave. They are no threads of the
//! test, because a thread of that class that is interrupted inside the allocator or while it
//! changes its memory makes the others of its process wait. The kernel's work for their packets
//! (loopback delivers them inside the sender's call) is not of that class and remains in the
//! figures.
//!
//! Each attack reports its calls and bytes, so that a reader sees that it was one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use herald::domain::limits;
use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::task::JoinSet;

use super::connections::{ATTACKER, HALF_HEADERS, connection};
use super::counted::Counted;
use super::memory::{Client, call};
use super::{NOTIFY, key, with_key};
use crate::support::process::{Herald, channel};

/// Connections of an attack that makes calls, and the calls under way on each.
const CONNECTIONS: usize = 8;
const CALLS: usize = 8;
/// A line of the process when its attack has begun, and the beginning of its last one.
const BEGUN: &str = "the attack has begun";
const LOAD: &str = "load: ";

/// The ports under attack.
#[derive(Clone, Copy)]
struct Ports {
    rpc: SocketAddr,
    health: SocketAddr,
    http: SocketAddr,
}

/// The calls that were answered, and the bytes that were sent.
#[derive(Clone, Default)]
struct Sent {
    calls: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

/// An attack that runs until its tasks are dropped.
type Attack = fn(Ports, &Sent) -> JoinSet<()>;

/// All attacks. The first one is the floor: it takes the same time from the processors and asks
/// nothing.
pub(super) const ATTACKS: [&str; 10] = [
    "0: nothing",
    "1: expressions that use up their fuel",
    "2: strangers with 10 MiB",
    "2: strangers with 60 MiB",
    "2: a caller with 10 MiB",
    "3: a caller without a pause",
    "3: the key of one person without a pause",
    "3: all streams that there are",
    "4: silent connections and half of a request",
    "5: a channel with a thousand members without a pause",
];

const BEGIN: [Attack; ATTACKS.len()] = [
    spinning,
    costly,
    |ports, sent| calls(ports, sent, None, NOTIFY, &empty_recipients(10)),
    |ports, sent| calls(ports, sent, None, NOTIFY, &empty_recipients(60)),
    |ports, sent| calls(ports, sent, Some("attacker"), NOTIFY, &empty_recipients(10)),
    |ports, sent| {
        calls(ports, sent, Some("attacker"), NOTIFY, &Bytes::from_static(b"\x0a\x04evil"))
    },
    |ports, sent| {
        let method = "herald.v1.HeraldService/TestSlack";
        let message = Bytes::from_static(b"\x0a\x04evil\x12\x07mallory");
        calls(ports, sent, Some("person"), method, &message)
    },
    streams,
    connections,
    |ports, sent| {
        let method = "herald.v1.ChannelService/EnsureChannel";
        calls(ports, sent, Some("attacker"), method, &thousand_members())
    },
];

impl Sent {
    fn call(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [calls, bytes] = [&self.calls, &self.bytes].map(|of| of.load(Ordering::Relaxed));
        write!(f, "{calls} {bytes}")
    }
}

/// Occupies as many threads as an attack has, until the process ends.
fn spinning(_: Ports, _: &Sent) -> JoinSet<()> {
    for _ in 0..std::thread::available_parallelism().unwrap().get() {
        std::thread::spawn(spin);
    }
    JoinSet::new()
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

async fn client(to: SocketAddr, sent: &Sent) -> Option<Client> {
    let stream = tokio::net::TcpStream::connect(to).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let stream = TokioIo::new(Counted::new(stream, Arc::clone(&sent.bytes)));
    let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// The same call of one principal, again and again on each connection. It costs its sender little:
/// the message is in memory once, and is not copied.
fn calls(
    ports: Ports,
    sent: &Sent,
    who: Option<&'static str>,
    method: &'static str,
    message: &Bytes,
) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (sent, message) = (sent.clone(), message.clone());
        attack.spawn(async move {
            loop {
                // The server may have closed the one before.
                let Some(client) = client(ports.rpc, &sent).await else { continue };
                let mut callers = JoinSet::new();
                for _ in 0..CALLS {
                    let (client, message) = (client.clone(), message.clone());
                    callers.spawn(repeat(client, sent.clone(), who, method, message));
                }
                while callers.join_next().await.is_some() {}
            }
        });
    }
    attack
}

/// Makes the call until its connection ends.
async fn repeat(
    mut client: Client,
    sent: Sent,
    who: Option<&'static str>,
    method: &'static str,
    message: Bytes,
) {
    while let Ok(answer) = client.send_request(request(who, method, &message)).await {
        // It may break off: the server need not read a body that it refuses.
        answer.into_body().collect().await.ok();
        sent.call(0);
    }
}

fn request(who: Option<&str>, method: &str, message: &Bytes) -> Request<Body> {
    let length = u32::try_from(message.len()).unwrap();
    let head = Bytes::from([&[0][..], &length.to_be_bytes()].concat());
    let parts = [head, message.clone()].map(Ok::<_, Infallible>);
    let mut request = call(method, b"", 0).map(|_| Body::from_stream(stream::iter(parts)));
    if let Some(who) = who {
        let value = format!("Bearer {}", key(who)).parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    request
}

fn empty_recipients(megabytes: usize) -> Bytes {
    [0x22, 0].repeat(megabytes << 19).into()
}

/// A wish for a channel with as many members as one call may name.
fn thousand_members() -> Bytes {
    let member = |number: usize| pb::ChannelMember {
        target: Some(pb::channel_member::Target::UserId(format!("member-{number}"))),
        roles: vec!["enrolled".into()],
    };
    let members = (0..limits::CHANNEL_MEMBERS_PER_CALL).map(member).collect();
    let wish = pb::ChannelWish { name: "Track".into(), ..pb::ChannelWish::default() };
    let request = pb::EnsureChannelRequest {
        tenant_id: "evil".into(),
        channel_key: "track".into(),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    };
    request.encode_to_vec().into()
}

fn costly(ports: Ports, sent: &Sent) -> JoinSet<()> {
    let subject = pb::resolve_identity_request::Subject::UserId("costly".into());
    let request = pb::ResolveIdentityRequest {
        tenant_id: "evil".into(),
        subject: Some(subject),
        actor: None,
    };
    let method = "herald.v1.HeraldService/ResolveIdentity";
    calls(ports, sent, Some("attacker"), method, &request.encode_to_vec().into())
}

/// Streams, as many as are given, and questions for more.
fn streams(ports: Ports, sent: &Sent) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, sent) = (HeraldServiceClient::new(channel(ports.rpc)), sent.clone());
        attack.spawn(async move {
            let mut held = Vec::new();
            loop {
                let question = pb::WatchDeliveriesRequest {
                    tenant_id: "evil".into(),
                    after_sequence: None,
                    actor: None,
                };
                let bytes = question.encoded_len();
                let opened = client.watch_deliveries(with_key(Some("attacker"), question)).await;
                held.extend(opened.ok());
                sent.call(bytes);
            }
        });
    }
    attack
}

/// Connections that say nothing, or half of a request; the oldest are given up for new ones.
fn connections(ports: Ports, sent: &Sent) -> JoinSet<()> {
    const HELD: usize = 300;
    let mut attack = JoinSet::new();
    for (to, says) in [(ports.rpc, &b""[..]), (ports.health, &b""[..]), (ports.http, HALF_HEADERS)]
    {
        let sent = sent.clone();
        attack.spawn(async move {
            // Faster than this, the machine has no free port left after some seconds.
            let mut pause = tokio::time::interval(Duration::from_millis(1));
            let mut held = VecDeque::new();
            loop {
                pause.tick().await;
                held.push_back(connection(ATTACKER, to, says).await);
                sent.call(says.len());
                if held.len() > HELD {
                    held.pop_front();
                }
            }
        });
    }
    attack
}

/// The process of one attack: it takes its order from its input and attacks until that ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of attack::pace::soak_what_the_others_keep, not a test"]
async fn a_process_that_attacks() {
    herald::listen::raise_file_limit().unwrap();
    let mut order = String::new();
    std::io::stdin().read_line(&mut order).unwrap();
    let words: Vec<&str> = order.split_whitespace().collect();
    let [number, rpc, health, http] = words[..] else {
        panic!("attack::pace::soak_what_the_others_keep starts this: {order:?}");
    };
    let [rpc, health, http] = [rpc, health, http].map(|word| word.parse::<SocketAddr>().unwrap());
    let (ports, sent) = (Ports { rpc, health, http }, Sent::default());
    let mut attack = BEGIN[number.parse::<usize>().unwrap()](ports, &sent);
    println!("\n{BEGUN}");
    let input = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    tokio::task::spawn_blocking(input).await.unwrap();
    println!("\n{LOAD}{sent}");
    attack.shutdown().await;
}

/// A running attack; killed with the test.
pub(super) struct Attackers {
    process: Child,
    input: Option<ChildStdin>,
    output: Option<Lines<BufReader<ChildStdout>>>,
    since: Instant,
}

impl Attackers {
    /// Begins the attack of this number among [`ATTACKS`].
    pub(super) async fn begin(number: usize, herald: &Herald) -> Self {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().unwrap());
        command.args(["attack::attackers::a_process_that_attacks", "--exact"]);
        command.args(["--ignored", "--nocapture"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        writeln!(input, "{number} {} {} {}", herald.rpc, herald.health, herald.http).unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let begun = move || {
            assert!(output.any(|line| line.unwrap() == BEGUN), "the attack did not begin");
            output
        };
        let output = tokio::task::spawn_blocking(begun).await.unwrap();
        Self { process, input: Some(input), output: Some(output), since: Instant::now() }
    }

    /// Ends the attack; returns what it was in a second.
    pub(super) async fn end(mut self) -> String {
        let time = self.since.elapsed().as_secs_f64();
        drop(self.input.take());
        let mut output = self.output.take().unwrap();
        let load = |line: std::io::Result<String>| line.ok()?.strip_prefix(LOAD).map(String::from);
        let last = move || output.find_map(load);
        let load = tokio::task::spawn_blocking(last).await.unwrap().unwrap();
        let (calls, bytes) = load.split_once(' ').unwrap();
        let [calls, bytes] = [calls, bytes].map(|figure| figure.parse::<f64>().unwrap() / time);
        format!("{calls:.0} calls and {:.2} MB a second", bytes / 1e6)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // It has nothing left to say, and may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
