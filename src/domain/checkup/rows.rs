//! The findings: one function for each part.

use super::{
    CheckFinding, CheckPart, CheckupFacts, ConnectedFacts, DAY, FeatureFacts, Inquiry, PartCheck,
    RETRY_REASONS, ReadingPace, ScopesOfFeature, TAB_OFF, TestFacts, ago,
};
use crate::domain::time::Timestamp;

/// How far the clocks may differ. Slack's events are refused if they differ by more than 300
/// seconds.
const CLOCK_SECONDS: i64 = 60;
/// Repetitions of events within an hour that show a fault; a restart causes fewer.
const RETRIES: u32 = 3;
/// Days without an event after which it is doubtful that events arrive.
const SILENT_DAYS: u32 = 7;
/// The code of the feature that Slack's events belong to.
const EVENTS: &str = "events";

/// The remedy for a token that does not work.
const RECONNECT: &str = "Connect the workspace again.";
const ASK_AGAIN: &str = "Check the connection again in a minute.";

/// A row before its part is named.
struct Found {
    finding: CheckFinding,
    sentence: String,
    remedy: String,
}

fn ok(sentence: impl Into<String>) -> Found {
    let sentence = sentence.into();
    Found { finding: CheckFinding::Ok, sentence, remedy: String::new() }
}

fn broken(sentence: impl Into<String>, remedy: impl Into<String>) -> Found {
    Found { finding: CheckFinding::Broken, sentence: sentence.into(), remedy: remedy.into() }
}

fn unknown(sentence: impl Into<String>, remedy: impl Into<String>) -> Found {
    Found { finding: CheckFinding::Unknown, sentence: sentence.into(), remedy: remedy.into() }
}

/// One row for each part, in the order of [`CheckPart::ALL`].
#[must_use]
pub fn rows(facts: &CheckupFacts) -> Vec<PartCheck> {
    let row = |part: &CheckPart| {
        let Found { finding, sentence, remedy } = found(*part, facts);
        PartCheck { part: *part, finding, sentence, remedy }
    };
    CheckPart::ALL.iter().map(row).collect()
}

fn found(part: CheckPart, facts: &CheckupFacts) -> Found {
    if part == CheckPart::TestMessage {
        return test_message(&facts.test);
    }
    let Some(connected) = &facts.connected else {
        return match part {
            CheckPart::Token => broken(
                "No Slack workspace is connected.",
                "Connect one: an administrator of Slack opens the connect link.",
            ),
            CheckPart::SigningSecret if !facts.has_signing_secret => no_signing_secret(),
            _ => unknown("This can be checked once a workspace is connected.", ""),
        };
    };
    match part {
        CheckPart::Token => token(connected),
        CheckPart::Scopes => scopes(&connected.features),
        CheckPart::MessagesTab => messages_tab(connected, &facts.test, facts.now),
        CheckPart::History => history(connected),
        CheckPart::RequestUrl => request_url(connected, facts.now),
        CheckPart::Events => events(connected, facts.now),
        CheckPart::Clock => clock(&connected.token),
        CheckPart::SigningSecret => signing_secret(connected, facts),
        CheckPart::OrgInstall => org_install(connected),
        CheckPart::RateLimit => rate_limit(connected.pace),
        CheckPart::TestMessage => test_message(&facts.test),
    }
}

fn token(connected: &ConnectedFacts) -> Found {
    match &connected.token {
        Inquiry::Answered(_) => ok("Slack accepts the token."),
        Inquiry::Refused(code) => {
            broken(format!("Slack does not accept the token ({code})."), RECONNECT)
        }
        Inquiry::MissingScope(_) | Inquiry::NotAsked => {
            unknown("Slack did not say whether the token is valid.", ASK_AGAIN)
        }
        Inquiry::Unanswered(code) => {
            unknown(format!("Slack did not answer whether the token is valid ({code})."), ASK_AGAIN)
        }
    }
}

fn scopes(features: &[FeatureFacts]) -> Found {
    let lacks = |optional: bool| {
        let of = features.iter().filter(move |feature| feature.is_optional == optional);
        let texts = of.filter_map(|feature| match &feature.state {
            ScopesOfFeature::Missing(scopes) => {
                Some(format!("{} ({})", feature.name, scopes.join(", ")))
            }
            ScopesOfFeature::Granted | ScopesOfFeature::SwitchedOff => None,
        });
        texts.collect::<Vec<_>>().join("; ")
    };
    let (needed, wanted) = (lacks(false), lacks(true));
    if !needed.is_empty() {
        return broken(
            format!("The workspace has not granted the scopes of these features: {needed}."),
            "Connect the workspace again: the link asks for exactly these scopes.",
        );
    }
    if !wanted.is_empty() {
        return Found {
            remedy: "Nothing, unless they are wanted: connecting the workspace again asks for \
                     their scopes."
                .into(),
            ..ok(format!(
                "Every scope that is needed is granted. The workspace did not grant those of \
                 optional features: {wanted}."
            ))
        };
    }
    ok("Every scope that the switched-on features need is granted.")
}

