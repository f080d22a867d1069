//! What the texts for people promise about the tree: every path they name exists, and files they show are valid.

#![cfg(test)]

use std::path::{Path, PathBuf};

use tidepool_config::ProxyFile;
use tidepool_tests::repository;

const TEXTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// Every text: those of the root, and `docs/`.
fn texts() -> Vec<PathBuf> {
    let root = repository();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    TEXTS.iter().map(|text| root.join(text)).chain(docs).collect()
}

/// Targets of a text's links to files, which are relative to the text, and the headings that they point at, if any.
fn links(text: &str) -> Vec<(&str, Option<&str>)> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    files.map(|link| link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)))).collect()
}

/// Whether a text has a heading that links call by this name.
fn has_heading(text: &str, name: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let mut names = headings.map(|heading| heading.to_lowercase().replace(' ', "-"));
    names.any(|heading| heading.replace(|c: char| !c.is_alphanumeric() && c != '-', "") == name)
}

/// Words in backticks that begin with a folder of the repository.
fn words(text: &str) -> Vec<&str> {
    let folders = ["operator/", "proxy/", "charts/", "crds/", "docs/", "examples/", "tests/"];
    let words = text.split('`').skip(1).step_by(2);
    words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*'])).collect()
}

/// Blocks of YAML that a text shows.
fn yaml(text: &str) -> Vec<&str> {
    text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_path_that_a_text_names_exists() {
    let root = repository();
    let mut named = 0;
    for text in texts() {
        let contents = std::fs::read_to_string(&text).unwrap();
        let folder = text.parent().unwrap();
        let paths = links(&contents).into_iter().map(|(link, _)| folder.join(link));
        for path in paths.chain(words(&contents).into_iter().map(|word| root.join(word))) {
            named += 1;
            assert!(Path::new(&path).exists(), "{} names {}, which does not exist", text.display(), path.display());
        }
    }
    assert!(named > 40, "only {named} paths were found: the reading of texts is broken");
}

#[test]
fn every_heading_that_a_text_links_to_exists() {
    let mut linked = 0;
    for text in texts() {
        let contents = std::fs::read_to_string(&text).unwrap();
        for (file, heading) in links(&contents).into_iter().filter_map(|(file, heading)| Some((file, heading?))) {
            linked += 1;
            let target = std::fs::read_to_string(text.parent().unwrap().join(file)).unwrap();
            assert!(has_heading(&target, heading), "{} links to {file}#{heading}", text.display());
        }
    }
    assert!(linked > 0, "no link to a heading was found: the reading of texts is broken");
}

#[test]
fn every_file_for_the_proxy_that_a_text_shows_is_one() {
    let mut shown = 0;
    for text in texts() {
        let contents = std::fs::read_to_string(&text).unwrap();
        for block in yaml(&contents).into_iter().filter(|block| block.starts_with("listen:")) {
            shown += 1;
            let read = ProxyFile::parse(block);
            assert!(read.is_ok(), "{}: {}\n{block}", text.display(), read.unwrap_err());
        }
    }
    assert!(shown >= 2, "{shown} files for the proxy were found");
}
