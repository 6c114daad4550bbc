//! One run: calls before the member list was read; calls without faults; calls with faults; a time
//! without faults until all messages are delivered; and the end of the logs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::book::{Book, now};
use crate::bystanders;
use crate::client::{Accepted, Client};
use crate::dice::Dice;
use crate::evidence::{self, Fate, Rules};
use crate::nemesis::{Kind, Stage};
use crate::postgres::Postgres;
use crate::probe;
use crate::processors::Processors;
use crate::reader;
use crate::site::{GRACE, LEASE_SECONDS, Site, Size, store_settings};
use crate::tenant::Tenant;
use crate::track::Track;
use crate::track_ends;
use crate::tracks::{self, DRIVERS, Driver};

/// Posts a minute that the sandbox accepts for one workspace, before the time factor.
const POSTS_PER_MINUTE: f64 = 600.0;
/// The pause between two reads of Slack's log.
const COLLECT: Duration = Duration::from_millis(200);
/// The time of the last look into history, in Slack's seconds.
const LAST_LOOK: f64 = 30.0;
/// How long the remaining messages may take until they count as lost, in addition to the time that
/// Slack's limits need.
const PATIENCE: Duration = Duration::from_secs(90);
/// The number of recurring kinds of faults from which on each strikes at its ordinary pace.
const MANY: usize = 6;

/// The first numbers of the special clients.
const WITNESSES: usize = 1_000;
const SLOW: usize = 2_000;
const SPEAKERS: usize = 3_000;

/// The parameters of a run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) replicas: usize,
    pub(crate) kinds: Vec<Kind>,
    /// Faults that were asked for and are impossible on this machine, for the summary.
    pub(crate) left_out: Vec<String>,
    pub(crate) rate: f64,
    pub(crate) clients: usize,
    pub(crate) people: usize,
    pub(crate) channels: usize,
    pub(crate) scale: f64,
    pub(crate) limits: bool,
    pub(crate) full_lengths: bool,
    pub(crate) settings: Vec<String>,
    /// The program of this release.
    pub(crate) program: PathBuf,
    /// The programs that replicas start with and are replaced by.
    pub(crate) releases: [PathBuf; 2],
    /// The pooler between replicas and database, if any.
    pub(crate) pooler: Option<PathBuf>,
}

impl Plan {
    fn size(&self) -> Size<'_> {
        Size {
            program: &self.program,
            first: &self.releases[0],
            mixed: self.is_mixed(),
            replicas: self.replicas,
            people: self.people,
            channels: self.channels,
            scale: self.scale,
            limits: self.limits,
            kinds: &self.kinds,
            pooler: self.pooler.as_deref(),
            more: &self.settings,
        }
    }

    /// Whether replicas of two releases take turns.
    fn is_mixed(&self) -> bool {
        self.releases[0] != self.releases[1]
    }

    /// The factor for the pauses between faults: if fewer kinds recur, each strikes more often.
    fn haste(&self) -> f64 {
        let recurring = self.kinds.iter().filter(|kind| kind.recurs()).count();
        if recurring < MANY { 0.4 } else { 1.0 }
    }
}

/// Runs the plan and leaves the logs in `dir`. Returns the store's counts (I1).
pub(crate) async fn run(plan: &Plan, dir: &Path) -> io::Result<String> {
    let bin =
        Postgres::installed().ok_or_else(|| io::Error::other("no PostgreSQL is installed"))?;
    let site = Site::start(bin, dir, &plan.size()).await?;
    let book = Book::open(dir)?;
    let mut watching = observe(plan, &site, &book);
    let processors = Processors::default();
    watching.spawn(processors.clone().watch(site.replicas.clone()));
    let dice = Dice::new(plan.seed);
    let mixed = plan.is_mixed();
    if mixed {
        // The previous release does not promise the order of messages accepted before the list.
        site.members_read(Tenant::MAIN).await?;
    }
    let (mut calling, stop) = clients(plan, &site, &book, &dice);
    let tracking = drivers(plan, &site, &book, &dice, &mut calling, &stop);
    site.members_read(Tenant::MAIN).await?;
    let listed = now();
    if !mixed {
        sleep(undisturbed(plan.seconds)).await;
    }
    let began = now();
    processors.begin();
    torment(plan, &site, &book, &dice).await?;
    site.slack.clear_faults();
    stop.cancel();
    let calm = now();
    println!("faults are over after {} stored messages; settling", site.slack.stored());
    let accepted = calling.join_all().await.into_iter().flatten().collect::<Vec<_>>();
    let tracks: Vec<Track> = tracking.join_all().await.into_iter().flatten().collect();
    let missing = settle(plan, &site, &accepted).await;
    track_ends::settle(&site, &tracks, PATIENCE).await;
    // If a message is to come twice, it comes in this time.
    let leases = lease(plan.scale) * 2 + Duration::from_secs_f64(LAST_LOOK * plan.scale);
    sleep(leases).await;
    fates(&site, &book, &missing).await;
    track_ends::log(&site, &book, &tracks).await;
    drop(watching);
    site.slack.close(dir)?;
    book.close();
    let rules = Rules {
        seed: plan.seed,
        scale: plan.scale,
        interval: micros(Duration::from_secs_f64(plan.scale)),
        lease: micros(lease(plan.scale)),
        posts_per_second: if plan.limits { POSTS_PER_MINUTE / 60.0 / plan.scale } else { f64::MAX },
        listed: if mixed { 0 } else { listed },
        began,
        calm,
        ended: now(),
        stretch: processors.stretch(),
        history: true,
        mixed,
        left_out: plan.left_out.clone(),
        faults: plan.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
    };
    std::fs::write(dir.join(evidence::RULES), serde_json::to_vec(&rules)?)?;
    // Dropping the cluster removes the server's log.
    std::fs::copy(site.postgres.log(), dir.join("postgres.log")).ok();
    books(&site.postgres)
}

