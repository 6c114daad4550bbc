//! Exported templates are not changed when they are applied.

use herald::rpc::pb;
use herald::rpc::pb::template::Form;

use super::{Desk, run, simple};
use crate::support::event_types::{NAME, create, training};
use crate::support::world::{TENANT, for_each_database};

const BLOCKS: &str = r#" [ {"type":"section","text":
    {"type":"mrkdwn", "text":"{{ course.name }} \u00fc 'it''s' \"\\"}},
  {"type":"divider"}]"#;

/// A message with all parts, and with characters that have a meaning in TOML.
fn full() -> pb::Template {
    let field =
        |label: &str, value: &str| pb::SimpleField { label: label.into(), value: value.into() };
    let message = pb::SimpleMessage {
        heading: "Abgesagt: \"{{ course.name }}\" \\o/".into(),
        body: "Erste Zeile.\n\n- 'eins'\n- \"zwei\" \\* '''drei''' #\n".into(),
        fields: vec![field("Wann", "{{ starts_at | date }}"), field("Wo?", "'dort'\nhier'")],
        image: Some(pb::SimpleImage { url: "https://x.test/a.png".into(), alt: "\"".into() }),
        context: "Ende\nohne Umbruch".into(),
        button: "Ansehen".into(),
    };
    pb::Template {
        event_type: NAME.into(),
        form: Some(Form::Simple(message)),
        ..simple("", "de", "")
    }
}

