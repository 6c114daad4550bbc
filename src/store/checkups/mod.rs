//! Checks of connections, and the alerts about connections that are not well.
//!
//! Every tenant with a workspace has a row, whose lease lets one replica check the connection
//! (`schedule`). `states` finds connections that changed, whatever changed them, and stores the new
//! state together with the alert about it, so that none is lost or sent for another state.
//! `alerts` keeps them until they are delivered. `evidence` reads stored facts about the parts of a
//! connection.

mod alerts;
mod evidence;
mod schedule;
mod states;

pub use alerts::WaitingAlert;
pub use evidence::CheckEvidence;
pub use schedule::{CheckLease, CheckRun};
pub use states::{Judgement, NewAlert, Unjudged};
