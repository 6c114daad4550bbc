//! The audit trail at run time: it counts and writes calls that changed nothing, records uses of
//! keys, chains the entries, and removes old ones. Calls that change something write their own
//! entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Actor, Call, Caller, Role};
use crate::domain::access::audit::{self, AuditDetail, AuditKind, AuditOutcome, Entry, Tally};
use crate::domain::ids::{Principal, TenantId};
use crate::store::{self, Store};
use crate::telemetry::Metrics;

/// The audit trail's settings (`[audit]`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days for which entries are kept. Default `400`.
    pub keep_days: u32,
    /// Hours for which an API key must be unused so that its next use is recorded as a sign-in.
    /// Default `24`.
    pub silence_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { keep_days: 400, silence_hours: 24 }
    }
}

impl Config {
    /// Refuses values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=36_500).contains(&self.keep_days) {
            return Err("keep_days must be between 1 and 36500".into());
        }
        if !(1..=8_760).contains(&self.silence_hours) {
            return Err("silence_hours must be between 1 and 8760".into());
        }
        Ok(())
    }
}

/// The longest time that entries wait until they are looked for.
const POLL: Duration = Duration::from_secs(1);
/// The least time between two rounds.
const REST: Duration = Duration::from_millis(20);
/// The time between two looks for entries that are too old.
const PRUNE: Duration = Duration::from_secs(60);
/// Entries per step.
const BATCH: u32 = 256;
/// The longest that a round takes in good health.
const ROUND: Duration = Duration::from_secs(60);
/// Keys whose last use is remembered, and uses that may wait to be written.
const KEYS: usize = 10_000;
/// A use of a key is written again after this fraction of the silence after which the next use is a
/// sign-in.
const SHARE: u32 = 24;

/// The audit trail of this process. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    metrics: Metrics,
    began: Instant,
    tally: Mutex<Tally>,
    uses: Mutex<Uses>,
    /// Notified when an entry must be written at once.
    due: Notify,
    kept: Duration,
    silence: Duration,
}

/// A principal, and the first digits of its key's hash.
type KeyOf = (Principal, String);

#[derive(Default)]
struct Uses {
    written: HashMap<KeyOf, Instant>,
    waiting: Vec<KeyOf>,
}

/// A call, after it ended.
pub struct Ended<'a> {
    /// Such as `herald.v1.AdminService/ListPeople`.
    pub method: &'a str,
    /// `None`: the caller is unknown.
    pub caller: Option<&'a Caller>,
    /// The tenant and the actor, if that part of the request could be read.
    pub about: Option<&'a (TenantId, Option<Actor>)>,
    /// The reason in the answer, and whether permission was missing; `None`: OK.
    pub failed: Option<(String, AuditOutcome)>,
}

