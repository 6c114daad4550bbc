//! A layer that is one function around the service within it: `measure`, `gate` and `open`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt as _};

/// The answer to a request. A refusal is an answer, too.
pub(super) type HttpAnswer = Result<Response<Body>, Infallible>;

/// A function around a service; each call has a clone.
pub(super) trait Around: Clone + Send + 'static {
    /// Answers a request, by the service within or without it.
    fn answer(
        self,
        request: Request<Body>,
        inner: impl Inner,
    ) -> impl Future<Output = HttpAnswer> + Send;
}

/// The service within a layer, for one request.
pub(super) trait Inner: Send + 'static {
    /// Waits until the service is ready, and asks it.
    fn ask(self, request: Request<Body>) -> impl Future<Output = HttpAnswer> + Send;
}

impl<S> Inner for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    fn ask(self, request: Request<Body>) -> impl Future<Output = HttpAnswer> + Send {
        self.oneshot(request)
    }
}

/// The layer of a function.
#[derive(Clone)]
pub(super) struct Layered<A>(pub(super) A);

impl<A: Around, S> Layer<S> for Layered<A> {
    type Service = Surrounded<A, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded { around: self.0.clone(), inner }
    }
}

/// A service with a function around it.
#[derive(Clone)]
pub(super) struct Surrounded<A, S> {
    around: A,
    inner: S,
}

impl<A: Around, S> Service<Request<Body>> for Surrounded<A, S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = HttpAnswer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each call waits for its own clone of the service within, once the function asks it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.around.clone().answer(request, self.inner.clone()))
    }
}
