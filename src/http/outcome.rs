//! The text of every page: the outcome and the next steps.
//!
//! An administrator of the customer's Slack, who knows nothing about Herald, reads the pages of
//! connecting. They mention the operator where a setting is wrong. The page that a link opens names
//! the tenant, so that a link that was passed on does not connect a person's workspace to a tenant
//! that they do not know.

use std::time::Duration;

use http::StatusCode;

use super::page::{Page, Tone, tidy};
use super::whose::{self, HOW_AGAIN};
use crate::app::{Connected, Unusable};

const AGAIN: &str = "Ask the person who gave you the link for a new one, and open it.";
const NOTHING_CHANGED: &str = "Nothing was changed in Slack or here.";
/// Workspaces of an organization that a page names.
const NAMED_TEAMS: usize = 20;

/// The page of one outcome of connecting.
pub(super) fn of(connected: &Connected) -> Page {
    match connected {
        Connected::Done { workspace, .. } => done(workspace),
        Connected::Denied => Page::new(StatusCode::OK, Tone::Plain, "Not connected")
            .say("The request was canceled in Slack, so Herald was not given access.")
            .say(NOTHING_CHANGED)
            .step(
                "If that was not meant, start again: ask the person who gave you the link for a \
                 new one.",
            )
            .hint(HOW_AGAIN),
        Connected::Unusable(unusable) => unusable_link(*unusable),
        Connected::InUse { workspace } => whose::in_use(workspace),
        Connected::OtherWorkspace { workspace } => whose::other_workspace(workspace),
        Connected::Confirm { tenant, workspace, start } => {
            whose::confirm(tenant.as_str(), workspace, start)
        }
        Connected::ChooseTeam { teams, .. } => choose_team(teams),
        Connected::Refused { code } => refused(code),
        Connected::NoAnswer => {
            Page::new(StatusCode::BAD_GATEWAY, Tone::Again, "Slack did not answer")
                .say(
                    "You approved the app, but Slack did not confirm it to Herald in time. The \
                 approval cannot be used a second time.",
                )
                .step(format!("Wait a minute, then start again. {AGAIN}"))
                .hint(HOW_AGAIN)
        }
    }
}

/// The page of a link or a redirect that cannot be used.
fn unusable_link(unusable: Unusable) -> Page {
    match unusable {
        Unusable::UnknownState => {
            Page::new(StatusCode::BAD_REQUEST, Tone::Again, "This link is not known")
                .say(
                    "You came back without a connect link that this server made. The address may \
                     be incomplete, or the link came from another server.",
                )
                .say(NOTHING_CHANGED)
                .step(format!("Start again. {AGAIN}"))
                .hint(HOW_AGAIN)
        }
        Unusable::OtherBrowser => whose::other_browser(),
        Unusable::AlreadyUsed => {
            Page::new(StatusCode::GONE, Tone::Again, "This link was used already")
                .say(
                    "Each link connects once. If you have just connected and this page was \
                     loaded again, the first attempt succeeded.",
                )
                .step_by(
                    "See whether the workspace is connected:",
                    "herald.v1.AdminService/GetWorkspace",
                )
                .step(format!("If it is not, start again. {AGAIN}"))
                .hint(HOW_AGAIN)
        }
        Unusable::Expired => Page::new(StatusCode::GONE, Tone::Again, "This link has expired")
            .say("Too much time has passed since the link was made, so it no longer works.")
            .say(
                "Where apps need an administrator’s approval in Slack, that may well have taken \
                 longer. The approval stays; only the link must be new.",
            )
            .step(format!("Start again. {AGAIN}"))
            .hint(HOW_AGAIN),
    }
}

fn done(workspace: &str) -> Page {
    let workspace = tidy(workspace);
    let title = if workspace.is_empty() {
        "Your Slack workspace is connected".to_owned()
    } else {
        format!("{workspace} is connected")
    };
    // The wording must also be true after a reconnect, where sending may be on.
    Page::new(StatusCode::OK, Tone::Done, title)
        .say("Herald is now reading the list of members, so that it can find people.")
        .say(
            "Connecting does not start sending: in a new workspace sending is still off, and \
             no one gets a message until an administrator allows it.",
        )
        .step_by(
            "Try it: an administrator can send a test message while sending is off, with",
            "herald.v1.HeraldService/TestSlack",
        )
        .step_by("Allow sending, with", "herald.v1.AdminService/AllowSending")
        .hint("You can close this page.")
}

