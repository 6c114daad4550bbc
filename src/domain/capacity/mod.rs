//! Scarce resources and their division: Slack's budgets, the pace of a workspace, and the turns and
//! shares of tenants.

pub mod fair_queue;
pub mod pacing;
pub mod priority;
pub mod shares;
pub mod slack_method;

pub mod budget;

pub mod fairness;
