//! ListFailed and ReplayDeliveries.

use herald::rpc::pb;
use tonic::Code;

use super::{Case, Rows, assert_reason, assert_refused, long};
use crate::support::world::for_each_database;

const EMPTY: &str = "must not be empty";
const SLASH: &str = "must not contain '/'; allowed are letters, digits and - _ . :";
const TOKEN: &str = "is not a next_page_token of this list with this filter";
const NEGATIVE: &str = "must not be negative";
const CODE: &str = "must be at most 64 lower-case letters, digits and _";
const STATE: &str = "is not a known state";
const DEAD: &str = "must be one of FAILED, EXPIRED, PARKED";
const EVENT: &str = "must look like task.assigned (words joined by dots)";
const TIME: &str = "is not a time between the years 1 and 9999";
const RANGE: &str = "must be later than ended_from";
const UUID: &str = "must look like a UUID";
const EITHER: &str = "either these or filter must be given, and not both";
const MOST: &str = "must be between 0 and 1000";
const EXPIRY: &str = "must be between 1 second and 30 days";
const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

pub(super) const CASES: usize = LISTED.len() + REPLAYED.len() + ABSENT;
/// A tenant that does not exist.
const ABSENT: usize = 1;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn list() -> pb::ListFailedRequest {
    pb::ListFailedRequest {
        tenant_id: "acme".into(),
        filter: Some(pb::FailedFilter::default()),
        ..pb::ListFailedRequest::default()
    }
}

/// The filter of a list, to be changed.
fn filter(request: &mut pb::ListFailedRequest) -> &mut pb::FailedFilter {
    request.filter.get_or_insert_default()
}

#[rustfmt::skip]
const LISTED: &[Case<pb::ListFailedRequest>] = &[
    Case {
        what: "failed without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "failed, negative page", spoil: |r| r.page_size = -1,
        problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "failed, invented token", spoil: |r| r.page_token = "AAAA".into(),
        problems: &[("page_token", TOKEN)] },
    Case {
        what: "failed, long token", spoil: |r| r.page_token = long(100_000),
        problems: &[("page_token", "must be at most 1024 bytes")] },
    Case {
        what: "failed, unknown state", spoil: |r| filter(r).state = 99,
        problems: &[("filter.state", STATE)] },
    Case {
        what: "failed, a state of the living",
        spoil: |r| filter(r).state = pb::DeliveryState::Sent.into(),
        problems: &[("filter.state", DEAD)] },
    Case {
        what: "failed, canceled is none",
        spoil: |r| filter(r).state = pb::DeliveryState::Canceled.into(),
        problems: &[("filter.state", DEAD)] },
    Case {
        what: "failed, reason in words", spoil: |r| filter(r).reason = "Not sent!".into(),
        problems: &[("filter.reason", CODE)] },
    Case {
        what: "failed, long reason", spoil: |r| filter(r).reason = long(65),
        problems: &[("filter.reason", CODE)] },
    Case {
        what: "failed, code with a quote", spoil: |r| filter(r).code = "' OR 1=1 --".into(),
        problems: &[("filter.code", CODE)] },
    Case {
        what: "failed, event type without dot", spoil: |r| filter(r).event_type = "task".into(),
        problems: &[("filter.event_type", EVENT)] },
    Case {
        what: "failed, long user", spoil: |r| filter(r).user_id = long(257),
        problems: &[("filter.user_id", "must be at most 256 bytes, was 257")] },
    Case {
        what: "failed, before the year 1",
        spoil: |r| filter(r).ended_from = Some(at(-62_135_596_801)),
        problems: &[("filter.ended_from", TIME)] },
    Case {
        what: "failed, after the year 9999",
        spoil: |r| filter(r).ended_before = Some(at(i64::MAX)),
        problems: &[("filter.ended_before", TIME)] },
    Case {
        what: "failed, range upside down",
        spoil: |r| {
            filter(r).ended_from = Some(at(2_000)); filter(r).ended_before = Some(at(1_000)); },
        problems: &[("filter.ended_before", RANGE)] },
    Case {
        what: "failed, actor without user", spoil: |r| r.actor = Some(pb::Actor::default()),
        problems: &[("actor.user_id", EMPTY)] },
    Case {
        what: "failed, all at once",
        spoil: |r| {
            r.tenant_id = "a/b".into(); r.page_size = -5; r.page_token = "?".into();
            filter(r).state = 99; filter(r).reason = "A".into(); filter(r).code = "B".into();
            filter(r).event_type = "task".into(); },
        problems: &[("page_size", NEGATIVE), ("page_token", TOKEN), ("tenant_id", SLASH),
            ("filter.state", STATE), ("filter.reason", CODE), ("filter.code", CODE),
            ("filter.event_type", EVENT)] },
];

