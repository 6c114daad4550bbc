//! One installation; `''` stands for "none" in its key.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "installations")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(in crate::store) id: String,
    pub(in crate::store) app_id: String,
    pub(in crate::store) enterprise_id: String,
    pub(in crate::store) team_id: String,
    pub(in crate::store) org_wide: bool,
    pub(in crate::store) team_name: String,
    pub(in crate::store) bot_user_id: String,
    pub(in crate::store) bot_name: String,
    pub(in crate::store) scopes: String,
    pub(in crate::store) state: String,
    pub(in crate::store) state_reason: Option<String>,
    pub(in crate::store) state_changed_at: i64,
    pub(in crate::store) installed_at: i64,
    pub(in crate::store) token_version: i64,
    pub(in crate::store) token: Vec<u8>,
    pub(in crate::store) refresh_token: Option<Vec<u8>>,
    pub(in crate::store) token_expires_at: Option<i64>,
    pub(in crate::store) installed_by: Option<String>,
    /// `''`: the deployment's app.
    pub(in crate::store) app_path: String,
    pub(in crate::store) token_issued_at: Option<i64>,
    pub(in crate::store) refresh_error: Option<String>,
    pub(in crate::store) org: Option<String>,
    pub(in crate::store) migrating_since: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

super::opaque!();

impl ActiveModelBehavior for ActiveModel {}
