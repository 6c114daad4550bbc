//! Settings: a wrong value stops the start with a sentence that names it.

use herald::config::Settings;

use crate::support::process::migrate;

/// Environment, flags, the whole sentence.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str], &'static str);

pub(super) const CASES: usize = REFUSED.len();

const OPEN: (&str, &str) = ("HERALD_RPC__INSECURE", "true");

#[rustfmt::skip]
const REFUSED: &[Case] = &[
    (&[], &[],
        "rpc.callers is empty, so no one could call: add a [[rpc.callers]] or [[rpc.issuers]] \
        entry, or set rpc.insecure=true to try Herald on this machine"),
    (&[OPEN, ("HERALD_RPC__ADDRESS", "nowhere")], &[],
        "HERALD_RPC__ADDRESS: must be an IP address and a port, such as 127.0.0.1:50051, or \
        0.0.0.0:50051 for all interfaces (localhost:50051 works too; other host names do not)"),
    (&[OPEN, ("HERALD_RPC__INSECURE", "perhaps")], &[], "HERALD_RPC__INSECURE: must be a boolean"),
    (&[OPEN, ("HERALD_DELIVERY__WORKERS", "many")], &[],
        "HERALD_DELIVERY__WORKERS: must be a whole number, not negative"),
    (&[OPEN, ("HERALD_DELIVERY__WORKERS", "-1")], &[],
        "HERALD_DELIVERY__WORKERS: must be a whole number, not negative"),
    (&[OPEN], &["delivery.workers=0"], "delivery.workers must be at least 1"),
    (&[OPEN], &["delivery.workers=20000"], "delivery.workers must be at most 10000"),
    (&[OPEN], &["delivery.lease_seconds=1"], "delivery.lease_seconds must be at least 10"),
    (&[OPEN], &["delivery.lease_seconds=59"],
        "delivery.lease_seconds must be at least twice slack.request_timeout"),
    (&[OPEN], &["channels.workers=0"], "channels.workers must be between 1 and 1000"),
    (&[OPEN], &["channels.lease_seconds=99"],
        "channels.lease_seconds must be at least twice slack.request_timeout and 40"),
    (&[OPEN], &["directory.refresh_seconds=1"], "directory.refresh_seconds must be at least 60"),
    (&[OPEN], &["directory.poll_milliseconds=1"],
        "directory.poll_milliseconds must be at least 100"),
    (&[OPEN], &["process.grace_seconds=1"],
        "process.grace_seconds must be more than lame_duck_seconds"),
    (&[OPEN], &["process.connect_link_minutes=0"],
        "process.connect_link_minutes must be between 1 and 1440"),
    (&[OPEN], &["rpc.max_concurrent_calls=0"],
        "rpc.max_concurrent_calls must be between 1 and 1000000"),
    (&[OPEN], &["rpc.max_request_bytes=5"],
        "rpc.max_request_bytes must be between 1 KiB and 1 GiB"),
    (&[OPEN], &["rpc.longest_call_seconds=0"], "rpc.longest_call_seconds must be at least 1"),
    (&[OPEN], &["slack.base_url=slack.com"],
        "--set slack.base_url: must be an address with its scheme, such as https://slack.com/"),
    (&[OPEN], &["slack.base_url=http://slack.com"],
        "slack.base_url must be an https address; plain http is allowed only for this host \
        (localhost, 127.0.0.1, [::1])"),
    (&[OPEN], &["slack.time_scale=0"], "slack.time_scale must be a number above 0 and at most 10"),
    (&[OPEN], &["http.public_url=http://herald.example.com/"],
        "http.public_url must be an https address; plain http is allowed only for this host \
        (localhost, 127.0.0.1, [::1])"),
    (&[OPEN], &["http.address=0.0.0.0:8080"],
        "http.public_url must be set if address is 0.0.0.0:8080: browsers come back to it"),
    (&[OPEN], &["log.format=xml"], "--set log.format: must be one of text, json"),
    (&[OPEN], &["nonsense"], "--set nonsense: must look like section.key=value"),
];

#[test]
fn a_wrong_setting_is_named_in_a_sentence() {
    for (environment, flags, sentence) in REFUSED {
        let environment = environment.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()));
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let error = Settings::load(None, environment, &flags).unwrap_err();
        assert_eq!(error.to_string(), *sentence, "{flags:?}");
    }
}

#[test]
fn localhost_is_an_address_to_listen_on() {
    let flags =
        ["rpc.address=localhost:1", "rpc.health_address=localhost:2", "http.address=localhost:3"];
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let open = [(OPEN.0.to_owned(), OPEN.1.to_owned())].into_iter();
    let settings = Settings::load(None, open, &flags).unwrap();
    let addresses = [settings.rpc.address, settings.rpc.health_address, settings.http.address];
    assert_eq!(
        addresses.map(|address| address.to_string()),
        ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    );
}

#[test]
fn an_unknown_setting_says_which_there_are() {
    let environment = [OPEN, ("HERALD_DELIVERY__WORKRES", "1")];
    let environment = environment.map(|(n, t)| (n.to_owned(), t.to_owned())).into_iter();
    let error = Settings::load(None, environment, &[]).unwrap_err().to_string();
    let wanted = "HERALD_DELIVERY__WORKRES: workres is not a setting; settings here are workers, ";
    assert!(error.starts_with(wanted), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let file = Some("no-such-file.toml".into());
    let error = Settings::load(file, std::iter::empty(), &[]).unwrap_err().to_string();
    assert_eq!(error, "the settings file no-such-file.toml does not exist");
}

/// The schema can be created before any callers are configured.
#[test]
fn the_store_s_settings_are_enough_to_migrate() {
    let dir = tempfile::tempdir().unwrap();
    migrate(&[format!("store.data_dir={}", dir.path().display())]);
    assert!(dir.path().join("herald.db").is_file());
}
