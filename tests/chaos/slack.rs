//! The sandbox Slack, and its log as it grows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use herald::domain::secret::Secret;
use herald::sandbox::{self, Fault, FaultKind, LogEntry, Sandbox, StoredMessage};
use serde_json::{Value, json};
use url::Url;

use crate::book::Lines;
use crate::evidence::{self, Act, Message, Place, Request};
use crate::tenant::{Tenant, email};
use crate::track;

/// Scripted faults that may pile up before they are cleared; each call checks all of them.
const FAULTS: u64 = 50;

/// Seconds of a slow answer: they correspond to 25 to 28 of the 30 seconds after which Herald gives
/// up, at the shorter timeout that it has here.
const SLOW: [f64; 3] = [1.17, 1.23, 1.3];

/// Slack's seconds until it shows the members of the main tenant's workspace.
const LIST_AFTER: &str = "30";

/// The workspaces, a sandbox each; cheap to clone.
#[derive(Clone)]
pub(crate) struct Slack(Arc<Inner>);

struct Inner {
    workspaces: Vec<Workspace>,
    requests: Lines,
    scripted: AtomicU64,
}

struct Workspace {
    tenant: Tenant,
    sandbox: Sandbox,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last: u64,
    /// The request id and lane of each stored message, with its `ts`.
    stored: HashMap<(String, String), String>,
    /// The `ts` of messages that were deleted or changed. (In this sandbox no two messages share
    /// one.)
    changed: HashSet<String>,
    /// The platform's key of each channel that Herald created.
    keys: HashMap<String, String>,
    /// Changes of channels so far.
    acts: u64,
}

impl Slack {
    /// Starts one workspace for each tenant, with this many people.
    pub(crate) async fn start(
        dir: &Path,
        tenants: &[(Tenant, usize)],
        scale: f64,
        limits: bool,
    ) -> io::Result<Self> {
        let mut workspaces = Vec::new();
        for (tenant, people) in tenants {
            let usual = sandbox::Config::default();
            let id = format!("T0SANDBOX{:02}", tenant.0 + 1);
            let sandbox = Sandbox::start(sandbox::Config {
                addr: ([127, 0, 0, 1], 0).into(),
                rate_limits: limits,
                time_scale: scale,
                seed_members: (0..*people).map(|number| member(*tenant, number)).collect(),
                team: sandbox::Team { id, ..usual.team },
                ..usual
            })
            .await?;
            if *tenant == Tenant::MAIN {
                // So that an archived channel can be wished for again.
                sandbox.configure(|options| options.bot_unarchive = true);
            }
            if tenant.is_slow() {
                let seconds = SLOW[tenant.0 % SLOW.len()];
                sandbox.script(Fault::new("chat.postMessage", FaultKind::Delay { seconds }));
            }
            workspaces.push(Workspace { tenant: *tenant, sandbox, seen: Mutex::default() });
        }
        let requests = Lines::create(&dir.join(evidence::REQUESTS))?;
        Ok(Self(Arc::new(Inner { workspaces, requests, scripted: AtomicU64::new(0) })))
    }

    fn of(&self, tenant: Tenant) -> &Workspace {
        &self.0.workspaces[tenant.0]
    }

    fn main(&self) -> &Workspace {
        self.of(Tenant::MAIN)
    }

    pub(crate) fn address(&self, tenant: Tenant) -> std::net::SocketAddr {
        self.of(tenant).sandbox.addr()
    }

    /// The token that the application was given in the tenant's workspace.
    pub(crate) fn token(&self, tenant: Tenant) -> Secret {
        // Installing it again returns the token that it already has.
        self.of(tenant).sandbox.install(&[])
    }

    /// Creates channels with the app as a member; returns their ids.
    pub(crate) fn channels(&self, count: usize) -> Vec<String> {
        let sandbox = &self.main().sandbox;
        let bot = sandbox.bot_user_id();
        let make = |number| sandbox.create_channel(&format!("room-{number}"), false, &[&bot]);
        (0..count).map(make).collect()
    }

    /// Slack asks to wait before it shows the main tenant's members.
    pub(crate) fn hold_list(&self) {
        let (code, retry_after) = (429, Some(LIST_AFTER.to_owned()));
        let kind = FaultKind::Status { code, body: String::new(), retry_after };
        self.main().sandbox.script(Fault::new("users.list", kind).times(1));
    }

    pub(crate) fn script(&self, fault: Fault) {
        if self.0.scripted.fetch_add(1, Ordering::Relaxed) % FAULTS == FAULTS - 1 {
            self.main().sandbox.clear_faults();
        }
        self.main().sandbox.script(fault);
    }

    pub(crate) fn clear_faults(&self) {
        for workspace in &self.0.workspaces {
            workspace.sandbox.clear_faults();
        }
    }

    /// The number of the last request.
    pub(crate) fn last(&self) -> u64 {
        self.main().seen().last
    }

    /// Requests after that number that a fault struck, by the replica that sent them.
    pub(crate) fn struck_after(&self, seq: u64) -> Vec<usize> {
        let log = self.main().sandbox.log_after(seq);
        log.iter().filter(|entry| entry.fault.is_some()).filter_map(replica).collect()
    }

