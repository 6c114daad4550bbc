//! The Slack client.
