//! A person at a browser: opens a connect link, answers the consent page, follows the redirect.

use url::Url;

/// What the person decides on the consent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Cancel,
}

/// The page at the end of the redirect.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    pub html: String,
}

/// Opens `authorize_url` of a sandbox as a browser does: shows the consent page, submits its form
/// (the parameters of the link and the decision), follows Slack's redirect to the app.
pub async fn decide(authorize_url: &Url, decision: Decision) -> Result<Page, reqwest::Error> {
    let browser = reqwest::Client::builder().build()?;
    browser.get(authorize_url.clone()).send().await?.error_for_status()?;
    let mut form: Vec<(String, String)> = authorize_url.query_pairs().into_owned().collect();
    let decision = match decision {
        Decision::Allow => "allow",
        Decision::Cancel => "cancel",
    };
    form.push(("decision".to_owned(), decision.to_owned()));
    let mut page = authorize_url.clone();
    page.set_query(None);
    let answer = browser.post(page).form(&form).send().await?;
    Ok(Page { status: answer.status().as_u16(), html: answer.text().await? })
}