fn in_blocks() -> pb::Template {
    let message =
        pb::BlocksMessage { text: "{{ course.name }}".into(), blocks_json: BLOCKS.into() };
    pb::Template {
        event_type: NAME.into(),
        content_id: "Course 7".into(),
        form: Some(Form::Blocks(message)),
        ..simple("", "pt-BR", "")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_files_change_nothing_when_they_are_applied() {
    for_each_database(async |world| {
        create(&world.client, training()).await.unwrap();
        let desk = Desk::new(world);
        for template in [full(), in_blocks(), simple("", "en", "Yours: {{ task.name }}")] {
            desk.set(template).await.unwrap();
        }
        let before = desk.templates().await;
        let exported = desk.export().await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        assert!(exported.out.contains("Templates: 3. Files written: 3"), "{exported:?}");
        let blocks = "training.cancelled/content/%43ourse%207/pt-BR.toml";
        assert_eq!(desk.files(), ["task.assigned/en.toml", blocks, "training.cancelled/de.toml"]);
        // Laid out for reading, in the order and the spelling of its author.
        let text = desk.read(blocks);
        assert!(text.starts_with("content_id = \"Course 7\"\n\n[blocks]\n"), "{text}");
        let line = r#"      "text": "{{ course.name }} \u00fc 'it''s' \"\\""#;
        assert!(text.contains(line), "{text}");

        let applied = desk.apply(&[]).await;
        assert_eq!(applied.code, Some(0), "{applied:?}");
        assert_eq!(applied.out, "Nothing to change: 3 templates are as in the files.\n");
        assert_eq!(desk.apply(&["--dry-run"]).await.code, Some(0));
        assert_eq!(desk.templates().await, before);

        // A file that was written by hand says the same in its own way, and remains.
        let own = "# Ours.\nsimple.body = '**{{ task.name }}**' # bold\n\
                   simple.heading = \"Yours: {{ task.name \\u007d}\"\n";
        desk.write("task.assigned/en.toml", own);
        assert_eq!(desk.apply(&["--dry-run"]).await.code, Some(0));
        let again = desk.export().await;
        assert!(again.out.contains("Files written: 0; 3 had the same"), "{again:?}");
        assert_eq!(desk.read("task.assigned/en.toml"), own);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_files_make_the_same_templates_for_another() {
    for_each_database(async |world| {
        create(&world.client, training()).await.unwrap();
        let mut desk = Desk::new(world);
        for template in [full(), simple("", "en", "Yours")] {
            desk.set(template).await.unwrap();
        }
        let ours = desk.templates().await;
        assert_eq!(desk.export().await.code, Some(0));
        desk.tenant = "other";
        world.client.switch_sending("other", true).await;
        // The other tenant has no such event type yet.
        let refused = desk.apply(&[]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("training.cancelled/de.toml"), "{refused:?}");
        assert!(refused.err.contains("nothing was saved"), "{refused:?}");
        assert_eq!(desk.templates().await, []);
        let request = pb::CreateEventTypeRequest {
            tenant_id: "other".into(),
            event_type: Some(training()),
            actor: None,
        };
        world.client.create_event_type(request).await.unwrap();
        let applied = desk.apply(&[]).await;
        assert_eq!(applied.code, Some(0), "{applied:?}");
        assert!(applied.out.ends_with("Saved: 2.\n"), "{applied:?}");
        let forms = |templates: &[pb::Template]| -> Vec<Option<Form>> {
            templates.iter().map(|template| template.form.clone()).collect()
        };
        assert_eq!(forms(&desk.templates().await), forms(&ours));
    })
    .await;
}

/// Content items may have any printable id. Their files stay in the folder, and each has its own.
#[tokio::test(flavor = "multi_thread")]
async fn no_id_of_a_content_item_leads_out_of_the_folder() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        let long = "é".repeat(128);
        let ids = [
            "../../escape",
            "..",
            "/etc/passwd",
            "a\\b",
            "Course",
            "course",
            "con",
            "%2e%2e",
            "~",
            long.as_str(),
        ];
        for id in ids {
            desk.set(simple(id, "en", "Yours")).await.unwrap();
        }
        let exported = desk.export().await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        let above: Vec<_> = std::fs::read_dir(desk.above.path()).unwrap().collect();
        assert_eq!(above.len(), 1, "{above:?}");
        let files = desk.files();
        assert_eq!(files.len(), ids.len(), "{files:?}");
        for file in &files {
            let item = file.strip_prefix("task.assigned/content/").unwrap();
            let (folder, name) = item.split_once('/').unwrap();
            assert_eq!(name, "en.toml", "{file}");
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_%~".contains(c);
            assert!(folder.len() < 255 && folder.chars().all(plain), "{file}");
        }
        let applied = desk.apply(&[]).await;
        assert_eq!(applied.out, "Nothing to change: 10 templates are as in the files.\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_on_the_command_line_are_errors_and_not_differences() {
    let mistakes = [
        vec!["apply", "dir", "--tenant", TENANT, "--dryrun"],
        vec!["apply", "dir"],
        vec!["export", "dir", "--tenant", TENANT, "--address", "herald:50051"],
        vec!["export", "dir", "--tenant", TENANT, "--address", "ftp://127.0.0.1:1"],
        vec!["export", "dir", "--tenant", TENANT, "--ca-file", "x.pem"],
        vec!["apply", "no-such-folder", "--tenant", TENANT, "--dry-run"],
    ];
    for arguments in mistakes {
        let ran = run(&arguments, None).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{arguments:?}: {ran:?}");
    }
    assert_eq!(run(&["apply", "--help"], None).await.code, Some(0));
}

/// The file that docs/templates.md shows.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_page_is_accepted() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/templates.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.lines().skip_while(|line| line.trim() != "```toml").skip(1);
    let lines = lines.take_while(|line| line.trim() != "```");
    let lines = lines.map(|line| line.strip_prefix("  ").unwrap_or(line));
    let file = lines.collect::<Vec<_>>().join("\n");
    for_each_database(async |world| {
        create(&world.client, training()).await.unwrap();
        let desk = Desk::new(world);
        desk.write("training.cancelled/en.toml", &file);
        let applied = desk.apply(&[]).await;
        assert_eq!(applied.code, Some(0), "{applied:?}");
        let saved = desk.templates().await;
        let Some(Form::Simple(message)) = &saved[0].form else { panic!("{saved:?}") };
        let lines: Vec<&str> = message.body.lines().collect();
        assert_eq!(lines.len(), 3, "{message:?}");
        assert_eq!((message.fields.len(), &*message.button), (1, "See the course"));
        assert!(message.image.is_some());
    })
    .await;
}
