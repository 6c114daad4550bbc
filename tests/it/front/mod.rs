//! By the front door: gRPC and HTTP over real sockets, Slack in a box, each test on every database.

mod connect;
mod health;
mod held_back;
mod identity;
mod notify;
mod pace;
mod set_preference;
mod test_slack;
mod unreachable;
