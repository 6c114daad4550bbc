//! Differences between the files and the templates: they are shown, checked, saved or refused.

use std::io::Read as _;
use std::process::Stdio;

use herald::rpc::{RoleConfig, pb};
use tonic::Code;

use super::{Desk, admin, command, file, run, simple};
use crate::support::authority::Authority;
use crate::support::client::key_of;
use crate::support::world::{Plan, Replica, TENANT, caller, for_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_shown_first_and_a_dry_run_changes_nothing() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        desk.set(simple("", "de", "Alt")).await.unwrap();
        desk.set(simple("", "en", "The same")).await.unwrap();
        assert_eq!(desk.export().await.code, Some(0));
        let before = desk.templates().await;
        desk.write("task.assigned/de.toml", &file("Neu"));
        desk.write("task.assigned/content/course-7/de.toml", &file("Für den Kurs"));
        desk.write("README.md", "Skipped.");
        desk.write(".git/HEAD", "Skipped.");

        let shown = desk.apply(&["--dry-run"]).await;
        assert_eq!(shown.code, Some(2), "{shown:?}");
        let expected = "\
--- herald/task.assigned/de.toml
+++ files/task.assigned/de.toml
@@ -1,3 +1,3 @@
 [simple]
-heading = \"Alt\"
+heading = \"Neu\"
 body = \"**{{ task.name }}**\"
--- /dev/null
+++ files/task.assigned/content/course-7/de.toml
@@ -0,0 +1,5 @@
+content_id = \"course-7\"
+
+[simple]
+heading = \"Für den Kurs\"
+body = \"**{{ task.name }}**\"
New: 1. Changed: 1. To be removed: 0. The same: 1.
";
        assert_eq!(shown.out, expected);
        assert_eq!(desk.templates().await, before);

        let saved = desk.apply(&[]).await;
        assert_eq!(saved.code, Some(0), "{saved:?}");
        assert_eq!(saved.out, format!("{expected}Saved: 2.\n"));
        let templates = desk.templates().await;
        let seen: Vec<_> = templates
            .iter()
            .map(|template| (&*template.content_id, &*template.locale, template.version))
            .collect();
        assert_eq!(seen, [("", "de", 2), ("", "en", 1), ("course-7", "de", 1)]);
        assert_eq!(desk.apply(&[]).await.out.lines().count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_template_is_named_with_its_line_and_nothing_is_saved() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        desk.write("task.assigned/en.toml", &file("Good"));
        let simple = "# Ours.\n[simple]\nbody = '''\nGood.\nBad {{ task.name | shout }}\n'''\n";
        desk.write("task.assigned/de.toml", simple);
        let blocks = r#"[blocks]
text = "x"
blocks_json = '''
[
  { "type": "divider" },
  { "type": "section", "text": { "type": "mrkdwn",
    "text": "{{ task.name | shout }}" } }
]
'''
"#;
        desk.write("task.assigned/fr.toml", blocks);
        for flags in [&["--dry-run"][..], &[]] {
            let refused = desk.apply(flags).await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            let dir = desk.dir();
            let dir = dir.display();
            let de = format!("{dir}/task.assigned/de.toml:5:");
            assert!(refused.err.contains(&de), "{de} {}", refused.err);
            assert!(refused.err.contains("template.simple.body: "), "{}", refused.err);
            let fr = format!("{dir}/task.assigned/fr.toml:7:");
            assert!(refused.err.contains(&fr), "{fr} {}", refused.err);
            assert!(!refused.err.contains("en.toml"), "{}", refused.err);
            assert!(refused.err.contains("nothing was saved"), "{}", refused.err);
            assert_eq!(desk.templates().await, []);
        }
    })
    .await;
}

/// Files are read before Herald is called: here it has no address.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_template_is_named_with_its_line() {
    for (text, sentence) in [
        ("[simple]\nheading = \"x\nbody = \"y\"\n", "de.toml:2:"),
        ("[simple]\nheadline = \"x\"\n", "unknown field `headline`"),
        ("[simple]\nheading = 7\n", "de.toml:2:"),
        ("", "de.toml:1:1: must have one message: either [simple] or [blocks]"),
        ("[simple]\n[blocks]\ntext = \"\"\nblocks_json = \"[]\"\n", "must have one message"),
        ("[[simple.fields]]\nlabel = \"x\"\n", "missing field `value`"),
        ("content_id = \"x\"\n[simple]\nheading = \"x\"\n", "content_id is only for files below"),
    ] {
        let above = tempfile::TempDir::new().unwrap();
        let dir = above.path().to_str().unwrap();
        std::fs::create_dir(above.path().join("task.assigned")).unwrap();
        std::fs::write(above.path().join("task.assigned/de.toml"), text).unwrap();
        let address = ["--tenant", TENANT, "--address", "http://127.0.0.1:1"];
        let refused = run(&[&["apply", dir][..], &address].concat(), None).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains(sentence), "{sentence}: {}", refused.err);
        assert!(refused.err.contains("nothing was saved"), "{}", refused.err);
    }
}

