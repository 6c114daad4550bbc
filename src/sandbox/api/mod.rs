//! The Web API: [`http`] decodes a call, [`methods`] is the table of methods with a file for each
//! group of them, and [`sign_in`] has the pages and methods that give codes and tokens.

mod args;
mod cursor;
pub(super) mod net;

mod call;

pub(super) mod sign_in;

pub(super) mod methods;

pub(super) mod http;
