//! The state of one installation's member list.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "directory")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) installation: String,
    pub(in crate::store) generation: i64,
    pub(in crate::store) pages: i32,
    pub(in crate::store) members: i64,
    pub(in crate::store) change_sequence: i64,
    pub(in crate::store) refreshed_at: Option<i64>,
    pub(in crate::store) next_refresh_at: i64,
    pub(in crate::store) last_error: Option<String>,
    pub(in crate::store) epoch: i64,
    pub(in crate::store) lease_until: i64,
    pub(in crate::store) crawl_started_at: Option<i64>,
    pub(in crate::store) crawl_cursor: Option<String>,
    pub(in crate::store) crawl_pages: i32,
    pub(in crate::store) crawl_members: i64,
    pub(in crate::store) crawl_page_size: i32,
    pub(in crate::store) crawl_changes: i64,
    pub(in crate::store) holder: Option<String>,
    pub(in crate::store) crawl_restarts: i32,
    pub(in crate::store) crawl_failures: i32,
    pub(in crate::store) crawl_came: i32,
    pub(in crate::store) crawl_setbacks: i32,
    pub(in crate::store) shrink_members: Option<i64>,
    pub(in crate::store) shrink_at: Option<i64>,
    pub(in crate::store) shrink_accepted: i32,
    pub(in crate::store) published_at: i64,
    pub(in crate::store) changes_base: i64,
    pub(in crate::store) pages_gone: i64,
    pub(in crate::store) changes_gone: i64,
    pub(in crate::store) event_heard_at: Option<i64>,
    pub(in crate::store) fields_sequence: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

super::opaque!();

impl ActiveModelBehavior for ActiveModel {}
