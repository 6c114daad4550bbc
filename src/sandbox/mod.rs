//! Slack in a box.
