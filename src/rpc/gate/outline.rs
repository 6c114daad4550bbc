//! What the gate reads of a request's bytes, without a caller and without a server: for what puts
//! it to the test (`tests/fuzz`).

use tonic::Status;

use super::scan::{self, Outline};
use super::shape::Shapes;

/// Reads the bytes of requests before they are decoded.
#[derive(Debug)]
pub struct Outlines(Shapes);

/// What the bytes of one request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlined<'a> {
    /// The tenant as the request spells it.
    pub tenant: &'a [u8],
    /// JSON values, all together.
    pub values: usize,
}

impl Outlines {
    /// Of every method of `herald.v1`.
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
