//! Who is taken for whom.

use super::*;

#[test]
fn no_upstream_is_taken_for_one_that_was_before() {
    tidepool_runtime::install_crypto();
    let config = tidepool_config::Upstream::plain("reg.test".parse().unwrap());
    let entry = Entry { config, login: None, authorities: None, identity: None, egress: None };
    let make = || {
        let lookup = Lookup::default();
        Arc::new(Upstream::new(entry.clone(), Metrics::default(), &Tasks::default(), &lookup).unwrap())
    };
    let ids: Vec<_> = (0..8).map(|_| make().id()).collect();
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
}
