//! The platforms' calls about channels: each client keeps one channel after the other. It makes
//! every call at two replicas at once, and repeats it until one of them accepts it. Beside it, a
//! speaker sends messages to the channel, from the first wish on.
//!
//! A call without an answer may be carried out later, so each client states its last wishes once
//! more when the faults are over and no earlier call can be under way.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::channel_service_client::ChannelServiceClient;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::book::{Book, now};
use crate::client::{Accepted, Client, LONGEST_WAIT, PATIENCE, refusal};
use crate::dice::Dice;
use crate::evidence::{Answer, ChannelCall, Statement};
use crate::tenant::{Tenant, person};
use crate::track::{Track, listed};

/// The number of clients.
pub(crate) const DRIVERS: usize = 6;
/// This client states the same wish again and again.
const STEADY: usize = 0;
/// From this one on, clients also archive and release their channels, and send no messages to them.
const SILENT: usize = 4;
/// Calls about one channel before the next one.
const LENGTH: usize = 6;
/// The pause between two calls of one client, and between two messages to one channel, in
/// milliseconds, from and to.
const REST: (usize, usize) = (1_500, 3_000);
const STEADY_REST: (usize, usize) = (800, 1_200);
const SILENCE: (usize, usize) = (1_500, 3_000);
/// No call is under way for longer than this after its client gave it up; while replicas freeze,
/// for longer than that.
const LATE: Duration = Duration::from_secs(5);
const LATE_BY_FAULTS: Duration = Duration::from_secs(15);

/// One client.
pub(crate) struct Driver {
    pub(crate) number: usize,
    pub(crate) dice: Dice,
    pub(crate) replicas: Vec<Channel>,
    /// The number of people that can be wished for.
    pub(crate) people: usize,
    pub(crate) book: Book,
    /// After a failover, people may count as having left.
    pub(crate) fails_over: bool,
    /// The key of the channel that it keeps now, for its speaker.
    pub(crate) key: watch::Sender<Option<String>>,
    /// When a call last ended without a clear answer.
    pub(crate) unclear: Option<Instant>,
}

/// The outcome of a call that was repeated until its answer was final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stated {
    /// Every try was answered.
    Known,
    /// Some try was not answered and may still be carried out.
    Unclear,
    /// There is no channel of this key.
    Missing,
}

/// Sends messages to the channel that the driver keeps.
pub(crate) async fn speak(
    mut client: Client,
    keys: watch::Receiver<Option<String>>,
    stop: CancellationToken,
) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    for number in 0.. {
        let pause = sleep(client.dice.millis(SILENCE.0, SILENCE.1));
        tokio::select! { () = pause => {}, () = stop.cancelled() => break }
        let key = keys.borrow().clone();
        let Some(key) = key else { continue };
        let id = format!("{}-{number}", client.number);
        accepted.push(client.notify_key(id, key).await);
    }
    accepted
}

impl Driver {
    pub(crate) fn speaks(number: usize) -> bool {
        number < SILENT
    }

