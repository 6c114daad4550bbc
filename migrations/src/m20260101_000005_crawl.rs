//! Crawling a member list needs more than its checkpoint: a crawl restarts once, pages keep their
//! size, a loss must be confirmed, and the lease has a named holder. A generation also outlives the
//! next one for a while, so that a reader can finish reading it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }
}

const UP: &str = "
-- The replica that took the lease last, as it names itself.
ALTER TABLE directory ADD COLUMN holder TEXT;
-- How often the crawl under way started over; tries that failed since a page came.
ALTER TABLE directory ADD COLUMN crawl_restarts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN crawl_failures INTEGER NOT NULL DEFAULT 0;
-- Pages that came at crawl_page_size, and how often a size was too much.
ALTER TABLE directory ADD COLUMN crawl_came INTEGER NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN crawl_setbacks INTEGER NOT NULL DEFAULT 0;
-- A reading that was refused for what it lost; NULL: none.
ALTER TABLE directory ADD COLUMN shrink_members BIGINT;
ALTER TABLE directory ADD COLUMN shrink_at BIGINT;
ALTER TABLE directory ADD COLUMN shrink_accepted INTEGER NOT NULL DEFAULT 0;
-- Changes up to changes_base are in the published pages. The oldest generation and the last change
-- that are kept no more, for whoever still reads the generation before.
ALTER TABLE directory ADD COLUMN published_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN changes_base BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN pages_gone BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN changes_gone BIGINT NOT NULL DEFAULT 0;
-- SHA-256 of the cursor behind the page: one that came before is a list without an end.
ALTER TABLE directory_pages ADD COLUMN cursor_hash BLOB;
";