/// The app was approved for an organization, and the link does not say for which workspace.
fn choose_team(teams: &[String]) -> Page {
    let names: Vec<String> = teams.iter().take(NAMED_TEAMS).map(|name| tidy(name)).collect();
    let title = "Which workspace should be connected?";
    let page = Page::new(StatusCode::CONFLICT, Tone::Again, title)
        .say("The app was approved for the whole Enterprise organization. This stays.");
    let page = if names.is_empty() {
        page.say("It was not added to any workspace yet.").step(
            "In Slack, an administrator of the organization adds the app to a workspace: Manage \
             apps, then Add to more workspaces.",
        )
    } else {
        let more = if teams.len() > NAMED_TEAMS { " and others" } else { "" };
        page.say(format!("It can be used in {}{more}.", names.join(", ")))
    };
    page.step(format!("Start again, for one workspace. {AGAIN}")).hint(HOW_AGAIN)
}

fn refused(code: &str) -> Page {
    let page = |tone| Page::new(StatusCode::BAD_GATEWAY, tone, "Slack refused to connect");
    match REFUSALS.iter().find(|refusal| refusal.code == code) {
        Some(refusal) => {
            let (tone, step) = match refusal.advice {
                Advice::Again => (Tone::Again, format!("Start again. {AGAIN}")),
                Advice::Person(step) => (Tone::Again, format!("{step} Then start again. {AGAIN}")),
                Advice::Operator(step) => (
                    Tone::Broken,
                    format!(
                        "Tell the operator of Herald: {step} Then start again with a new link."
                    ),
                ),
            };
            let mut page = page(tone).say(refusal.explanation).step(step).hint(HOW_AGAIN);
            page.code = Some(refusal.code);
            page
        }
        // The code may come from the address, which anyone can write, so it is not shown.
        None => page(Tone::Broken)
            .say("Slack gave a reason that this version of Herald does not know.")
            .step(format!("Start again. {AGAIN}"))
            .step("If it happens again, tell the operator of Herald: the log has the details.")
            .hint(HOW_AGAIN),
    }
}

