//! Exchanging the key-encryption key: the data keys are wrapped again, one by one, while replicas
//! serve. The rows themselves show the progress, so a run that was stopped can be continued.

use crate::domain::access::audit::{AuditDetail, AuditOutcome, Entry};
use crate::store::database::sql::{self, params};
use crate::store::{Error, Store, Upkeep};

/// Data keys that one statement reads.
const BATCH: u32 = 100;

/// The progress of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotated {
    pub all: u64,
    /// Data keys examined so far.
    pub seen: u64,
    /// Data keys wrapped again by this run.
    pub wrapped: u64,
    /// The scopes whose data keys did not decrypt.
    pub failed: Vec<String>,
}

impl Upkeep<'_> {
    /// Wraps every data key with the current key-encryption key. `told` is called with the
    /// progress. A data key that does not decrypt is left as it is; if the key service is
    /// unavailable, the run ends.
    pub async fn rotate_keys(self, told: impl Fn(&Rotated)) -> Result<Rotated, Error> {
        const COUNT: &str = "SELECT COUNT(*) FROM data_keys";
        let find = format!(
            "SELECT scope, key_id, wrapped
                FROM data_keys
                WHERE (scope, key_id) > ($1, $2)
                ORDER BY scope, key_id
                LIMIT {BATCH}"
        );
        let mut done = Rotated::default();
        if let Some(row) = sql::one(self.store.reader(), COUNT, params![]).await? {
            done.all = u64::try_from(row.get::<i64>(0)?).unwrap_or_default();
        }
        let mut after = (String::new(), 0);
        loop {
            let rows =
                sql::all(self.store.reader(), &find, params![after.0.as_str(), after.1]).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                after = (row.get(0)?, row.get::<i32>(1)?);
                done.seen += 1;
                match self.store.rotate_key(&after.0, after.1, &row.get::<Vec<u8>>(2)?).await {
                    Ok(wrapped) => done.wrapped += u64::from(wrapped),
                    Err(Error::Sealed(_)) => done.failed.push(after.0.clone()),
                    Err(error) => return Err(error),
                }
            }
            told(&done);
        }
        self.store.audit().write(&[entry(&done)]).await?;
        Ok(done)
    }
}

impl Store {
    /// Returns whether it was wrapped again. One that another run exchanged meanwhile is left to
    /// that run.
    async fn rotate_key(&self, scope: &str, key_id: i32, wrapped: &[u8]) -> Result<bool, Error> {
        const SQL: &str = "UPDATE data_keys
            SET wrapped = $3
            WHERE scope = $1 AND key_id = $2 AND wrapped = $4";
        let id = u32::try_from(key_id).map_err(|_| Error::Sealed("a data key".into()))?;
        let Some(anew) = self.inner.keyring.rewrap(scope, id, wrapped).await? else {
            return Ok(false);
        };
        let values = params![scope, key_id, anew, wrapped.to_vec()];
        Ok(sql::execute(self.writer(), SQL, values).await? > 0)
    }
}

fn entry(done: &Rotated) -> Entry {
    let after = serde_json::json!({ "wrapped": done.wrapped, "failed": done.failed.len() });
    Entry {
        tenant: None,
        principal: None,
        actor: None,
        action: "RotateKeys".to_owned(),
        outcome: if done.failed.is_empty() { AuditOutcome::Done } else { AuditOutcome::Failed },
        reason: String::new(),
        times: 1,
        subject: None,
        detail: AuditDetail { after: Some(after), ..AuditDetail::default() },
    }
}
