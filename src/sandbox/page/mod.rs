//! The page at `/` that shows the conversations; its files are added by the page's own branch.

/// Serves nothing yet.
pub fn router<S: Clone + Send + Sync + 'static>() -> axum::Router<S> {
    axum::Router::new()
}
