//! By the front door: gRPC and HTTP over real sockets, Slack in a box, each test on every database.

mod connect;
mod held_back;
mod notify;
mod unreachable;
