//! The epoch since the last recovery (`recovery`), as expressions of SQL.

/// The current epoch, as an expression.
pub(in crate::store) const ERA: &str = "COALESCE((SELECT MAX(epoch) FROM recoveries), 0)";

/// The recovery for which a delivery must be looked up, as an expression; NULL: none.
pub(in crate::store) fn doubt(delivery: &str) -> String {
    format!(
        "CASE WHEN ({delivery}.created_at <= {ERA} OR {delivery}.looked_up < 0)
            AND COALESCE({delivery}.looked_up, 0) < {ERA} THEN {ERA} END"
    )
}
