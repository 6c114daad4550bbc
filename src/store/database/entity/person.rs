//! A person of a tenant, and the stored Slack member of that person.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "people")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) tenant: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) user_id: String,
    pub(in crate::store) record: Vec<u8>,
    pub(in crate::store) slack_user_id: Option<String>,
    pub(in crate::store) identity_name: Option<Vec<u8>>,
    pub(in crate::store) identity_rule: Option<String>,
    pub(in crate::store) installation: Option<String>,
    pub(in crate::store) identity_stored_at: Option<i64>,
    pub(in crate::store) updated_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

super::opaque!();

impl ActiveModelBehavior for ActiveModel {}