impl Trail {
    pub(super) fn new(store: Store, metrics: Metrics, config: &Config) -> Self {
        let inner = Inner {
            store,
            metrics,
            began: Instant::now(),
            tally: Mutex::default(),
            uses: Mutex::default(),
            due: Notify::new(),
            kept: Duration::from_secs(u64::from(config.keep_days) * 86_400),
            silence: Duration::from_secs(u64::from(config.silence_hours) * 3_600),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Notes how a call ended, if the trail includes such calls and the call did not record itself:
    /// every refusal because of missing permission, every call of an administrator, every call of
    /// `AdminService`.
    pub fn ended(&self, call: &Ended<'_>) {
        let (service, action) = call.method.rsplit_once('/').unwrap_or(("", call.method));
        let (reason, outcome) = call.failed.clone().unwrap_or((String::new(), AuditOutcome::Done));
        if outcome == AuditOutcome::Done && audit::is_change(action) {
            return;
        }
        let actor = call.about.and_then(|(_, actor)| actor.as_ref());
        let administers = call.caller.is_some_and(|caller| caller.role == Role::Administrator)
            || actor.is_some_and(|actor| actor.administer);
        if outcome != AuditOutcome::Refused && !administers && !service.ends_with("AdminService") {
            return;
        }
        let mut kind = AuditKind {
            tenant: call.about.map(|(tenant, _)| tenant.clone()),
            actor: actor.map(|actor| actor.user_id.clone()),
            action: action.to_owned(),
            outcome,
            reason,
            object: String::new(),
        };
        // A caller without access to a tenant must not add entries to that tenant's trail.
        if kind.reason == "TENANT_NOT_ALLOWED" {
            let tenant = kind.tenant.take();
            kind.object = tenant.map(|tenant| format!("tenant:{tenant}")).unwrap_or_default();
            kind.actor = None;
        }
        self.count(call.caller.map(|caller| &caller.principal), kind);
    }

    /// Notes that a browser came back from Slack that had not opened the link, and was refused. It
    /// is counted like the refusals of unknown callers: no person is signed in.
    pub(super) fn refused_browser(&self, tenant: &TenantId) {
        self.other_browser(tenant, audit::COMPLETE_CONNECT);
    }

    /// The same for an identity link.
    pub(super) fn refused_identity_browser(&self, tenant: &TenantId) {
        self.other_browser(tenant, audit::PROVE_IDENTITY);
    }

    fn other_browser(&self, tenant: &TenantId, action: &str) {
        let kind = AuditKind {
            tenant: Some(tenant.clone()),
            actor: None,
            action: action.to_owned(),
            outcome: AuditOutcome::Refused,
            reason: "other_browser".to_owned(),
            object: String::new(),
        };
        self.count(None, kind);
    }

    fn count(&self, principal: Option<&Principal>, kind: AuditKind) {
        let now = self.inner.began.elapsed();
        if lock(&self.inner.tally).note(principal, kind, now) {
            self.inner.due.notify_one();
        }
    }

    /// Notes that a key was used; `key` are the first digits of its hash.
    pub fn used(&self, principal: &Principal, key: &str) {
        let of = (principal.clone(), key.to_owned());
        let now = Instant::now();
        let mut uses = lock(&self.inner.uses);
        let recent = |at: &Instant| now.duration_since(*at) < self.inner.silence / SHARE;
        if uses.written.get(&of).is_some_and(recent) || uses.waiting.len() >= KEYS {
            return;
        }
        if uses.written.len() >= KEYS {
            uses.written.clear();
        }
        uses.written.insert(of.clone(), now);
        uses.waiting.push(of);
        self.inner.due.notify_one();
    }

    /// Writes, chains and prunes until stopped. Entries noted later wait for [`Trail::flush`].
    pub async fn run(self, stop: CancellationToken) {
        let inner = &self.inner;
        let rounds = inner.metrics.watchdog().watch("the audit trail", POLL + ROUND);
        let (mut troubled, mut pruned) = (false, None::<Instant>);
        while !stop.is_cancelled() {
            rounds.next();
            let prune = pruned.is_none_or(|at| at.elapsed() >= PRUNE);
            let done = self.round(prune, &rounds).await;
            if let Err(error) = &done
                && !troubled
            {
                tracing::warn!(%error, "the audit trail was not written; retrying");
            }
            troubled = done.is_err();
            if prune && !troubled {
                pruned = Some(Instant::now());
            }
            let woken = async {
                tokio::time::sleep(REST).await;
                tokio::select! {
                    () = inner.due.notified() => {}
                    () = inner.store.audit().written().notified() => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
                () = woken, if !troubled => {}
            }
        }
    }

    /// Writes all noted entries, and chains them as far as possible: at the end, once no call is
    /// under way.
    pub async fn flush(&self) -> Result<(), store::Error> {
        self.write(true).await?;
        self.chain(|| {}).await
    }

    async fn round(
        &self,
        prune: bool,
        rounds: &crate::telemetry::Rounds,
    ) -> Result<(), store::Error> {
        self.write(false).await?;
        self.chain(|| rounds.next()).await?;
        while prune && self.inner.store.audit().prune(self.inner.kept, BATCH).await? > 0 {
            rounds.next();
        }
        Ok(())
    }

    async fn chain(&self, step: impl Fn()) -> Result<(), store::Error> {
        loop {
            step();
            let chained = self.inner.store.audit().chain(BATCH).await?;
            self.inner.metrics.audit_entries(chained.unwrap_or(0).into());
            if chained.is_none_or(|chained| chained < BATCH) {
                return Ok(());
            }
        }
    }

    async fn write(&self, all: bool) -> Result<(), store::Error> {
        let inner = &self.inner;
        let mut entries = self.signed_in().await?;
        let now = inner.began.elapsed();
        entries.extend(lock(&inner.tally).due(now, all));
        if entries.is_empty() {
            return Ok(());
        }
        let written = inner.store.audit().write(&entries).await;
        if written.is_err() {
            lock(&inner.tally).restore(entries, now);
        }
        written
    }

    /// Writes the waiting uses; those after a silence are entries.
    async fn signed_in(&self) -> Result<Vec<Entry>, store::Error> {
        let inner = &self.inner;
        let waiting = std::mem::take(&mut lock(&inner.uses).waiting);
        let mut entries = Vec::new();
        for (index, (principal, key)) in waiting.iter().enumerate() {
            match inner.store.audit().note_use(principal.as_str(), key, inner.silence).await {
                Ok(true) => entries.push(sign_in(principal, key)),
                Ok(false) => {}
                Err(error) => {
                    lock(&inner.tally).restore(entries, inner.began.elapsed());
                    lock(&inner.uses).waiting.extend_from_slice(&waiting[index..]);
                    return Err(error);
                }
            }
        }
        Ok(entries)
    }
}

impl Call {
    /// The entry of this call, if it is done.
    pub(super) fn entry(&self, action: &str) -> Entry {
        Entry {
            tenant: Some(self.tenant.clone()),
            principal: Some(self.caller.principal.clone()),
            actor: self.actor.as_ref().map(|actor| actor.user_id.clone()),
            action: action.to_owned(),
            outcome: AuditOutcome::Done,
            reason: String::new(),
            times: 1,
            subject: None,
            detail: AuditDetail::default(),
        }
    }
}

fn sign_in(principal: &Principal, key: &str) -> Entry {
    Entry {
        tenant: None,
        principal: Some(principal.clone()),
        actor: None,
        action: audit::SIGN_IN.to_owned(),
        outcome: AuditOutcome::Done,
        reason: String::new(),
        times: 1,
        subject: None,
        detail: AuditDetail { object: format!("key:{key}"), ..AuditDetail::default() },
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
