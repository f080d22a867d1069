//! What this node should do, from the document and the node's labels alone. Pure.

use std::collections::BTreeMap;

use tidepool_config::{MirrorEntry, Mode, NodesDocument};
use tidepool_oci::RegistryName;

use crate::node::NodeFacts;

/// What the mirrors ask of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The mirror that serves each registry on this node, by name.
    pub routes: BTreeMap<RegistryName, String>,
    /// Every mirror that selects this node, in the order of precedence, and its part here.
    pub mirrors: Vec<Part>,
}

impl Wanted {
    /// The uids of the mirrors that have a part on this node, by name.
    #[must_use]
    pub fn uids(&self) -> BTreeMap<String, String> {
        self.mirrors.iter().map(|part| (part.mirror.clone(), part.uid.clone())).collect()
    }
}

/// One mirror's part on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name of the RegistryMirror.
    pub mirror: String,
    /// Its uid.
    pub uid: String,
    /// What it does here.
    pub role: Role,
}

/// What a mirror does on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves at least one registry.
    Serves {
        /// These.
        registries: Vec<RegistryName>,
        /// Those it would serve, had another mirror not precedence: the registry and that mirror.
        lost: Vec<(RegistryName, String)>,
    },
    /// Other mirrors serve all of its registries: the registry and that mirror.
    Shadowed(Vec<(RegistryName, String)>),
    /// It writes nothing; it would serve these.
    ReportOnly(Vec<RegistryName>),
    /// Its owner took it back from all nodes.
    Withdrawn,
    /// The node's owner excluded the node.
    Excluded,
}

/// Computes what the mirrors in `document` ask of `node`.
///
/// Per registry the mirror of the highest precedence serves; mirrors that only report or are withdrawn take part in
/// nothing.
#[must_use]
pub fn wanted(document: &NodesDocument, node: &NodeFacts) -> Wanted {
    let mut selecting: Vec<&MirrorEntry> =
        document.mirrors.iter().filter(|mirror| mirror.selector.matches(&node.labels)).collect();
    selecting.sort_by(|a, b| a.precedence(b));
    let mut routes = BTreeMap::new();
    let mut mirrors = Vec::new();
    for mirror in selecting {
        let role = role(mirror, node, &mut routes);
        mirrors.push(Part { mirror: mirror.name.clone(), uid: mirror.uid.clone(), role });
    }
    Wanted { routes, mirrors }
}

fn role(mirror: &MirrorEntry, node: &NodeFacts, routes: &mut BTreeMap<RegistryName, String>) -> Role {
    if node.is_excluded() {
        return Role::Excluded;
    }
    match mirror.mode {
        Mode::Withdraw => Role::Withdrawn,
        Mode::ReportOnly => Role::ReportOnly(mirror.registries.clone()),
        Mode::Configure => claim(mirror, routes),
    }
}