/// The command prints more than a pipe holds, so it waits for its reader: after it has read the
/// templates, and before it saves one.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_meantime_is_not_overwritten() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        desk.write("task.assigned/content/zz/de.toml", &file("From the file"));
        for number in 0..60 {
            let long = format!("[simple]\nbody = \"{}\"\n", "A text. ".repeat(300));
            desk.write(&format!("task.assigned/content/item-{number}/de.toml"), &long);
        }
        // A template that is created, and one that is changed.
        for before in [None, Some("Read")] {
            if let Some(before) = before {
                desk.set(simple("zz", "de", before)).await.unwrap();
            }
            let dir = desk.dir();
            let place = ["apply", dir.to_str().unwrap(), "--tenant", TENANT];
            let mut command = command(&[&place[..], &["--address", &desk.address]].concat(), None);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            let (mut out, begun) = tokio::task::spawn_blocking(move || {
                let mut begun = [0; 4];
                out.read_exact(&mut begun).unwrap();
                (out, begun)
            })
            .await
            .unwrap();
            assert_eq!(&begun, b"--- ");

            let meanwhile = desk.set(simple("zz", "de", "Meanwhile")).await.unwrap();
            let ended = tokio::task::spawn_blocking(move || {
                let mut rest = Vec::new();
                out.read_to_end(&mut rest).unwrap();
                child.wait_with_output().unwrap()
            });
            let ended = ended.await.unwrap();
            let error = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(1), "{error}");
            assert!(error.contains("zz/de.toml: the template was changed in Herald"), "{error}");
            let there = desk.templates().await;
            let kept = there.iter().find(|template| template.content_id == "zz").unwrap();
            assert_eq!((&kept.form, kept.version), (&meanwhile.form, meanwhile.version));
            assert_eq!(there.len(), 1, "{error}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_without_a_file_remain_unless_they_are_to_be_removed() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        desk.set(simple("", "de", "Kept")).await.unwrap();
        desk.set(simple("course-7", "de", "Without a file")).await.unwrap();
        assert_eq!(desk.export().await.code, Some(0));
        let gone = "task.assigned/content/course-7/de.toml";
        std::fs::remove_file(desk.dir().join(gone)).unwrap();

        let kept = desk.apply(&[]).await;
        assert_eq!(kept.code, Some(0), "{kept:?}");
        assert!(kept.out.contains(&format!("--reset-missing removes them): 1\n  {gone}\n")));
        assert_eq!(desk.templates().await.len(), 2);

        let shown = desk.apply(&["--dry-run", "--reset-missing"]).await;
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert!(shown.out.contains("+++ /dev/null\n") && shown.out.contains("-[simple]\n"));
        assert!(shown.out.contains("New: 0. Changed: 0. To be removed: 1. The same: 1."));
        assert_eq!(desk.templates().await.len(), 2);

        let removed = desk.apply(&["--reset-missing"]).await;
        assert_eq!(removed.code, Some(0), "{removed:?}");
        let left = desk.templates().await;
        assert_eq!((left.len(), &*left[0].content_id), (1, ""));
        // Its versions are kept.
        let request = pb::RollbackTemplateRequest {
            tenant_id: TENANT.into(),
            event_type: "task.assigned".into(),
            content_id: "course-7".into(),
            locale: "de".into(),
            version: 1,
            ..Default::default()
        };
        admin(&desk.address).rollback_template(request).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_and_the_authority_are_those_of_the_caller() {
    let callers = vec![
        caller("words", RoleConfig::Administrator, &[TENANT]),
        caller("service", RoleConfig::Service, &[TENANT]),
    ];
    let plan = Plan { callers, ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.client(0, Some("words")).await.switch_sending(TENANT, true).await;
        let desk = Desk::new(world);
        let authority = Authority::new();
        let own = authority.signs_localhost();
        let write = |name: &str, text: &str| {
            let path = desk.above.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ca = write("ca.crt", &authority.pem);
        let mut settings = world.settings();
        settings.rpc.tls_certificate = Some(write("tls.crt", &own.certificate));
        settings.rpc.tls_key = Some(write("tls.key", &own.key));
        world.replicas.push(Replica::start(settings).await);
        let port = world.replicas.last().unwrap().rpc.port();
        let address = format!("https://localhost:{port}");
        let dir = desk.dir();
        let export = ["export", dir.to_str().unwrap(), "--tenant", TENANT, "--address", &address];
        let (good, service) = (key_of("words"), key_of("service"));
        let trusting = [&export[..], &["--ca-file", ca.to_str().unwrap()]].concat();

        let ran = run(&trusting, Some(&good)).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for (arguments, key, code) in [
            (&trusting[..], None, Code::Unauthenticated),
            (&trusting[..], Some("not-a-key"), Code::Unauthenticated),
            (&trusting[..], Some(&*service), Code::PermissionDenied),
        ] {
            let ran = run(arguments, key).await;
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.err.contains(&format!("{code:?}: ")), "{ran:?}");
            assert!(!ran.err.contains(&good) && !ran.err.contains("not-a-key"), "{ran:?}");
        }
        // Another authority's certificate is not accepted.
        let other = write("other.crt", &Authority::new().pem);
        let ran = run(&[&export[..], &["--ca-file", other.to_str().unwrap()]].concat(), None).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("cannot connect to https://localhost"), "{ran:?}");
    })
    .await;
}