    /// Calls until told to stop. Returns the last wishes, which are stated once more.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Vec<Track> {
        let mut tracks = vec![self.begin(0).await];
        for call in 1_usize.. {
            let rest = if self.number == STEADY { STEADY_REST } else { REST };
            let rest = sleep(self.dice.millis(rest.0, rest.1));
            tokio::select! { () = rest => {}, () = stop.cancelled() => break }
            let released = tracks.last().is_some_and(|track| track.released);
            if self.number != STEADY && (released || call.is_multiple_of(LENGTH)) {
                let next = self.begin(tracks.len()).await;
                tracks.push(next);
            } else if let Some(track) = tracks.last_mut() {
                self.step(track).await;
            }
        }
        sleep(LATE).await;
        for track in tracks.iter().filter(|track| !track.released) {
            self.restate(track).await;
        }
        tracks
    }

    /// Wishes for a new channel.
    async fn begin(&mut self, number: usize) -> Track {
        let count = 3 + self.dice.below(6);
        let track = Track::new(self.number, number, self.some(count));
        self.ensure(&track).await;
        self.key.send_replace(Some(track.key()));
        track
    }

    fn some(&mut self, count: usize) -> BTreeSet<usize> {
        (0..count).map(|_| self.dice.below(self.people)).collect()
    }

    /// The next call about the channel.
    async fn step(&mut self, track: &mut Track) {
        let silent = self.number >= SILENT;
        match self.dice.below(100) {
            _ if self.number == STEADY => self.ensure(track).await,
            // An archived channel is wished for again, or released.
            0..70 if track.archived => {
                track.archived = false;
                self.ensure(track).await;
            }
            0..30 => {
                self.change_members(track);
                self.ensure(track).await;
            }
            30..45 => {
                let members = self.some(2);
                track.members.extend(&members);
                self.edit(track, Statement::Add { members }).await;
            }
            45..60 => {
                let members: BTreeSet<usize> = track.members.iter().copied().take(2).collect();
                track.members.retain(|member| !members.contains(member));
                if !members.is_empty() {
                    self.edit(track, Statement::Remove { members }).await;
                }
            }
            60..70 => {
                self.change_members(track);
                let members = track.members.clone();
                self.edit(track, Statement::Set { members }).await;
            }
            85..95 if silent && !track.archived => {
                track.archived = true;
                self.edit(track, Statement::Archive).await;
            }
            95.. if silent && self.is_clear() => self.release(track).await,
            _ if track.archived => {
                track.archived = false;
                self.ensure(track).await;
            }
            _ => {
                track.renames += 1;
                let name = track.name();
                self.edit(track, Statement::Rename { name }).await;
            }
        }
    }

    /// Whether no earlier call can still be under way: it could make a released channel again.
    fn is_clear(&self) -> bool {
        self.unclear.is_none_or(|at| at.elapsed() > LATE_BY_FAULTS)
    }

    /// Some people leave and others come.
    fn change_members(&mut self, track: &mut Track) {
        for person in self.some(3) {
            if !track.members.remove(&person) {
                track.members.insert(person);
            }
        }
    }

    async fn ensure(&mut self, track: &Track) {
        let (name, members) = (track.name(), track.members.clone());
        self.state(track, &Statement::Ensure { name, members }).await;
    }

    /// Changes a channel. If a failover forgot it, it is wished for again.
    async fn edit(&mut self, track: &Track, statement: Statement) {
        if self.state(track, &statement).await == Stated::Missing {
            self.ensure(track).await;
            if track.archived {
                self.state(track, &Statement::Archive).await;
            }
        }
    }

    /// Forgets the channel. If it is known that no such call is still under way, the key gets
    /// another channel.
    async fn release(&mut self, track: &mut Track) {
        let stated = self.state(track, &Statement::Release).await;
        if stated == Stated::Unclear {
            track.released = true;
            return;
        }
        track.generation += 1;
        (track.renames, track.archived) = (0, false);
        self.ensure(track).await;
    }

    /// States the last wish once more. Slack's name for a channel is that of the last wish, even if
    /// an older call to rename it was carried out late.
    async fn restate(&mut self, track: &Track) {
        self.ensure(track).await;
        if self.fails_over && !track.members.is_empty() {
            let members = track.members.clone();
            self.state(track, &Statement::Add { members }).await;
        }
        if track.archived {
            self.state(track, &Statement::Archive).await;
        }
    }

    /// Makes the call at two replicas at once, until one of them has accepted it.
    async fn state(&mut self, track: &Track, statement: &Statement) -> Stated {
        let mut unclear = false;
        loop {
            let (one, other) = self.two();
            let first = self.call(track, statement, one);
            let second = self.call(track, statement, other);
            let (first, second) = tokio::join!(first, second);
            let answers = [&first.0, &second.0];
            let is_missing = |answer: &&Answer| match answer {
                Answer::Refused { code, .. } => code == "NotFound",
                Answer::Accepted { .. } | Answer::Lost { .. } => false,
            };
            // A refusal for the time being may come after the work was done.
            unclear |= answers
                .iter()
                .any(|answer| !matches!(answer, Answer::Accepted { .. }) && !is_missing(answer));
            if unclear {
                self.unclear = Some(Instant::now());
            }
            if answers.iter().any(|answer| matches!(answer, Answer::Accepted { .. })) {
                return if unclear { Stated::Unclear } else { Stated::Known };
            }
            if answers.iter().any(is_missing) {
                let released = *statement == Statement::Release && unclear;
                return if released { Stated::Unclear } else { Stated::Missing };
            }
            sleep(first.1.min(second.1).min(LONGEST_WAIT)).await;
        }
    }

    /// Two different replicas, if there are two.
    fn two(&mut self) -> (usize, usize) {
        let count = self.replicas.len();
        let first = self.dice.below(count);
        let step = 1 + self.dice.below(count.saturating_sub(1));
        (first, (first + step) % count)
    }

    /// Makes one call and logs it. Returns the answer, and how long to wait before the next call.
    async fn call(
        &self,
        track: &Track,
        statement: &Statement,
        replica: usize,
    ) -> (Answer, Duration) {
        let began = now();
        let service = ChannelServiceClient::new(self.replicas[replica].clone());
        let answered = timeout(PATIENCE, ask(service, track, statement)).await;
        let ended = now();
        let mut wait = Duration::from_millis(20);
        let answer = match answered {
            Ok(Ok(())) => Answer::Accepted { notification: String::new(), verdicts: Vec::new() },
            Ok(Err(status)) => {
                let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
                wait = retry.unwrap_or(wait);
                refusal(&status, retry.is_some())
            }
            Err(_) => Answer::Lost { why: "no answer in time".into() },
        };
        self.book.channel_call(&ChannelCall {
            key: track.key(),
            generation: track.generation,
            statement: statement.clone(),
            replica,
            began,
            ended,
            answer: answer.clone(),
        });
        (answer, wait)
    }
}

