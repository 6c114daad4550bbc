//! Everything that acts on the workspace from outside the Web API: the control API with the actions
//! of people and administrators, and the demo's members and browser.

pub mod browser;
pub(super) mod channels;
pub mod fixture;
pub(super) mod interact;
pub(super) mod place;

pub(super) mod apps;
pub(super) mod happenings;

pub(super) mod control;
