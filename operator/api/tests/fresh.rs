//! The generated files are what the types say.

#![cfg(test)]

use std::{fs, path::PathBuf};

use tidepool_api::crds::{self, CrdFile};

fn assert_fresh(folder: &str, wanted: &[CrdFile]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    for file in wanted {
        let found = fs::read_to_string(folder.join(&file.name)).unwrap_or_default();
        assert!(found == file.text, "{} is stale: run `make generate`", folder.join(&file.name).display());
    }
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, wanted.iter().map(|file| file.name.clone()).collect::<Vec<_>>(), "{}", folder.display());
}

#[test]
fn the_definitions_are_fresh() {
    assert_fresh("crds", &crds::files().unwrap());
}

#[test]
fn the_charts_templates_are_fresh() {
    assert_fresh("charts/tidepool/templates/crds", &crds::chart_templates().unwrap());
}
