//! Answers that are not a member list (faults.md 18): memory is bounded, the error is reported, and
//! the previous list stays.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use herald::sandbox::fixture::generated_member;
use herald::sandbox::{Fault, FaultKind, Raw};

use super::{LAST, counted, email, id, member, plan, refresh, refresh_in_vain, state};
use crate::crash::site_on;
use crate::support::process::{self, Herald};
use crate::support::world::TENANT;

const LARGE: usize = 50 << 20;

fn body(bytes: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> FaultKind {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    FaultKind::Body { body: Raw::Bytes(bytes.into()), headers: headers.collect() }
}

/// JSON of this many MiB in a thousandth of that.
fn bomb(size: usize) -> FaultKind {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(br#"{"ok":true,"members":[],"padding":""#).unwrap();
    for _ in 0..size {
        packed.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    packed.write_all(br#""}"#).unwrap();
    body(packed.finish().unwrap(), &[("content-encoding", "gzip")])
}

fn garbage() -> Vec<(&'static str, FaultKind)> {
    let deep = format!(r#"{{"ok":true,"members":{}"#, "[".repeat(1_000_000));
    let html = "<!doctype html><title>502</title>".as_bytes();
    vec![
        ("broken JSON", body(&br#"{"ok":true,"members":[{"id":"#[..], &[])),
        ("HTML with 200", body(html, &[("content-type", "text/html")])),
        ("another shape", body(&br#"{"ok":true,"members":{"U1":{}}}"#[..], &[])),
        ("deep nesting", body(deep, &[])),
        ("invalid UTF-8", body(&b"{\"ok\":true,\"members\":[{\"id\":\"\xff\xfe\"}]}"[..], &[])),
        ("a compressed bomb", bomb(50)),
        ("a page of 50 MB", FaultKind::Huge { bytes: LARGE }),
        ("half a page", FaultKind::Truncate),
    ]
}

#[tokio::test]
async fn what_is_no_list_is_told_and_changes_nothing() {
    plan()
        .run(async |world| {
            for (what, kind) in garbage() {
                let before = state(world).await.generation;
                let fault = Fault::new("users.list", kind);
                world.sandbox.script(if what == "half a page" { fault.after() } else { fault });
                let failed = refresh_in_vain(world).await;
                assert_eq!(failed.generation, before, "{what}");
                assert!(
                    failed.last_error.contains("did not answer properly"),
                    "{what}: {failed:?}"
                );
                assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)), "{what}");
                world.sandbox.clear_faults();
                refresh(world).await;
                let read = world.members_read(TENANT, before + 1).await;
                assert_eq!((read.members, read.last_error.as_str()), (60, ""), "{what}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_member_that_cannot_be_read_is_left_out_alone() {
    plan()
        .run(async |world| {
            let before = state(world).await.generation;
            let mut odd = String::new();
            for member in (0..LAST).map(generated_member) {
                odd.push_str(&member.to_string());
                odd.push(',');
            }
            let deep = "[".repeat(100_000) + &"]".repeat(100_000);
            let rest = format!(r#"null,7,"U1",{{"id":null}},{{"id":"UDEEP","x":{deep}}}"#);
            let list = format!(r#"{{"ok":true,"members":[{odd}{rest}]}}"#);
            world.sandbox.script(Fault::new("users.list", body(list, &[])).times(1));
            refresh(world).await;
            world.members_read(TENANT, before + 1).await;
            counted(world, |list| list.matchable == 58).await;
            assert_eq!(member(&world.client, &email(LAST - 1)).await, Some(id(LAST - 1)));
            // The list can still be read afterwards.
            refresh(world).await;
            world.members_read(TENANT, before + 2).await;
            counted(world, |list| list.matchable == 59).await;
        })
        .await;
}

/// The most memory that the process ever had, in bytes.
fn peak(herald: &Herald) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", herald.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_answers_do_not_fill_the_memory() {
    let Some(site) = site_on(false, 3).await else { return };
    let herald = site.start_connected().await;
    let before = peak(&herald);
    for kind in [bomb(200), FaultKind::Huge { bytes: LARGE }] {
        let calls = site.calls("users.list").len();
        site.sandbox.script(Fault::new("users.list", kind));
        super::cluster::refresh(&herald).await;
        process::until("the list was requested again and again", async || {
            (site.calls("users.list").len() >= calls + 4).then_some(())
        })
        .await;
        site.sandbox.clear_faults();
    }
    let grown = peak(&herald) - before;
    // At most 16 MiB of each answer are read (`slack.body_limit_bytes`), into a growing buffer.
    assert!(grown < 96 << 20, "{} MiB", grown >> 20);
}