/// The call itself. Its deadline ends it at the replica as well.
async fn ask(
    mut service: ChannelServiceClient<Channel>,
    track: &Track,
    statement: &Statement,
) -> Result<(), Status> {
    let (tenant_id, channel_key) = (Tenant::MAIN.name(), track.key());
    match statement {
        Statement::Ensure { members, .. } => {
            let members = Some(pb::ChannelMembers { members: listed(members) });
            let request = pb::EnsureChannelRequest {
                tenant_id,
                channel_key,
                wish: Some(track.wish()),
                members,
                ..pb::EnsureChannelRequest::default()
            };
            service.ensure_channel(in_time(request)).await.map(drop)
        }
        Statement::Set { members } => {
            let (members, actor) = (listed(members), None);
            let request = pb::SetChannelMembersRequest { tenant_id, channel_key, members, actor };
            service.set_channel_members(in_time(request)).await.map(drop)
        }
        Statement::Add { members } => {
            let (members, actor) = (listed(members), None);
            let request = pb::AddChannelMembersRequest { tenant_id, channel_key, members, actor };
            service.add_channel_members(in_time(request)).await.map(drop)
        }
        Statement::Remove { members } => {
            let user_ids = members.iter().copied().map(person).collect();
            let actor = None;
            let request =
                pb::RemoveChannelMembersRequest { tenant_id, channel_key, user_ids, actor };
            service.remove_channel_members(in_time(request)).await.map(drop)
        }
        Statement::Rename { name } => {
            let (name, actor) = (name.clone(), None);
            let request = pb::RenameChannelRequest { tenant_id, channel_key, name, actor };
            service.rename_channel(in_time(request)).await.map(drop)
        }
        Statement::Archive => {
            let request = pb::ArchiveChannelRequest { tenant_id, channel_key, actor: None };
            service.archive_channel(in_time(request)).await.map(drop)
        }
        Statement::Release => {
            let request = pb::ReleaseChannelRequest { tenant_id, channel_key, actor: None };
            service.release_channel(in_time(request)).await.map(drop)
        }
    }
}

fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
