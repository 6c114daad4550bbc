//! The platforms: clients that call Notify at all replicas at once and behave well: they repeat a
//! request, at another replica, until it is accepted. All calls are logged.

use std::collections::BTreeMap;
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::book::{Book, now};
use crate::dice::Dice;
use crate::evidence::{Answer, Call, Purpose, Verdict};
use crate::slack::text_of;
use crate::tenant::{Tenant, email, person};

/// How long a client waits for one answer; a frozen replica gives none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// The longest pause between two tries, however long Herald asks for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The percentage of calls with a subject, so that a later call can change their messages; and,
/// once there are such calls, the percentage of calls that do change one.
const ABOUT: usize = 12;
const CHANGED: usize = 20;
/// The last few are not changed: some messages should be posted before they are changed.
const OPEN: usize = 2;

/// The people and channels that messages go to.
#[derive(Debug, Clone)]
pub(crate) struct Audience {
    pub(crate) tenant: Tenant,
    pub(crate) people: usize,
    pub(crate) channels: Vec<String>,
}

impl Audience {
    /// Some of them, each once.
    fn some(&self, dice: &mut Dice) -> Vec<Target> {
        let count = match dice.below(10) {
            0 => 10 + dice.below(15),
            1..=3 => 2 + dice.below(4),
            _ => 1,
        };
        let all = self.people + self.channels.len();
        let mut targets = BTreeMap::new();
        for _ in 0..count {
            let at = dice.below(all);
            let target = match at.checked_sub(self.people) {
                Some(channel) => Target::Channel(self.channels[channel].clone()),
                None => Target::Person(at),
            };
            targets.insert(at, target);
        }
        targets.into_values().collect()
    }
}

#[derive(Debug, Clone)]
enum Target {
    Person(usize),
    Channel(String),
    /// A channel by the platform's key.
    Key(String),
}

impl Target {
    fn lane(&self, tenant: Tenant) -> String {
        match self {
            Self::Person(number) => tenant.member_id(*number),
            Self::Channel(id) | Self::Key(id) => id.clone(),
        }
    }

    fn recipient(&self) -> pb::Recipient {
        use pb::recipient::Target as Wire;
        let target = match self {
            Self::Person(number) => Wire::UserId(person(*number)),
            Self::Channel(id) => Wire::ChannelId(id.clone()),
            Self::Key(key) => Wire::ChannelKey(key.clone()),
        };
        pb::Recipient { target: Some(target), roles: Vec::new() }
    }
}

pub(crate) fn described(number: usize) -> pb::Person {
    pb::Person { user_id: person(number), email: email(number), ..pb::Person::default() }
}

/// The lane of a verdict.
fn lane_of(verdict: &pb::Verdict, tenant: Tenant) -> String {
    use pb::verdict::Recipient;
    match &verdict.recipient {
        Some(Recipient::UserId(user)) => {
            let number = user.strip_prefix("person-").and_then(|number| number.parse().ok());
            number.map_or_else(|| user.clone(), |number| tenant.member_id(number))
        }
        Some(Recipient::ChannelId(channel)) => channel.clone(),
        Some(Recipient::ChannelKey(key)) => key.clone(),
        None => String::new(),
    }
}

/// How a call is made.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Plain,
    /// With a deadline that may be too short.
    Deadline(Duration),
    /// The client gives up after this time.
    GivenUp(Duration),
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Deadline(_) => "deadline",
            Self::GivenUp(_) => "given up",
        }
    }
}

/// One client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) dice: Dice,
    pub(crate) replicas: Vec<Channel>,
    pub(crate) audience: Audience,
    pub(crate) book: Book,
    /// Recipients that it requests each second.
    pub(crate) rate: f64,
    /// Calls with a subject that no later call has changed.
    pub(crate) open: Vec<String>,
    /// Also makes calls that are given up, raced or refused: the faults of clients (faults.md, 6
    /// and 7).
    pub(crate) unruly: bool,
}

/// An accepted call: request id, notification, and the lanes and deliveries that were queued.
pub(crate) struct Accepted {
    pub(crate) tenant: Tenant,
    pub(crate) call: String,
    /// The call whose messages it changes; `None` for a call with messages of its own.
    pub(crate) changes: Option<String>,
    pub(crate) notification: String,
    pub(crate) queued: Vec<Verdict>,
}

