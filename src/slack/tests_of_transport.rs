//! The result of a call, over a real socket, when the other side misbehaves (faults 15 to 18).

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::instrument::WithSubscriber;

use super::responder::{Dimmable, Play, Responder, answer, head};
use super::{Client, Config, Destination, Error, ErrorClass, PostMessage, TooLate};
use crate::domain::delivery::Outcome;
use crate::domain::ids::{DeliveryId, SlackUserId};
use crate::domain::secret::Secret;
use crate::telemetry::{Exposition, Metrics};

const TOKEN: &str = "xoxb-test-token";
const TEXT: &str = "the text of the message";
const POSTED: &[u8] = br#"{"ok":true,"channel":"D1","ts":"1503435956.000247"}"#;

fn client(config: &Config) -> Client {
    Client::new(config, Metrics::unobserved()).unwrap()
}

/// Later than the end of any of these tests.
fn in_time() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

async fn post(client: &Client) -> Outcome {
    post_before(client, in_time()).await.unwrap()
}

async fn post_before(
    client: &Client,
    begin_before: tokio::time::Instant,
) -> Result<Outcome, TooLate> {
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": TEXT}}]);
    let message = PostMessage {
        destination: Destination::Person(&SlackUserId::parse("U1").unwrap()),
        text: TEXT,
        blocks: &blocks,
        delivery_id: DeliveryId::parse("0197a3c0-0000-7000-8000-000000000001").unwrap(),
        thread_ts: None,
    };
    client.chat_post_message(&Secret::new(TOKEN), &message, begin_before).await
}

/// The results of a post and a read, each answered with `play`.
async fn both(play: impl Fn() -> Play) -> (Outcome, Error) {
    both_with(play, |config| config).await
}

async fn both_with(play: impl Fn() -> Play, change: impl Fn(Config) -> Config) -> (Outcome, Error) {
    let responder = Responder::start(vec![play(), play()]).await;
    let client = client(&change(responder.config()));
    let posted = post(&client).await;
    let read = client.users_list(&Secret::new(TOKEN), None, 200, None).await.unwrap_err();
    assert_eq!(responder.requests().len(), 2, "each call is written once");
    (posted, read)
}

/// Ambiguous for a post, only transient for a read.
fn ambiguous(code: &str) -> (Outcome, Error) {
    (Outcome::Unknown { code: code.to_owned() }, Error::Transient { code: code.to_owned() })
}

