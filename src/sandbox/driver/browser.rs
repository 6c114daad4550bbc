//! A person with a browser: opens a connect link, reads the app's page, answers the consent page,
//! and returns to the app with the cookies that it set.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use url::Url;

/// The person's decision on the consent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Cancel,
}

impl Decision {
    fn value(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Cancel => "cancel",
        }
    }
}

/// A page that the browser shows.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    pub html: String,
}

impl Page {
    /// The link to Slack's consent page, if the page has one.
    #[must_use]
    pub fn way_to_slack(&self) -> Option<Url> {
        let links = self.html.split("href=\"").skip(1);
        links
            .filter_map(|rest| Url::parse(&plain(rest.split('"').next()?)).ok())
            .find(|url| url.path().ends_with("/oauth/v2/authorize"))
    }
}

/// Slack's answer to a decision on its consent page.
#[derive(Debug, Clone)]
pub enum ConsentAnswer {
    /// Slack sends the person to this URL.
    Back(Url),
    /// Slack does not redirect, but shows this page.
    Page(Page),
}

impl ConsentAnswer {
    /// The URL to which Slack sends the person, if it redirects.
    #[must_use]
    pub fn back(self) -> Option<Url> {
        match self {
            Self::Back(url) => Some(url),
            Self::Page(_) => None,
        }
    }
}

/// A browser with the cookies of one app. (It is not a general one: it looks only at the names of
/// cookies.)
#[derive(Debug)]
pub struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub fn new() -> Result<Self, reqwest::Error> {
        let no_redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(no_redirect).build()?;
        Ok(Self { client, cookies: BTreeMap::new() })
    }

    /// Opens a page of the app.
    pub async fn open(&mut self, url: &Url) -> Result<Page, reqwest::Error> {
        let kept = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let kept = kept.collect::<Vec<_>>().join("; ");
        let answer = self.client.get(url.clone()).header(COOKIE, kept).send().await?;
        for set in answer.headers().get_all(SET_COOKIE) {
            let text = set.to_str().unwrap_or_default();
            let pair = text.split(';').next().and_then(|pair| pair.split_once('='));
            let Some((name, value)) = pair else { continue };
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Page { status: answer.status().as_u16(), html: answer.text().await? })
    }

    /// Reads Slack's consent page and submits its form.
    pub async fn consent(
        &self,
        authorize_url: &Url,
        decision: Decision,
    ) -> Result<ConsentAnswer, reqwest::Error> {
        self.consent_in(authorize_url, decision, None).await
    }

    /// The same for a workspace that the person chooses on the page.
    pub async fn consent_in(
        &self,
        authorize_url: &Url,
        decision: Decision,
        team_id: Option<&str>,
    ) -> Result<ConsentAnswer, reqwest::Error> {
        self.client.get(authorize_url.clone()).send().await?.error_for_status()?;
        let mut form: Vec<_> = authorize_url.query_pairs().into_owned().collect();
        if let Some(team_id) = team_id {
            form.retain(|(key, _)| key != "team");
            form.push(("team".to_owned(), team_id.to_owned()));
        }
        form.push(("decision".to_owned(), decision.value().to_owned()));
        let mut page = authorize_url.clone();
        page.set_query(None);
        let answer = self.client.post(page).form(&form).send().await?;
        let back = answer.headers().get(LOCATION).and_then(|to| Url::parse(to.to_str().ok()?).ok());
        if let Some(back) = back {
            return Ok(ConsentAnswer::Back(back));
        }
        let status = answer.status().as_u16();
        Ok(ConsentAnswer::Page(Page { status, html: answer.text().await? }))
    }
}

/// Opens a connect link, decides on Slack's page, and returns to the app; returns the last page.
pub async fn decide(link: &Url, decision: Decision) -> Result<Page, reqwest::Error> {
    decide_in(link, decision, None).await
}

/// The same for a workspace that the person chooses on Slack's page.
pub async fn decide_in(
    link: &Url,
    decision: Decision,
    team_id: Option<&str>,
) -> Result<Page, reqwest::Error> {
    let mut browser = Browser::new()?;
    let start = browser.open(link).await?;
    let Some(consent) = start.way_to_slack() else { return Ok(start) };
    match browser.consent_in(&consent, decision, team_id).await? {
        ConsentAnswer::Back(back) => browser.open(&back).await,
        ConsentAnswer::Page(page) => Ok(page),
    }
}

/// Text of an attribute, with the entities that templates write decoded.
fn plain(text: &str) -> String {
    let mut text = text.replace("&#x2f;", "/").replace("&quot;", "\"").replace("&#x27;", "'");
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    text
}
