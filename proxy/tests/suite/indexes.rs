//! Manifests as the upstream sent them, and what is said of them (P3), and what is served of an index while nobody confirms it (P9).

use sha2::{Digest as _, Sha512};
use tidepool_oci::{Algorithm, Digest};

use crate::{
    fake::{Fake, Fault, ONE, TWO, digest_of},
    proxy::{Got, Proxy, eventually},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn index_of(children: &[&Digest]) -> String {
    let children: Vec<_> = children.iter().map(|child| format!(r#"{{"digest":"{child}","size":1}}"#)).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, children.join(","))
}

#[tokio::test]
async fn p3_head_of_a_manifest_says_what_get_gives_cold_and_kept_by_tag_and_by_digest() {
    let fake = Fake::start().await;
    let text = index_of(&[&digest_of(b"never pulled")]);
    let digest = digest_of(text.as_bytes());
    fake.tag_as("a/b", "1", INDEX, &digest, &text);
    let expected = [INDEX.to_owned(), text.len().to_string(), digest.to_string()];
    let said =
        |got: &Got| ["content-type", "content-length", "docker-content-digest"].map(|it| got.header(it).to_owned());
    for reference in ["1".to_owned(), digest.to_string()] {
        let (proxy, path) = (Proxy::of(&fake).await, format!("/v2/a/b/manifests/{reference}"));
        let cold = proxy.head(&path).await;
        let (whole, kept) = (proxy.get(&path).await, proxy.head(&path).await);
        assert_eq!((whole.status.as_u16(), whole.bytes()), (200, text.as_bytes()), "{reference}");
        for (when, got) in [("cold HEAD", cold), ("GET", whole), ("kept HEAD", kept)] {
            assert_eq!((got.status.as_u16(), said(&got)), (200, expected.clone()), "{when} of {reference}");
        }
    }
    let proxy = Proxy::of(&fake).await;
    for reference in ["2".to_owned(), digest_of(b"never pulled").to_string()] {
        assert_eq!(proxy.head(&format!("/v2/a/b/manifests/{reference}")).await.status, 404, "{reference}");
    }
}

#[tokio::test]
async fn p9_a_pull_of_an_index_asks_for_no_child_before_somebody_does() {
    let fake = Fake::start().await;
    let (one, two) = (fake.tag("a/b", "one", ONE), fake.tag("a/b", "two", TWO));
    let text = index_of(&[&one, &two]);
    fake.tag_as("a/b", "1", INDEX, &digest_of(text.as_bytes()), &text);
    let proxy = Proxy::of(&fake).await;
    assert_eq!(proxy.get("/v2/a/b/manifests/1").await.bytes(), text.as_bytes());
    assert_eq!(proxy.get(&format!("/v2/a/b/manifests/{two}")).await.bytes(), TWO.as_bytes());
    let get = |digest: &Digest| format!("GET /v2/a/b/manifests/{digest}");
    assert_eq!(fake.asked(""), ["HEAD /v2/a/b/manifests/1".to_owned(), get(&digest_of(text.as_bytes())), get(&two)]);
}

#[tokio::test]
async fn p9_an_index_is_never_served_stale_without_its_child() {
    let mut fake = Fake::start().await;
    let (here, missing) = (fake.tag("a/b", "one", ONE), digest_of(b"never pulled"));
    let (whole, part) = (index_of(&[&missing, &here]), index_of(&[&missing]));
    for (tag, text) in [("whole", &whole), ("part", &part)] {
        fake.tag_as("a/b", tag, INDEX, &digest_of(text.as_bytes()), text);
    }
    let proxy = Proxy::of(&fake).await;
    for path in ["/v2/a/b/manifests/whole", "/v2/a/b/manifests/part", &format!("/v2/a/b/manifests/{here}")] {
        assert_eq!(proxy.get(path).await.status, 200, "{path}");
    }
    fake.down().await;
    let proxy = proxy.restarted().await;
    assert_eq!(proxy.get("/v2/a/b/manifests/whole").await.bytes(), whole.as_bytes());
    let got = proxy.get("/v2/a/b/manifests/part").await;
    assert_eq!((got.status.as_u16(), got.code().as_str()), (503, "UNAVAILABLE"));
    // Who has the image already asks for no more than the digest; and content never gets stale.
    assert_eq!(proxy.head("/v2/a/b/manifests/part").await.status, 200);
    let digest = digest_of(part.as_bytes());
    assert_eq!(proxy.get(&format!("/v2/a/b/manifests/{digest}")).await.bytes(), part.as_bytes());
    fake.up().await;
    // Confirmed, it is the newest there is.
    eventually(async || proxy.get("/v2/a/b/manifests/part").await.status == 200).await;
    assert_eq!(proxy.get("/v2/a/b/manifests/part").await.bytes(), part.as_bytes());
}

#[tokio::test]
async fn p9_manifests_of_any_kind_come_verbatim_also_under_sha512_and_as_signatures() {
    let fake = Fake::start().await;
    let odd = "{ \"mediaType\":\"application/vnd.new+json\",\n\t\"x\": [\"\u{e9}\", 1.50]  }\n";
    let (short, long) =
        (digest_of(odd.as_bytes()), Digest::from_raw(Algorithm::Sha512, &Sha512::digest(odd.as_bytes())).unwrap());
    let signature = format!("sha256-{}.sig", short.hex());
    for (tag, digest) in [("odd", &short), ("long", &long), (signature.as_str(), &short)] {
        fake.tag_as("a/b", tag, "application/vnd.new+json", digest, odd);
    }
    let proxy = Proxy::of(&fake).await;
    for (reference, digest) in [
        ("odd", &short),
        ("long", &long),
        (&signature, &short),
        (&short.to_string(), &short),
        (&long.to_string(), &long),
    ] {
        for _ in 0..2 {
            let got = proxy.get(&format!("/v2/a/b/manifests/{reference}")).await;
            assert_eq!((got.status.as_u16(), got.bytes()), (200, odd.as_bytes()), "{reference}");
            assert_eq!(got.header("content-type"), "application/vnd.new+json", "{reference}");
            assert_eq!(got.header("docker-content-digest"), digest.to_string(), "{reference}");
        }
    }
}

#[tokio::test]
async fn p9_referrers_pass_through_and_a_refusal_with_200_does_not() {
    let fake = Fake::start().await;
    let proxy = Proxy::of(&fake).await;
    let path = format!("/v2/a/b/referrers/{}", digest_of(b"subject"));
    let list = r#"{"schemaVersion":2,"manifests":[ ]}"#;
    fake.fault("referrers", Fault::Json(list), 1);
    assert_eq!(proxy.get(&path).await.bytes(), list.as_bytes());
    fake.fault("referrers", Fault::Json(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#), 1);
    assert_eq!(proxy.get(&path).await.status, 503);
    assert_eq!(proxy.get(&path).await.status, 404);
}
