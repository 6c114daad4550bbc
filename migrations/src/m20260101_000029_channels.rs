//! Channels of Slack that Herald makes and keeps, the members wished for in them, and the feed of
//! their changes.
//!
//! As for deliveries, triggers write the feed, so that no statement can forget it
//! (docs/decisions/0009-feed.md). The wish and the progress are encrypted; states, Slack's ids and
//! the ids of people are not, as for deliveries.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        let (serial, now, triggers) = if postgres {
            ("BIGSERIAL PRIMARY KEY", NOW_POSTGRES, TRIGGERS_POSTGRES)
        } else {
            ("INTEGER PRIMARY KEY AUTOINCREMENT", NOW_SQLITE, TRIGGERS_SQLITE)
        };
        crate::run(manager, CHANNELS).await?;
        crate::run(manager, &FEED.replace("{serial}", serial).replace("{change}", CHANGE)).await?;
        let triggers = triggers
            .replace("{channel_reported}", CHANNEL_REPORTED)
            .replace("{member_reported}", MEMBER_REPORTED)
            .replace("{channel}", CHANNEL)
            .replace("{released}", RELEASED)
            .replace("{member}", MEMBER)
            .replace("{forgotten}", FORGOTTEN)
            .replace("{columns}", COLUMNS)
            .replace("{now}", now);
        crate::run(manager, &triggers).await
    }
}

const CHANNELS: &str = "
CREATE TABLE channels (
    id             TEXT   NOT NULL PRIMARY KEY,
    tenant         TEXT   NOT NULL,
    channel_key    TEXT   NOT NULL,
    wish           BLOB   NOT NULL,            -- sealed JSON
    progress       BLOB   NOT NULL,            -- sealed JSON
    wants_archived BIGINT NOT NULL DEFAULT 0,
    state          TEXT   NOT NULL,
    obstacle       TEXT,
    installation   TEXT,                       -- where it exists in Slack
    slack_channel  TEXT,
    wish_version   BIGINT NOT NULL DEFAULT 1,
    epoch          BIGINT NOT NULL DEFAULT 0,  -- fences: every holder has its own
    lease_until    BIGINT NOT NULL DEFAULT 0,  -- 0: not leased
    due_at         BIGINT,                     -- at lease_until or later; NULL: nothing to do
    touched_at     BIGINT NOT NULL,            -- when due_at was written
    recheck        BIGINT NOT NULL DEFAULT 0,  -- events from Slack
    rechecked      BIGINT NOT NULL DEFAULT 0,  -- events that a holder followed up
    seen           TEXT   NOT NULL DEFAULT '', -- the state of the member list that was acted on
    archive_after  BIGINT,
    notice_due     BIGINT,                     -- NULL: no notice is to be sent
    notice_at      BIGINT,                     -- when the last notice was sent
    queued         BIGINT NOT NULL DEFAULT 0,  -- members by state
    waiting        BIGINT NOT NULL DEFAULT 0,
    present        BIGINT NOT NULL DEFAULT 0,
    departed       BIGINT NOT NULL DEFAULT 0,
    failed         BIGINT NOT NULL DEFAULT 0,
    removing       BIGINT NOT NULL DEFAULT 0,
    created_at     BIGINT NOT NULL,
    changed_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX channels_key ON channels (tenant, channel_key);
CREATE UNIQUE INDEX channels_place ON channels (installation, slack_channel);
CREATE INDEX channels_in_state ON channels (tenant, state, channel_key);
CREATE INDEX channels_due ON channels ((due_at + 0)); -- no use to a search within a tenant
CREATE INDEX channels_due_of ON channels (tenant, due_at);
CREATE INDEX channels_waiting ON channels (tenant) WHERE waiting > 0;
CREATE INDEX channels_notices ON channels (notice_due)
    WHERE notice_due IS NOT NULL AND state = 'ready';

CREATE TABLE channel_members (
    channel      TEXT   NOT NULL,
    user_id      TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    roles        TEXT   NOT NULL,              -- JSON
    state        TEXT   NOT NULL,
    slack_user   TEXT,
    code         TEXT,
    attempts     BIGINT NOT NULL DEFAULT 0,
    due_at       BIGINT,                       -- NULL: not by time
    touched_at   BIGINT NOT NULL,              -- when due_at was written
    wish_version BIGINT NOT NULL,              -- of the last wish that queued or removed them
    changed_at   BIGINT NOT NULL,
    heard_at     BIGINT,                       -- Slack's time of the last event that counted
    PRIMARY KEY (channel, user_id)
);
CREATE INDEX channel_members_in_state ON channel_members (channel, state, user_id);
CREATE INDEX channel_members_of_person ON channel_members (tenant, user_id);
CREATE INDEX channel_members_in_slack ON channel_members (channel, slack_user)
    WHERE slack_user IS NOT NULL;
CREATE INDEX channel_members_touched ON channel_members (touched_at) WHERE due_at IS NOT NULL;

-- One row for each tenant that ever had a channel: the states that its channels were woken for.
CREATE TABLE channel_sweeps (
    tenant TEXT NOT NULL PRIMARY KEY,
    seen   TEXT NOT NULL DEFAULT '',
    link   TEXT NOT NULL DEFAULT ''
);

-- Released channels that existed in Slack: their marks there are nobody's any more.
CREATE TABLE channel_releases (
    id          TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    released_at BIGINT NOT NULL
);
CREATE INDEX channel_releases_old ON channel_releases (released_at);

-- Workspaces take turns: the smallest number is next. '': tenants without a workspace.
CREATE TABLE channel_turns (
    workspace TEXT   NOT NULL PRIMARY KEY,
    turn      BIGINT NOT NULL
);
CREATE INDEX channel_turns_last ON channel_turns (turn);
";

/// One change, as the inbox and the feed hold it.
const CHANGE: &str = "
    tenant TEXT NOT NULL,
    channel_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT,
    state TEXT,
    obstacle TEXT,
    code TEXT,
    slack_channel TEXT,
    at BIGINT NOT NULL
";

const FEED: &str = "
CREATE TABLE channel_feed_inbox (id {serial}, {change});
CREATE INDEX channel_feed_inbox_of_person ON channel_feed_inbox (tenant, user_id)
    WHERE user_id IS NOT NULL;

CREATE TABLE channel_changes (
    sequence BIGINT NOT NULL,         -- 1, 2, 3, ... within the tenant
    {change},
    sequenced_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, sequence)
);
CREATE INDEX channel_changes_old ON channel_changes (sequenced_at);
CREATE INDEX channel_changes_of_person ON channel_changes (tenant, user_id)
    WHERE user_id IS NOT NULL;

