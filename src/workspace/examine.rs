//! Gathers the facts about a tenant's connection (`domain::checkup` judges them): stored facts,
//! and Slack's answers to a few questions that change nothing in Slack.
//!
//! A conversation is read twice in a row, because only that shows whether Slack lets the app read
//! once a minute. If so, the second reading is answered 429, and the readings that settle unclear
//! answers wait for a minute, as they would after any reading of the first.

use super::{Error, INTERACTIVE, Method, Workspaces};
use crate::domain::checkup::{
    CheckupFacts, ConnectedFacts, FeatureFacts, Inquiry, ReadingPace, ScopesOfFeature, TestFacts,
    TokenOwner,
};
use crate::domain::features::{self, FeatureState};
use crate::domain::ids::{ChannelId, InstallationId, SlackUserId, TenantId};
use crate::slack::{self, AuthTest, Range};
use crate::store::Installation;

impl Workspaces {
    /// The facts about a tenant's connection, without a test message. Only the database can make it
    /// fail: a refusal of Slack's, or a missing answer, is a fact.
    pub async fn examine(&self, tenant: &TenantId) -> Result<CheckupFacts, Error> {
        let now = self.store.now().await?;
        let installation = self.store.tenancy().installation_of(tenant).await?;
        let (app_path, connected) = match installation {
            None => (self.app_of_tenant(tenant).await?.path, None),
            Some(installation) => {
                let connected = self.connected_facts(tenant, &installation).await?;
                (installation.app_path, Some(connected))
            }
        };
        Ok(CheckupFacts {
            now,
            connected,
            // The app of a tenant cannot be set without one.
            has_signing_secret: !app_path.is_empty() || !self.config.signing_secret.is_empty(),
            test: TestFacts::NotWanted,
        })
    }