impl Client {
    /// Calls until told to stop. A request, once begun, is repeated until it is accepted.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        for number in 0.. {
            if stop.is_cancelled() {
                break;
            }
            let id = format!("{}-{number}", self.number);
            let request = self.request(&id);
            let recipients = request.targets.len().max(1);
            accepted.push(self.insist(&request, None).await);
            if request.purpose == Purpose::Deliver {
                self.open.extend(request.subject.clone());
            }
            if self.unruly && self.dice.percent(3) {
                self.reuse(&request).await;
            }
            if self.unruly && self.dice.percent(2) {
                self.unusable(number).await;
            }
            let pause = recipients_seconds(recipients) / self.rate;
            let spread = 0.5 + recipients_seconds(self.dice.below(1000)) / 1000.0;
            let pause = sleep(Duration::from_secs_f64(pause * spread));
            tokio::select! { () = pause => {}, () = stop.cancelled() => {} }
        }
        accepted
    }

    fn request(&mut self, id: &str) -> Asked {
        if self.open.len() > OPEN && self.dice.percent(CHANGED) {
            return self.change(id);
        }
        let targets = self.audience.some(&mut self.dice);
        let expires_in = (self.unruly && self.dice.percent(2))
            .then(|| Duration::from_secs(1 + self.dice.below(3) as u64));
        // A message that expires may be missing when a later call wants to change it.
        let about = expires_in.is_none() && self.dice.percent(ABOUT);
        let subject = about.then(|| id.to_owned());
        let purpose = Purpose::Deliver;
        Asked { id: id.to_owned(), targets, expires_in, usable: true, purpose, subject }
    }

    /// A call that takes back or crosses out the messages of an earlier call, for all recipients.
    fn change(&mut self, id: &str) -> Asked {
        let subject = self.open.remove(0);
        let purpose = if self.dice.percent(50) { Purpose::Retract } else { Purpose::Cross };
        Asked {
            id: id.to_owned(),
            targets: Vec::new(),
            expires_in: None,
            usable: true,
            purpose,
            subject: Some(subject),
        }
    }

    /// Notifies these people, first at that replica, then at any other until the call is accepted.
    pub(crate) async fn notify(&mut self, id: String, people: &[usize], at: usize) -> Accepted {
        let targets = people.iter().map(|number| Target::Person(*number)).collect();
        self.insist(&Asked::to(id, targets), Some(at)).await
    }

    /// Notifies the channel with this key, which may not exist yet.
    pub(crate) async fn notify_key(&mut self, id: String, key: String) -> Accepted {
        self.insist(&Asked::to(id, vec![Target::Key(key)]), None).await
    }

    /// Repeats the call until it is accepted.
    async fn insist(&mut self, asked: &Asked, first: Option<usize>) -> Accepted {
        let mut replica = first.unwrap_or_else(|| self.dice.below(self.replicas.len()));
        loop {
            let manner = match self.dice.below(100) {
                0..6 if self.unruly => Manner::Deadline(self.dice.millis(1, 60)),
                6..12 if self.unruly => Manner::GivenUp(self.dice.millis(0, 60)),
                _ => Manner::Plain,
            };
            let race = self.unruly && self.dice.percent(4);
            let other = self.dice.below(self.replicas.len());
            let (answer, wait) = if race {
                let first = self.call(asked, asked.purpose, replica, manner);
                let second = self.call(asked, asked.purpose, other, Manner::Plain);
                let (first, second) = tokio::join!(first, second);
                if matches!(first.0, Answer::Accepted { .. }) { first } else { second }
            } else {
                self.call(asked, asked.purpose, replica, manner).await
            };
            if let Answer::Accepted { notification, verdicts } = answer {
                let queued = verdicts.into_iter().filter(|verdict| verdict.queued).collect();
                let changes = asked.subject.clone().filter(|_| asked.purpose.changes());
                let (tenant, call) = (self.audience.tenant, asked.id.clone());
                return Accepted { tenant, call, changes, notification, queued };
            }
            sleep(wait.min(LONGEST_WAIT)).await;
            replica = (replica + 1 + self.dice.below(self.replicas.len())) % self.replicas.len();
        }
    }

    /// Uses the id again with another payload, until the call is refused for that reason.
    async fn reuse(&mut self, asked: &Asked) {
        let targets = vec![Target::Person(0), Target::Person(1), Target::Person(2)];
        let other = Asked { targets, expires_in: Some(Duration::from_secs(77)), ..asked.clone() };
        self.until_final(&other, Purpose::Reuse).await;
    }

    async fn unusable(&mut self, number: usize) {
        let id = format!("{}-{number}-0", self.number);
        let bad = Asked {
            id,
            targets: vec![Target::Person(0)],
            expires_in: None,
            usable: false,
            purpose: Purpose::Unusable,
            subject: None,
        };
        self.until_final(&bad, Purpose::Unusable).await;
    }

    async fn until_final(&mut self, asked: &Asked, purpose: Purpose) {
        const PASSING: [&str; 4] =
            ["Unavailable", "ResourceExhausted", "DeadlineExceeded", "Cancelled"];
        loop {
            let replica = self.dice.below(self.replicas.len());
            let (answer, wait) = self.call(asked, purpose, replica, Manner::Plain).await;
            let again = match &answer {
                Answer::Accepted { .. } => false,
                Answer::Refused { code, .. } => PASSING.contains(&code.as_str()),
                Answer::Lost { .. } => true,
            };
            if !again {
                return;
            }
            sleep(wait.min(LONGEST_WAIT)).await;
        }
    }

    /// Makes one call and logs it. Returns the answer, and how long to wait before the next call.
    async fn call(
        &self,
        asked: &Asked,
        purpose: Purpose,
        replica: usize,
        manner: Manner,
    ) -> (Answer, Duration) {
        let mut service = HeraldServiceClient::new(self.replicas[replica].clone());
        let tenant = self.audience.tenant;
        let mut request = Request::new(asked.wire(tenant));
        let mut patience = PATIENCE;
        match manner {
            Manner::Plain => {}
            Manner::Deadline(deadline) => request.set_timeout(deadline),
            Manner::GivenUp(after) => patience = after,
        }
        let began = now();
        let answered = timeout(patience, service.notify(request)).await;
        let ended = now();
        let mut wait = Duration::from_millis(20);
        let answer = match answered {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                let verdicts = response.verdicts.iter();
                let verdicts = verdicts.map(|one| verdict(one, tenant)).collect();
                Answer::Accepted { notification: response.notification_id, verdicts }
            }
            Ok(Err(status)) => {
                let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
                wait = retry.unwrap_or(wait);
                refusal(&status, retry.is_some())
            }
            Err(_) => Answer::Lost { why: "no answer in time".into() },
        };
        self.book.call(&Call {
            tenant: tenant.name(),
            id: asked.id.clone(),
            purpose,
            replica,
            manner: manner.name().into(),
            began,
            ended,
            lanes: asked.targets.iter().map(|target| target.lane(tenant)).collect(),
            expires_in: asked.expires_in.and_then(|wait| i64::try_from(wait.as_micros()).ok()),
            subject: asked.subject.clone(),
            answer: answer.clone(),
        });
        (answer, wait)
    }
}