fn replay() -> pb::ReplayDeliveriesRequest {
    pb::ReplayDeliveriesRequest {
        tenant_id: "acme".into(),
        request_id: "again".into(),
        delivery_ids: vec![NOBODY.into()],
        ..pb::ReplayDeliveriesRequest::default()
    }
}

/// The filter of a replay, which replaces the named deliveries.
fn by_filter(request: &mut pb::ReplayDeliveriesRequest) -> &mut pb::FailedFilter {
    request.delivery_ids.clear();
    request.filter.get_or_insert_default()
}

#[rustfmt::skip]
const REPLAYED: &[Case<pb::ReplayDeliveriesRequest>] = &[
    Case {
        what: "replay without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "replay without request id", spoil: |r| r.request_id.clear(),
        problems: &[("request_id", EMPTY)] },
    Case {
        what: "replay, long request id", spoil: |r| r.request_id = long(129),
        problems: &[("request_id", "must be at most 128 bytes, was 129")] },
    Case {
        what: "replay of nothing", spoil: |r| r.delivery_ids.clear(),
        problems: &[("delivery_ids", EITHER)] },
    Case {
        what: "replay of both", spoil: |r| r.filter = Some(pb::FailedFilter::default()),
        problems: &[("delivery_ids", EITHER)] },
    Case {
        what: "replay of an empty id",
        spoil: |r| r.delivery_ids = vec![NOBODY.into(), String::new()],
        problems: &[("delivery_ids[1]", EMPTY)] },
    Case {
        what: "replay of a number", spoil: |r| r.delivery_ids = vec!["4711".into()],
        problems: &[("delivery_ids[0]", UUID)] },
    Case {
        what: "replay of too many", spoil: |r| r.delivery_ids = vec![NOBODY.into(); 1001],
        problems: &[("delivery_ids", "must be at most 1000, was 1001")] },
    Case {
        what: "replay, too large a bound", spoil: |r| { by_filter(r); r.max_deliveries = 1001; },
        problems: &[("max_deliveries", MOST)] },
    Case {
        what: "replay, negative bound", spoil: |r| { by_filter(r); r.max_deliveries = -1; },
        problems: &[("max_deliveries", MOST)] },
    Case {
        what: "replay, a bound of named ones", spoil: |r| r.max_deliveries = i32::MIN,
        problems: &[("max_deliveries", MOST)] },
    Case {
        what: "replay, a state of the living",
        spoil: |r| by_filter(r).state = pb::DeliveryState::Pending.into(),
        problems: &[("filter.state", DEAD)] },
    Case {
        what: "replay, range of nothing",
        spoil: |r| {
            by_filter(r).ended_from = Some(at(1_000));
            by_filter(r).ended_before = Some(at(1_000)); },
        problems: &[("filter.ended_before", RANGE)] },
    Case {
        what: "replay, no time to live",
        spoil: |r| r.expires_in = Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "replay, too long a life",
        spoil: |r| r.expires_in = Some(prost_types::Duration {
            seconds: 31 * 24 * 3600, nanos: 0 }),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "replay, unknown permission",
        spoil: |r| r.actor = Some(pb::Actor { user_id: "ada".into(), permissions: vec![7] }),
        problems: &[("actor.permissions[0]", "is not a known permission")] },
    Case {
        what: "replay, all at once",
        spoil: |r| {
            *r = pb::ReplayDeliveriesRequest {
                expires_in: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                delivery_ids: vec!["x".into()], max_deliveries: -1, ..Default::default() }; },
        problems: &[("tenant_id", EMPTY), ("request_id", EMPTY), ("expires_in", EXPIRY),
            ("delivery_ids[0]", UUID), ("max_deliveries", MOST)] },
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_lists_and_replays_name_every_field_and_store_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        for case in LISTED {
            let mut request = list();
            (case.spoil)(&mut request);
            assert_refused(case.what, client.list_failed(request).await.map(drop), case.problems);
        }
        for case in REPLAYED {
            let mut request = replay();
            (case.spoil)(&mut request);
            let answer = client.replay_deliveries(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        let absent = pb::ReplayDeliveriesRequest { tenant_id: "globex".into(), ..replay() };
        let status = client.replay_deliveries(absent).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert_reason("replay of an unknown id", &status, "NOT_FOUND");
        rows.assert_unchanged("dead letters").await;
        // Without the faults, the requests are good.
        client.list_failed(list()).await.unwrap();
        client.replay_deliveries(replay()).await.unwrap();
    })
    .await;
}
