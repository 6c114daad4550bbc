//! The pages of connecting that depend on the tenant, the browser or the workspace of the attempt.

use http::StatusCode;

use super::page::{Page, Tone, tidy};
use crate::app::Start;

pub(super) const HOW_AGAIN: &str =
    "A new link comes from BeginConnect. Each link works once, and only for a short time.";
/// The page that a link opens.
pub(super) fn start(start: &Start) -> Page {
    let tenant = tidy(start.tenant.as_str());
    Page::new(StatusCode::OK, Tone::Plain, format!("Connect Slack to “{tenant}”"))
        .say(format!(
            "You are about to give Herald access to a Slack workspace, so that it can send the \
             notifications of “{tenant}” there."
        ))
        .say(
            "Continue only if that is what you want. If you do not know the name, you may have \
             been sent a link that is not for you: close this page.",
        )
        .way(&start.authorize_url, "Continue to Slack")
        .hint("Finish in this browser: elsewhere Slack’s answer does not count.")
}

pub(super) fn other_browser() -> Page {
    Page::new(StatusCode::FORBIDDEN, Tone::Again, "This is another browser")
        .say(
            "The connect link was not opened in this browser, so Slack’s answer does not count \
             here: another person may have begun this.",
        )
        .say("Herald kept nothing. If you did not mean to connect anything, you need do nothing.")
        .step(
            "If it was you, open the connect link again, in the browser in which you are signed in \
             to Slack, and stay in it. Cookies must be allowed.",
        )
        .hint("The link still works until it expires.")
}

pub(super) fn in_use(workspace: &str) -> Page {
    let workspace = named(workspace);
    Page::new(StatusCode::CONFLICT, Tone::Broken, "This workspace is in use")
        .say(format!(
            "{workspace} is connected to another tenant of this Herald already, and two \
             tenants have not been allowed there."
        ))
        .say("Nothing was stored here, and the other connection is as it was.")
        .step(
            "If it is the wrong workspace, choose another one on Slack’s page, \
             with a new link.",
        )
        .step_by(
            "If both are to use it, the other tenant’s administrator sets `share_workspace`, by",
            "herald.v1.AdminService/UpdateSettings",
        )
        .step_by(
            "Or the operator of Herald makes the link with `allow_shared_workspace`, by",
            "herald.v1.AdminService/BeginConnect",
        )
        .hint(HOW_AGAIN)
}

/// The link gives more rights in the tenant's own workspace, and connects no other.
pub(super) fn other_workspace(workspace: &str) -> Page {
    let workspace = named(workspace);
    Page::new(StatusCode::CONFLICT, Tone::Again, "This is not the connected workspace")
        .say(format!(
            "{workspace} was chosen in Slack. This link gives Herald further rights in the \
             workspace that it uses already, and works for no other."
        ))
        .say("Nothing was stored here.")
        .step(
            "Ask the person who gave you the link for a new one. When you open the link again, \
             choose the connected workspace on Slack’s page.",
        )
        .hint(HOW_AGAIN)
}

pub(super) fn confirm(tenant: &str, workspace: &str, start: &Start) -> Page {
    let (tenant, workspace) = (tidy(tenant), named(workspace));
    Page::new(StatusCode::CONFLICT, Tone::Again, "Two tenants in one workspace?")
        .say(format!(
            "{workspace} is connected to another tenant of this Herald already. If you continue, \
             “{tenant}” will find the same people and write to them too."
        ))
        .say("Nothing was stored so far. To confirm, go through Slack’s page once more.")
        .way(&start.authorize_url, format!("Connect it to “{tenant}” as well"))
        .hint("To leave it as it is, close this page.")
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
        }
    }

    #[test]
    fn the_page_of_a_link_names_the_tenant_and_leads_to_slack() {
        let html = start(&beginning("acme-42")).html().unwrap();
        assert!(html.contains("Connect Slack to “acme-42”"));
        assert!(html.contains("close this page"));
        assert!(html.contains("https:&#x2f;&#x2f;slack.com&#x2f;oauth?a=1&amp;state=%22x\""));
    }

    #[test]
    fn who_joins_another_tenant_is_asked_by_both_names() {
        let page = confirm("beta", "<b>Acme</b>", &beginning("beta"));
        assert_eq!(page.status, StatusCode::CONFLICT);
        let html = page.html().unwrap();
        assert!(html.contains("“beta” will find the same people") && !html.contains("<b>"));
        assert!(html.contains("slack.com"));
    }
}
