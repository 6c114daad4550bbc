//! Bad input through the API: each case with the exact error that it must give, and proof that
//! nothing was stored. Callers read these sentences, so they are compared word for word.

mod admin;
mod channels;
mod dead_letters;
mod http;
mod notify;
mod questions;
mod reads;
mod settings;
mod templates;

pub(crate) use http::not_a_message;

use std::collections::BTreeMap;

use herald::rpc::pb;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::world::World;

/// The number of cases that the documents state.
#[test]
fn there_are_as_many_cases_as_the_documents_say() {
    let cases = admin::CASES
        + channels::CASES
        + dead_letters::CASES
        + http::CASES
        + notify::CASES
        + questions::CASES
        + reads::CASES
        + settings::CASES
        + templates::CASES;
    assert!(cases >= 150, "{cases}");
}

/// A field and its fault.
pub(super) type Problem = (&'static str, &'static str);

/// A request that is good except for `spoil`.
pub(super) struct Case<T> {
    pub(super) what: &'static str,
    pub(super) spoil: fn(&mut T),
    /// All of its faults, in order.
    pub(super) problems: &'static [Problem],
}

/// A text of `n` bytes.
pub(super) fn long(n: usize) -> String {
    "x".repeat(n)
}

/// The refusal names exactly these fields, in one answer, with the one stable reason.
pub(super) fn assert_refused(what: &str, answer: Result<(), Status>, problems: &[Problem]) {
    let Err(status) = answer else { panic!("{what}: was taken") };
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
    assert_reason(what, &status, "INVALID_ARGUMENT");
    let details = status.get_error_details();
    let told: Vec<(String, String)> = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect();
    let wanted: Vec<(String, String)> =
        problems.iter().map(|(f, p)| ((*f).to_owned(), (*p).to_owned())).collect();
    assert_eq!(told, wanted, "{what}");
}

/// The status has one `ErrorInfo` with the reason, in Herald's domain.
pub(super) fn assert_reason(what: &str, status: &Status, reason: &str) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{what}: no ErrorInfo: {status}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("herald", reason), "{what}");
}

/// The number of rows of every table, as far as a refused call could change it.
pub(super) struct Rows(DatabaseConnection, BTreeMap<String, i64>);

const TABLES: [&str; 23] = [
    "tenants",
    "event_types",
    "previews",
    "templates",
    "template_versions",
    "slack_app_paths",
    "slack_apps",
    "tenant_links",
    "connect_attempts",
    "people",
    "preferences",
    "notifications",
    "deliveries",
    "lanes",
    "attempts",
    "deliveries_history",
    "delivery_sharers",
    "replays",
    "channels",
    "channel_members",
    "identity_links",
    "workspace_erasures",
    "erased_tenants",
];

impl Rows {
    pub(super) async fn of(world: &World) -> Self {
        let connection = world.raw().await;
        let rows = count(&connection).await;
        Self(connection, rows)
    }

    pub(super) async fn assert_unchanged(&self, what: &str) {
        assert_eq!(count(&self.0).await, self.1, "{what}: something was stored");
    }
}

async fn count(connection: &DatabaseConnection) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await.unwrap().unwrap();
        rows.insert(table.to_owned(), row.try_get("", "n").unwrap());
    }
    // A changed setting changes no count, but a version.
    let sql = "SELECT COALESCE(SUM(version), 0) AS n FROM tenants".to_owned();
    let statement = Statement::from_string(
        connection.get_database_backend(),
        format!("SELECT CAST(n AS BIGINT) AS n FROM ({sql}) AS versions"),
    );
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    rows.insert("versions".to_owned(), row.try_get("", "n").unwrap());
    rows
}

/// A struct with this many levels.
pub(super) fn nested(levels: usize) -> prost_types::Struct {
    let mut inner = prost_types::Struct::default();
    for _ in 0..levels {
        let kind = prost_types::value::Kind::StructValue(inner);
        let value = prost_types::Value { kind: Some(kind) };
        inner = prost_types::Struct { fields: [("x".to_owned(), value)].into() };
    }
    inner
}

/// A struct with one number under `x`.
pub(super) fn number(number: f64) -> prost_types::Struct {
    let kind = prost_types::value::Kind::NumberValue(number);
    let value = prost_types::Value { kind: Some(kind) };
    prost_types::Struct { fields: [("x".to_owned(), value)].into() }
}

/// A struct from JSON text.
pub(super) fn object(json: &str) -> prost_types::Struct {
    herald::rpc::to_struct(serde_json::from_str(json).unwrap())
}

fn to(target: pb::recipient::Target) -> pb::Recipient {
    pb::Recipient { target: Some(target), roles: Vec::new() }
}

pub(super) fn user(id: &str) -> pb::Recipient {
    to(pb::recipient::Target::UserId(id.into()))
}

pub(super) fn described(person: pb::Person) -> pb::Recipient {
    to(pb::recipient::Target::Person(person))
}

pub(super) fn channel(id: &str) -> pb::Recipient {
    to(pb::recipient::Target::ChannelId(id.into()))
}

pub(super) fn channel_key(key: &str) -> pb::Recipient {
    to(pb::recipient::Target::ChannelKey(key.into()))
}
