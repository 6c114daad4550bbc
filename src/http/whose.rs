//! The pages of connecting that depend on the tenant, the browser or the workspace of the attempt.

use http::StatusCode;

use super::page::{Page, Tone, tidy};
use crate::app::{Start, TeamOption};

pub(super) const ONCE: &str = "Each link works once, and only for a short time.";

/// How to get another link.
pub(super) fn again(platform: &str) -> String {
    format!(
        "Go back to {platform} and begin to connect once more; if you were sent the link, ask for \
         a new one."
    )
}

/// The page that a link opens. It names the tenant, so that a link that was passed on does not
/// connect a person's workspace to a tenant that they do not know.
pub(super) fn start(start: &Start, platform: &str) -> Page {
    let tenant = tidy(start.tenant.as_str());
    let title = format!("Connect Slack to “{tenant}”");
    let mut page = Page::new(StatusCode::OK, Tone::Plain, title).say(format!(
        "You are about to give {platform} access to a Slack workspace, so that it can send the \
         notifications of “{tenant}” there."
    ));
    if start.for_one_workspace {
        page = page.say(format!(
            "This link is for one workspace: on Slack’s page, choose the one that {platform} \
             expects."
        ));
    }
    page = page
        .say(
            "Continue only if that is what you want. If you do not know the name, you may have \
             been sent a link that is not for you: close this page.",
        )
        .say(format!(
            "If Slack asks for an administrator’s approval, request it there. Slack does not \
             report the approval: begin again in {platform} once you have it."
        ))
        .way(&start.authorize_url, "Continue to Slack")
        .hint("Finish in this browser: elsewhere Slack’s answer does not count.");
    if let Some(back) = &start.back {
        page = page.back(back, format!("Back to {platform}"));
    }
    page.of_platform(platform)
}

pub(super) fn other_browser(platform: &str) -> Page {
    Page::new(StatusCode::FORBIDDEN, Tone::Again, "This is another browser")
        .say(
            "The connect link was not opened in this browser, so Slack’s answer does not count \
             here: another person may have begun this.",
        )
        .say(format!(
            "{platform} kept nothing. If you did not mean to connect anything, do nothing."
        ))
        .step(
            "If it was you, open the connect link again, in the browser in which you are signed in \
             to Slack, and stay in it. Cookies must be allowed.",
        )
        .hint("The link still works until it expires.")
}

pub(super) fn in_use(workspace: &str, platform: &str) -> Page {
    let workspace = named(workspace);
    Page::new(StatusCode::CONFLICT, Tone::Broken, "This workspace is in use")
        .say(format!(
            "{workspace} is connected to another tenant of {platform} already, and two tenants \
             have not been allowed there."
        ))
        .say("Nothing was stored here, and the other connection is as it was.")
        .step(format!(
            "If it is the wrong workspace, choose another one on Slack’s page. {}",
            again(platform)
        ))
        .step(
            "If both are to use it, an administrator of the other tenant allows it in the \
             settings there.",
        )
        .step(format!("Or the operator of {platform} gives you a link that allows it."))
        .hint(ONCE)
}

/// The link connects one workspace, and another one was chosen.
pub(super) fn other_workspace(workspace: &str, platform: &str) -> Page {
    let workspace = named(workspace);
    Page::new(StatusCode::CONFLICT, Tone::Again, "This is not the right workspace")
        .say(format!(
            "{workspace} was chosen in Slack. This link is for another workspace, and works for no \
             other."
        ))
        .say("Nothing was stored here.")
        .step(format!(
            "Start again, and choose the right workspace on Slack’s page, at the top right. {}",
            again(platform)
        ))
        .step(
            "If Slack does not show it there, sign in to it in this browser first, in another tab.",
        )
        .hint(ONCE)
}

pub(super) fn confirm(tenant: &str, workspace: &str, start: &Start, platform: &str) -> Page {
    let (tenant, workspace) = (tidy(tenant), named(workspace));
    let page = Page::new(StatusCode::CONFLICT, Tone::Again, "Two tenants in one workspace?")
        .say(format!(
            "{workspace} is connected to another tenant of {platform} already. If you continue, \
             “{tenant}” will find the same people and write to them too."
        ))
        .say("Nothing was stored so far. To confirm, go through Slack’s page once more.")
        .way(&start.authorize_url, format!("Connect it to “{tenant}” as well"))
        .hint("To leave it as it is, close this page.");
    match &start.back {
        Some(back) => page.back(back, format!("Leave it, back to {platform}")),
        None => page,
    }
}

