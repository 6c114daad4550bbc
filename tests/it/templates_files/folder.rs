//! The folder: files that Herald does not know, and links, are refused by name.

use std::os::unix::fs::symlink;

use super::{Desk, file, simple};
use crate::support::world::for_each_database;

#[tokio::test(flavor = "multi_thread")]
async fn links_and_unknown_files_are_refused() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        let outside = desk.above.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("de.toml"), file("Outside")).unwrap();
        let refused = async |sentence: &str| {
            for ran in [desk.apply(&[]).await, desk.export().await] {
                assert_eq!(ran.code, Some(1), "{sentence}: {ran:?}");
                assert!(ran.err.contains(sentence), "{sentence}: {ran:?}");
                assert_eq!(ran.out, "", "{sentence}");
            }
            std::fs::remove_dir_all(desk.dir()).unwrap();
        };
        desk.set(simple("", "de", "Yours")).await.unwrap();
        for (path, sentence) in [
            ("notes.txt", "wording/notes.txt is a file, but an event type has a folder"),
            ("task.assigned", "wording/task.assigned is a file, but an event type has a folder"),
            ("Task.Assigned/de.toml", "wording/Task.Assigned is not the name of an event type"),
            ("task.assigned/de.yaml", "task.assigned/de.yaml is not the name of a template's file"),
            ("task.assigned/de_AT.toml", "task.assigned/de_AT.toml must be named de-AT.toml"),
            ("task.assigned/items/x/de.toml", "items is not a folder that Herald knows"),
            ("task.assigned/content/de.toml", "content/de.toml is a file, but each content item"),
            ("task.assigned/content/x/y/de.toml", "x/y is a folder, but each locale has a file"),
        ] {
            desk.write(path, &file("Unknown"));
            refused(sentence).await;
        }
        let dir = desk.dir();
        let link = "is a symbolic link or a special file";
        std::fs::create_dir_all(&dir).unwrap();
        symlink(&outside, dir.join("task.assigned")).unwrap();
        refused(&format!("wording/task.assigned {link}")).await;
        std::fs::create_dir_all(dir.join("task.assigned")).unwrap();
        symlink(outside.join("de.toml"), dir.join("task.assigned/de.toml")).unwrap();
        refused(&format!("task.assigned/de.toml {link}")).await;
        std::fs::create_dir_all(dir.join("task.assigned")).unwrap();
        symlink(&outside, dir.join("task.assigned/content")).unwrap();
        refused(&format!("task.assigned/content {link}")).await;

        let kept = std::fs::read_to_string(outside.join("de.toml")).unwrap();
        assert_eq!(kept, file("Outside"));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        let templates = desk.templates().await;
        assert_eq!((templates.len(), templates[0].version), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_stands_for_no_content_item_is_refused() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        for (folder, text, sentence) in [
            ("Course", file("x"), "its folder must be named \"%43ourse\""),
            ("%2", file("x"), "is not the name of a content item's folder"),
            ("~00", file("x"), "so the file must state content_id"),
            ("a", format!("content_id = \"b\"\n{}", file("x")), "content_id must be \"a\""),
            ("%00", file("x"), "content_id must not contain"),
        ] {
            desk.write(&format!("task.assigned/content/{folder}/de.toml"), &text);
            let ran = desk.apply(&[]).await;
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.err.contains(sentence), "{sentence}: {ran:?}");
            std::fs::remove_dir_all(desk.dir()).unwrap();
        }
        // A file that is too large is not read to its end.
        desk.write("task.assigned/de.toml", &"#".repeat(300 * 1024));
        let ran = desk.apply(&[]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("must be at most 262144 bytes"), "{ran:?}");
    })
    .await;
}

/// Files may come from authors that the person at the terminal does not know.
#[tokio::test(flavor = "multi_thread")]
async fn names_in_problems_do_not_act_on_the_terminal() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        let key = format!("\"\\u001b[2J\" = 1\n{}", file("x"));
        for (path, text) in
            [("task.assigned/content/\u{1b}[2J/de.toml", file("x")), ("task.assigned/de.toml", key)]
        {
            desk.write(path, &text);
            let ran = desk.apply(&[]).await;
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.err.contains("\\u{1b}[2J") && !ran.err.contains('\u{1b}'), "{ran:?}");
            std::fs::remove_dir_all(desk.dir()).unwrap();
        }
    })
    .await;
}

/// The file may be the only copy of a template that is not saved yet.
#[tokio::test(flavor = "multi_thread")]
async fn export_keeps_files_of_templates_that_the_tenant_does_not_have() {
    for_each_database(async |world| {
        let desk = Desk::new(world);
        desk.set(simple("", "de", "Yours")).await.unwrap();
        desk.write("task.assigned/fr.toml", &file("Pas encore"));
        let refused = desk.export().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("task.assigned/fr.toml"), "{refused:?}");
        assert!(refused.err.contains("nothing was written"), "{refused:?}");
        assert_eq!(desk.files(), ["task.assigned/fr.toml"]);
        assert_eq!(desk.read("task.assigned/fr.toml"), file("Pas encore"));
        assert_eq!(desk.apply(&[]).await.code, Some(0));
        let exported = desk.export().await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        assert_eq!(desk.files(), ["task.assigned/de.toml", "task.assigned/fr.toml"]);
    })
    .await;
}
