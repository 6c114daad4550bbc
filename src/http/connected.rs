//! The pages of connecting: the outcome and the way on.
//!
//! An administrator of the customer's Slack, who knows the platform and nothing about Herald, reads
//! them: they name the platform (`app.display_name`) and no calls. They mention the operator where
//! a setting is wrong.

use http::StatusCode;

use super::outcome::{broken, down};
use super::page::{Page, Tone, tidy};
use super::refusals::{Advice, REFUSALS};
use super::whose::{self, ONCE, again};
use crate::app::{Connected, LackingFeature, Unusable};

const NOTHING_CHANGED: &str = "Nothing was changed in Slack or here.";

/// The page of one outcome.
pub(super) fn of(connected: &Connected, platform: &str) -> Page {
    let page = match connected {
        Connected::Done { workspace, lacking, .. } => done(workspace, lacking, platform),
        Connected::Denied => Page::new(StatusCode::OK, Tone::Plain, "Not connected")
            .say(format!("The request was canceled in Slack, so {platform} was not given access."))
            .say(NOTHING_CHANGED)
            .step(format!("If that was not meant, start again. {}", again(platform)))
            .step(
                "If you did not cancel, an administrator of your Slack workspace may have to \
                 approve the app: ask one of them.",
            )
            .hint(ONCE),
        Connected::Unusable(unusable) => unusable_link(*unusable, platform),
        Connected::InUse { workspace } => whose::in_use(workspace, platform),
        Connected::OtherWorkspace { workspace } => whose::other_workspace(workspace, platform),
        Connected::Confirm { tenant, workspace, start } => {
            whose::confirm(tenant.as_str(), workspace, start, platform)
        }
        Connected::ChooseTeam { teams, .. } => whose::choose_team(teams, platform),
        Connected::Refused { code } => refused(code, platform),
        Connected::NoAnswer => {
            Page::new(StatusCode::BAD_GATEWAY, Tone::Again, "Slack did not answer")
                .say(format!(
                    "You approved the app, but Slack did not confirm it to {platform} in time. \
                     The approval cannot be used a second time."
                ))
                .step(format!("Wait a minute, then start again. {}", again(platform)))
                .hint(ONCE)
        }
    };
    page.of_platform(platform)
}

/// The page of a link or a redirect that cannot be used.
fn unusable_link(unusable: Unusable, platform: &str) -> Page {
    let start_again = format!("Start again. {}", again(platform));
    match unusable {
        Unusable::UnknownState => {
            Page::new(StatusCode::BAD_REQUEST, Tone::Again, "This link is not known")
                .say(
                    "You came back without a connect link that this server made. The address may \
                     be incomplete, or the link came from another server.",
                )
                .say(NOTHING_CHANGED)
                .step(start_again)
                .hint(ONCE)
        }
        Unusable::OtherBrowser => whose::other_browser(platform),
        Unusable::AlreadyUsed => {
            Page::new(StatusCode::GONE, Tone::Again, "This link was used already")
                .say(
                    "Each link connects once. If you have just connected and this page was \
                     loaded again, the first attempt succeeded.",
                )
                .step(format!("See in {platform} whether the workspace is connected."))
                .step(format!("If it is not, start again. {}", again(platform)))
                .hint(ONCE)
        }
        Unusable::Expired => Page::new(StatusCode::GONE, Tone::Again, "This link has expired")
            .say("Too much time has passed since the link was made, so it no longer works.")
            .say(
                "Where apps need an administrator’s approval in Slack, that may well have taken \
                 longer. The approval stays; only the link must be new.",
            )
            .step(start_again)
            .hint(ONCE),
    }
}