CREATE TABLE channel_feed_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    head BIGINT NOT NULL,             -- the last number given
    pruned BIGINT NOT NULL DEFAULT 0  -- the last number that retention removed
);

-- One row: its lock is the turn to give numbers.
CREATE TABLE channel_feed_sequencer (id INTEGER NOT NULL PRIMARY KEY);
INSERT INTO channel_feed_sequencer (id) VALUES (1);
";

const COLUMNS: &str =
    "tenant, channel_key, kind, user_id, state, obstacle, code, slack_channel, at";

const CHANNEL: &str = "INSERT INTO channel_feed_inbox ({columns}) VALUES (NEW.tenant, \
    NEW.channel_key, 'channel', NULL, NEW.state, NEW.obstacle, NULL, NEW.slack_channel, \
    NEW.changed_at);";
const CHANNEL_REPORTED: &str = "NEW.state <> OLD.state \
    OR COALESCE(NEW.obstacle, '') <> COALESCE(OLD.obstacle, '') \
    OR COALESCE(NEW.slack_channel, '') <> COALESCE(OLD.slack_channel, '')";
const RELEASED: &str = "INSERT INTO channel_feed_inbox ({columns}) VALUES (OLD.tenant, \
    OLD.channel_key, 'released', NULL, NULL, NULL, NULL, OLD.slack_channel, {now});";
const MEMBER: &str = "INSERT INTO channel_feed_inbox ({columns}) SELECT tenant, channel_key, \
    'member', NEW.user_id, NEW.state, NULL, NEW.code, NULL, NEW.changed_at \
    FROM channels WHERE id = NEW.channel;";
/// As in the feed of deliveries: the start of a request is no change that a caller can act on, nor
/// is its retry.
const MEMBER_REPORTED: &str = "NEW.state <> OLD.state AND NEW.state <> 'inviting' \
    AND NOT (OLD.state = 'inviting' AND NEW.state = 'queued')";
/// Nothing is reported for the members of a released channel, whose row is deleted first.
const FORGOTTEN: &str = "INSERT INTO channel_feed_inbox ({columns}) SELECT tenant, channel_key, \
    'member', OLD.user_id, NULL, NULL, NULL, NULL, {now} FROM channels WHERE id = OLD.channel;";

const NOW_POSTGRES: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)";
const NOW_SQLITE: &str = "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)";

const TRIGGERS_POSTGRES: &str = "
CREATE FUNCTION feed_channel() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {channel}
    RETURN NULL;
END $$;
CREATE FUNCTION feed_channel_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {released}
    RETURN NULL;
END $$;
CREATE FUNCTION feed_channel_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {member}
    RETURN NULL;
END $$;
CREATE FUNCTION feed_channel_member_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {forgotten}
    RETURN NULL;
END $$;
CREATE TRIGGER channels_stated AFTER INSERT ON channels
    FOR EACH ROW EXECUTE FUNCTION feed_channel();
CREATE TRIGGER channels_changed AFTER UPDATE OF state, obstacle, slack_channel ON channels
    FOR EACH ROW WHEN ({channel_reported}) EXECUTE FUNCTION feed_channel();
CREATE TRIGGER channels_released AFTER DELETE ON channels
    FOR EACH ROW EXECUTE FUNCTION feed_channel_released();
CREATE TRIGGER channel_members_stated AFTER INSERT ON channel_members
    FOR EACH ROW EXECUTE FUNCTION feed_channel_member();
CREATE TRIGGER channel_members_changed AFTER UPDATE OF state ON channel_members
    FOR EACH ROW WHEN ({member_reported}) EXECUTE FUNCTION feed_channel_member();
CREATE TRIGGER channel_members_forgotten AFTER DELETE ON channel_members
    FOR EACH ROW EXECUTE FUNCTION feed_channel_member_forgotten();
";

const TRIGGERS_SQLITE: &str = "
CREATE TRIGGER channels_stated AFTER INSERT ON channels BEGIN
    {channel}
END;
CREATE TRIGGER channels_changed AFTER UPDATE OF state, obstacle, slack_channel ON channels
    WHEN {channel_reported} BEGIN
    {channel}
END;
CREATE TRIGGER channels_released AFTER DELETE ON channels BEGIN
    {released}
END;
CREATE TRIGGER channel_members_stated AFTER INSERT ON channel_members BEGIN
    {member}
END;
CREATE TRIGGER channel_members_changed AFTER UPDATE OF state ON channel_members
    WHEN {member_reported} BEGIN
    {member}
END;
CREATE TRIGGER channel_members_forgotten AFTER DELETE ON channel_members BEGIN
    {forgotten}
END;
";
