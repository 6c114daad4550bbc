//! API keys for callers: issued here and kept by the caller. The settings hold only the hash.

use crate::domain::access::api_key;
use crate::domain::ids::{IdError, Principal, TenantId, UserId};

/// The kind of caller that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyRole {
    /// A platform's back end.
    Service,
    /// One platform user.
    User,
    /// Sets up tenants and inspects them.
    Administrator,
}

/// The rights of a new key: only those that were requested.
#[derive(Debug, clap::Args)]
pub struct Grant {
    /// The name of the caller that will use it.
    principal: String,
    /// The kind of caller, which decides the methods that it may call.
    #[arg(long, value_enum, default_value = "service")]
    role: KeyRole,
    /// A tenant that it can access. Repeat for more.
    #[arg(
        long = "tenant",
        value_name = "ID",
        required_unless_present = "all_tenants",
        conflicts_with = "all_tenants"
    )]
    tenants: Vec<String>,
    /// It can access every tenant, including future ones.
    #[arg(long)]
    all_tenants: bool,
    /// The user that the key belongs to; for role user.
    #[arg(long, value_name = "ID", required_if_eq("role", "user"))]
    user_id: Option<String>,
    /// It may name the user on whose behalf it calls.
    #[arg(long)]
    act_for_users: bool,
    /// These users may act as administrators, if the caller says that they are administrators.
    #[arg(long, requires = "act_for_users")]
    administer_for_users: bool,
}

/// Why no key was issued.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument on the command line is invalid.
    #[error("{0} {1}")]
    Bad(&'static str, IdError),
    /// Two options exclude each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Prints a new key and the settings entry that admits it.
pub fn issue(grant: &Grant) -> Result<(), Error> {
    let key = api_key::secret(&rand::random());
    let entry = grant.entry(&api_key::hex(&api_key::hash(key.expose())))?;
    crate::demo::say(&format!(
        "The key, shown once; give it to the caller:\n\n  {}\n\n\
         The entry for the settings file:\n\n{entry}",
        key.expose()
    ));
    Ok(())
}

impl Grant {
    /// The entry as TOML. Ids contain no characters that need quoting, except user ids, which are
    /// written as quoted TOML strings.
    fn entry(&self, hash: &str) -> Result<String, Error> {
        use std::fmt::Write as _;
        let bad = |name: &'static str| move |problem| Error::Bad(name, problem);
        let principal = Principal::parse(self.principal.clone()).map_err(bad("the principal"))?;
        let role = match self.role {
            KeyRole::Service => "service",
            KeyRole::User => "user",
            KeyRole::Administrator => "administrator",
        };
        if self.role == KeyRole::User && self.act_for_users {
            return Err(Error::Contradiction("--act-for-users is not for --role user"));
        }
        if self.role != KeyRole::User && self.user_id.is_some() {
            return Err(Error::Contradiction("--user-id is only for --role user"));
        }
        let mut entry = format!(
            "[[rpc.callers]]\nprincipal = \"{principal}\"\n\
             key_sha256 = \"{hash}\"\nrole = \"{role}\"\n"
        );
        // Writing to a String cannot fail.
        if let Some(id) = &self.user_id {
            UserId::parse(id.clone()).map_err(bad("--user-id"))?;
            let _ = writeln!(entry, "user_id = {}", serde_json::Value::from(id.as_str()));
        }
        let mut tenants = Vec::new();
        for tenant in &self.tenants {
            let tenant = TenantId::parse(tenant.clone()).map_err(bad("--tenant"))?;
            tenants.push(format!("\"{tenant}\""));
        }
        if self.all_tenants {
            tenants.push("\"*\"".into());
        }
        let _ = writeln!(entry, "tenants = [{}]", tenants.join(", "));
        if self.act_for_users {
            entry.push_str("may_act_for_users = true\n");
        }
        if self.administer_for_users {
            entry.push_str("may_administer_for_users = true\n");
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::rpc::CallerConfig;

    #[derive(clap::Parser)]
    struct Issue {
        #[command(flatten)]
        grant: Grant,
    }

    fn read(args: &[&str]) -> Result<Grant, String> {
        let args = std::iter::once("issue").chain(args.iter().copied());
        Issue::try_parse_from(args).map(|issue| issue.grant).map_err(|error| error.to_string())
    }

    fn entry(args: &[&str]) -> CallerConfig {
        #[derive(serde::Deserialize)]
        struct File {
            rpc: Rpc,
        }
        #[derive(serde::Deserialize)]
        struct Rpc {
            callers: Vec<CallerConfig>,
        }
        use figment::providers::{Format as _, Toml};
        let entry = read(args).unwrap().entry(&"ab".repeat(32)).unwrap();
        let file: File = figment::Figment::from(Toml::string(&entry)).extract().unwrap();
        file.rpc.callers.into_iter().next().unwrap()
    }

    #[test]
    fn a_key_gets_what_was_asked_for_and_no_more() {
        let least = entry(&["platform", "--tenant", "acme"]);
        assert_eq!(least.tenants, ["acme"]);
        assert!(!least.may_act_for_users && !least.may_administer_for_users);
        let most = entry(&["ops", "--all-tenants", "--act-for-users", "--administer-for-users"]);
        assert_eq!(most.tenants, ["*"]);
        assert!(most.may_act_for_users && most.may_administer_for_users);
        let user = ["app", "--role", "user", "--user-id", "o\"b", "--tenant", "a", "--tenant", "b"];
        let user = entry(&user);
        assert_eq!((user.user_id.as_deref(), user.tenants.len()), (Some("o\"b"), 2));
    }

    #[test]
    fn tenants_are_named_or_all_of_them_are_asked_for() {
        for refused in [
            &["platform"][..],
            &["platform", "--all-tenants", "--tenant", "acme"],
            &["platform", "--tenant", "acme", "--administer-for-users"],
            &["app", "--role", "user", "--tenant", "acme"],
        ] {
            assert!(read(refused).is_err(), "{refused:?}");
        }
        let error = read(&["platform"]).err().unwrap();
        assert!(error.contains("--tenant <ID>"), "{error}");
    }

    #[test]
    fn what_no_caller_may_have_is_not_issued() {
        for refused in [
            &["a b", "--all-tenants"][..],
            &["app", "--role", "user", "--user-id", "u", "--all-tenants", "--act-for-users"],
            &["app", "--user-id", "u", "--all-tenants"],
            &["app", "--tenant", "no tenant"],
        ] {
            assert!(read(refused).unwrap().entry("").is_err(), "{refused:?}");
        }
    }
}
