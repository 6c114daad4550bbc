//! OAuth states: `HOW QUERY 0 COOKIE 0 ATTEMPT`, the first one being one byte.
//!
//! There is one unused link. In the texts, the byte 1 stands for its state and 4 for its attempt; 2
//! and 3, with the byte after them, stand for the state with one character changed and for the
//! beginning of the state; 5 stands for the attempt with one character changed. The link stays
//! unused unless the whole state is both in the address and in the cookie. No page repeats text
//! from the address or reveals the state.

use std::sync::{LazyLock, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use herald::http::Config;
use http::{HeaderValue, Method, Request, StatusCode};

use super::front::{Front, RUNTIME};
use super::parts::{choice, parts};

static FRONT: LazyLock<Front> = LazyLock::new(Front::open);
/// The unused link.
static LINK: Mutex<Option<Link>> = Mutex::new(None);

#[derive(Clone)]
struct Link {
    state: String,
    attempt: String,
}

/// The parts of an answer that the assertions look at.
struct Answer {
    status: StatusCode,
    cookie: String,
    page: String,
}

pub(crate) fn run(input: &[u8]) {
    let (how, input) = choice(input);
    let [query, cookie, attempt] = parts(input);
    LazyLock::force(&FRONT);
    let mut kept = LINK.lock().unwrap_or_else(PoisonError::into_inner);
    let link = kept.get_or_insert_with(|| RUNTIME.block_on(fresh())).clone();
    let path = match how % 3 {
        0 => Config::default().connect_url().path().to_owned(),
        1 => format!("{}/{}", callback(), address(&link.filled(attempt))),
        _ => callback(),
    };
    let uri = format!("{path}?{}", address(&link.filled(query)));
    let method = if how & 64 == 0 { Method::GET } else { Method::HEAD };
    let Ok(value) = HeaderValue::from_bytes(&link.filled(cookie)) else { return };
    let request = Request::builder().method(method.clone()).uri(uri).header("cookie", value);
    let Ok(request) = request.body(Body::empty()) else { return };
    let answer = RUNTIME.block_on(ask(request));

    let whole = |part: &[u8]| part.contains(&1);
    let told = whole(query);
    let complete = how % 3 == 1 && method == Method::GET && told && whole(cookie);
    if RUNTIME.block_on(FRONT.attempt(&link.state)).is_none() {
        *kept = None;
        assert!(complete, "the link was used: {how} {query:?} {cookie:?} {attempt:?}");
    }
    let canonical = query == b"state=\x01&error=access_denied" && attempt == b"\x04";
    if canonical && complete && cookie == b"herald-connect-\x04=\x01" {
        assert!(kept.is_none(), "the link is still unused after a correct answer");
    }
    harmless(&answer, &link, how % 3 == 0 && told);
}

fn harmless(answer: &Answer, link: &Link, may_tell: bool) {
    let Answer { status, cookie, page } = answer;
    let fault = status.is_server_error() && *status != StatusCode::BAD_GATEWAY;
    assert!(!fault, "{status}: {page}");
    let told = cookie.contains(&link.state) || page.contains(&link.state);
    assert!(may_tell || !told, "the answer reveals the state");
    assert!(!page.contains("<script") && !page.contains("onerror"), "{page}");
}

impl Link {
    /// The text with its placeholders filled in.
    fn filled(&self, text: &[u8]) -> Vec<u8> {
        let mut filled = Vec::new();
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            let mut at = |text: &str| {
                let number = bytes.next().copied().map_or(0, usize::from);
                (number % text.len(), number / text.len())
            };
            match byte {
                1 => filled.extend_from_slice(self.state.as_bytes()),
                2 => filled.extend_from_slice(&changed(&self.state, at(&self.state))),
                3 => filled.extend_from_slice(&self.state.as_bytes()[..at(&self.state).0]),
                4 => filled.extend_from_slice(self.attempt.as_bytes()),
                5 => filled.extend_from_slice(&changed(&self.attempt, at(&self.attempt))),
                byte => filled.push(*byte),
            }
        }
        filled
    }
}

/// Changes the character at that place, possibly only its case.
fn changed(text: &str, (at, how): (usize, usize)) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let other = bytes[at] ^ 0x20;
    bytes[at] = if how % 2 == 0 && other.is_ascii_alphabetic() { other } else { bytes[at] ^ 1 };
    bytes
}

async fn fresh() -> Link {
    let state = FRONT.link().await;
    let attempt = FRONT.attempt(&state).await.expect("the link is unused");
    Link { state, attempt }
}

async fn ask(request: Request<Body>) -> Answer {
    let (head, body) = FRONT.ask(request).await.into_parts();
    let page = to_bytes(body, usize::MAX).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let cookie = head.headers.get("set-cookie").map_or("", |value| value.to_str().unwrap());
    Answer { status: head.status, cookie: cookie.to_owned(), page }
}

fn callback() -> String {
    Config::default().redirect_url().path().to_owned()
}

/// The bytes as browsers write them in an address: percent-encoded where necessary.
fn address(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| match byte {
        b'-' | b'.' | b'_' | b'~' | b'&' | b'=' | b'%' | b'+' => {
            text + &char::from(*byte).to_string()
        }
        byte if byte.is_ascii_alphanumeric() => text + &char::from(*byte).to_string(),
        byte => text + &format!("%{byte:02X}"),
    })
}