    /// The names of the features that must have scopes which these do not include.
    #[must_use]
    pub fn lacking_features(&self, granted: &[String]) -> Vec<&'static str> {
        let lacks = |feature: &FeatureFacts| {
            !feature.is_optional && matches!(feature.state, ScopesOfFeature::Missing(_))
        };
        let features = self.feature_facts(granted);
        features.into_iter().filter(lacks).map(|feature| feature.name).collect()
    }

    async fn connected_facts(
        &self,
        tenant: &TenantId,
        installation: &Installation,
    ) -> Result<ConnectedFacts, Error> {
        let id = installation.id;
        let (token, granted) = self.owner(id).await?;
        let evidence = self.store.checkups().evidence(tenant, id, &installation.app_path).await?;
        let (history, pace) = match token {
            Inquiry::Answered(_) => self.readings(installation, evidence.conversation).await?,
            _ => (Inquiry::NotAsked, ReadingPace::Untested),
        };
        let members = match &token {
            Inquiry::Answered(owner) if owner.is_org_wide => self.members(id).await?,
            _ => Inquiry::NotAsked,
        };
        Ok(ConnectedFacts {
            since: installation.installed_at,
            team_id: installation.team_id.clone(),
            enterprise_id: installation.enterprise_id.clone(),
            token,
            features: self.feature_facts(granted.as_ref().unwrap_or(&installation.scopes)),
            direct_messages: evidence.direct_messages,
            history,
            pace,
            events: evidence.events,
            members,
        })
    }

    /// The owner of the token, and the scopes that it has now, if Slack says so.
    async fn owner(
        &self,
        id: InstallationId,
    ) -> Result<(Inquiry<TokenOwner>, Option<Vec<String>>), Error> {
        let asked = self.call(id, Method::AuthTest, INTERACTIVE, async |slack, token| {
            slack.auth_test(token).await
        });
        let test = match asked.await {
            Ok(test) => test,
            Err(error) => return Ok((unanswered(error)?, None)),
        };
        let now = self.store.now().await?;
        let AuthTest { team_id, enterprise_id, is_enterprise_install, scopes, at, .. } = test;
        let seconds = |micros: i64| micros.div_euclid(1_000_000);
        let owner = TokenOwner {
            team_id,
            enterprise_id,
            is_org_wide: is_enterprise_install,
            clock_ahead: at.map(|at| seconds(now.0) - seconds(at.0)),
        };
        Ok((Inquiry::Answered(owner), scopes))
    }

    /// Whether a direct message conversation can be read, and how often. `known`: one that may be
    /// of an earlier installation, and then cannot be read.
    async fn readings(
        &self,
        installation: &Installation,
        known: Option<ChannelId>,
    ) -> Result<(Inquiry<()>, ReadingPace), Error> {
        let id = installation.id;
        if let Some(channel) = known {
            let (history, pace) = self.readings_of(id, &channel).await?;
            if !matches!(history, Inquiry::Refused(_)) {
                return Ok((history, pace));
            }
        }
        match self.own_conversation(installation).await? {
            Inquiry::Answered(channel) => self.readings_of(id, &channel).await,
            Inquiry::Unanswered(code) => Ok((Inquiry::Unanswered(code), ReadingPace::Untested)),
            // The person may have left. Missing scopes have a row of their own.
            Inquiry::Refused(_) | Inquiry::MissingScope(_) | Inquiry::NotAsked => {
                Ok((Inquiry::NotAsked, ReadingPace::Untested))
            }
        }
    }

    async fn readings_of(
        &self,
        id: InstallationId,
        channel: &ChannelId,
    ) -> Result<(Inquiry<()>, ReadingPace), Error> {
        if let Err(error) = self.read_once(id, channel).await {
            return Ok((unanswered(error)?, ReadingPace::Untested));
        }
        let pace = match self.read_once(id, channel).await {
            Ok(()) => ReadingPace::Usual,
            Err(Error::Slack(slack::Error::Throttled { .. })) => ReadingPace::OnceAMinute,
            Err(Error::Store(error)) => return Err(error.into()),
            Err(_) => ReadingPace::Untested,
        };
        Ok((Inquiry::Answered(()), pace))
    }

    async fn read_once(&self, id: InstallationId, channel: &ChannelId) -> Result<(), Error> {
        let range = Range { oldest: None, limit: 1, cursor: None };
        let read =
            self.call(id, Method::ConversationsHistory, INTERACTIVE, async |slack, token| {
                slack.conversations_history(token, channel, &range).await
            });
        read.await.map(drop)
    }

    /// The conversation with the person who approved the app. Opening it shows that person nothing.
    async fn own_conversation(
        &self,
        installation: &Installation,
    ) -> Result<Inquiry<ChannelId>, Error> {
        let person = installation.installed_by.as_ref();
        let Some(person) = person.and_then(|id| SlackUserId::parse(id.as_str()).ok()) else {
            return Ok(Inquiry::NotAsked);
        };
        match self.open_conversation(installation.id, &person).await {
            Ok(channel) => Ok(Inquiry::Answered(channel)),
            Err(error) => unanswered(error),
        }
    }

    async fn members(&self, id: InstallationId) -> Result<Inquiry<()>, Error> {
        match self.users_page(id, None, 1, INTERACTIVE).await {
            Ok(_) => Ok(Inquiry::Answered(())),
            Err(error) => unanswered(error),
        }
    }

    fn feature_facts(&self, granted: &[String]) -> Vec<FeatureFacts> {
        let states = features::states(granted, &self.config.features_off).into_iter();
        let facts = states.map(|(feature, state)| FeatureFacts {
            code: feature.code,
            name: feature.name,
            is_optional: feature.optional,
            state: match state {
                FeatureState::On => ScopesOfFeature::Granted,
                FeatureState::WaitsForScopes(scopes) => ScopesOfFeature::Missing(scopes),
                FeatureState::Off => ScopesOfFeature::SwitchedOff,
            },
        });
        facts.collect()
    }
}

/// The fact that a failed question establishes; the database's failures remain failures.
fn unanswered<T>(error: Error) -> Result<Inquiry<T>, Error> {
    Ok(match error {
        Error::Store(error) => return Err(error.into()),
        Error::Reconnect { code } => Inquiry::Refused(code),
        Error::Slack(slack::Error::MissingScope { needed, .. }) => Inquiry::MissingScope(needed),
        Error::Slack(
            error @ (slack::Error::Rejected { .. } | slack::Error::Unauthorized { .. }),
        ) => Inquiry::Refused(error.code().to_owned()),
        Error::Slack(error) => Inquiry::Unanswered(error.code().to_owned()),
        Error::Busy { .. } => Inquiry::Unanswered("ratelimited".to_owned()),
        _ => Inquiry::Unanswered("not_asked".to_owned()),
    })
}