fn done(workspace: &str, lacking: &[LackingFeature], platform: &str) -> Page {
    let workspace = tidy(workspace);
    let title = if workspace.is_empty() {
        "Your Slack workspace is connected".to_owned()
    } else {
        format!("{workspace} is connected")
    };
    let tone = if lacking.is_empty() { Tone::Done } else { Tone::Again };
    // The wording must also be true after a reconnect, where sending may be on.
    let mut page = Page::new(StatusCode::OK, tone, title)
        .say(format!("{platform} is now reading the list of members, so that it can find people."));
    if !lacking.is_empty() {
        let names: Vec<&str> = lacking.iter().map(|feature| feature.name).collect();
        page = page
            .say(format!(
                "Some permissions were not granted, so this does not work: {}. Everything else \
                 does.",
                names.join("; ")
            ))
            .step(format!("To grant them, connect once more. {}", again(platform)));
    }
    page.say(
        "Connecting does not start sending: in a new workspace sending is still off, and no one \
         gets a message until an administrator allows it.",
    )
    .step(format!(
        "Go back to {platform}: there an administrator can send a test message, and allow sending."
    ))
    .hint("You can close this page.")
}

fn refused(code: &str, platform: &str) -> Page {
    let page = |tone| Page::new(StatusCode::BAD_GATEWAY, tone, "Slack refused to connect");
    match REFUSALS.iter().find(|refusal| refusal.code == code) {
        Some(refusal) => {
            let again = again(platform);
            let (tone, step) = match refusal.advice {
                Advice::Again => (Tone::Again, format!("Start again. {again}")),
                Advice::Person(step) => (Tone::Again, format!("{step} Then start again. {again}")),
                Advice::Operator(step) => (
                    Tone::Broken,
                    format!(
                        "Tell the operator of {platform}: {step} Then start again with a new link."
                    ),
                ),
            };
            let mut page = page(tone).say(refusal.explanation).step(step).hint(ONCE);
            page.code = Some(refusal.code);
            page
        }
        // The code may come from the address, which anyone can write, so it is not shown.
        None => page(Tone::Broken)
            .say(format!("Slack gave a reason that {platform} does not know."))
            .step(format!("Start again. {}", again(platform)))
            .step(format!(
                "If it happens again, tell the operator of {platform}: the log has the details."
            ))
            .hint(ONCE),
    }
}

/// Slack is slow; the exchange continues.
pub(super) fn still_working(platform: &str) -> Page {
    Page::new(StatusCode::GATEWAY_TIMEOUT, Tone::Plain, "Still connecting")
        .say(format!("Slack is slow to confirm. {platform} continues without this page."))
        .step(format!("See in a minute, in {platform}, whether the workspace is connected."))
        .step(format!("If it is not, start again. {}", again(platform)))
        .hint("Loading this page again does not help: each link works once.")
        .of_platform(platform)
}

/// The database is unavailable; the link may be unused.
pub(super) fn unavailable(platform: &str) -> Page {
    let sentence =
        "This server could not reach its own database, so connecting could not be completed.";
    let mut page = down(sentence)
        .step(format!(
            "If it then says that the link was used already, start again. {}",
            again(platform)
        ))
        .hint(ONCE)
        .of_platform(platform);
    page.title = format!("{platform} is unavailable for the moment").into();
    page
}