/// An organization was connected, and one of its workspaces must be chosen.
pub(super) fn choose_team(teams: &[TeamOption], platform: &str) -> Page {
    let title = "Which workspace do you want to connect?";
    let page = Page::new(StatusCode::OK, Tone::Plain, title).say(format!(
        "The app was approved for the whole organization. Choose the workspace in which \
         {platform} finds people and sends messages."
    ));
    if teams.is_empty() {
        return page
            .say("The app has not been added to any workspace of the organization yet.")
            .step(
                "Ask an administrator of the organization to add the app to the workspace, under \
                 Integrations in Slack’s administration.",
            )
            .step(format!("Then start again. {}", again(platform)))
            .hint(ONCE);
    }
    let page = teams.iter().fold(page, |page, team| page.choice(&team.url, tidy(&team.name)));
    page.hint(
        "If the right one is not here, an administrator of the organization must add the app to \
         it first.",
    )
}

/// A workspace's name, as the beginning of a sentence.
fn named(workspace: &str) -> String {
    let workspace = tidy(workspace);
    if workspace.is_empty() { "This workspace".to_owned() } else { workspace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Cookie;
    use crate::domain::ids::TenantId;

    fn beginning(tenant: &str) -> Start {
        Start {
            tenant: TenantId::parse(tenant).unwrap(),
            authorize_url: url::Url::parse("https://slack.com/oauth?a=1&state=\"x").unwrap(),
            cookie: Cookie {
                attempt: "a".into(),
                state: "s".into(),
                lifetime: std::time::Duration::ZERO,
            },
            back: None,
            for_one_workspace: false,
        }
    }

    #[test]
    fn the_page_of_a_link_names_the_tenant_and_leads_to_slack() {
        let html = start(&beginning("acme-42"), "Acme Learning").html().unwrap();
        assert!(html.contains("Connect Slack to “acme-42”"));
        assert!(html.contains("give Acme Learning access") && !html.contains("Herald"), "{html}");
        assert!(html.contains("close this page"));
        assert!(html.contains("https:&#x2f;&#x2f;slack.com&#x2f;oauth?a=1&amp;state=%22x\""));
        assert!(!html.contains("Back to"), "there is no way back without an address");
    }

    #[test]
    fn a_link_with_a_return_address_has_a_way_back() {
        let back = url::Url::parse("https://platform.example.com/settings").unwrap();
        let beginning = Start { back: Some(back), for_one_workspace: true, ..beginning("acme") };
        let html = start(&beginning, "Acme Learning").html().unwrap();
        assert!(html.contains("platform.example.com&#x2f;settings\">Back to Acme Learning<"));
        assert!(html.contains("for one workspace"));
        let html = confirm("acme", "Acme", &beginning, "Acme Learning").html().unwrap();
        assert!(html.contains("Leave it, back to Acme Learning"));
    }

    #[test]
    fn each_workspace_of_an_organization_can_be_chosen() {
        let url = url::Url::parse("https://h.example/slack/oauth/connect/team?team=T1").unwrap();
        let team = TeamOption { name: "<b>Sales</b>".into(), url };
        let html = choose_team(&[team], "Acme Learning").html().unwrap();
        assert!(html.contains("team?team=T1\">&lt;b&gt;Sales"), "{html}");
        let none = choose_team(&[], "Acme Learning").html().unwrap();
        assert!(none.contains("has not been added to any workspace"));
    }

    #[test]
    fn who_joins_another_tenant_is_asked_by_both_names() {
        let page = confirm("beta", "<b>Acme</b>", &beginning("beta"), "Herald");
        assert_eq!(page.status, StatusCode::CONFLICT);
        let html = page.html().unwrap();
        assert!(html.contains("“beta” will find the same people") && !html.contains("<b>"));
        assert!(html.contains("slack.com"));
    }
}
