//! Installing the app and signing in: the pages that people see, and the methods that exchange the
//! codes.

pub(in crate::sandbox) mod admin;
pub(in crate::sandbox) mod consent;
pub(super) mod oauth;

pub(in crate::sandbox) mod openid;