/// A defect.
pub(super) fn internal(platform: &str) -> Page {
    let sentence =
        "Connecting could not be completed. It is not your fault, and the log has the details.";
    let mut page = broken(sentence)
        .step(format!("Start again. {}", again(platform)))
        .step(format!("If it happens again, tell the operator of {platform}."))
        .hint(ONCE)
        .of_platform(platform);
    page.title = format!("Something went wrong in {platform}").into();
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::ids::TenantId;
    use crate::http::page::NAME_CHARS;

    const PLATFORM: &str = "Acme Learning";

    fn connected(workspace: &str) -> Connected {
        let tenant = TenantId::parse("tenant-not-to-be-shown").unwrap();
        Connected::Done { tenant, workspace: workspace.to_owned(), lacking: Vec::new() }
    }

    fn lacking() -> Connected {
        let tenant = TenantId::parse("tenant-not-to-be-shown").unwrap();
        let lacking = LackingFeature { code: "channels", name: "create and keep channels" };
        Connected::Done { tenant, workspace: "Acme".into(), lacking: vec![lacking] }
    }

    fn refused_with(code: &str) -> Connected {
        Connected::Refused { code: code.to_owned() }
    }

    fn page_of(connected: &Connected) -> Page {
        of(connected, PLATFORM)
    }

    /// Outcomes, and the status and the words of their pages.
    fn pages() -> [(Connected, u16, &'static [&'static str]); 12] {
        [
            (
                connected("Acme & Sons"),
                200,
                &[
                    "Acme &amp; Sons is connected",
                    "sending is still off",
                    "Go back to Acme Learning",
                ],
            ),
            (
                lacking(),
                200,
                &["Acme is connected", "create and keep channels", "connect once more"],
            ),
            (Connected::Denied, 200, &["canceled in Slack", "start again", "approve the app"]),
            (Connected::Unusable(Unusable::UnknownState), 400, &["not known", "Start again"]),
            (
                Connected::Unusable(Unusable::AlreadyUsed),
                410,
                &["used already", "the first attempt succeeded", "See in Acme Learning"],
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
                &["Acme &amp; Sons is connected to another tenant", "choose another one"],
            ),
            (
                Connected::OtherWorkspace { workspace: "Acme & Sons".into() },
                409,
                &["Acme &amp; Sons was chosen in Slack", "choose the right workspace"],
            ),
        ]
    }

    #[test]
    fn every_outcome_has_its_page() {
        let mut titles = BTreeSet::new();
        for (connected, status, words) in pages() {
            let page = page_of(&connected);
            assert_eq!(page.status.as_u16(), status, "{connected:?}");
            let html = page.html().unwrap();
            for word in words {
                assert!(html.contains(word), "{connected:?}: {word:?} is missing in {html}");
            }
            assert!(html.contains("What to do next"), "{connected:?}");
            assert!(html.contains("<span>Acme Learning</span>"), "{connected:?}");
            assert!(!html.contains("tenant-not-to-be-shown"));
            assert!(!html.contains("herald.v1."), "no page names a call: {connected:?}");
            titles.insert(page.title.into_owned());
        }
        assert_eq!(titles.len(), 11, "refusals share theirs: {titles:?}");
    }

    #[test]
    fn a_hostile_workspace_stays_text() {
        for name in ["<script>alert(1)</script>", "\"><img src=x>", "{{ 7 * 7 }}", "</title><b>"] {
            let html = page_of(&connected(name)).html().unwrap();
            assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"));
        }
        let html = page_of(&connected("{{ 7 * 7 }}")).html().unwrap();
        assert!(html.contains("{{ 7 * 7 }} is connected"));
        assert_eq!(page_of(&connected("a\u{202e}b\n\u{2066}c")).title, "abc is connected");
        let long = page_of(&connected(&"ä".repeat(200))).title;
        assert_eq!(long, format!("{}… is connected", "ä".repeat(NAME_CHARS)));
        assert_eq!(page_of(&connected(" ")).title, "Your Slack workspace is connected");
    }

    #[test]
    fn a_code_that_is_not_in_the_table_is_not_shown() {
        for code in ["call_me_now", "<b>", "INVALID_CODE", ""] {
            let page = page_of(&refused_with(code));
            assert_eq!(page.code, None);
            assert!(code.is_empty() || !page.html().unwrap().contains(code), "{code}");
        }
    }

    #[test]
    fn every_known_refusal_is_explained() {
        for refusal in REFUSALS {
            let html = page_of(&refused_with(refusal.code)).html().unwrap();
            assert!(html.contains(&format!("<code>{}</code>", refusal.code)));
            assert!(html.contains("tart again"), "{}", refusal.code);
        }
        let codes: BTreeSet<_> = REFUSALS.iter().map(|refusal| refusal.code).collect();
        assert_eq!(codes.len(), REFUSALS.len());
    }
}
