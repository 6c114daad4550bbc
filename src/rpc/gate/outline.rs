//! The gate's reading of a request's bytes, without a caller and without a server: for its fuzz
//! tests (`tests/fuzz`).

use tonic::Status;

use super::scan::{self, Outline};
use super::shape::Shapes;

/// Reads the bytes of requests before they are decoded.
#[derive(Debug)]
pub struct Outlines(Shapes);

/// The outline of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlined<'a> {
    /// The tenant as spelled in the request.
    pub tenant: &'a [u8],
    /// The number of JSON values in all.
    pub values: usize,
}

impl Outlines {
    /// Outlines for every method of `herald.v1`.
    pub fn new() -> Result<Self, prost::DecodeError> {
        Ok(Self(Shapes::new(usize::MAX)?))
    }

    /// The outline of a request of this method (`herald.v1.HeraldService/Notify`), or the refusal
    /// that its caller gets. `None`: there is no such method.
    pub fn read<'a>(
        &self,
        method: &str,
        message: &'a [u8],
    ) -> Option<Result<Outlined<'a>, Status>> {
        let request = self.0.method(method)?.request;
        let outline = scan::scan(&self.0, request, message).map_err(super::refused);
        Some(outline.map(|Outline { tenant, values }| Outlined { tenant, values }))
    }
}
