//! A client that writes only while this process leads.
//!
//! Controllers ask before they write, and are stopped when the lease is lost. A process that was frozen in between may
//! wake up in the middle of a write: here is where that ends.

use http::{Method, Request};
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, filter::FilterLayer};

use super::Leadership;

/// A client for this cluster whose writes need the lease.
pub(crate) fn gated(config: kube::Config, leadership: Leadership) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&FilterLayer::new(gate(leadership))).build())
}

/// Lets requests that only read pass, and others while the lease is held.
pub(super) fn gate(
    leadership: Leadership,
) -> impl Fn(Request<Body>) -> Result<Request<Body>, BoxError> + Clone + Send + Sync + 'static {
    move |request| match *request.method() {
        Method::GET | Method::HEAD => Ok(request),
        _ => {
            leadership.check()?;
            Ok(request)
        }
    }
}