#[tokio::test]
async fn ok_is_sent_with_channel_and_ts() {
    let responder = Responder::start(vec![Play::Answer(answer(200, &[], POSTED))]).await;
    let outcome = post(&client(&responder.config())).await;
    let Outcome::Sent { channel, ts, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((channel.as_str(), ts.as_str()), ("D1", "1503435956.000247"));
}

/// Tests both a new connection and an existing one.
#[tokio::test]
async fn what_comes_too_late_is_not_written() {
    let play = || Play::Answer(answer(200, &[], POSTED));
    let responder = Responder::start(vec![play(), play()]).await;
    let client = client(&responder.config());
    for requests in 0..2 {
        let late = post_before(&client, tokio::time::Instant::now()).await;
        assert_eq!(late, Err(TooLate));
        assert_eq!(responder.requests().len(), requests);
        assert!(matches!(post(&client).await, Outcome::Sent { .. }));
    }
}

#[tokio::test]
async fn ok_without_channel_or_ts_is_not_taken_for_sent() {
    for body in [r#"{"ok":true}"#, r#"{"ok":true,"channel":"D1","ts":"<b>"}"#] {
        let responder =
            Responder::start(vec![Play::Answer(answer(200, &[], body.as_bytes()))]).await;
        let outcome = post(&client(&responder.config())).await;
        assert_eq!(outcome, ambiguous("unreadable_answer").0, "{body}");
    }
}

#[tokio::test]
async fn slacks_codes_arrive() {
    let (posted, read) =
        both(|| Play::Answer(answer(200, &[], br#"{"ok":false,"error":"is_archived"}"#))).await;
    let code = "is_archived".to_owned();
    assert_eq!(posted, Outcome::Rejected { code: code.clone(), detail: None });
    assert_eq!(read, Error::Rejected { code, class: ErrorClass::Target, detail: None });
}

#[tokio::test]
async fn status_429_waits_as_long_as_it_says_whatever_the_body() {
    for (headers, body, seconds) in [
        (&[("retry-after", "120")] as &[(&str, &str)], "<html>", 120),
        (&[("retry-after", "7")], r#"{"ok":true}"#, 7),
        (&[], r#"{"ok":false,"error":"ratelimited"}"#, 30),
    ] {
        let (posted, read) = both(|| Play::Answer(answer(429, headers, body.as_bytes()))).await;
        let after = Duration::from_secs(seconds);
        assert_eq!(posted, Outcome::Throttled { after });
        assert_eq!(read, Error::Throttled { after });
    }
}

#[tokio::test]
async fn the_time_scale_shortens_what_slack_dictates() {
    let play = || Play::Answer(answer(429, &[("retry-after", "120")], b""));
    let (posted, _) = both_with(play, |config| Config { time_scale: 0.01, ..config }).await;
    assert_eq!(posted, Outcome::Throttled { after: Duration::from_millis(1200) });
}

#[tokio::test]
async fn server_errors_may_have_stored() {
    assert_eq!(both(|| Play::Answer(answer(502, &[], b"<html>"))).await, ambiguous("http_502"));
    let spoken = br#"{"ok":false,"error":"fatal_error"}"#;
    assert_eq!(both(|| Play::Answer(answer(200, &[], spoken))).await, ambiguous("fatal_error"));
}

#[tokio::test]
async fn html_with_200_is_no_success() {
    let play = || Play::Answer(answer(200, &[], b"<html>ok</html>"));
    assert_eq!(both(play).await, ambiguous("unreadable_answer"));
}

#[tokio::test]
async fn a_truncated_answer_is_ambiguous() {
    let play = || {
        let mut bytes = head(200, &[], 4000);
        bytes.extend_from_slice(br#"{"ok":true,"chan"#);
        Play::Cut(bytes)
    };
    assert_eq!(both(play).await, ambiguous("body_cut"));
}

#[tokio::test]
async fn a_reset_before_the_answer_is_ambiguous_and_not_retried() {
    assert_eq!(both(|| Play::Reset).await, ambiguous("connection_lost"));
}

#[tokio::test]
async fn a_reset_on_a_connection_used_before_is_not_retried_either() {
    let responder =
        Responder::start(vec![Play::Answer(answer(200, &[], POSTED)), Play::Reset]).await;
    let client = client(&responder.config());
    assert!(matches!(post(&client).await, Outcome::Sent { .. }));
    assert_eq!(post(&client).await, ambiguous("connection_lost").0);
    assert_eq!(responder.requests().len(), 2);
}

#[tokio::test]
async fn silence_ends_at_the_time_out() {
    let short = |config| Config {
        connect_timeout: Duration::from_millis(150),
        request_timeout: Duration::from_millis(200),
        ..config
    };
    let started = Instant::now();
    assert_eq!(both_with(|| Play::Hang(Vec::new()), short).await, ambiguous("timeout"));
    // The body counts too: the head does not stop the clock.
    assert_eq!(both_with(|| Play::Hang(head(200, &[], 50)), short).await, ambiguous("timeout"));
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// One connection carries all requests, and none of them would close it.
#[tokio::test]
async fn a_connection_that_goes_dark_is_replaced_long_before_the_time_out() {
    let slack = Dimmable::start(POSTED).await;
    let client = Client::with_tls(&slack.config(), Metrics::unobserved(), slack.trusted()).unwrap();
    assert!(matches!(post(&client).await, Outcome::Sent { .. }));
    slack.darken();
    assert!(matches!(post(&client).await, Outcome::Unknown { .. }), "Slack may have it");
    assert!(matches!(post(&client).await, Outcome::Sent { .. }), "on another connection");
}

#[tokio::test]
async fn an_oversize_answer_is_read_to_the_limit_only() {
    let limit = |config| Config { body_limit_bytes: 64 * 1024, ..config };
    let play = || Play::Answer(answer(200, &[], &vec![b' '; 1024 * 1024]));
    assert_eq!(both_with(play, limit).await, ambiguous("body_too_large"));
}

#[tokio::test]
async fn a_compressed_bomb_counts_decompressed() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..32 {
        encoder.write_all(&vec![b' '; 1024 * 1024]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 64 * 1024, "32 MB in {} bytes", bomb.len());
    let limit = |config| Config { body_limit_bytes: 1024 * 1024, ..config };
    let play = || Play::Answer(answer(200, &[("content-encoding", "gzip")], &bomb));
    assert_eq!(both_with(play, limit).await, ambiguous("body_too_large"));
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(POSTED).unwrap();
    let bytes = answer(200, &[("content-encoding", "gzip")], &encoder.finish().unwrap());
    let responder = Responder::start(vec![Play::Answer(bytes)]).await;
    assert!(matches!(post(&client(&responder.config())).await, Outcome::Sent { .. }));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Responder::start(vec![]).await;
    let location = [("location", elsewhere.url.as_str())];
    assert_eq!(both(|| Play::Answer(answer(307, &location, b""))).await, ambiguous("http_307"));
    assert!(elsewhere.requests().is_empty(), "the token went to another host");
}

#[tokio::test]
async fn a_refused_connection_means_not_sent() {
    let responder = Responder::start(vec![]).await;
    let config = responder.config();
    responder.stop().await;
    assert_eq!(
        post(&client(&config)).await,
        Outcome::NotSent { code: "connect_failed".to_owned() }
    );
}

#[tokio::test]
async fn a_failed_tls_handshake_means_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        base_url: format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap(),
        connect_timeout: Duration::from_millis(300),
        ..Config::default()
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = Client::with_tls(&config, Metrics::unobserved(), tls).unwrap();
    // The connection is never accepted: the handshake waits until the time is up.
    let code = "connect_timeout".to_owned();
    assert_eq!(post(&client).await, Outcome::NotSent { code });
    // The answering server does not speak TLS.
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(&answer(400, &[], b"plain http here")).await;
        }
    });
    let code = "connect_failed".to_owned();
    assert_eq!(post(&client).await, Outcome::NotSent { code });
    server.abort();
}

#[tokio::test]
async fn a_token_no_header_can_hold_goes_nowhere() {
    let responder = Responder::start(vec![]).await;
    let client = client(&responder.config());
    let error = client.auth_test(&Secret::new("xoxb\r\nevil: 1")).await.unwrap_err();
    assert_eq!(error, Error::Unauthorized { code: "unusable_token".to_owned() });
    assert!(responder.requests().is_empty());
}

#[tokio::test]
async fn calls_are_counted_by_method_and_verdict() {
    let exposition = Exposition::new(&crate::telemetry::OtlpConfig::default()).unwrap();
    let responder = Responder::start(vec![
        Play::Answer(answer(200, &[], POSTED)),
        Play::Answer(answer(429, &[], b"")),
    ])
    .await;
    let client = Client::new(&responder.config(), exposition.metrics()).unwrap();
    post(&client).await;
    post(&client).await;
    let text = exposition.text().unwrap();
    for line in [
        r#"herald_slack_requests_total{method="chat.postMessage",outcome="ok"} 1"#,
        r#"herald_slack_requests_total{method="chat.postMessage",outcome="throttled"} 1"#,
        r#"herald_slack_request_duration_seconds_count{method="chat.postMessage"} 2"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Callers ask about many people who are not in Slack; that answer is not a failure.
#[tokio::test]
async fn that_slack_knows_no_such_member_is_not_logged_as_a_refusal() {
    let absent = |code: &str| Play::Answer(answer(200, &[], code.as_bytes()));
    let responder = Responder::start(vec![
        absent(r#"{"ok":false,"error":"users_not_found"}"#),
        absent(r#"{"ok":false,"error":"user_not_found"}"#),
        absent(r#"{"ok":false,"error":"access_denied"}"#),
    ])
    .await;
    let client = client(&responder.config());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("off,herald=info")
        .with_writer(move || writer.clone())
        .finish();
    async {
        let (token, user) = (Secret::new(TOKEN), SlackUserId::parse("U1").unwrap());
        assert!(client.users_lookup_by_email(&token, "a@example.com").await.unwrap().is_none());
        assert!(client.users_info(&token, &user).await.unwrap().is_none());
        client.users_info(&token, &user).await.unwrap_err();
    }
    .with_subscriber(subscriber)
    .await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("Slack refused a call") && text.contains("access_denied"), "{text}");
}

#[tokio::test]
async fn logs_have_the_request_id_and_nothing_secret() {
    let responder = Responder::start(vec![
        Play::Answer(answer(200, &[("x-slack-req-id", "abc123")], POSTED)),
        Play::Answer(answer(
            200,
            &[("x-slack-req-id", "def456")],
            br#"{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["quoted"]}}"#,
        )),
        Play::Reset,
    ])
    .await;
    let client = client(&responder.config());
    let lines = Lines::default();
    let writer = lines.clone();
    // All output of Herald's own code, at its most verbose.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("off,herald=trace")
        .with_writer(move || writer.clone())
        .finish();
    async {
        post(&client).await;
        post(&client).await;
        client.users_lookup_by_email(&Secret::new(TOKEN), "a@example.com").await.unwrap_err();
    }
    .with_subscriber(subscriber)
    .await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for said in ["chat.postMessage", "abc123", "def456", "invalid_blocks", "users.lookupByEmail"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    for secret in [TOKEN, TEXT, "quoted", "example.com", "D1"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}