enum Advice {
    /// A new link is enough.
    Again,
    /// The person must fix something first.
    Person(&'static str),
    /// A setting is wrong.
    Operator(&'static str),
}

struct Refusal {
    code: &'static str,
    explanation: &'static str,
    advice: Advice,
}

/// Slack's codes for the consent page and for `oauth.v2.access` (Slack's documentation: Installing
/// with OAuth).
const REFUSALS: &[Refusal] = &[
    Refusal {
        code: "invalid_code",
        explanation: "The approval was no longer valid when Herald handed it in: it works once, \
                      for ten minutes.",
        advice: Advice::Again,
    },
    Refusal {
        code: "bad_client_secret",
        explanation: "Slack does not accept the client secret that Herald was given.",
        advice: Advice::Operator("the client secret must be the one of the Slack app."),
    },
    Refusal {
        code: "invalid_client_id",
        explanation: "Slack does not know the app whose client id Herald was given.",
        advice: Advice::Operator("the client id must be the one of the Slack app."),
    },
    Refusal {
        code: "bad_redirect_uri",
        explanation: "The address of this page is not one that the Slack app sends people back to.",
        advice: Advice::Operator(
            "add this page’s address to the app’s redirect URLs, and see that Herald’s \
             public_url is the same.",
        ),
    },
    Refusal {
        code: "no_scopes",
        explanation: "The app asked Slack for no permissions at all.",
        advice: Advice::Operator("the list of scopes in the settings is empty."),
    },
    Refusal {
        code: "invalid_scope",
        explanation: "The app asked for a permission that Slack does not know or does not give it.",
        advice: Advice::Operator("the list of scopes must fit the app’s manifest."),
    },
    Refusal {
        code: "unapproved_scope",
        explanation: "The app asked for a permission that Slack has not approved it for.",
        advice: Advice::Operator("the list of scopes must fit the app’s manifest."),
    },
    Refusal {
        code: "scope_not_allowed_on_enterprise",
        explanation: "One of the permissions cannot be given for a whole Enterprise organisation.",
        advice: Advice::Person("Choose a single workspace in Slack, not the organisation."),
    },
    Refusal {
        code: "invalid_team_for_non_distributed_app",
        explanation: "This Slack app may be installed only in its own workspace, and you chose \
                      another one.",
        advice: Advice::Operator(
            "turn on public distribution for the Slack app, or use an app of this workspace.",
        ),
    },
    Refusal {
        code: "cannot_install_an_org_installed_app",
        explanation: "The app is installed for your whole Enterprise organisation already, so it \
                      cannot be installed in one workspace.",
        advice: Advice::Person(
            "Ask an administrator of the organisation to add the app to this workspace, or \
             choose the organisation in Slack.",
        ),
    },
    Refusal {
        code: "user_email_unverified",
        explanation: "You have not confirmed your e-mail address in Slack yet.",
        advice: Advice::Person("Confirm it by the mail that Slack sent you."),
    },
    Refusal {
        code: "oauth_authorization_url_mismatch",
        explanation: "The approval was begun on a kind of consent page that does not go with this \
                      app.",
        advice: Advice::Operator("the link must lead to oauth/v2/authorize of the same Slack."),
    },
    Refusal {
        code: "invalid_code_verifier",
        explanation: "Slack expects a proof (PKCE) that Herald does not give.",
        advice: Advice::Operator("turn PKCE off in the Slack app’s settings."),
    },
    Refusal {
        code: "pkce_not_allowed",
        explanation: "The approval was begun with a proof (PKCE) that the Slack app does not \
                      allow.",
        advice: Advice::Operator("the link must be used as Herald made it."),
    },
    Refusal {
        code: "invalid_grant_type",
        explanation: "Slack did not understand Herald’s request.",
        advice: Advice::Operator("something between Herald and Slack may change requests."),
    },
    Refusal {
        code: "invalid_refresh_token",
        explanation: "Slack did not understand Herald’s request.",
        advice: Advice::Operator("something between Herald and Slack may change requests."),
    },
];

/// Slack is slow; the exchange continues.
pub(super) fn still_working() -> Page {
    Page::new(StatusCode::GATEWAY_TIMEOUT, Tone::Plain, "Still connecting")
        .say("Slack is slow to confirm. Herald continues without this page.")
        .step_by(
            "See in a minute whether the workspace is connected:",
            "herald.v1.AdminService/GetWorkspace",
        )
        .step(format!("If it is not, start again. {AGAIN}"))
        .hint("Loading this page again does not help: each link works once.")
}

/// The database is unavailable; the link may be unused.
pub(super) fn unavailable() -> Page {
    down("Herald could not reach its own database, so connecting could not be completed.")
        .step(format!("If it then says that the link was used already, start again. {AGAIN}"))
        .hint(HOW_AGAIN)
}

/// A defect.
pub(super) fn internal() -> Page {
    broken("Connecting could not be completed. It is not your fault, and the log has the details.")
        .step(format!("Start again. {AGAIN}"))
        .step("If it happens again, tell the operator of Herald.")
        .hint(HOW_AGAIN)
}

/// The page of a server without its database.
pub(super) fn down(sentence: &'static str) -> Page {
    let title = "Herald is unavailable for the moment";
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, title)
        .say(sentence)
        .step("Load this page again in a few seconds.");
    page.retry_after = Some(5);
    page
}

/// The page of a defect, without its steps.
pub(super) fn broken(sentence: &'static str) -> Page {
    Page::new(StatusCode::INTERNAL_SERVER_ERROR, Tone::Broken, "Something went wrong in Herald")
        .say(sentence)
}

/// `/`: describes this server, without revealing anything about its users.
pub(super) fn landing() -> Page {
    let mut page = Page::new(StatusCode::OK, Tone::Done, "Herald is running")
        .say(
            "This server delivers notifications to Slack. Slack and monitoring come here; there \
             is nothing to sign in to. Services call it over gRPC, on another port.",
        )
        .hint(concat!("Version ", env!("CARGO_PKG_VERSION")));
    page.links = &[("healthz", "Alive?"), ("readyz", "Ready?"), ("metrics", "Metrics")];
    page
}

pub(super) fn not_found() -> Page {
    Page::new(StatusCode::NOT_FOUND, Tone::Plain, "There is nothing here")
        .say("The address is not one of Herald’s. Check the address for a typing error.")
}

pub(super) fn wrong_method() -> Page {
    Page::new(StatusCode::METHOD_NOT_ALLOWED, Tone::Plain, "Not like this")
        .say("This address does not take that kind of request.")
}

pub(super) fn too_slow() -> Page {
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, "This took too long")
        .say("Herald gave up on answering. Try again in a moment.");
    page.retry_after = Some(5);
    page
}

/// Bodies of other requests take all the memory for them.
pub(super) fn overloaded() -> Page {
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, "Too much at once")
        .say("Herald is reading as many requests as it can. Try again in a moment.");
    page.retry_after = Some(1);
    page
}

