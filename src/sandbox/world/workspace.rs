//! The workspaces, shared by all servers.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, watch};

use super::change::{Change, ChangeKind, Effect};
use super::clock::now_micros;
use super::push::{self, Push};
use super::state::State;

/// The state and the channels that report its changes.
pub(in crate::sandbox) struct Workspace {
    state: Mutex<State>,
    pub(in crate::sandbox) changes: broadcast::Sender<Change>,
    /// The number of messages stored so far.
    pub(in crate::sandbox) stored: watch::Sender<u64>,
    pub(in crate::sandbox) pushes: mpsc::UnboundedSender<Push>,
}

impl Workspace {
    pub(in crate::sandbox) fn new(state: State, pushes: mpsc::UnboundedSender<Push>) -> Self {
        let changes = broadcast::channel(4096).0;
        Self { state: Mutex::new(state), changes, stored: watch::channel(0).0, pushes }
    }

    /// Runs `step` under the lock and sends its changes, in order. It is about the sandbox's own
    /// app in its first workspace until it enters another place.
    pub(in crate::sandbox) fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.go_home();
        let result = step(&mut state);
        for effect in std::mem::take(&mut state.effects) {
            match effect {
                Effect::Change(change) => {
                    if change.kind == ChangeKind::Stored {
                        self.stored.send_modify(|count| *count += 1);
                    }
                    // It is fine if no one listens.
                    drop(self.changes.send(change));
                }
                Effect::Event { app, team, inner } => {
                    (state.app, state.team) = (app, team);
                    let push = push::envelope(&mut state, inner, now_micros());
                    drop(self.pushes.send(push));
                }
            }
        }
        result
    }
}
