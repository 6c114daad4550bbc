//! The order of a person's messages while their member is not known.

use std::collections::BTreeMap;

use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, TenantId, UserId};
use herald::domain::reason::NoMatch;
use herald::store::{
    Accept, End, NewDelivery, NotificationTerms, RenameOutcome, ResolveOutcome, Resolving, Store,
    Succession, Target,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::{HOUR, LEASE, call, delivery, installation, lane, resolving_due, tenant, uuid};
use crate::support::store::test_stores;

/// More than any interleaving needs to drain.
const ROUNDS: usize = 1000;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A message to one person, or to two at once.
fn to(people: &[(&str, Target)]) -> Accept {
    let new = people
        .iter()
        .map(|(name, target)| NewDelivery { user: Some(user(name)), ..delivery(target.clone()) });
    call(&uuid().to_string(), new.collect())
}

async fn accept(store: &Store, call: Accept) -> DeliveryId {
    let id = call.deliveries[0].id;
    store.outbox().accept(call).await.unwrap();
    id
}

async fn resolves(store: &Store, name: &str) -> bool {
    let facts = store.people().facts(&tenant(), &[user(name), user("nobody")]).await.unwrap();
    assert!(!facts.resolving.contains(&user("nobody")));
    facts.resolving.contains(&user(name))
}

fn found(lane: &str) -> ResolveOutcome {
    ResolveOutcome::Lane {
        installation: installation(),
        lane: lane.into(),
        content: Some(b"rendered".to_vec()),
        identity: None,
    }
}

/// The messages of a lane, in its order.
async fn in_lane(raw: &DatabaseConnection, lane: &str) -> Vec<String> {
    let text =
        format!("SELECT id FROM deliveries WHERE lane = '{lane}' ORDER BY position, sequence");
    let rows = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), text)).await;
    rows.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

#[tokio::test]
async fn what_is_resolving_holds_its_persons_place_and_what_is_for_later_does_not() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let about = NotificationTerms {
            deliver_after: Some(store.now().await.unwrap().plus(HOUR / 2)),
            ..NotificationTerms::default()
        };
        let later = Accept { about, ..to(&[("ada", Target::Resolving)]) };
        let later = accept(&store, later).await;
        assert!(!resolves(&store, "ada").await);
        accept(&store, to(&[("ben", lane("U1"))])).await;
        let ben = accept(&store, to(&[("ben", Target::Resolving)])).await;
        assert!(resolves(&store, "ben").await && !resolves(&store, "ada").await);
        let other = TenantId::parse("other").unwrap();
        let theirs = store.people().facts(&other, &[user("ben")]).await.unwrap();
        assert!(theirs.resolving.is_empty());

        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
        assert_eq!((claimed.delivery, resolves(&store, "ben").await), (ben, true));
        let again = ResolveOutcome::Again { after: HOUR };
        store.waiting().settle_resolving(claimed.token, ben, &again, None).await.unwrap();
        assert!(resolves(&store, "ben").await);

        // Its time has come.
        raw.execute_unprepared("UPDATE deliveries SET due_at = 0").await.unwrap();
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        assert_eq!(claimed.len(), 2);
        assert!(resolves(&store, "ada").await);
        let hold = ResolveOutcome::Hold { reason: NoMatch::NoMember, look_after: HOUR };
        let token = claimed[0].token;
        store.waiting().settle_resolving(token, later, &hold, None).await.unwrap();
        store.waiting().settle_resolving(token, ben, &found("U1"), None).await.unwrap();
        assert!(!resolves(&store, "ada").await && !resolves(&store, "ben").await);
    }
}

#[tokio::test]
async fn none_joins_a_lane_ahead_of_another_of_its_person() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let first = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let second = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let theirs = accept(&store, to(&[("ben", Target::Resolving)])).await;
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        let token = claimed[0].token;
        // As if another replica had decided sooner.
        let settled =
            store.waiting().settle_resolving(token, second, &found("U1"), None).await.unwrap();
        assert_eq!(settled, Some(State::Resolving));
        let settled =
            store.waiting().settle_resolving(token, theirs, &found("U2"), None).await.unwrap();
        assert_eq!(settled, Some(State::Pending), "other people's messages do not wait");
        assert!(
            store.waiting().claim_resolving(10, LEASE).await.unwrap().is_empty(),
            "the first is still leased"
        );
        let settled =
            store.waiting().settle_resolving(token, first, &found("U1"), None).await.unwrap();
        assert_eq!(settled, Some(State::Pending));
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        assert_eq!(claimed[0].delivery, second);
        store
            .waiting()
            .settle_resolving(claimed[0].token, second, &found("U1"), None)
            .await
            .unwrap();
        assert_eq!(in_lane(&raw, "U1").await, [first.to_string(), second.to_string()]);
    }
}