/// The observers, until dropped: of Slack's log, of the feed, and of the replicas' health.
fn observe(plan: &Plan, site: &Site, book: &Book) -> JoinSet<()> {
    let (mut watching, slack) = (JoinSet::new(), site.slack.clone());
    watching.spawn(async move {
        loop {
            sleep(COLLECT).await;
            slack.collect();
        }
    });
    let channels = site.replicas.iter().map(crate::replica::Replica::channel).collect();
    watching.spawn(reader::read(channels, book.clone()));
    if !plan.is_mixed() {
        let channels = site.replicas.iter().map(crate::replica::Replica::channel).collect();
        watching.spawn(reader::read_channels(channels, book.clone()));
    }
    for replica in &site.replicas {
        watching.spawn(probe::watch(replica.clone(), book.clone()));
    }
    watching
}

/// A client of this tenant.
fn client(
    plan: &Plan,
    site: &Site,
    book: &Book,
    dice: &Dice,
    number: usize,
    tenant: Tenant,
) -> Client {
    Client {
        number,
        dice: dice.of(&format!("client {number}")),
        replicas: site.replicas.iter().map(crate::replica::Replica::channel).collect(),
        audience: site.audiences[tenant.0].clone(),
        book: book.clone(),
        rate: plan.rate / f64::from(u32::try_from(plan.clients.max(1)).unwrap_or(1)),
        open: Vec::new(),
        unruly: tenant == Tenant::MAIN && plan.kinds.contains(&Kind::Cancel),
    }
}

/// The clients that keep channels. Those who speak to them join the other clients. An earlier
/// release knows no channels.
fn drivers(
    plan: &Plan,
    site: &Site,
    book: &Book,
    dice: &Dice,
    calling: &mut JoinSet<Vec<Accepted>>,
    stop: &CancellationToken,
) -> JoinSet<Vec<Track>> {
    let mut tracking = JoinSet::new();
    let drivers = if plan.is_mixed() { 0 } else { DRIVERS };
    for number in 0..drivers {
        let (key, keys) = watch::channel(None);
        if Driver::speaks(number) {
            let speaker = client(plan, site, book, dice, SPEAKERS + number, Tenant::MAIN);
            let speaker = Client { unruly: false, ..speaker };
            calling.spawn(tracks::speak(speaker, keys, stop.clone()));
        }
        let driver = Driver {
            number,
            dice: dice.of(&format!("driver {number}")),
            replicas: site.replicas.iter().map(crate::replica::Replica::channel).collect(),
            people: plan.people,
            book: book.clone(),
            fails_over: plan.kinds.contains(&Kind::Failover),
            key,
            unclear: None,
        };
        tracking.spawn(driver.run(stop.clone()));
    }
    tracking
}

/// The clients, and the token that stops them.
fn clients(
    plan: &Plan,
    site: &Site,
    book: &Book,
    dice: &Dice,
) -> (JoinSet<Vec<Accepted>>, CancellationToken) {
    let (mut calling, stop) = (JoinSet::new(), CancellationToken::new());
    let client = |number, tenant| client(plan, site, book, dice, number, tenant);
    for number in 0..plan.clients {
        calling.spawn(client(number, Tenant::MAIN).run(stop.clone()));
    }
    for replica in 0..site.replicas.len() {
        let witness = client(WITNESSES + replica, Tenant::WITNESS);
        calling.spawn(bystanders::witness(witness, replica, stop.clone()));
    }
    let slow = site.audiences.iter().map(|audience| audience.tenant);
    for tenant in slow.filter(|tenant| tenant.is_slow()) {
        calling.spawn(bystanders::slow(client(SLOW + tenant.0, tenant), stop.clone()));
    }
    (calling, stop)
}

