//! The caller that a token admits: the first rule whose conditions its claims meet.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rule_config::RuleConfig;
use crate::domain::access::caller::{Caller, Described};

/// Most tenants that one token may name.
const TENANTS: usize = 1000;

#[derive(Debug)]
pub(super) struct TokenRule {
    config: RuleConfig,
}

impl TokenRule {
    /// The error begins with the setting.
    pub(super) fn new(config: &RuleConfig) -> Result<Self, String> {
        let conditions = [&config.subject, &config.subject_prefix].into_iter().flatten();
        let conditions: Vec<&str> =
            conditions.chain(config.claims.values()).map(String::as_str).collect();
        if conditions.is_empty() {
            return Err("subject, subject_prefix or claims must say which tokens".into());
        }
        if conditions.iter().any(|text| text.is_empty()) {
            return Err("subject, subject_prefix and values of claims must not be empty".into());
        }
        // With each claim replaced by a sample, the result must be a caller.
        let rule = Self { config: config.clone() };
        let sample = |_: &str| Some(vec!["x".to_owned()]);
        rule.described(&sample)
            .ok_or("principal, user_id or tenants has an unmatched brace")?
            .caller()?;
        Ok(rule)
    }

    /// Whether a token with these claims meets the rule's conditions.
    pub(super) fn fits(&self, claims: &Value) -> bool {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        self.config.subject.as_ref().is_none_or(|wanted| subject == wanted)
            && self.config.subject_prefix.as_ref().is_none_or(|wanted| subject.starts_with(wanted))
            && self.config.claims.iter().all(|(name, wanted)| {
                texts(claims, name).is_some_and(|texts| texts.contains(wanted))
            })
    }

    /// The caller that holds such a token; `None`: a claim that the rule needs is missing, or is
    /// not a name.
    pub(super) fn caller(&self, claims: &Value) -> Option<Caller> {
        self.described(&|name| texts(claims, name))?.caller().ok()
    }

    fn described(&self, claim: &impl Fn(&str) -> Option<Vec<String>>) -> Option<Described> {
        let one = |text: &str| match filled(text, claim)?.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        };
        let mut tenants = BTreeSet::new();
        for text in &self.config.tenants {
            let filled = filled(text, claim)?;
            // All tenants only if the settings say so.
            if text != "*" && filled.iter().any(|tenant| tenant == "*") {
                return None;
            }
            tenants.extend(filled);
        }
        if tenants.len() > TENANTS {
            return None;
        }
        Some(Described {
            principal: one(&self.config.principal)?,
            role: self.config.role,
            user_id: match &self.config.user_id {
                Some(text) => Some(one(text)?),
                None => None,
            },
            tenants: tenants.into_iter().collect(),
            may_act_for_users: self.config.may_act_for_users,
            may_administer_for_users: self.config.may_administer_for_users,
        })
    }
}

/// A text with its `{claims}` filled in: one text for each value of a list; two lists in one text
/// are refused.
fn filled(text: &str, claim: &impl Fn(&str) -> Option<Vec<String>>) -> Option<Vec<String>> {
    let mut filled = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        let values = claim(name)?;
        if filled.len() > 1 && values.len() > 1 {
            return None;
        }
        let mut more = Vec::with_capacity(filled.len() * values.len());
        for begun in &filled {
            more.extend(values.iter().map(|value| format!("{begun}{before}{value}")));
        }
        (filled, rest) = (more, behind);
    }
    if rest.contains('}') {
        return None;
    }
    for one in &mut filled {
        one.push_str(rest);
    }
    Some(filled)
}

/// The texts of a claim: itself, or those of a list. Numbers and booleans are written as in JSON.
fn texts(claims: &Value, name: &str) -> Option<Vec<String>> {
    let value = if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => text(one).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::access::caller::{Reach, Role, RoleName};

    fn config() -> RuleConfig {
        RuleConfig {
            subject: None,
            subject_prefix: Some("system:serviceaccount:acme:".into()),
            claims: std::collections::BTreeMap::default(),
            principal: "k8s:{/kubernetes.io/namespace}".into(),
            role: RoleName::Service,
            user_id: None,
            tenants: vec!["acme".into()],
            may_act_for_users: false,
            may_administer_for_users: false,
        }
    }

    fn claims() -> Value {
        json!({
            "sub": "system:serviceaccount:acme:importer",
            "kubernetes.io": { "namespace": "acme" },
            "tenants": ["acme", "globex"],
            "groups": ["ops", "dev"],
            "none": [],
            "star": "*",
        })
    }

    #[test]
    fn conditions_must_all_be_met() {
        let fits = |config: &RuleConfig| TokenRule::new(config).unwrap().fits(&claims());
        assert!(fits(&config()));
        let prefix = Some("system:serviceaccount:other:".into());
        assert!(!fits(&RuleConfig { subject_prefix: prefix, ..config() }));
        assert!(!fits(&RuleConfig { subject: Some("acme".into()), ..config() }));
        for (value, met) in [("ops", true), ("op", false), ("ops,dev", false)] {
            let claims = [("groups".to_owned(), value.to_owned())].into();
            assert_eq!(fits(&RuleConfig { claims, ..config() }), met, "{value}");
        }
        let missing = [("absent".to_owned(), "x".to_owned())].into();
        assert!(!fits(&RuleConfig { claims: missing, ..config() }));
    }

    #[test]
    fn claims_become_names_and_tenants() {
        let caller = |config: &RuleConfig| TokenRule::new(config).unwrap().caller(&claims());
        let found = caller(&config()).unwrap();
        assert_eq!((found.principal.as_str(), found.role), ("k8s:acme", Role::Service));
        let tenants = |tenants: &[&str]| {
            let tenants = tenants.iter().map(ToString::to_string).collect();
            caller(&RuleConfig { tenants, ..config() }).map(|caller| caller.reach)
        };
        let Some(Reach::Only(two)) = tenants(&["{tenants}"]) else { panic!("tenants") };
        assert_eq!(two.len(), 2);
        assert_eq!(tenants(&["*"]), Some(Reach::All));
        for refused in ["{none}", "{star}", "{absent}", "{tenants}{groups}"] {
            assert_eq!(tenants(&[refused]), None, "{refused}");
        }
        let user = RuleConfig {
            role: RoleName::User,
            user_id: Some("{sub}".into()),
            principal: "{groups}".into(),
            ..config()
        };
        assert!(caller(&user).is_none(), "a list is no name");
    }

    #[test]
    fn what_can_let_nobody_in_is_refused() {
        for (config, named) in [
            (RuleConfig { subject_prefix: None, ..config() }, "subject"),
            (RuleConfig { subject_prefix: Some(String::new()), ..config() }, "subject"),
            (RuleConfig { principal: "a b".into(), ..config() }, "principal"),
            (RuleConfig { principal: "{sub".into(), ..config() }, "brace"),
            (RuleConfig { tenants: Vec::new(), ..config() }, "tenants"),
            (RuleConfig { tenants: vec!["{sub} x".into()], ..config() }, "tenants"),
            (RuleConfig { role: RoleName::User, ..config() }, "user_id"),
        ] {
            let refused = TokenRule::new(&config).unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
