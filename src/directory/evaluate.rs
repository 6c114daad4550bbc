//! Evaluates user attributes. A plain path costs no more than reading the record; any other
//! expression runs outside the async workers, a few evaluations at a time with tenants taking
//! turns, and stops when its caller has gone (docs/decisions/0028-fuel-for-expressions.md).

use std::time::Duration;

use moka::future::Cache;

use super::{Directory, Error};
use crate::domain::identity::person::Person;
use crate::domain::ids::TenantId;
use crate::domain::mapping::{Expression, Mapping, Pass, Stop, Values};

/// Plain paths evaluated between two yields: about a millisecond's worth of records.
const BREATH: usize = 16;
/// How often a costly expression is noted in the store, by each replica.
const NOTE: Duration = Duration::from_secs(60);
/// Expressions that this replica remembers as noted.
const NOTED: u64 = 10_000;

/// Tenants with their user attributes that were noted as costly.
pub(super) type Noted = Cache<(TenantId, String), ()>;

pub(super) fn noted() -> Noted {
    Cache::builder().max_capacity(NOTED).time_to_live(NOTE).build()
}

/// Sets the flag unless the work was done: a question that is given up stops its evaluation.
pub(super) struct Guard(Option<Stop>);

impl Guard {
    pub(super) fn of(stop: &Stop) -> Self {
        Self(Some(stop.clone()))
    }

    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.set();
        }
    }
}

impl Directory {
    /// Evaluates the mapping's user attribute for a person.
    pub async fn values(
        &self,
        tenant: &TenantId,
        mapping: &Mapping,
        person: &Person,
    ) -> Result<Values, Error> {
        let (mut values, _) = self.values_of(tenant, mapping, &[person], Pass::default()).await?;
        values.pop().ok_or(Error::Stopped)
    }

    /// Evaluates it for people; the values are in the same order. Questions that are asked in parts
    /// pass their `Pass` from one part to the next.
    pub async fn values_of(
        &self,
        tenant: &TenantId,
        mapping: &Mapping,
        people: &[&Person],
        pass: Pass,
    ) -> Result<(Vec<Values>, Pass), Error> {
        let (values, pass) = if mapping.user.is_plain() {
            plain(&mapping.user, people, pass).await
        } else {
            self.apart(tenant, &mapping.user, people, pass).await?
        };
        if values.len() != people.len() {
            return Err(Error::Stopped);
        }
        let costly = values.iter().filter(|values| **values == Values::TooCostly).count();
        if costly > 0 {
            self.inner.metrics.too_costly("user_attribute", costly as u64);
            self.note_costly(tenant, mapping.user.source()).await;
        }
        Ok((values, pass))
    }

