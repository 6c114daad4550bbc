//! The life of a template, as an administrator sees it.

use herald::domain::limits;
use herald::rpc::pb::{self, TemplateLevel as Level, template::Form};
use serde_json::json;
use tonic::Code;

use super::{
    HERE, TYPE, get, heading, list, places, reset, roll_back, save, set, stored, template,
};
use crate::support::client::{bad_fields, reason};
use crate::support::world::{TENANT, for_each_database, until};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_set_read_removed_and_brought_back() {
    for_each_database(async |world| {
        let client = &world.client;
        let built_in = get(client, HERE, 0).await.unwrap();
        assert!(built_in.changes.is_empty());
        let built_in = built_in.template.unwrap();
        assert_eq!((built_in.level(), built_in.version), (Level::BuiltIn, 0));
        assert!(!built_in.etag.is_empty() && built_in.saved.is_none());
        assert!(matches!(&built_in.form, Some(Form::Blocks(blocks)) if !blocks.text.is_empty()));
        let wanted = pb::Template {
            etag: built_in.etag.clone(),
            ..template(HERE, heading("First: {{ task.name }}"))
        };
        let first = save(client, wanted).await.unwrap();
        assert_eq!((first.level(), first.version), (Level::Tenant, 1));
        assert_eq!(first.form, Some(heading("First: {{ task.name }}")));
        let saved = first.saved.clone().unwrap();
        assert!(saved.time.is_some() && !saved.caller.is_empty() && saved.rolled_back_to == 0);
        let read = get(client, HERE, 0).await.unwrap();
        assert_eq!((read.template.as_ref(), read.changes), (Some(&first), vec![saved]));
        let second = set(client, HERE, "Second").await.unwrap();
        assert_eq!(second.version, 2);
        assert_ne!(second.etag, first.etag);
        // An earlier version has the etag of the present state.
        let earlier = get(client, HERE, 1).await.unwrap().template.unwrap();
        assert_eq!(earlier, pb::Template { etag: second.etag.clone(), ..first.clone() });
        assert_eq!(list(client, ("", ""), 0).await, [vec![second.clone()]]);

        reset(client, HERE, &second.etag).await.unwrap();
        let now = get(client, HERE, 0).await.unwrap();
        let kinds: Vec<_> = now.changes.iter().map(|it| (it.version, it.reset)).collect();
        assert_eq!(kinds, [(3, true), (2, false), (1, false)]);
        let now = now.template.unwrap();
        assert_eq!((now.level(), &now.form), (Level::BuiltIn, &built_in.form));
        assert_ne!(now.etag, built_in.etag);
        assert_eq!(places(client).await, Vec::<String>::new());
        assert_eq!(reset(client, HERE, "").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(get(client, HERE, 3).await.unwrap_err().code(), Code::NotFound);

        let back = roll_back(client, HERE, 1, &now.etag).await.unwrap();
        assert_eq!((back.version, &back.form), (4, &first.form));
        assert_eq!(back.saved.as_ref().unwrap().rolled_back_to, 1);
        assert_eq!(get(client, HERE, 0).await.unwrap().template.unwrap(), back);
        assert_eq!(bad_fields(&roll_back(client, HERE, 3, "").await.unwrap_err()), ["version"]);
        let unknown = roll_back(client, HERE, 9, "").await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(unknown.message().contains("version"), "{}", unknown.message());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_template_the_message_of_herald_is_shown_in_its_languages() {
    for_each_database(async |world| {
        let client = &world.client;
        let text = async |locale: &str| {
            let read = get(client, (TYPE, "", locale), 0).await.unwrap().template.unwrap();
            assert_eq!((read.level(), &*read.locale), (Level::BuiltIn, locale));
            let Some(Form::Blocks(blocks)) = read.form else { panic!("{read:?}") };
            blocks.text
        };
        assert_eq!(text("de-AT").await, text("de").await);
        assert_ne!(text("de").await, text("en").await);
        for at in [(TYPE, "", "tlh"), ("task.unknown", "", "en")] {
            let absent = get(client, at, 0).await.unwrap_err();
            assert_eq!((absent.code(), &*reason(&absent)), (Code::NotFound, "NOT_FOUND"));
        }
        let own = crate::support::event_types::training();
        crate::support::event_types::create(client, own).await.unwrap();
        let of_own = get(client, (crate::support::event_types::NAME, "", "tlh"), 0).await.unwrap();
        assert_eq!(of_own.template.unwrap().level(), Level::BuiltIn);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_refuses_a_lost_update() {
    for_each_database(async |world| {
        let client = &world.client;
        let none = get(client, HERE, 0).await.unwrap().template.unwrap().etag;
        let with = |etag: &str, text: &str| pb::Template {
            etag: etag.into(),
            ..template(HERE, heading(text))
        };
        let first = save(client, with(&none, "First")).await.unwrap();
        let before = stored(world).await;
        for lost in [
            save(client, with(&none, "Lost")).await.unwrap_err(),
            save(client, with("other", "Lost")).await.unwrap_err(),
            reset(client, HERE, &none).await.unwrap_err(),
            roll_back(client, HERE, 1, &none).await.unwrap_err(),
        ] {
            assert_eq!((lost.code(), &*reason(&lost)), (Code::Aborted, "CHANGED_MEANWHILE"));
        }
        assert_eq!(stored(world).await, before);
        save(client, with(&first.etag, "Second")).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_created_only_where_there_is_none() {
    for_each_database(async |world| {
        let client = &world.client;
        // Herald has no message in the second locale, so GetTemplate returns no etag.
        for at in [HERE, (TYPE, "", "tlh")] {
            let create = |text: &str| {
                let etag = "absent".into();
                save(client, pb::Template { etag, ..template(at, heading(text)) })
            };
            assert_eq!(create("First").await.unwrap().version, 1);
            for text in ["Lost", "First"] {
                let lost = create(text).await.unwrap_err();
                assert_eq!((lost.code(), &*reason(&lost)), (Code::Aborted, "CHANGED_MEANWHILE"));
            }
            let kept = get(client, at, 0).await.unwrap().template.unwrap();
            assert_eq!(kept.form, Some(heading("First")));
            reset(client, at, "").await.unwrap();
            assert_eq!(create("Again").await.unwrap().version, 3);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_the_same_words_store_nothing() {
    for_each_database(async |world| {
        let client = &world.client;
        let tried = |text: &str| pb::SetTemplateRequest {
            tenant_id: TENANT.into(),
            template: Some(template(HERE, heading(text))),
            dry_run: true,
            actor: None,
        };
        let before = stored(world).await;
        let first = client.set_template(tried("First")).await.unwrap().template.unwrap();
        assert_eq!((first.version, &first.saved), (1, &None));
        let none = get(client, HERE, 0).await.unwrap().template.unwrap();
        assert_eq!((none.level(), none.etag), (Level::BuiltIn, first.etag));
        let refused = client.set_template(tried("{{ tsk.name }}")).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["template.simple.heading"]);
        assert_eq!(stored(world).await, before);

        // A real call would create the tenant.
        let of_new = |text| pb::SetTemplateRequest { tenant_id: "newcomer".into(), ..tried(text) };
        let first = client.set_template(of_new("First")).await.unwrap().template.unwrap();
        assert_eq!(first.version, 1);
        let refused = client.set_template(of_new("{{ tsk.name }}")).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["template.simple.heading"]);
        assert_eq!(world.count("SELECT COUNT(*) FROM tenants").await, 1);

        let saved = set(client, HERE, "First").await.unwrap();
        let before = stored(world).await;
        // The answer was lost, and the call is repeated.
        assert_eq!(set(client, HERE, "First").await.unwrap(), saved);
        assert_eq!(roll_back(client, HERE, 1, "").await.unwrap(), saved);
        assert_eq!(stored(world).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_versions_are_kept() {
    for_each_database(async |world| {
        let client = &world.client;
        let kept = i32::try_from(limits::TEMPLATE_VERSIONS).unwrap();
        for number in 1..=kept + 2 {
            set(client, HERE, &format!("Version {number}")).await.unwrap();
        }
        let read = get(client, HERE, 0).await.unwrap();
        let numbers: Vec<i32> = read.changes.iter().map(|change| change.version).collect();
        assert_eq!(numbers, (3..=kept + 2).rev().collect::<Vec<_>>());
        assert_eq!(get(client, HERE, 2).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(roll_back(client, HERE, 2, "").await.unwrap_err().code(), Code::NotFound);
        let oldest = get(client, HERE, 3).await.unwrap().template.unwrap();
        assert_eq!(oldest.form, Some(heading("Version 3")));
        assert_eq!(stored(world).await.1, i64::from(kept));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_page_by_page() {
    for_each_database(async |world| {
        let client = &world.client;
        let all = [
            ("task.assigned", "", "de"),
            ("task.assigned", "", "en"),
            ("task.assigned", "a/b \"c\"", "en"),
            ("task.assigned", "course-7", "pt-BR"),
            ("task.due", "", "en"),
        ];
        for at in all.iter().rev() {
            set(client, *at, "Hello").await.unwrap();
        }
        // The same place in another spelling.
        assert_eq!(
            set(client, ("task.assigned", "course-7", "PT_br"), "Olá").await.unwrap().version,
            2
        );
        let place =
            |(event, content, locale): &(&str, &str, &str)| format!("{event} {content} {locale}");
        let mut wanted: Vec<String> = all.iter().map(place).collect();
        let mut found = places(client).await;
        // The database's collation decides about content items.
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted);
        for size in [1, 2, 3] {
            let pages = list(client, ("", ""), size).await;
            assert!(pages.iter().all(|page| page.len() <= usize::try_from(size).unwrap()));
            assert_eq!(pages.concat(), list(client, ("", ""), 0).await.concat());
        }
        let count = async |event: &str, content: &str| {
            list(client, (event, content), 0).await.concat().len()
        };
        assert_eq!((count("task.due", "").await, count(TYPE, "").await), (1, 4));
        assert_eq!((count("", "course-7").await, count("task.due", "course-7").await), (1, 0));
        let first = pb::ListTemplatesRequest {
            tenant_id: TENANT.into(),
            page_size: 1,
            ..Default::default()
        };
        let page_token = client.list_templates(first.clone()).await.unwrap().next_page_token;
        let other = pb::ListTemplatesRequest { page_token, event_type: "task.due".into(), ..first };
        let refused = client.list_templates(other).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["page_token"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_in_the_audit_trail_without_the_words() {
    for_each_database(async |world| {
        let client = &world.client;
        let at = (TYPE, "course-7", "de");
        set(client, at, "Canary words 4711").await.unwrap();
        reset(client, at, "").await.unwrap();
        roll_back(client, at, 1, "").await.unwrap();
        for (action, before, after) in [
            ("SetTemplate", None, Some(1)),
            ("ResetTemplate", Some(1), None),
            ("RollbackTemplate", None, Some(3)),
        ] {
            let request = pb::ListAuditRequest {
                tenant_id: TENANT.into(),
                action: action.into(),
                ..Default::default()
            };
            let entry = until(action, async || {
                client.list_audit(request.clone()).await.unwrap().entries.into_iter().next()
            })
            .await;
            assert_eq!(entry.object, "template:task.assigned/de/course-7");
            assert!(!format!("{entry:?}").contains("4711"), "{entry:?}");
            for (shown, version) in [(entry.before, before), (entry.after, after)] {
                let Some(shown) = shown else {
                    assert_eq!(version, None, "{action}");
                    continue;
                };
                let number = |name: &str| match &shown.fields[name].kind {
                    Some(prost_types::value::Kind::NumberValue(number)) => json!(number),
                    Some(prost_types::value::Kind::StringValue(text)) => json!(text),
                    other => panic!("{other:?}"),
                };
                assert_eq!(number("version"), json!(version.map(f64::from)));
                assert_eq!(number("level"), json!("content_item"));
                assert_eq!(number("sha256").as_str().unwrap().len(), 64);
                assert!(number("bytes").as_f64().unwrap() > 20.0);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_of_another_tenant_are_invisible() {
    for_each_database(async |world| {
        let client = &world.client;
        set(client, HERE, "Ours").await.unwrap();
        client.switch_sending("other", true).await;
        let theirs = || pb::GetTemplateRequest {
            tenant_id: "other".into(),
            event_type: TYPE.into(),
            locale: "en".into(),
            ..Default::default()
        };
        let read = client.get_template(theirs()).await.unwrap();
        assert_eq!(read.template.unwrap().level(), Level::BuiltIn);
        assert!(read.changes.is_empty());
        let version = pb::GetTemplateRequest { version: 1, ..theirs() };
        assert_eq!(client.get_template(version).await.unwrap_err().code(), Code::NotFound);
        let listed = pb::ListTemplatesRequest { tenant_id: "other".into(), ..Default::default() };
        assert!(client.list_templates(listed).await.unwrap().templates.is_empty());
        let removed = pb::ResetTemplateRequest {
            tenant_id: "other".into(),
            event_type: TYPE.into(),
            locale: "en".into(),
            ..Default::default()
        };
        let removed = client.reset_template(removed).await.unwrap_err();
        assert_eq!(removed.code(), Code::NotFound);
        let saved = pb::SetTemplateRequest {
            tenant_id: "other".into(),
            template: Some(template(HERE, heading("Theirs"))),
            ..Default::default()
        };
        assert_eq!(client.set_template(saved).await.unwrap().template.unwrap().version, 1);
        let ours = get(client, HERE, 0).await.unwrap().template.unwrap();
        assert_eq!((ours.version, ours.form), (1, Some(heading("Ours"))));
    })
    .await;
}
