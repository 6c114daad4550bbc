//! The lease on the token of an installation that is due for its exchange.
//!
//! Every holder of the lease has its own epoch. The present holder's tokens are always stored.
//! Those of a holder whose lease ran out are stored only if no others were: Slack has already spent
//! the refresh token for them, and without them the workspace might have none that works. A connect
//! ends every lease, and the tokens of an exchange from before it are not stored.

use std::time::Duration;

use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::domain::time::micros;
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, CLOCK, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::tenancy::installations::TABLE;
use crate::store::{Error, InstallationTokens};

/// The right to exchange the token of one installation.
#[derive(Debug, Clone)]
pub struct TokenLease {
    pub installation: InstallationId,
    /// Tells this holder from others.
    epoch: i64,
    /// Counts connects, and the exchanges since.
    versions: (i64, i64),
    /// Read when the lease was taken, so after every exchange before it.
    pub token: Secret,
    /// `None`: the token does not expire, and is itself exchanged.
    pub refresh_token: Option<Secret>,
    /// How long the present token still works; `None`: without an end.
    pub left: Option<Duration>,
    /// Failed attempts since the last exchange.
    pub failures: u32,
}

impl TokenLease {
    /// Whether the present token no longer worked when the lease was taken.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        self.left.is_some_and(|left| left.is_zero())
    }

    /// How long the present token still works, if it does.
    #[must_use]
    pub fn ends_in(&self) -> Duration {
        self.left.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX)
    }

    /// The version of the token that was read.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.versions.0 + self.versions.1
    }
}

/// The next tokens of an installation, encrypted: so that a repeated write needs no more than the
/// database.
#[derive(Debug, Clone)]
pub struct SealedPair {
    token: Vec<u8>,
    refresh_token: Option<Vec<u8>>,
}

/// Tokens that are to be exchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSchedule {
    /// Those that are due, the longest due first.
    pub due: Vec<InstallationId>,
    /// How long until the next one is due; `None`: none is known to be.
    pub next: Option<Duration>,
}

/// The consequence of Slack's report that a token expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is exchanged as soon as possible.
    Noted,
    /// The token is another one by now.
    Replaced,
    /// It cannot be exchanged.
    Final,
}

/// Whether a token is being exchanged for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExchange {
    None,
    /// A replica holds the lease.
    Held,
    /// The token is due, and a replica died, or was too late, with its lease: Slack may have given
    /// the next token and ended this one.
    Lapsed,
}

