//! Manifests as the upstream sent them, and what is served of an index while nobody confirms it (P9).

use sha2::{Digest as _, Sha512};
use tidepool_oci::{Algorithm, Digest};

use crate::{
    fake::{Fake, Fault, ONE, digest_of},
    proxy::Proxy,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn index_of(children: &[&Digest]) -> String {
    let children: Vec<_> = children.iter().map(|child| format!(r#"{{"digest":"{child}","size":1}}"#)).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, children.join(","))
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
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(
        proxy.get("/v2/a/b/manifests/part").await.bytes(),
        part.as_bytes(),
        "confirmed, it is the newest there is"
    );
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
