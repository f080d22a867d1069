//! What the texts for people promise about the tree: every path they name exists.

#![cfg(test)]

use std::path::Path;

use tidepool_tests::repository;

const TEXTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// Paths of the repository that a text names: targets of links, and words in backticks that begin with one of its folders.
fn paths(text: &str) -> Vec<String> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let words = text.split('`').skip(1).step_by(2);
    let folders = ["operator/", "proxy/", "charts/", "crds/", "examples/", "tests/"];
    let ours = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*']));
    links.filter(|link| !link.contains("://") && !link.starts_with('#')).chain(ours).map(str::to_owned).collect()
}

#[test]
fn every_path_that_a_text_names_exists() {
    let root = repository();
    let mut named = 0;
    for text in TEXTS {
        let contents = std::fs::read_to_string(root.join(text)).unwrap();
        for path in paths(&contents) {
            named += 1;
            assert!(Path::new(&root).join(&path).exists(), "{text} names {path}, which does not exist");
        }
    }
    assert!(named > 20, "only {named} paths were found: the reading of texts is broken");
}