/// Takes those of the mirror's registries that no mirror before it took.
fn claim(mirror: &MirrorEntry, routes: &mut BTreeMap<RegistryName, String>) -> Role {
    let (mut registries, mut lost) = (Vec::new(), Vec::new());
    for registry in &mirror.registries {
        match routes.get(registry) {
            Some(winner) if *winner != mirror.name => lost.push((registry.clone(), winner.clone())),
            // Listed twice: a document that no operator of ours writes.
            Some(_) => {}
            None => {
                routes.insert(registry.clone(), mirror.name.clone());
                registries.push(registry.clone());
            }
        }
    }
    if registries.is_empty() && !lost.is_empty() { Role::Shadowed(lost) } else { Role::Serves { registries, lost } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidepool_config::NodeSelector;

    fn mirror(name: &str, created: &str, registries: &[&str]) -> MirrorEntry {
        MirrorEntry {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            priority: 0,
            created: created.to_owned(),
            mode: Mode::Configure,
            selector: NodeSelector::default(),
            registries: registries.iter().map(|registry| registry.parse().unwrap()).collect(),
        }
    }

    fn role_of<'a>(wanted: &'a Wanted, name: &str) -> &'a Role {
        &wanted.mirrors.iter().find(|part| part.mirror == name).unwrap().role
    }

    #[test]
    fn the_older_mirror_wins_a_registry_and_the_younger_keeps_its_others() {
        let young = mirror("a", "2026-02-01T00:00:00Z", &["docker.io", "ghcr.io"]);
        let old = mirror("z", "2026-01-01T00:00:00Z", &["docker.io"]);
        let wanted = wanted(&NodesDocument::new(vec![young, old]), &NodeFacts::default());
        assert_eq!(wanted.routes[&RegistryName::docker_hub()], "z");
        let lost = vec![(RegistryName::docker_hub(), "z".to_owned())];
        assert_eq!(role_of(&wanted, "a"), &Role::Serves { registries: vec!["ghcr.io".parse().unwrap()], lost });
    }

    #[test]
    fn a_higher_priority_beats_age() {
        let old = mirror("a", "2026-01-01T00:00:00Z", &["docker.io", "ghcr.io"]);
        let mut zonal = mirror("z", "2026-02-01T00:00:00Z", &["docker.io"]);
        zonal.priority = 1;
        let mut last = mirror("b", "2025-01-01T00:00:00Z", &["ghcr.io"]);
        last.priority = -1;
        let wanted = wanted(&NodesDocument::new(vec![old, zonal, last]), &NodeFacts::default());
        assert_eq!(wanted.routes.values().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(role_of(&wanted, "b"), &Role::Shadowed(vec![("ghcr.io".parse().unwrap(), "a".to_owned())]));
    }

    #[test]
    fn of_two_mirrors_of_one_age_the_name_decides_and_a_mirror_that_lost_all_is_shadowed() {
        let at = "2026-01-01T00:00:00Z";
        let document = NodesDocument::new(vec![mirror("b", at, &["ghcr.io"]), mirror("a", at, &["ghcr.io"])]);
        let wanted = wanted(&document, &NodeFacts::default());
        assert_eq!(wanted.routes.values().collect::<Vec<_>>(), ["a"]);
        assert_eq!(role_of(&wanted, "b"), &Role::Shadowed(vec![("ghcr.io".parse().unwrap(), "a".to_owned())]));
    }

    #[test]
    fn ages_are_compared_as_times_and_not_as_text() {
        let east = mirror("east", "2026-01-01T01:00:00+02:00", &["ghcr.io"]);
        let utc = mirror("utc", "2026-01-01T00:00:00Z", &["ghcr.io"]);
        let wanted = wanted(&NodesDocument::new(vec![utc, east]), &NodeFacts::default());
        assert_eq!(wanted.routes.values().collect::<Vec<_>>(), ["east"]);
    }

    #[test]
    fn reporting_and_withdrawn_mirrors_displace_nobody() {
        let mut report = mirror("r", "2025-01-01T00:00:00Z", &["ghcr.io"]);
        report.mode = Mode::ReportOnly;
        let mut gone = mirror("w", "2025-01-01T00:00:00Z", &["ghcr.io"]);
        gone.mode = Mode::Withdraw;
        let document = NodesDocument::new(vec![report, gone, mirror("m", "2026-01-01T00:00:00Z", &["ghcr.io"])]);
        let wanted = wanted(&document, &NodeFacts::default());
        assert_eq!(wanted.routes.values().collect::<Vec<_>>(), ["m"]);
        assert!(matches!(role_of(&wanted, "r"), Role::ReportOnly(_)) && role_of(&wanted, "w") == &Role::Withdrawn);
    }

    #[test]
    fn an_excluded_node_serves_nothing_and_an_unselected_one_is_not_mentioned() {
        let mut zonal = mirror("zonal", "2026-01-01T00:00:00Z", &["quay.io"]);
        zonal.selector.match_labels.insert("zone".to_owned(), "a".to_owned());
        let document = NodesDocument::new(vec![mirror("m", "2026-01-01T00:00:00Z", &["ghcr.io"]), zonal]);
        let mut node = NodeFacts::default();
        node.labels.insert("tidepool.dev/exclude".to_owned(), "true".to_owned());
        let wanted = wanted(&document, &node);
        assert!(wanted.routes.is_empty() && wanted.mirrors.len() == 1);
        assert_eq!(wanted.mirrors[0].role, Role::Excluded);
    }

    fn any_mirror() -> impl Strategy<Value = MirrorEntry> {
        let registries = prop::sample::subsequence(vec!["docker.io", "ghcr.io", "quay.io", "a.b:5000"], 0..=4);
        ("[a-d]", 1..5u8, registries, prop_oneof![3 => Just(Mode::Configure), 1 => Just(Mode::Withdraw)], -1..2i32)
            .prop_map(|(name, day, registries, mode, priority)| MirrorEntry {
                mode,
                priority,
                ..mirror(&name, &format!("2026-01-0{day}T00:00:00Z"), &registries)
            })
    }

    proptest! {
        #[test]
        fn the_order_of_the_document_changes_nothing_and_each_route_is_somebodys(
            mirrors in prop::collection::vec(any_mirror(), 0..6),
            turn in 0..6usize,
        ) {
            let mut by_name: BTreeMap<String, MirrorEntry> = BTreeMap::new();
            for mirror in mirrors {
                by_name.insert(mirror.name.clone(), mirror);
            }
            let mut mirrors: Vec<_> = by_name.into_values().collect();
            let first = wanted(&NodesDocument::new(mirrors.clone()), &NodeFacts::default());
            let turn = turn.min(mirrors.len());
            mirrors.rotate_left(turn);
            prop_assert_eq!(&wanted(&NodesDocument::new(mirrors.clone()), &NodeFacts::default()), &first);
            for (registry, winner) in &first.routes {
                let serves = |part: &Part| matches!(&part.role, Role::Serves { registries, .. } if registries.contains(registry));
                let serving: Vec<_> = first.mirrors.iter().filter(|part| serves(part)).collect();
                prop_assert_eq!(serving.len(), 1);
                prop_assert_eq!(&serving[0].mirror, winner);
            }
            let claimed = mirrors.iter().filter(|m| m.mode == Mode::Configure).flat_map(|m| &m.registries);
            prop_assert!(claimed.into_iter().all(|registry| first.routes.contains_key(registry)));
        }
    }
}
