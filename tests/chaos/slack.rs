//! Slack in its box, and its log as it grows.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use herald::sandbox::{self, Fault, LogEntry, Sandbox, StoredMessage};
use serde_json::{Value, json};
use url::Url;

use crate::book::Lines;
use crate::evidence::{self, Message, Request};

/// Scripted faults that may pile up before they are cleared; each call looks at all of them.
const FAULTS: u64 = 50;

/// The sandbox; cheap to clone.
#[derive(Clone)]
pub(crate) struct Slack(Arc<Inner>);

struct Inner {
    sandbox: Sandbox,
    requests: Lines,
    seen: Mutex<Seen>,
    scripted: AtomicU64,
}

#[derive(Default)]
struct Seen {
    last: u64,
    /// Request id and lane of each message stored, with its `ts`.
    stored: HashMap<(String, String), String>,
    /// The `ts` of messages that were deleted, or changed. (In this sandbox no two have the same.)
    changed: HashSet<String>,
}

impl Slack {
    pub(crate) async fn start(
        dir: &Path,
        people: usize,
        scale: f64,
        limits: bool,
    ) -> io::Result<Self> {
        let sandbox = Sandbox::start(sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: limits,
            time_scale: scale,
            seed_members: (0..people).map(member).collect(),
            ..sandbox::Config::default()
        })
        .await?;
        let requests = Lines::create(&dir.join(evidence::REQUESTS))?;
        let (seen, scripted) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { sandbox, requests, seen, scripted })))
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.0.sandbox.addr()
    }

    /// Channels that the app is in; their ids.
    pub(crate) fn channels(&self, count: usize) -> Vec<String> {
        let bot = self.0.sandbox.bot_user_id();
        let make =
            |number| self.0.sandbox.create_channel(&format!("room-{number}"), false, &[&bot]);
        (0..count).map(make).collect()
    }

    pub(crate) fn script(&self, fault: Fault) {
        if self.0.scripted.fetch_add(1, Ordering::Relaxed) % FAULTS == FAULTS - 1 {
            self.0.sandbox.clear_faults();
        }
        self.0.sandbox.script(fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.0.sandbox.clear_faults();
    }

    /// Number of the last request.
    pub(crate) fn last(&self) -> u64 {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Requests after that number that a fault struck, by the replica they came from.
    pub(crate) fn struck_after(&self, seq: u64) -> Vec<usize> {
        let log = self.0.sandbox.log_after(seq);
        log.iter().filter(|entry| entry.fault.is_some()).filter_map(replica).collect()
    }

    /// Writes down what was asked since the last time.
    pub(crate) fn collect(&self) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in self.0.sandbox.log_after(seen.last) {
            seen.last = entry.seq;
            if let Some(ts) = &entry.stored_ts
                && let (Some(call), Some(lane)) = (call_in(argument(&entry, "text")), lane(&entry))
            {
                seen.stored.insert((call.to_owned(), lane), ts.clone());
            }
            if matches!(&*entry.method, "chat.update" | "chat.delete") && entry.outcome == "ok" {
                seen.changed.insert(argument(&entry, "ts").to_owned());
            }
            self.0.requests.write(&request(&entry));
        }
    }

    /// Whether a message of this request is stored for this lane, as far as collected.
    pub(crate) fn has(&self, call: &str, lane: &str) -> bool {
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.stored.contains_key(&(call.to_owned(), lane.to_owned()))
    }

    /// Whether a message of this request is stored for this lane and was not changed, as far as collected.
    pub(crate) fn is_as_posted(&self, call: &str, lane: &str) -> bool {
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ts = seen.stored.get(&(call.to_owned(), lane.to_owned()));
        ts.is_some_and(|ts| !seen.changed.contains(ts))
    }

    /// How many messages were changed so far.
    pub(crate) fn changed(&self) -> usize {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).changed.len()
    }

    /// How many messages were stored so far.
    pub(crate) fn stored(&self) -> u64 {
        *self.0.sandbox.stored().borrow()
    }

    /// Closes the log, and writes every message that is stored.
    pub(crate) fn close(&self, dir: &Path) -> io::Result<()> {
        self.collect();
        self.0.requests.flush();
        let messages = Lines::create(&dir.join(evidence::MESSAGES))?;
        for stored in self.0.sandbox.messages() {
            messages.write(&message(stored));
        }
        messages.flush();
        Ok(())
    }

    /// The base address behind that proxy.
    #[expect(clippy::expect_used, reason = "a socket address makes a URL")]
    pub(crate) fn behind(proxy: std::net::SocketAddr) -> Url {
        Url::parse(&format!("http://{proxy}/")).expect("a socket address makes a URL")
    }
}

fn member(number: usize) -> Value {
    json!({
        "id": member_id(number), "name": format!("person{number}"),
        "profile": { "email": email(number) },
    })
}

pub(crate) fn member_id(number: usize) -> String {
    format!("U{number:03}")
}

pub(crate) fn email(number: usize) -> String {
    format!("person{number}@example.com")
}

/// What a message of this request says, so that it can be told apart.
pub(crate) fn text_of(call: &str) -> String {
    format!("Call {call}.")
}

/// The request id in a text.
pub(crate) fn call_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Call ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-')?;
    Some(&rest[..end]).filter(|call| !call.is_empty())
}

fn argument<'a>(entry: &'a LogEntry, name: &str) -> &'a str {
    entry.args.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn lane(entry: &LogEntry) -> Option<String> {
    Some(argument(entry, "channel").to_owned()).filter(|channel| !channel.is_empty())
}

fn replica(entry: &LogEntry) -> Option<usize> {
    entry.via.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

fn request(entry: &LogEntry) -> Request {
    Request {
        seq: entry.seq,
        began: entry.began_at_micros,
        ended: entry.ended_at_micros,
        method: entry.method.clone(),
        lane: lane(entry),
        replica: replica(entry),
        status: entry.http_status,
        outcome: entry.outcome.clone(),
        fault: entry.fault.clone(),
        retry_after: entry.retry_after.clone(),
        stored: entry.stored_ts.clone(),
    }
}

fn message(stored: StoredMessage) -> Message {
    let delivery = stored.metadata["event_payload"]["delivery_id"].as_str();
    Message {
        delivery: delivery.unwrap_or_default().to_owned(),
        call: call_in(&stored.text).map(str::to_owned),
        lane: stored.user.unwrap_or(stored.conversation),
        ts: stored.ts,
        stored_at: stored.stored_at,
        deleted: stored.deleted,
        crossed: stored.edited && stored.text.starts_with('✔'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_whose_it_is() {
        assert_eq!(call_in(&format!("Task due: {}", text_of("3-42"))), Some("3-42"));
        assert_eq!(call_in("Call me."), None);
        assert_eq!(call_in("Nothing"), None);
    }
}
