//! The number of channels and of their members, over all tenants, for the metrics.

use crate::domain::channels::state::{ChannelMemberState, ChannelState};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Channels, Error};

/// The numbers by state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelTotals {
    pub channels: Vec<(ChannelState, u64)>,
    /// People whose invitation is under way count as queued.
    pub members: Vec<(ChannelMemberState, u64)>,
}

/// The columns with the numbers of members.
const COUNTED: [(&str, ChannelMemberState); 6] = [
    ("queued", ChannelMemberState::Queued),
    ("waiting", ChannelMemberState::NotInSlack),
    ("present", ChannelMemberState::Member),
    ("departed", ChannelMemberState::Left),
    ("failed", ChannelMemberState::Failed),
    ("removing", ChannelMemberState::Removing),
];

impl Channels<'_> {
    /// Every state has a number. It reads all channels, but none of their members.
    pub async fn totals(self) -> Result<ChannelTotals, Error> {
        let sums = COUNTED.map(|(column, _)| format!("CAST(SUM({column}) AS BIGINT)")).join(", ");
        let text = format!("SELECT state, COUNT(*), {sums} FROM channels GROUP BY state");
        let mut channels: Vec<_> = ChannelState::ALL.iter().map(|state| (*state, 0)).collect();
        let mut members = COUNTED.map(|(_, state)| (state, 0)).to_vec();
        for row in sql::all(self.store.reader(), &text, params![]).await? {
            let mut columns = Columns::of(&row);
            let state = ChannelState::from_code(&columns.take::<String>()?);
            let count = number(columns.take()?);
            let known = channels.iter_mut().find(|(known, _)| Some(*known) == state);
            if let Some((_, total)) = known {
                *total = count;
            }
            for (_, total) in &mut members {
                *total += number(columns.take()?);
            }
        }
        Ok(ChannelTotals { channels, members })
    }
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