/// A notification to ask for.
#[derive(Debug, Clone)]
struct Asked {
    id: String,
    targets: Vec<Target>,
    expires_in: Option<Duration>,
    usable: bool,
    purpose: Purpose,
    /// The first call with this subject.
    subject: Option<String>,
}

impl Asked {
    fn to(id: String, targets: Vec<Target>) -> Self {
        let purpose = Purpose::Deliver;
        Self { id, targets, expires_in: None, usable: true, purpose, subject: None }
    }

    fn wire(&self, tenant: Tenant) -> pb::NotifyRequest {
        let data =
            json!({ "task": { "name": text_of(&self.id) }, "due_at": "2026-11-27T16:00:00Z" });
        let link = if self.usable { "https://platform.example/task/1" } else { "no link" };
        let action = match self.purpose {
            Purpose::Retract => pb::SubjectAction::Retract,
            Purpose::Cross => pb::SubjectAction::Done,
            Purpose::Deliver | Purpose::Reuse | Purpose::Unusable => pb::SubjectAction::NewMessage,
        };
        // A call that only takes back or crosses out has no message of its own.
        let speaks = !self.purpose.changes();
        pb::NotifyRequest {
            tenant_id: tenant.name(),
            request_id: self.id.clone(),
            event_type: "task.due".into(),
            recipients: self.targets.iter().map(Target::recipient).collect(),
            data: data.as_object().cloned().filter(|_| speaks).map(herald::rpc::to_struct),
            link: if speaks { link.into() } else { String::new() },
            subject_key: self.subject.clone().unwrap_or_default(),
            subject_action: if self.subject.is_some() { action.into() } else { 0 },
            expires_in: self.expires_in.and_then(|wait| prost_types::Duration::try_from(wait).ok()),
            ..pb::NotifyRequest::default()
        }
    }
}

fn verdict(verdict: &pb::Verdict, tenant: Tenant) -> Verdict {
    Verdict {
        lane: lane_of(verdict, tenant),
        queued: verdict.kind() == pb::VerdictKind::Queued,
        delivery: verdict.delivery_id.clone(),
    }
}

/// Herald's refusals carry a reason; a status without one comes from the connection.
pub(crate) fn refusal(status: &Status, retry_info: bool) -> Answer {
    match status.get_details_error_info() {
        Some(info) => Answer::Refused {
            code: format!("{:?}", status.code()),
            reason: info.reason,
            retry_info,
        },
        None => Answer::Lost { why: format!("{:?}: {}", status.code(), status.message()) },
    }
}

/// A small count as a number to compute with.
fn recipients_seconds(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
