//! The chart against the code: `config` in its schema offers exactly the server's settings, a typo
//! in any value is refused, and its README names every value.
//!
//! `tests/run`, which has helm, checks what the chart renders.

use std::collections::BTreeSet;
use std::path::Path;

use herald::config::Settings;
use serde_json::Value;

/// Settings that `config` must not offer, with the reason.
const NOT_OFFERED: &[(&str, &str)] = &[
    ("rpc.address", "listenAddress; services and probes know the port"),
    ("rpc.health_address", "listenAddress; probes know the port"),
    ("rpc.insecure", "refused on any address but loopback, which no service reaches"),
    ("rpc.callers", "callers, secrets.callers"),
    ("rpc.issuers", "issuers, kubernetesTokens"),
    ("http.address", "listenAddress; services and probes know the port"),
    ("http.public_url", "publicUrl"),
    ("rpc.tls_certificate", "tls.grpc.existingSecret"),
    ("rpc.tls_key", "tls.grpc.existingSecret"),
    ("rpc.tls_client_ca", "tls.grpc.clientCaSecret"),
    ("rpc.tls_client_required", "tls.grpc.clientRequired"),
    ("http.tls_certificate", "tls.http.existingSecret"),
    ("http.tls_key", "tls.http.existingSecret"),
    ("store.url", "secrets.databaseUrl"),
    ("store.direct_url", "secrets.directDatabaseUrl"),
    ("store.data_dir", "where the volume is"),
    ("store.key", "secrets.encryptionKey"),
    ("store.key_file", "secrets.encryptionKey"),
    ("store.previous_key", "a secret: extraEnv, while keys are exchanged"),
    ("store.previous_key_file", "likewise"),
    ("store.vault_token", "a secret: extraEnv, or config.store.vault_token_file"),
    ("slack.time_scale", "for tests against a sandbox"),
    ("alerts.webhook_secret", "a secret: extraEnv"),
    ("app.client_id", "slackApp.clientId"),
    ("app.client_secret", "secrets.slackClientSecret"),
    ("app.signing_secret", "secrets.slackSigningSecret"),
    ("app.previous_client_secret", "a secret: extraEnv, while secrets are exchanged"),
    ("app.previous_signing_secret", "likewise"),
    ("app.previous_until", "likewise"),
];

/// Objects that accept any key, with the reason why that hides no typo: the keys are the operator's
/// own, or Kubernetes checks them.
const OPEN: &[&str] = &[
    "global",                   // Helm's own
    "affinity.nodeAffinity",    // the API server checks it
    "affinity.podAffinity",     // likewise
    "affinity.podAntiAffinity", // likewise
];

fn chart(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/herald").join(file);
    std::fs::read_to_string(path).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&chart("values.schema.json")).unwrap()
}

/// The settings that the server names when it refuses an unknown one.
fn known(flag: &str) -> Vec<String> {
    let error = Settings::load(None, std::iter::empty(), &[flag.to_owned()]).unwrap_err();
    let error = error.to_string();
    let (_, list) = error.split_once("settings here are ").unwrap();
    list.split(", ").map(ToOwned::to_owned).collect()
}

#[test]
fn config_offers_the_servers_settings() {
    let not_offered: BTreeSet<String> =
        NOT_OFFERED.iter().map(|(path, _)| (*path).to_owned()).collect();
    let mut settings = BTreeSet::new();
    for section in known("no_such_section.key=1") {
        for key in known(&format!("{section}.no_such_key=1")) {
            settings.insert(format!("{section}.{key}"));
        }
    }
    let stale: Vec<_> = not_offered.difference(&settings).collect();
    assert!(stale.is_empty(), "NOT_OFFERED has names that are not settings: {stale:?}");

    let schema = schema();
    let mut offered = BTreeSet::new();
    for (section, keys) in schema["properties"]["config"]["properties"].as_object().unwrap() {
        for key in keys["properties"].as_object().unwrap().keys() {
            offered.insert(format!("{section}.{key}"));
        }
    }
    let wanted: BTreeSet<_> = settings.difference(&not_offered).cloned().collect();
    let missing: Vec<_> = wanted.difference(&offered).collect();
    let unknown: Vec<_> = offered.difference(&wanted).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "helm/herald/values.schema.json, config: lacks {missing:?}, has what is no setting or not \
         to be offered {unknown:?}"
    );
}

#[test]
fn a_typo_is_refused_everywhere() {
    fn closed(value: &Value, path: &str, open: &mut Vec<String>) {
        if value["type"] == "object" && value.get("additionalProperties").is_none() {
            open.push(path.to_owned());
        }
        for (name, child) in value["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            closed(child, &path, open);
        }
        for (name, child) in value["definitions"].as_object().into_iter().flatten() {
            closed(child, &format!("definitions.{name}"), open);
        }
        if let Some(items) = value.get("items") {
            closed(items, &format!("{path}[]"), open);
        }
    }
    let mut open = Vec::new();
    closed(&schema(), "", &mut open);
    open.sort();
    assert_eq!(open, {
        let mut expected = OPEN.to_vec();
        expected.sort_unstable();
        expected
    });
}

#[test]
fn the_readme_names_every_value() {
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value.get("properties").and_then(Value::as_object) {
            Some(properties) if value["type"] == "object" => {
                for (name, child) in properties {
                    leaves(child, &format!("{path}.{name}"), found);
                }
            }
            _ => found.push(path.trim_start_matches('.').to_owned()),
        }
    }
    let (mut values, readme) = (Vec::new(), chart("README.md"));
    leaves(&schema(), "", &mut values);
    let missing: Vec<_> = values
        .iter()
        .filter(|path| *path != "global" && !readme.contains(&format!("`{path}`")))
        .collect();
    assert!(missing.is_empty(), "helm/herald/README.md does not name {missing:?}");
}
