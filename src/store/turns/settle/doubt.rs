//! The part of a settle that concerns doubt after a recovery (`recovery`).

use crate::domain::delivery::{Settle, State};
use crate::store::Error;
use crate::store::database::era::ERA;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;

/// Also writes the thread to search, and whether the search has ended.
pub(super) async fn note(
    tx: &Tx,
    delivery: &str,
    settle: &Settle,
    before: State,
    after: State,
) -> Result<(), Error> {
    if let Settle::Doubted { thread_ts, .. } = settle {
        const THREAD: &str = "UPDATE deliveries SET thread_ts = $2 WHERE id = $1";
        sql::execute(tx, THREAD, params![delivery, thread_ts.as_deref()]).await?;
    }
    if (before, after) == (State::Unknown, State::Pending) {
        let text = format!("UPDATE deliveries SET looked_up = {ERA} WHERE id = $1");
        sql::execute(tx, &text, params![delivery]).await?;
    }
    Ok(())
}
