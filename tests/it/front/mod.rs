//! By the front door: gRPC and HTTP over real sockets, Slack in a box, each test on every database.

mod cancel;
mod connect;
mod forget;
mod held_back;
mod notify;
mod people;
mod permissions;
mod reads;
mod unreachable;
mod watch;
