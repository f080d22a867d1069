//! Hosts that an upstream redirects to: where it may lead, and what they are told.

use std::io;

use http::Method;
use tidepool_proxy::Lookup;

use crate::{
    fake::{Fake, Fault},
    proxy::Proxy,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_registry_with_a_name_leads_nobody_to_this_host_by_address_or_by_name() {
    let (fake, inside) = (Fake::start_at([127, 80, 0, 1]).await, Fake::start().await);
    let (digest, kept) = (inside.blob("a secret of this host"), fake.blob("a layer"));
    let lookup = Lookup::new(|name| async move {
        match name.as_str() {
            "registry.test" => Ok(vec![([127, 80, 0, 1], 0).into()]),
            "inside.test" => Ok(vec![([127, 0, 0, 1], 0).into()]),
            _ => Err(io::Error::other("no such name")),
        }
    });
    let url = format!("http://registry.test:{}", fake.address.port());
    let proxy = Proxy::with_names(&fake, lookup, |file| file.upstreams[0].url = Some(url.parse().unwrap())).await;
    assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{kept}")).await.status, 200);
    let path = format!("/v2/a/b/blobs/{digest}");
    let port = inside.address.port();
    for host in ["127.0.0.1", "localhost", "inside.test", "[::ffff:127.0.0.1]"] {
        fake.mend();
        fake.fault("/blobs/", Fault::Redirect(format!("http://{host}:{port}{path}")), 100);
        assert_eq!(proxy.get(&path).await.status, 503, "{host}");
        assert_eq!(inside.asked(""), [""; 0], "{host}");
    }
}

#[tokio::test]
async fn a_trace_goes_to_the_registry_and_no_further() {
    let (fake, cdn) = (Fake::start().await, Fake::start().await);
    let digest = cdn.blob("a layer");
    let path = format!("/v2/a/b/blobs/{digest}");
    fake.fault("/blobs/", Fault::Redirect(format!("{}{path}", cdn.url())), 100);
    let proxy = Proxy::of(&fake).await;
    let trace = [("traceparent", PARENT), ("tracestate", "a=1")];
    assert_eq!(proxy.ask(Method::GET, &path, &trace).await.bytes(), b"a layer");
    assert!(fake.traces().iter().all(|trace| trace.ends_with(&format!(" {PARENT} a=1"))), "{:?}", fake.traces());
    assert_eq!((fake.traces().len(), cdn.traces()), (1, vec!["GET - -".to_owned()]));
}
