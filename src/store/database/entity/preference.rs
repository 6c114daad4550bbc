//! One choice of a person; `event_type` `''` is the choice for everything.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "preferences")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) user_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) event_type: String,
    pub(in crate::store) choice: String,
    pub(in crate::store) updated_at: i64,
    pub(in crate::store) set_by: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

super::opaque!();

impl ActiveModelBehavior for ActiveModel {}