    async fn apart(
        &self,
        tenant: &TenantId,
        expression: &Expression,
        people: &[&Person],
        mut pass: Pass,
    ) -> Result<(Vec<Values>, Pass), Error> {
        let mut records = Vec::with_capacity(people.len());
        for (number, person) in people.iter().enumerate() {
            breathe(number).await;
            records.push(person.record());
        }
        let turn = self.inner.evaluating.take(tenant, records.len()).await;
        let guard = Guard::of(pass.stop());
        let expression = expression.clone();
        let work = move || {
            // Held to the end of the work, even if no caller waits for it any longer.
            let _turn = turn;
            let values =
                records.iter().map_while(|record| expression.values(record, &mut pass)).collect();
            (values, pass)
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?;
        guard.done();
        Ok(done)
    }

    /// Records for administrators, on whichever replica they ask, that a tenant's user attribute
    /// costs too much. If it cannot be recorded now, it is the next time.
    async fn note_costly(&self, tenant: &TenantId, source: &str) {
        let key = (tenant.clone(), source.to_owned());
        if !self.inner.noted.entry(key.clone()).or_insert(()).await.is_fresh() {
            return;
        }
        tracing::warn!(%tenant, "the tenant's user_attribute costs too much on some people");
        if let Err(error) = self.inner.store.tenancy().note_costly(tenant, source).await {
            tracing::debug!(%tenant, %error, "the cost of a mapping expression was not recorded");
            self.inner.noted.invalidate(&key).await;
        }
    }
}

async fn plain(expression: &Expression, people: &[&Person], mut pass: Pass) -> (Vec<Values>, Pass) {
    let mut values = Vec::with_capacity(people.len());
    for (number, person) in people.iter().enumerate() {
        breathe(number).await;
        values.extend(expression.values(&person.record(), &mut pass));
    }
    (values, pass)
}

/// Lets other calls run in between.
async fn breathe(number: usize) {
    if number % BREATH == BREATH - 1 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::directory::Config;
    use crate::domain::ids::UserId;
    use crate::slack;
    use crate::store::{self, Store};
    use crate::telemetry::Metrics;
    use crate::workspace::{self, Workspaces};

    /// Fewer than a plain path would evaluate without a pause.
    const PEOPLE: usize = BREATH - 6;

    async fn directory(folder: &Path) -> Directory {
        let config = store::Config { data_dir: folder.to_owned(), ..store::Config::default() };
        let store = Store::open(&config).await.unwrap();
        let base_url = Url::parse("http://127.0.0.1:1/").unwrap();
        let slack = slack::Config { base_url, ..slack::Config::default() };
        let client = slack::Client::new(&slack, Metrics::unobserved()).unwrap();
        let workspaces = Workspaces::new(store.clone(), client, workspace::Config::default());
        Directory::new(store, workspaces, Metrics::unobserved(), Config::default())
    }

    /// An expression that does much work, and people with lists of this length.
    fn work(length: usize) -> (Mapping, Vec<Person>) {
        let doubled = format!("metadata.l|{}", ["[@,@][]"; 6].join("|"));
        let mapping = Mapping::load(&doubled, "profile.email").unwrap();
        let person = |number: usize| {
            let user = UserId::parse(format!("p{number}")).unwrap();
            Person::from_record(user, json!({ "metadata": { "l": vec![7; length] } }))
        };
        (mapping, (0..PEOPLE).map(person).collect())
    }

    #[test]
    fn a_question_that_is_given_up_ends_its_evaluation() {
        let stop = Stop::default();
        Guard::of(&stop).done();
        assert!(!stop.is_set());
        drop(Guard::of(&stop));
        assert!(stop.is_set());
    }

    /// This runtime has one worker.
    #[tokio::test]
    async fn a_timer_ticks_while_expressions_are_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let directory = directory(folder.path()).await;
        let (tenant, (mapping, people)) = (TenantId::parse("acme").unwrap(), work(100));
        let people: Vec<&Person> = people.iter().collect();
        let done = Cell::new(false);
        let evaluating = async {
            for _ in 0..20 {
                let pass = Pass::default();
                let asked = directory.values_of(&tenant, &mapping, &people, pass);
                let (values, _) = asked.await.unwrap();
                // None is too costly: that would be written to the database, which pauses too.
                assert!(values.iter().all(|values| values.keys().len() == 1), "{values:?}");
            }
            done.set(true);
        };
        let ticking = async {
            let mut ticks = 0;
            while !done.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticks += 1;
            }
            ticks
        };
        let ((), ticks) = tokio::join!(evaluating, ticking);
        assert!(ticks > 1, "{ticks} ticks");
    }

    #[tokio::test]
    async fn an_evaluation_ends_with_the_deadline_of_its_question() {
        let folder = tempfile::tempdir().unwrap();
        let directory = directory(folder.path()).await;
        let (tenant, (mapping, people)) = (TenantId::parse("acme").unwrap(), work(4000));
        let people: Vec<&Person> = people.iter().collect();
        let stop = Stop::default();
        let asked = directory.values_of(&tenant, &mapping, &people, Pass::new(stop.clone()));
        // The question begins, and its time is over at once.
        tokio::time::timeout(Duration::ZERO, asked).await.unwrap_err();
        assert!(stop.is_set());
    }
}