fn messages_tab(connected: &ConnectedFacts, test: &TestFacts, now: Timestamp) -> Found {
    let off = || {
        broken(
            format!(
                "Slack refuses direct messages, because the Messages tab of the app is off \
                 ({TAB_OFF})."
            ),
            "Turn it on in the settings of the Slack app: App Home > Show Tabs > Messages Tab.",
        )
    };
    let (sent, refused) = (connected.direct_messages.sent_at, connected.direct_messages.refused_at);
    match test {
        TestFacts::Sent => return ok("The test message was delivered, so the tab is open."),
        TestFacts::Refused(code) if code == TAB_OFF => return off(),
        _ => {}
    }
    match (sent, refused) {
        (Some(sent), refused) if refused.is_none_or(|refused| refused < sent) => {
            ok(format!("A direct message was delivered {}, so the tab is open.", ago(now, sent)))
        }
        (_, Some(_)) => off(),
        (_, None) => unknown(
            "No direct message was sent lately, so it is not known whether the tab is open.",
            "Check again with a person to whom a test message may be sent.",
        ),
    }
}

fn history(connected: &ConnectedFacts) -> Found {
    if is_off(connected, "direct_message_history") {
        return ok("Reading conversations is switched off in the settings.");
    }
    match &connected.history {
        Inquiry::Answered(()) => {
            ok("Conversations can be read, so unclear answers of Slack are settled.")
        }
        Inquiry::MissingScope(needed) => broken(
            format!(
                "Conversations cannot be read, because the scope {} is missing: a message whose \
                 delivery is unclear may be sent twice.",
                if needed.is_empty() { "im:history" } else { needed.as_str() }
            ),
            "Connect the workspace again: the link asks for it.",
        ),
        Inquiry::Refused(code) => broken(
            format!("Slack does not let the app read its own conversation ({code})."),
            "Connect the workspace again; if that does not help, an administrator of Slack has to \
             lift the restriction.",
        ),
        Inquiry::Unanswered(code) => unknown(
            format!("Slack did not answer whether history is readable ({code})."),
            ASK_AGAIN,
        ),
        Inquiry::NotAsked => unknown(
            "The app has no conversation in this workspace yet that could be read.",
            "Send a message, or check again with a test message.",
        ),
    }
}

/// Whether a feature is switched off in the settings.
fn is_off(connected: &ConnectedFacts, code: &str) -> bool {
    let off = |feature: &FeatureFacts| {
        feature.code == code && feature.state == ScopesOfFeature::SwitchedOff
    };
    connected.features.iter().any(off)
}

fn request_url(connected: &ConnectedFacts, now: Timestamp) -> Found {
    if let Some(retries) = &connected.events.retries
        && now.since(retries.at) < DAY
        && retries.times >= RETRIES
    {
        let known = RETRY_REASONS.iter().find(|(code, _, _)| *code == retries.reason);
        let (meaning, remedy) = known.map_or(("", ""), |(_, meaning, remedy)| (*meaning, *remedy));
        return broken(
            format!(
                "Slack had to repeat {} events within an hour, the last one {}: {meaning} ({}).",
                retries.times,
                ago(now, retries.at),
                retries.reason
            ),
            remedy,
        );
    }
    match connected.events.heard_at.filter(|at| *at >= connected.since) {
        Some(at) => ok(format!("Slack reached the address for events {}.", ago(now, at))),
        None => unknown(
            "No event has arrived since the workspace was connected, so it is not known whether \
             Slack reaches the address.",
            "Look in the settings of the Slack app, under Event Subscriptions, whether the Request \
             URL is verified.",
        ),
    }
}

fn events(connected: &ConnectedFacts, now: Timestamp) -> Found {
    if is_off(connected, EVENTS) {
        return ok("Events are switched off in the settings.");
    }
    let silent = "Change the status of a member in Slack and check again. If no event arrives, \
                  compare the bot events in the settings of the Slack app with its manifest.";
    match connected.events.heard_at.filter(|at| *at >= connected.since) {
        Some(at) if now.since(at) < SILENT_DAYS * DAY => {
            ok(format!("The last event arrived {}.", ago(now, at)))
        }
        Some(at) => unknown(
            format!(
                "The last event arrived {}, which is long for a workspace in use.",
                ago(now, at)
            ),
            silent,
        ),
        None if now.since(connected.since) < SILENT_DAYS * DAY => {
            unknown("No event has arrived since the workspace was connected.", silent)
        }
        None => broken(
            format!(
                "No event has arrived since the workspace was connected {}. Changes of members \
                 are noticed late.",
                ago(now, connected.since)
            ),
            silent,
        ),
    }
}