/// Red without `AGAIN` in `store/ends/succession.rs`.
#[tokio::test]
async fn what_is_resolving_goes_to_the_new_id_of_its_person_and_is_looked_at_again() {
    for store in test_stores().await {
        let one = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let stale = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
        let (tenant, from, new) = (tenant(), user("ada"), user("a-1"));
        let rename = |answer: &[u8], _: &UserId, _: &UserId| answer.to_vec();
        let of = Succession { tenant: &tenant, from: &from, to: &new, rename };
        let renamed = store.ends().rename_person(&of).await.unwrap();
        assert_eq!(renamed, RenameOutcome::Renamed(1));
        assert!(resolves(&store, "a-1").await && !resolves(&store, "ada").await);
        // Its worker has read the record of the old id.
        let late = store.waiting().settle_resolving(stale.token, one, &found("U1"), None).await;
        assert_eq!(late.unwrap(), None);
        let again = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
        assert_eq!((again.delivery, again.user.as_ref()), (one, Some(&new)));
    }
}

/// And an end frees the place.
#[tokio::test]
async fn what_stands_behind_one_that_is_put_off_is_put_off_with_it() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let first = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let second = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let token = store.waiting().claim_resolving(10, LEASE).await.unwrap()[0].token;
        let again = ResolveOutcome::Again { after: HOUR };
        store.waiting().settle_resolving(token, first, &again, None).await.unwrap();
        // It was claimed together with the first, but no longer.
        assert_eq!(
            store.waiting().settle_resolving(token, second, &found("U1"), None).await.unwrap(),
            None
        );
        let third = accept(&store, to(&[("ada", Target::Resolving)])).await;
        assert!(store.waiting().claim_resolving(10, LEASE).await.unwrap().is_empty());
        assert!(resolves(&store, "ada").await);
        // There is news about the person.
        store.waiting().recheck_held(&tenant(), &[user("ada")]).await.unwrap();
        let mut claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        claimed.sort_by_key(|one| one.sequence);
        let order: Vec<_> = claimed.iter().map(|one| one.delivery).collect();
        assert_eq!(order, [first, second, third]);
        let end = ResolveOutcome::End(End::Unreachable(NoMatch::NoMember));
        let token = claimed[0].token;
        store.waiting().settle_resolving(token, first, &end, None).await.unwrap();
        store.waiting().settle_resolving(token, second, &found("U1"), None).await.unwrap();
        store.waiting().settle_resolving(token, third, &found("U1"), None).await.unwrap();
        assert_eq!(in_lane(&raw, "U1").await, [second.to_string(), third.to_string()]);
    }
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

const PEOPLE: [(&str, &str); 2] = [("ada", "U1"), ("ben", "U2")];

/// One run: callers whose replica has the list or does not, and two replicas that resolve.
struct Run<'a> {
    store: &'a Store,
    raw: &'a DatabaseConnection,
    dice: Dice,
    claimed: Vec<Resolving>,
    /// By person, in the order of acceptance.
    accepted: BTreeMap<&'static str, Vec<String>>,
}

