//! What is inside, and where a registry may lead.

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn knows_private_addresses_in_every_notation() {
    for text in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ] {
        assert!(is_private(text.parse().unwrap()), "{text}");
    }
    for text in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101"] {
        assert!(!is_private(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn an_outside_registry_leads_nobody_inside() {
    let boundary = Boundary::new(&url("https://registry.example"), vec!["proxy.corp".into()], Lookup::default());
    for inside in
        ["https://127.0.0.1/", "https://[::1]:80/", "https://2130706433/", "https://0x7f.1/", "ftp://1.1.1.1/"]
    {
        assert!(!boundary.allows(&url(inside)), "{inside}");
    }
    assert!(boundary.allows(&url("https://cdn.example/x")) && boundary.allows(&url("https://1.1.1.1/")));
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(boundary.filter("cdn.example", vec![address("10.0.0.1:0")]).is_err());
    let both = vec![address("10.0.0.1:0"), address("1.1.1.1:0")];
    assert_eq!(boundary.filter("cdn.example", both).unwrap(), vec![address("1.1.1.1:0")]);
    assert!(boundary.filter("proxy.corp", vec![address("10.0.0.1:0")]).is_ok());
    let stray = vec![address("10.0.0.1:0"), address("1.1.1.1:0")];
    boundary.filter("registry.example", stray).unwrap();
    assert!(!boundary.allows(&url("https://10.0.0.1/")));
}

#[test]
fn a_registry_that_speaks_https_leads_to_https_only() {
    for (base, expected) in [("https://registry.example", false), ("http://registry.example", true)] {
        assert_eq!(
            Boundary::new(&url(base), Vec::new(), Lookup::default()).allows(&url("http://cdn.example/")),
            expected
        );
    }
}

#[test]
fn a_proxys_host_is_found_with_and_without_a_scheme() {
    for text in ["http://u:p@proxy.corp:3128", "proxy.corp:3128", "https://proxy.corp/", "proxy.corp"] {
        assert_eq!(proxy_host(text).as_deref(), Some("proxy.corp"), "{text}");
    }
}

#[test]
fn an_inside_registry_may_lead_anywhere() {
    assert!(
        Boundary::new(&url("http://10.0.0.1:5000"), Vec::new(), Lookup::default()).allows(&url("http://10.0.0.2/"))
    );
    let boundary = Boundary::new(&url("https://registry.internal"), Vec::new(), Lookup::default());
    boundary.filter("Registry.internal", vec!["10.0.0.1:0".parse().unwrap()]).unwrap();
    assert!(boundary.allows(&url("https://10.0.0.2/")));
    assert!(boundary.filter("minio.internal", vec!["10.0.0.3:0".parse().unwrap()]).is_ok());
}
#[test]
fn whoever_answers_for_a_registrys_name_leads_nobody_to_this_host_or_its_link() {
    let near = ["127.0.0.1", "0.0.0.0", "169.254.169.254", "100.100.100.200", "[::1]", "[fe80::1]", "[fd00:ec2::254]"];
    let by_name = Boundary::new(&url("https://registry.example"), Vec::new(), Lookup::default());
    by_name.filter("registry.example", vec!["10.0.0.1:0".parse().unwrap()]).unwrap();
    let by_address = Boundary::new(&url("https://10.0.0.1"), Vec::new(), Lookup::default());
    for address in near {
        for boundary in [&by_name, &by_address] {
            assert!(!boundary.allows(&url(&format!("https://{address}/"))), "{address}");
            let found = vec![format!("{address}:0").parse().unwrap()];
            assert!(boundary.filter("cdn.example", found).is_err(), "{address}");
        }
    }
    for base in ["https://127.0.0.1:5000", "https://localhost", "https://169.254.1.1"] {
        let boundary = Boundary::new(&url(base), Vec::new(), Lookup::default());
        assert!(boundary.allows(&url("https://127.0.0.2/")) && boundary.allows(&url("https://10.0.0.1/")), "{base}");
    }
}
