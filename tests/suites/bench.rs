//! The benchmark still runs: every row, on a few megabytes.

#![cfg(test)]

use std::process::Command;

use tidepool_tests::product;

#[test]
fn every_row_gets_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("bench.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tidepool-bench"));
    let proxy = product("tidepool-proxy").unwrap();
    bench.arg("--agent").arg(product("tidepool-agent").unwrap());
    bench.arg("--size=smoke").arg("--proxy").arg(proxy).arg("--folder").arg(dir.path()).arg("--json").arg(&json);
    let output = bench.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let lines = found["lines"].as_array().unwrap();
    assert!(lines.len() > 25, "{} lines", lines.len());
    for line in lines {
        let ours = line["cells"].as_array().unwrap().iter().find(|cell| cell["who"] == "Tidepool").unwrap();
        let samples = ours["samples"].as_array().unwrap();
        assert!(samples.iter().all(|sample| sample.as_f64().unwrap() >= 0.0), "{line}");
        assert!(!samples.is_empty() && ours["failure"].is_null(), "{line}");
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "the run left something behind");
}

#[test]
fn some_rows_alone_are_not_written_into_the_readme() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tidepool-bench"));
    let output = bench.args(["--write", "--only=tls", "--size=smoke", "--proxy=/none"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no table for the README"), "{said}");
}
