//! Tests of the drop-in's text.

use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings { port: 909, pull_from_mirror: PullFromMirror::DigestOnly };

fn set(registries: &[&str]) -> BTreeSet<RegistryName> {
    registries.iter().map(|registry| registry.parse().unwrap()).collect()
}

#[test]
fn n1_each_registry_has_the_listener_as_mirror_and_nothing_else() {
    let text = text(&set(&["docker.io", "reg.example:5000"]), &SETTINGS).unwrap();
    let table = |registry: &str, part: &str| {
        format!(
            "\n[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n[[registry.mirror]]\nlocation = \"127.0.0.1:909/{part}\"\ninsecure = true\npull-from-mirror = \"digest-only\"\n"
        )
    };
    let tables = table("docker.io", "docker.io") + &table("reg.example:5000", "reg.example_5000");
    assert_eq!(text, format!("{COMMENT}{tables}"));
    let all = Settings { pull_from_mirror: PullFromMirror::All, ..SETTINGS };
    assert!(super::text(&set(&["docker.io"]), &all).unwrap().contains("\"all\""));
    assert!(super::text(&set(&["[fd00::1]:5000"]), &SETTINGS).is_err());
}

#[test]
fn what_others_say_of_the_same_images_is_seen_and_of_more_special_ones_is_not() {
    let claims = claims(
        "unqualified-search-registries = [\"quay.io\"]\n[[registry]]\nprefix = \"docker.io/library\"\n\
         [[registry]]\nlocation = \"ghcr.io/\"\n[[registry]]\nprefix = \"*.corp.example\"\nblocked = true\n",
    )
    .unwrap();
    for (registry, claim) in [
        ("docker.io", None),
        ("quay.io", None),
        ("ghcr.io", Some("ghcr.io")),
        ("reg.corp.example:5000", Some("*.corp.example")),
        ("corp.example", None),
    ] {
        assert_eq!(claims.on(&registry.parse().unwrap()), claim, "{registry}");
    }
    let old =
        super::claims("[registries.search]\nregistries = ['a.io']\n[registries.insecure]\nregistries = ['b.io']\n");
    let old = old.unwrap();
    assert_eq!((old.on(&"a.io".parse().unwrap()), old.on(&"b.io".parse().unwrap())), (None, Some("b.io")));
    assert!(super::claims("[[registry").is_err());
}

#[test]
fn of_an_edited_drop_in_only_what_is_ours_goes() {
    let own = text(&set(&["docker.io", "ghcr.io"]), &SETTINGS).unwrap();
    assert_eq!(strip(&own, &SETTINGS.host()).unwrap(), "");
    let edited = own.replacen("insecure", "# mine\ninsecure", 1) + "\n[[registry.mirror]]\nlocation = \"m.example\"\n";
    assert_eq!(mirrored(&edited), set(&["docker.io", "ghcr.io"]));
    let rest = strip(&edited, &SETTINGS.host()).unwrap();
    assert!(rest.contains("ghcr.io") && rest.contains("m.example") && !rest.contains("127.0.0.1"), "{rest}");
    assert!(!rest.contains("docker.io"), "{rest}");
}

#[test]
fn who_sets_the_wrong_directory_for_a_runtime_is_told() {
    let of = |runtime: &str, directory: &str| support(&RuntimeVersion::parse(runtime).unwrap(), directory);
    let (crio, containerd) = ("cri-o://1.36.0", "containerd://2.4.2");
    let dropins = "/etc/containers/registries.conf.d";
    assert!(matches!(of(crio, dropins), Some(Support::Doubtful(text)) if text.contains("systemctl reload crio")));
    assert!(matches!(of(crio, "/etc/containerd/certs.d"), Some(Support::OtherRuntime(text)) if text.contains(dropins)));
    assert!(matches!(of(containerd, dropins), Some(Support::OtherRuntime(text)) if text.contains("agent.registryDir")));
    assert_eq!(of(containerd, "/etc/containerd/certs.d"), None);
}

proptest! {
    #[test]
    fn whatever_the_registries_each_is_mirrored_and_all_go_again(
        registries in prop::collection::btree_set("[a-z]{1,5}(-[a-z]{1,3})?\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?", 0..5),
    ) {
        let registries: BTreeSet<RegistryName> = registries.iter().map(|name| name.parse().unwrap()).collect();
        let text = text(&registries, &SETTINGS).unwrap();
        prop_assert_eq!(&mirrored(&text), &registries);
        prop_assert_eq!(strip(&text, &SETTINGS.host()).unwrap(), "");
        for registry in &registries {
            let location = SETTINGS.location(registry).unwrap();
            let part = location.strip_prefix("127.0.0.1:909/").unwrap();
            prop_assert_eq!(&RegistryName::from_path_segment(part).unwrap(), registry);
            prop_assert!(!part.contains(':') && !part.ends_with('_'));
            prop_assert!(claims(&text).unwrap().on(registry).is_some());
        }
    }
}
