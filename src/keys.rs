//! API keys for callers: made here, kept by the caller, known to the settings by their hash alone.

use sha2::{Digest, Sha256};

use crate::domain::ids::{IdError, Principal};

/// Whom a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A platform's back end. It acts for its users.
    Service,
    /// Sets up tenants and looks into them.
    Administrator,
}

/// Prints a new key and the settings entry that lets it in.
pub fn issue(principal: &str, role: Role) -> Result<(), IdError> {
    let principal = Principal::parse(principal)?;
    let key = format!("herald_{}", hex(&rand::random::<[u8; 32]>()));
    let hash = hex(&Sha256::digest(key.as_bytes()));
    let (role, acts) = match role {
        Role::Service => ("service", true),
        Role::Administrator => ("administrator", false),
    };
    crate::demo::say(&format!(
        "The key, shown once; give it to the caller:\n\n  {key}\n\n\
         The entry for the settings file:\n\n\
         [[rpc.callers]]\n\
         principal = \"{principal}\"\n\
         key_sha256 = \"{hash}\"\n\
         role = \"{role}\"\n\
         tenants = [\"*\"]                # or the ids of some\n\
         may_act_for_users = {acts}\n"
    ));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
