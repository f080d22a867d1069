//! An upstream that gives each connection little, as many object stores do.

use std::time::{Duration, Instant};

use tidepool_tests::until;

use crate::clients::{digest_of, download};
use crate::faults::{Setting, url_of_largest};
use crate::proxy::Proxy;
use crate::{MIB, largest};

#[test]
fn p6_an_upstream_that_caps_each_connection_gives_more_by_several() {
    let setting = Setting::new(&[64]);
    let layer = largest(&setting.image);
    setting.faults.cap_each_connection(4 * MIB);
    let proxy = Proxy::behind(&setting.faults);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blob");
    let begun = Instant::now();
    assert_eq!(download(&url_of_largest(&proxy, &setting.image), &file, &[]), 0);
    let took = begun.elapsed();
    assert_eq!(digest_of(&file), layer.digest);
    let asked = setting.faults.gets_of(&layer.digest);
    assert!(asked.len() > 2, "{asked:#?}");
    assert!(took < Duration::from_secs(12), "{took:?} for what one connection takes 16 s for");
    assert!(setting.faults.bytes_of(&layer.digest) * 100 <= layer.size * 105, "{asked:#?}");
    // Nobody asks again, so no transfer goes on unseen.
    let idle = || Ok(proxy.metric("tidepool_fills_in_flight") == 0);
    until(Duration::from_secs(60), Duration::from_millis(50), "end of the fill", idle).unwrap();
}
