//! The life of a connection: the tenant's Slack app, the workspace, its tokens, its checks, its
//! end.

mod apps;
mod connect;
mod doctor;
mod home;
mod interactions;
mod leaving;
mod manifests;
mod operators;
mod people;
mod revoking;
mod rotation;
mod sandbox;

mod answers;
mod former;
mod keeping;