fn clock(token: &Inquiry<super::TokenOwner>) -> Found {
    let ahead = match token {
        Inquiry::Answered(owner) => owner.clock_ahead,
        _ => None,
    };
    match ahead {
        Some(seconds) if seconds.abs() <= CLOCK_SECONDS => {
            ok("The database's clock agrees with Slack's.")
        }
        Some(seconds) => {
            let side = if seconds > 0 { "ahead of" } else { "behind" };
            broken(
                format!(
                    "The database's clock is {} seconds {side} Slack's. Beyond 300 seconds every \
                     event is refused.",
                    seconds.abs()
                ),
                "Correct the clock of the database's machine, for example by NTP.",
            )
        }
        None => unknown("Slack's answer had no time to compare with.", ASK_AGAIN),
    }
}

fn no_signing_secret() -> Found {
    broken(
        "The app has no signing secret, so every event from Slack is refused.",
        "Copy the signing secret from Basic Information of the Slack app into the settings: \
         app.signing_secret for the app that tenants share.",
    )
}

fn signing_secret(connected: &ConnectedFacts, facts: &CheckupFacts) -> Found {
    if is_off(connected, EVENTS) {
        return ok("No secret is needed: events are switched off in the settings.");
    }
    if !facts.has_signing_secret {
        return no_signing_secret();
    }
    match connected.events.heard_at.filter(|at| *at >= connected.since) {
        Some(at) => ok(format!("An event that Slack signed was verified {}.", ago(facts.now, at))),
        None => unknown(
            "A signing secret is set, but no signed event has arrived yet.",
            "If Slack cannot verify the Request URL, compare the secret with the one under Basic \
             Information of the Slack app.",
        ),
    }
}

fn org_install(connected: &ConnectedFacts) -> Found {
    let Inquiry::Answered(owner) = &connected.token else {
        return unknown("This can be checked once Slack accepts the token.", "");
    };
    if owner.is_org_wide {
        return match &connected.members {
            Inquiry::Refused(code) => broken(
                format!(
                    "The app is installed for the organization, but may not be used in this \
                     workspace ({code})."
                ),
                "An administrator of the organization has to add the workspace to the app, under \
                 Manage organization > Integrations > Installed apps.",
            ),
            Inquiry::Answered(()) | Inquiry::MissingScope(_) => {
                ok("The app is installed for the organization, and may be used in this workspace.")
            }
            Inquiry::Unanswered(_) | Inquiry::NotAsked => unknown(
                "Slack did not answer whether the app may be used in this workspace.",
                ASK_AGAIN,
            ),
        };
    }
    if connected.team_id.is_some() && owner.team_id != connected.team_id {
        return broken("The token is that of another workspace than the connected one.", RECONNECT);
    }
    if owner.enterprise_id != connected.enterprise_id {
        return broken(
            "The workspace has joined or left an Enterprise organization since it was connected.",
            RECONNECT,
        );
    }
    ok("The app is installed in this workspace.")
}

fn rate_limit(pace: ReadingPace) -> Found {
    match pace {
        ReadingPace::Usual => ok("Slack lets the app read conversations at the usual rate."),
        // Herald works at this rate, so it is no fault of the connection.
        ReadingPace::OnceAMinute => Found {
            remedy: "To settle unclear answers faster, let the tenant use a Slack app of its own, \
                     or publish the app in the Slack Marketplace."
                .into(),
            ..ok(
                "Slack lets the app read a conversation about once a minute, which is the limit of \
                 distributed apps outside the Slack Marketplace. An unclear answer is settled \
                 within minutes.",
            )
        },
        ReadingPace::Untested => {
            unknown("No conversation was read twice, which would show the limit.", "")
        }
    }
}

fn test_message(test: &TestFacts) -> Found {
    match test {
        TestFacts::NotWanted => unknown(
            "No test message was asked for.",
            "Check again with a person to whom a test message may be sent.",
        ),
        TestFacts::NotTried => {
            unknown("No test message was sent, as the token must work first.", "")
        }
        TestFacts::Sent => ok("The test message was delivered."),
        TestFacts::NotSent(why) => unknown(format!("The test message was not sent: {why}"), ""),
        TestFacts::Refused(code) => broken(
            format!("Slack refused the test message ({code})."),
            "Slack's documentation of chat.postMessage says what the code means.",
        ),
        TestFacts::Waits => {
            unknown("The test message has not been sent yet; it is still waiting.", ASK_AGAIN)
        }
    }
}

#[cfg(test)]
mod tests;