    /// Logs the requests since the last call.
    pub(crate) fn collect(&self) {
        for workspace in &self.0.workspaces {
            workspace.collect(&self.0.requests);
        }
    }

    /// Whether a message of this request is stored for this lane, in the requests logged so far.
    pub(crate) fn has(&self, tenant: Tenant, call: &str, lane: &str) -> bool {
        let key = (call.to_owned(), lane.to_owned());
        self.of(tenant).seen().stored.contains_key(&key)
    }

    /// Whether a message of this request is stored unchanged for this lane, in the requests logged
    /// so far.
    pub(crate) fn is_as_posted(&self, tenant: Tenant, call: &str, lane: &str) -> bool {
        let seen = self.of(tenant).seen();
        let ts = seen.stored.get(&(call.to_owned(), lane.to_owned()));
        ts.is_some_and(|ts| !seen.changed.contains(ts))
    }

    /// How often channels were changed, in the requests logged so far.
    pub(crate) fn acts(&self) -> u64 {
        self.main().seen().acts
    }

    /// How many messages were changed so far.
    pub(crate) fn changed(&self) -> usize {
        self.0.workspaces.iter().map(|workspace| workspace.seen().changed.len()).sum()
    }

    /// How many messages were stored so far.
    pub(crate) fn stored(&self) -> u64 {
        self.0.workspaces.iter().map(|workspace| *workspace.sandbox.stored().borrow()).sum()
    }

    /// How many of them are for the main tenant, at which faults are aimed.
    pub(crate) fn stored_for_main(&self) -> u64 {
        *self.main().sandbox.stored().borrow()
    }

    /// Closes the log, and writes every stored message.
    pub(crate) fn close(&self, dir: &Path) -> io::Result<()> {
        self.collect();
        self.0.requests.flush();
        let messages = Lines::create(&dir.join(evidence::MESSAGES))?;
        for workspace in &self.0.workspaces {
            let seen = workspace.seen();
            for stored in workspace.sandbox.messages() {
                let message = message(stored);
                let lane = seen.lane(message.lane);
                messages.write(&Message { lane, ..message });
            }
        }
        messages.flush();
        let places = Lines::create(&dir.join(evidence::PLACES))?;
        let (main, keys) = (self.main(), self.main().seen().keys.clone());
        for channel in keys.keys().filter_map(|id| main.sandbox.channel(id)) {
            places.write(&place(&channel, &main.sandbox.bot_user_id()));
        }
        places.flush();
        Ok(())
    }

    /// The base URL of Slack behind that proxy.
    #[expect(clippy::expect_used, reason = "a socket address makes a URL")]
    pub(crate) fn behind(proxy: std::net::SocketAddr) -> Url {
        Url::parse(&format!("http://{proxy}/")).expect("a socket address makes a URL")
    }
}

impl Seen {
    /// The lane of a message in this conversation.
    fn lane(&self, conversation: String) -> String {
        self.keys.get(&conversation).cloned().unwrap_or(conversation)
    }
}

impl Workspace {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, requests: &Lines) {
        let mut seen = self.seen();
        for entry in self.sandbox.log_after(seen.last) {
            seen.last = entry.seq;
            if let Some(act) = &entry.act {
                seen.acts += 1;
                let named = act.value.as_deref().filter(|_| act.act == "create");
                if let Some(wished) = named.and_then(track::wished_by) {
                    seen.keys.insert(act.channel.clone(), wished.key);
                }
            }
            if let Some(ts) = &entry.stored_ts
                && let (Some(call), Some(lane)) = (call_in(argument(&entry, "text")), lane(&entry))
            {
                let lane = seen.lane(lane);
                seen.stored.insert((call.to_owned(), lane), ts.clone());
            }
            if matches!(&*entry.method, "chat.update" | "chat.delete") && entry.outcome == "ok" {
                seen.changed.insert(argument(&entry, "ts").to_owned());
            }
            requests.write(&request(&entry, self.tenant));
        }
    }
}

fn member(tenant: Tenant, number: usize) -> Value {
    json!({
        "id": tenant.member_id(number), "name": format!("person{number}"),
        "profile": { "email": email(number) },
    })
}

/// The text of this request's messages, from which `call_in` reads the request.
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

fn request(entry: &LogEntry, tenant: Tenant) -> Request {
    Request {
        tenant: tenant.name(),
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
        name: Some(argument(entry, "name").to_owned()).filter(|name| !name.is_empty()),
        act: entry.act.as_ref().map(|act| Act {
            kind: act.act.to_owned(),
            channel: act.channel.clone(),
            joined: act.joined.clone(),
            left: act.left.clone(),
            refused: act.refused.clone(),
        }),
    }
}

/// The sandbox's description of a channel.
fn place(channel: &Value, bot: &str) -> Place {
    let text = |name: &str| channel[name].as_str().unwrap_or_default().to_owned();
    let members = channel["members"].as_array().into_iter().flatten();
    let members: BTreeSet<String> =
        members.filter_map(|member| member["id"].as_str()).map(str::to_owned).collect();
    Place {
        id: text("id"),
        name: text("name"),
        archived: channel["is_archived"] == true,
        members: members.into_iter().filter(|member| member != bot).collect(),
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
