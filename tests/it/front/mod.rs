//! By the front door: gRPC and HTTP over real sockets, Slack in a box, each test on every database.

mod broadcast;
mod cancel;
mod connect;
mod dead_letters;
mod deferred;
mod forget;
mod health;
mod held_back;
mod identity;
mod notify;
mod overload;
mod pace;
mod people;
mod permissions;
mod reads;
mod set_preference;
mod shared;
mod subjects;
mod test_slack;
mod unreachable;
mod watch;
mod why;
