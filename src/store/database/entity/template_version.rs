//! One version of a template of a tenant; `content_id` `''` is all content items.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "template_versions")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) event_type: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) content_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) locale: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) version: i64,
    pub(in crate::store) form: Option<String>,
    pub(in crate::store) saved_at: i64,
    pub(in crate::store) caller: String,
    pub(in crate::store) actor: Vec<u8>,
    pub(in crate::store) actor_key: Vec<u8>,
    pub(in crate::store) rolled_back_to: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

super::opaque!();

impl ActiveModelBehavior for ActiveModel {}