pub(super) fn too_often(wait: Duration) -> Page {
    let mut page = Page::new(StatusCode::TOO_MANY_REQUESTS, Tone::Again, "Too many requests")
        .say("Too many requests come from this address. Try again in a moment.");
    page.retry_after = Some(u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).saturating_add(1));
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::ids::TenantId;
    use crate::http::page::NAME_CHARS;

    fn connected(workspace: &str) -> Connected {
        let tenant = TenantId::parse("tenant-not-to-be-shown").unwrap();
        Connected::Done { tenant, workspace: workspace.to_owned() }
    }

    fn refused_with(code: &str) -> Connected {
        Connected::Refused { code: code.to_owned() }
    }

    fn chosen_of(teams: &[&str]) -> Connected {
        let org = crate::domain::ids::InstallationId(uuid::Uuid::from_u128(1));
        Connected::ChooseTeam { org, teams: teams.iter().map(ToString::to_string).collect() }
    }

    /// Outcomes, and the status and the words of their pages.
    fn pages() -> [(Connected, u16, &'static [&'static str]); 13] {
        [
            (
                chosen_of(&["Sales & Co", "Support"]),
                409,
                &["whole Enterprise organization", "Sales &amp; Co, Support", "one workspace"],
            ),
            (chosen_of(&[]), 409, &["not added to any workspace", "Add to more workspaces"]),
            (
                connected("Acme & Sons"),
                200,
                &[
                    "Acme &amp; Sons is connected",
                    "sending is still off",
                    "AllowSending",
                    "TestSlack",
                ],
            ),
            (Connected::Denied, 200, &["canceled in Slack", "start again"]),
            (Connected::Unusable(Unusable::UnknownState), 400, &["not known", "Start again"]),
            (
                Connected::Unusable(Unusable::AlreadyUsed),
                410,
                &["used already", "the first attempt succeeded", "GetWorkspace"],
            ),
            (Connected::Unusable(Unusable::Expired), 410, &["expired", "approval", "Start again"]),
            (
                refused_with("bad_redirect_uri"),
                502,
                &["<code>bad_redirect_uri</code>", "redirect URLs", "public_url"],
            ),
            (refused_with("never_heard_of"), 502, &["does not know", "Start again", "the log"]),
            (Connected::NoAnswer, 502, &["did not answer", "start again"]),
            (
                Connected::Unusable(Unusable::OtherBrowser),
                403,
                &["another browser", "open the connect link again"],
            ),
            (
                Connected::InUse { workspace: "Acme & Sons".into() },
                409,
                &["Acme &amp; Sons is connected to another tenant", "share_workspace"],
            ),
            (
                Connected::OtherWorkspace { workspace: "Acme & Sons".into() },
                409,
                &["Acme &amp; Sons was chosen in Slack", "open the link again"],
            ),
        ]
    }

    #[test]
    fn every_outcome_has_its_page() {
        let mut titles = BTreeSet::new();
        for (connected, status, words) in pages() {
            let page = of(&connected);
            assert_eq!(page.status.as_u16(), status, "{connected:?}");
            let html = page.html().unwrap();
            for word in words {
                assert!(html.contains(word), "{connected:?}: {word:?} is missing in {html}");
            }
            assert!(html.contains("What to do next"), "{connected:?}");
            assert!(!html.contains("tenant-not-to-be-shown"));
            titles.insert(page.title.into_owned());
        }
        assert_eq!(titles.len(), 11, "refusals share theirs, and so do both others: {titles:?}");
    }

    #[test]
    fn a_hostile_workspace_stays_text() {
        for name in ["<script>alert(1)</script>", "\"><img src=x>", "{{ 7 * 7 }}", "</title><b>"] {
            let html = of(&connected(name)).html().unwrap();
            assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"));
        }
        assert!(of(&connected("{{ 7 * 7 }}")).html().unwrap().contains("{{ 7 * 7 }} is connected"));
        assert_eq!(of(&connected("a\u{202e}b\n\u{2066}c")).title, "abc is connected");
        let long = of(&connected(&"ä".repeat(200))).title;
        assert_eq!(long, format!("{}… is connected", "ä".repeat(NAME_CHARS)));
        assert_eq!(of(&connected(" ")).title, "Your Slack workspace is connected");
    }

    #[test]
    fn a_code_that_is_not_in_the_table_is_not_shown() {
        for code in ["call_me_now", "<b>", "INVALID_CODE", ""] {
            let page = of(&refused_with(code));
            assert_eq!(page.code, None);
            assert!(code.is_empty() || !page.html().unwrap().contains(code), "{code}");
        }
    }

    #[test]
    fn every_known_refusal_is_explained() {
        for refusal in REFUSALS {
            let html = of(&refused_with(refusal.code)).html().unwrap();
            assert!(html.contains(&format!("<code>{}</code>", refusal.code)));
            assert!(html.contains("tart again"), "{}", refusal.code);
        }
        let codes: BTreeSet<_> = REFUSALS.iter().map(|refusal| refusal.code).collect();
        assert_eq!(codes.len(), REFUSALS.len());
    }
}
