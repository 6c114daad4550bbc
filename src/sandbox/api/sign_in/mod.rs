//! Installing apps and signing in: the pages that people and administrators see, and the methods
//! that exchange the codes.

pub(in crate::sandbox) mod consent;

pub(in crate::sandbox) mod admin;
pub(super) mod oauth;

pub(in crate::sandbox) mod openid;