impl InstallationTokens<'_> {
    /// The tokens that are due, or due next; at most `limit`. `lease`: how long leases last.
    pub async fn schedule(self, limit: u32, lease: Duration) -> Result<TokenSchedule, Error> {
        const SQL: &str = "SELECT id, refresh_due_at, refresh_lease_until, {now}
            FROM installations
            WHERE refresh_due_at IS NOT NULL AND state = 'active' AND org IS NULL
            ORDER BY refresh_due_at
            LIMIT $1";
        let mut schedule = TokenSchedule::default();
        for row in sql::all(self.store.reader(), SQL, params![i64::from(limit)]).await? {
            let mut columns = Columns::of(&row);
            let id = parse_id(&columns.take::<String>()?)?;
            let (due, leased, now) = (columns.time()?, columns.time()?, columns.time()?);
            // A lease that ends later is from before the clock stepped back.
            let held = leased <= now.plus(lease * 2);
            let wait = if held { due.max(leased) } else { due }.since(now);
            if wait.is_zero() {
                schedule.due.push(id);
            } else {
                schedule.next = Some(schedule.next.map_or(wait, |next| next.min(wait)));
            }
        }
        Ok(schedule)
    }

    /// Takes the lease on a token that is due; `None`: it is not, or another replica exchanges it.
    pub async fn acquire(
        self,
        id: InstallationId,
        lease: Duration,
    ) -> Result<Option<TokenLease>, Error> {
        let text = format!(
            "UPDATE installations
                SET refresh_epoch = refresh_epoch + 1, refresh_lease_until = clock.now + $2
                FROM {CLOCK}
                WHERE id = $1 AND refresh_due_at <= clock.now
                    AND (refresh_lease_until <= clock.now
                        OR refresh_lease_until > clock.now + 2 * $2)
                    AND state = 'active' AND org IS NULL
                RETURNING refresh_epoch, token_version, renewals, token, refresh_token,
                    refresh_failures, token_expires_at, {{now}}"
        );
        let values = params![id.to_string(), micros(lease)];
        let Some(row) = sql::one(self.store.writer(), &text, values).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let epoch = columns.take()?;
        let versions = (columns.take()?, columns.take()?);
        let (token, refresh): (Vec<u8>, Option<Vec<u8>>) = (columns.take()?, columns.take()?);
        let failures = columns.count()?;
        let (end, now) = (columns.optional_time()?, columns.time()?);
        let token = self.store.unseal_secret(id, "token", &token).await?;
        let refresh_token = match refresh {
            Some(sealed) => Some(self.store.unseal_secret(id, "refresh_token", &sealed).await?),
            None => None,
        };
        Ok(Some(TokenLease {
            installation: id,
            epoch,
            versions,
            token,
            refresh_token,
            left: end.map(|end| end.since(now)),
            failures,
        }))
    }

    /// The exchange of the token that an installation uses.
    pub async fn exchange(self, id: InstallationId) -> Result<TokenExchange, Error> {
        const SQL: &str = "SELECT refresh_lease_until, refresh_due_at, {now}
            FROM installations
            WHERE id = (SELECT COALESCE(org, id) FROM installations WHERE id = $1)";
        let row = sql::one(self.store.reader(), SQL, params![id.to_string()]).await?;
        let Some(row) = row else { return Ok(TokenExchange::None) };
        let (until, due, now): (i64, Option<i64>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(match due {
            _ if until > now => TokenExchange::Held,
            Some(due) if due <= now && until > 0 => TokenExchange::Lapsed,
            _ => TokenExchange::None,
        })
    }

    /// Encrypts the next tokens of an installation.
    pub async fn seal(
        self,
        id: InstallationId,
        token: &Secret,
        refresh_token: Option<&Secret>,
    ) -> Result<SealedPair, Error> {
        let keys = self.store.keys(&KeyScope::Installation(id)).await?;
        let row = id.to_string();
        let seal = |column, secret: &Secret| {
            let place = SealedCell { table: TABLE, row: &row, column };
            keys.seal(&place, secret.expose().as_bytes())
        };
        Ok(SealedPair {
            token: seal("token", token)?,
            refresh_token: refresh_token.map(|secret| seal("refresh_token", secret)).transpose()?,
        })
    }

    /// Stores the next tokens and ends the lease. `life`: how long the access token works; `due`:
    /// when it is to be exchanged in its turn. `false`: the tokens of another exchange, or of a
    /// connect, are stored instead.
    pub async fn renew(
        self,
        lease: &TokenLease,
        pair: &SealedPair,
        life: Option<Duration>,
        due: Option<Duration>,
    ) -> Result<bool, Error> {
        const RENEW: &str = "UPDATE installations
            SET token = $5, refresh_token = COALESCE($6, refresh_token),
                token_issued_at = {now}, token_expires_at = {now} + $7,
                refresh_due_at = {now} + $8, refresh_failures = 0, refresh_error = NULL,
                renewals = renewals + 1,
                refresh_lease_until = CASE
                    WHEN refresh_epoch = $2 THEN 0
                    ELSE refresh_lease_until END
            WHERE id = $1 AND state = 'active' AND token_version = $3
                AND (refresh_epoch = $2 OR renewals = $4)";
        // Shown for each workspace of an organization.
        const SHOW: &str = "UPDATE installations
            SET token_issued_at = {now}, token_expires_at = {now} + $2, refresh_error = NULL
            WHERE org = $1";
        let id = &lease.installation.to_string();
        let (connects, renewals) = lease.versions;
        let (life, due) = (life.map(micros), due.map(micros));
        let values = &params![
            id.as_str(),
            lease.epoch,
            connects,
            renewals,
            pair.token.clone(),
            pair.refresh_token.clone(),
            life,
            due,
        ];
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let renewed = sql::execute(tx, RENEW, values.clone()).await? > 0;
                    if renewed {
                        sql::execute(tx, SHOW, params![id.as_str(), life]).await?;
                    }
                    Ok(renewed)
                })
            })
            .await
    }

    /// Shortens a lease after a failure to the wait before the next attempt, `again`, if that is
    /// shorter; `None`: there is none. `error`: Slack's code, for people to see.
    pub async fn fail(
        self,
        lease: &TokenLease,
        again: Option<Duration>,
        error: Option<&str>,
    ) -> Result<(), Error> {
        // Without a next attempt, the end of the lease shows when the last one was made.
        const SQL: &str = "UPDATE installations
            SET refresh_due_at = {now} + $3,
                refresh_lease_until = {least}(refresh_lease_until, {now} + COALESCE($3, 0)),
                refresh_failures = refresh_failures + 1, refresh_error = $4
            WHERE id = $1 AND refresh_epoch = $2";
        let id = lease.installation.to_string();
        let values = params![id, lease.epoch, again.map(micros), error];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    /// Records Slack's report that the token of this version, which `id` uses, has expired.
    pub async fn expire(self, id: InstallationId, version: i64) -> Result<Expiry, Error> {
        const SQL: &str = "UPDATE installations
            SET token_expires_at = {least}(COALESCE(token_expires_at, {now}), {now}),
                refresh_due_at = {least}(COALESCE(refresh_due_at, {now}), {now})
            WHERE id = (SELECT COALESCE(org, id) FROM installations WHERE id = $1)
                AND token_version + renewals = $2 AND refresh_token IS NOT NULL
                AND state = 'active'";
        const VERSION: &str = "SELECT token_version + renewals
            FROM installations
            WHERE id = (SELECT COALESCE(org, id) FROM installations WHERE id = $1)";
        let id = id.to_string();
        let values = params![id.as_str(), version];
        if sql::execute(self.store.writer(), SQL, values).await? > 0 {
            return Ok(Expiry::Noted);
        }
        let present = sql::one(self.store.reader(), VERSION, params![id]).await?;
        let present: Option<i64> = present.map(|row| row.get(0)).transpose()?;
        Ok(if present == Some(version) { Expiry::Final } else { Expiry::Replaced })
    }

    /// Makes tokens without an end due for an exchange that may be for ones that expire: the app
    /// was changed in Slack after they were issued. Slack says that of no app, so one token of each
    /// app is tried when `pause` has passed since the last attempt for the app, and since the token
    /// was issued; the one whose last attempt is longest ago. If another token of the app expires,
    /// all are due, and those that Slack refused to exchange again after `pause`. At most `limit`;
    /// returns how many.
    pub async fn find_unrotated(self, limit: u32, pause: Duration) -> Result<u64, Error> {
        const SQL: &str = "UPDATE installations
            SET refresh_due_at = {now}
            WHERE id IN (
                SELECT i.id
                FROM installations i
                WHERE i.state = 'active'
                    AND i.refresh_token IS NULL
                    AND i.org IS NULL
                    AND i.refresh_due_at IS NULL
                    AND i.refresh_lease_until <= {now} - $2
                    AND (i.app_id IN (
                            SELECT r.app_id
                            FROM installations r
                            WHERE r.refresh_token IS NOT NULL)
                        OR i.id IN (
                            SELECT t.id
                            FROM (
                                SELECT id, COALESCE(token_issued_at, installed_at) AS issued_at,
                                    ROW_NUMBER() OVER (
                                        PARTITION BY app_id
                                        ORDER BY refresh_lease_until, id) AS place,
                                    MAX(refresh_lease_until) OVER (
                                        PARTITION BY app_id) AS tried_at
                                FROM installations
                                WHERE state = 'active'
                                    AND refresh_token IS NULL
                                    AND org IS NULL) AS t
                            WHERE t.place = 1
                                AND t.tried_at <= {now} - $2
                                AND t.issued_at <= {now} - $2))
                ORDER BY i.id
                LIMIT $1 {skip_locked})";
        let values = params![i64::from(limit), micros(pause)];
        sql::execute(self.store.writer(), SQL, values).await
    }
}