impl Run<'_> {
    /// Notifies as Notify does.
    async fn notify(&mut self, people: &[(&'static str, &'static str)]) {
        let mut new = Vec::new();
        for (name, member) in people {
            let has_list = self.dice.roll(3) > 0;
            let direct = has_list && !resolves(self.store, name).await;
            new.push((*name, if direct { lane(member) } else { Target::Resolving }));
        }
        let call = to(&new);
        for ((name, _), new) in people.iter().zip(&call.deliveries) {
            self.accepted.entry(*name).or_default().push(new.id.to_string());
        }
        self.store.outbox().accept(call).await.unwrap();
    }

    async fn claim(&mut self) {
        let limit = u32::try_from(1 + self.dice.roll(4)).unwrap();
        self.claimed.extend(self.store.waiting().claim_resolving(limit, LEASE).await.unwrap());
    }

    /// Settles one of the claimed deliveries, or its replica dies.
    async fn settle(&mut self) {
        let Ok(count) = u64::try_from(self.claimed.len()) else { return };
        if count == 0 {
            return;
        }
        let at = usize::try_from(self.dice.roll(count)).unwrap();
        let one = self.claimed.swap_remove(at);
        let resolved = match self.dice.roll(8) {
            0 => return,
            1 | 2 => ResolveOutcome::Again { after: HOUR },
            3 => ResolveOutcome::End(End::Expired),
            _ => found(member_of(&one)),
        };
        self.store
            .waiting()
            .settle_resolving(one.token, one.delivery, &resolved, None)
            .await
            .unwrap();
    }

    /// Ends all leases and waits.
    async fn time_passes(&self) {
        let over = "UPDATE deliveries SET due_at = updated_at WHERE state = 'resolving'";
        self.raw.execute_unprepared(over).await.unwrap();
    }

    async fn drain(&mut self) {
        for _ in 0..ROUNDS {
            self.time_passes().await;
            let mut claimed = self.store.waiting().claim_resolving(100, LEASE).await.unwrap();
            if claimed.is_empty() {
                return;
            }
            claimed.sort_by_key(|one| one.sequence);
            for one in claimed {
                let resolved = found(member_of(&one));
                self.store
                    .waiting()
                    .settle_resolving(one.token, one.delivery, &resolved, None)
                    .await
                    .unwrap();
            }
        }
        panic!("a delivery stays in resolving");
    }
}

fn member_of(one: &Resolving) -> &'static str {
    let name = one.user.as_ref().unwrap().as_str();
    PEOPLE.iter().find(|(person, _)| *person == name).unwrap().1
}

#[tokio::test]
async fn a_persons_order_holds_in_any_interleaving() {
    for store in test_stores().await {
        let raw = store.raw().await;
        for seed in 0..12 {
            let (dice, claimed, accepted) = (Dice(seed), Vec::new(), BTreeMap::new());
            let mut run = Run { store: &store, raw: &raw, dice, claimed, accepted };
            for _ in 0..60 {
                match run.dice.roll(10) {
                    0..3 => run.notify(&PEOPLE[..1]).await,
                    3 => run.notify(&PEOPLE[1..]).await,
                    4 => run.notify(&PEOPLE).await,
                    5 | 6 => run.claim().await,
                    7 | 8 => run.settle().await,
                    _ => run.time_passes().await,
                }
            }
            run.drain().await;
            for (name, member) in PEOPLE {
                let order = in_lane(&raw, member).await;
                let mut expected = run.accepted.remove(name).unwrap_or_default();
                expected.retain(|id| order.contains(id));
                let order: Vec<_> = order.into_iter().filter(|id| expected.contains(id)).collect();
                assert_eq!(order, expected, "seed {seed}, {name}");
            }
        }
    }
}

/// Calls that share a transaction, for people whose messages wait and for others.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_batch_leave_the_order_as_it_is() {
    const CALLS: usize = 40;
    for store in test_stores().await {
        let raw = store.raw().await;
        let first = accept(&store, to(&[("ada", Target::Resolving)])).await;
        let calls = (0..CALLS).map(|number| {
            let store = &store;
            async move {
                let (name, member) = PEOPLE[number % 2];
                let waits = resolves(store, name).await;
                let target = if waits { Target::Resolving } else { lane(member) };
                accept(store, to(&[(name, target)])).await;
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(in_lane(&raw, "U1").await.len(), 0);
        assert_eq!(in_lane(&raw, "U2").await.len(), CALLS / 2);
        let mut claimed = store.waiting().claim_resolving(100, LEASE).await.unwrap();
        claimed.sort_by_key(|one| one.sequence);
        assert_eq!(claimed.len(), 1 + CALLS / 2);
        for one in &claimed {
            store
                .waiting()
                .settle_resolving(one.token, one.delivery, &found("U1"), None)
                .await
                .unwrap();
        }
        let order = in_lane(&raw, "U1").await;
        assert_eq!((order.len(), &order[0]), (1 + CALLS / 2, &first.to_string()));
        assert_eq!(resolving_due(&raw, &tenant()).await, None);
    }
}