/// Strikes with faults of every kind for as long as planned; ends when all damage is repaired.
async fn torment(plan: &Plan, site: &Site, book: &Book, dice: &Dice) -> io::Result<()> {
    let stage = Stage {
        book: book.clone(),
        slack: site.slack.clone(),
        postgres: site.postgres.clone(),
        replicas: site.replicas.clone(),
        lanes: site.lanes(),
        scale: plan.scale,
        lease: lease(plan.scale),
        grace: GRACE,
        clock: site.clock.clone(),
        darkened: Arc::default(),
        haste: plan.haste(),
        full_lengths: plan.full_lengths,
        releases: plan.releases.clone(),
        program: plan.program.clone(),
        store: store_settings(&site.postgres),
        way_to_database: site.way_to_database(),
        half: Duration::from_secs(plan.seconds) / 2,
    };
    let (stop, mut actors) = (CancellationToken::new(), JoinSet::new());
    for kind in &plan.kinds {
        let dice = dice.of(kind.name());
        actors.spawn(stage.clone().torment(*kind, dice, stop.clone()));
    }
    // Dice of their own, so that a seed repeats the other faults as before.
    for kind in plan.kinds.iter().filter(|kind| kind.strikes_channels() && !plan.is_mixed()) {
        let dice = dice.of(&format!("{} of channels", kind.name()));
        actors.spawn(stage.clone().torment_channels(*kind, dice, stop.clone()));
    }
    let over = sleep(Duration::from_secs(plan.seconds));
    tokio::select! {
        () = over => {}
        // An actor that fails ends the run; the others end when they are told to.
        failed = failure(&mut actors) => return Err(failed),
    }
    stop.cancel();
    while let Some(ended) = actors.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn failure(actors: &mut JoinSet<io::Result<()>>) -> io::Error {
    loop {
        match actors.join_next().await {
            Some(Ok(Err(error))) => return error,
            Some(Err(panic)) => return io::Error::other(panic),
            Some(Ok(Ok(()))) => {}
            None => std::future::pending().await,
        }
    }
}

/// Waits until every accepted message is in Slack as it should be. Returns the calls with a message
/// that is not.
async fn settle<'a>(plan: &Plan, site: &Site, accepted: &'a [Accepted]) -> Vec<&'a Accepted> {
    let recipients: usize = accepted.iter().map(|one| one.queued.len()).sum();
    let rate = POSTS_PER_MINUTE / 60.0 / plan.scale;
    let backlog = f64::from(u32::try_from(recipients).unwrap_or(u32::MAX)) / rate;
    let deadline = Instant::now() + PATIENCE + Duration::from_secs_f64(backlog);
    let mut missing: Vec<_> = accepted.iter().collect();
    let quiet = lease(plan.scale) * 4 + Duration::from_secs_f64(LAST_LOOK * plan.scale);
    let done = || (site.slack.stored(), site.slack.changed());
    let (mut so_far, mut since) = (done(), Instant::now());
    while Instant::now() < deadline {
        missing.retain(|one| {
            let waits = |lane: &str| match &one.changes {
                Some(subject) => site.slack.is_as_posted(one.tenant, subject, lane),
                None => !site.slack.has(one.tenant, &one.call, lane),
            };
            one.queued.iter().any(|verdict| waits(&verdict.lane))
        });
        if done() != so_far {
            (so_far, since) = (done(), Instant::now());
        }
        // Expired messages never come, nor do messages that were taken back before they were sent.
        if missing.is_empty() || since.elapsed() > quiet.max(Duration::from_secs(15)) {
            break;
        }
        sleep(COLLECT).await;
    }
    missing
}

/// How long the load is on before the faults begin: enough calls of the witness to compare with.
fn undisturbed(seconds: u64) -> Duration {
    Duration::from_secs((seconds / 6).clamp(4, 10))
}

/// Asks for the state of the messages that are not in Slack, through the API.
async fn fates(site: &Site, book: &Book, missing: &[&Accepted]) {
    let mut service = HeraldServiceClient::new(site.replicas[0].channel());
    for one in missing {
        let request = pb::GetNotificationRequest {
            tenant_id: one.tenant.name(),
            notification_id: one.notification.clone(),
            actor: None,
        };
        // A message without an answer counts as lost.
        let Ok(answer) = service.get_notification(request).await else { continue };
        let notification = answer.into_inner().notification.unwrap_or_default();
        for delivery in notification.deliveries {
            let state = delivery.state().as_str_name().to_ascii_lowercase();
            book.fate(&Fate {
                call: one.call.clone(),
                state: state.trim_start_matches("delivery_state_").to_owned(),
                delivery: delivery.delivery_id,
                reason: delivery.reason,
                code: delivery.code,
            });
        }
    }
}

/// Deliveries by state, in both tables.
fn books(postgres: &Postgres) -> io::Result<String> {
    let rows = postgres.ask(
        "SELECT state || ' ' || count(*) FROM (SELECT state FROM deliveries \
         UNION ALL SELECT state FROM deliveries_history) AS d GROUP BY state ORDER BY state",
    )?;
    Ok(rows.lines().collect::<Vec<_>>().join(", "))
}

fn lease(scale: f64) -> Duration {
    Duration::from_secs(LEASE_SECONDS).mul_f64(scale)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
