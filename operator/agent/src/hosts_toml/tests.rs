//! Tests of merging and taking back.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings { port: 909, dial_timeout: true };

fn merged(base: &str) -> String {
    match merge(base, &SETTINGS).unwrap() {
        Merged::Text(text) => text,
        Merged::HasIt => panic!("has it already: {base}"),
    }
}

#[test]
fn our_own_file_is_what_the_design_says() {
    let old = Settings { dial_timeout: false, ..SETTINGS };
    let own = format!("{COMMENT}\n[host.\"http://127.0.0.1:909\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    assert_eq!(merge("", &old).unwrap(), Merged::Text(own.clone()));
    assert_eq!(merged(""), format!("{own}dial_timeout = \"1s\"\n"));
}

#[test]
fn a_users_file_keeps_every_byte_and_our_host_comes_first_after_the_root_keys() {
    let base = "# mine\nserver = \"https://registry-1.docker.io\" # end\n\n# a mirror\n[host.\"https://m.example\"]\n  rewrite = {a = \"b\"}\n";
    let text = merged(base);
    assert_eq!(text.replace(&format!("\n{}\n", SETTINGS.table()), ""), base);
    let ours = text.find("127.0.0.1").unwrap();
    assert!(text.find("server").unwrap() < ours && ours < text.find("m.example").unwrap(), "{text}");
}

#[test]
fn root_keys_over_several_lines_and_files_without_a_last_newline_are_understood() {
    let text = merged("ca = [\n  \"/a.crt\",\n  \"/b.crt\",\n]");
    assert!(text.starts_with("ca = [\n  \"/a.crt\",\n  \"/b.crt\",\n]\n\n#"), "{text}");
    let dotted = merged("server = \"https://a\"\nheader.x = \"1\"\n[host.\"https://m\"]\n");
    assert!(dotted.find("header.x").unwrap() < dotted.find("127.0.0.1").unwrap(), "{dotted}");
}

#[test]
fn a_file_that_names_our_host_is_left_alone() {
    let seeded = "[host.\"http://127.0.0.1:909\"]\ncapabilities = [\"pull\"]\n";
    assert_eq!(merge(seeded, &SETTINGS).unwrap(), Merged::HasIt);
}

#[test]
fn files_that_are_no_toml_or_of_another_shape_are_refused() {
    assert!(matches!(merge("server = ", &SETTINGS), Err(MergeError::Syntax(_))));
    let inline = "host = {\"https://m\" = {capabilities = [\"pull\"]}}\n";
    assert!(matches!(merge(inline, &SETTINGS), Err(MergeError::Shape)));
}

#[test]
fn stripping_an_edited_file_leaves_what_its_editor_added() {
    let edited = merged("server = \"https://a\"\n").replace("https://a", "https://b") + "\n[host.\"https://new\"]\n";
    let rest = strip(&edited, &SETTINGS.host()).unwrap();
    assert!(rest.contains("https://b") && rest.contains("https://new") && !rest.contains("127.0.0.1"), "{rest}");
    assert_eq!(strip(&merged(""), &SETTINGS.host()).unwrap(), "");
}

#[test]
fn a_byte_order_mark_is_not_pushed_behind_our_marker() {
    let base = "\u{feff}server = \"https://a.io\"\n";
    assert!(matches!(merge(base, &SETTINGS), Err(MergeError::ByteOrderMark)));
}

fn any_file() -> impl Strategy<Value = String> {
    let comment = "(# [a-z ]{0,8}\n)?";
    let root = format!("{comment}(server = \"https://[a-z]{{1,5}}\"( # x)?\n)?(ca = \\[\n\"/a\"\n\\]\n)?\n?");
    let host = format!("{comment}\\[host\\.\"https://[a-z]{{6,9}}\"\\]\n(capabilities = \\[\"pull\"\\]\n)?\n?");
    let regex = |text: &str| prop::string::string_regex(text).unwrap();
    (regex(&root), prop::collection::vec(regex(&host), 0..4)).prop_map(|(root, hosts)| root + &hosts.concat())
}

/// A file with whatever containerd reads, and what it does not know.
fn any_rich_file() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "ca = \"/a.crt\"",
        "client = [[\"c.pem\", \"k.pem\"]]",
        "skip_verify = true",
        "override_path = true",
        "capabilities = [\"push\"]",
        "dial_timeout = \"9s\"",
        "unknown = {a = [1, 2]}",
        "\"quoted key\" = '''\ntext\n[host.x]\n'''",
    ]);
    let keys = prop::collection::btree_set(key, 0..4).prop_map(|keys| keys.into_iter().collect::<Vec<_>>());
    let below = prop::sample::select(vec!["header", "rewrite", "unknown_table"]);
    let host = ("[a-z]{6,9}", keys.clone(), prop::option::of(below)).prop_map(|(name, keys, below)| {
        let below = below.map(|below| format!("[host.\"https://{name}\".{below}]\nx = \"y\"\n")).unwrap_or_default();
        format!("[host.\"https://{name}\"]\n{}\n{below}", keys.join("\n"))
    });
    let server = prop::sample::select(vec!["", "server = \"https://up\"\n"]);
    let table = prop::sample::select(vec!["", "[host]\n"]);
    let end = prop::sample::select(vec!["\n", "\r\n"]);
    (server, keys, table, prop::collection::vec(host, 0..3), end).prop_map(|(server, keys, table, hosts, end)| {
        format!("{server}{}\n{table}{}", keys.join("\n"), hosts.concat()).replace('\n', end)
    })
}

/// All that a file says, by the path of its keys, without its format.
fn says(text: &str) -> BTreeMap<String, String> {
    fn add(path: &str, item: &Item, all: &mut BTreeMap<String, String>) {
        match item.as_table_like() {
            Some(table) => table.iter().for_each(|(key, item)| add(&format!("{path}/{key}"), item, all)),
            None => drop(all.insert(path.to_owned(), item.to_string().trim().replace('\r', ""))),
        }
    }
    let document: DocumentMut = text.parse().unwrap();
    let mut all = BTreeMap::new();
    document.iter().for_each(|(key, item)| add(key, item, &mut all));
    all
}

proptest! {
    #[test]
    fn n1_merging_adds_our_host_with_its_capabilities_and_dial_timeout_and_changes_nothing_else(
        base in any_rich_file(), dial_timeout in any::<bool>(),
    ) {
        prop_assume!(base.parse::<DocumentMut>().is_ok());
        let settings = Settings { port: 909, dial_timeout };
        let Merged::Text(text) = merge(&base, &settings).unwrap() else { panic!() };
        let (mut merged, theirs) = (says(&text), says(&base));
        let at = |key: &str| format!("host/http://127.0.0.1:909/{key}");
        prop_assert_eq!(merged.remove(&at("capabilities")).unwrap(), "[\"pull\", \"resolve\"]");
        prop_assert_eq!(merged.remove(&at("dial_timeout")).is_some(), dial_timeout);
        prop_assert_eq!(merged, theirs);
        let document = Document::parse(text.as_str()).unwrap();
        prop_assert_eq!(hosts(document.as_table()).next().unwrap(), settings.host());
        let back = strip(&text, &settings.host()).unwrap();
        prop_assert_eq!(back.trim_end(), base.trim_end());
    }

    #[test]
    fn merging_keeps_the_users_lines_in_their_order_and_puts_us_first(base in any_file()) {
        prop_assume!(Document::parse(base.as_str()).is_ok());
        let text = merged(&base);
        let table = SETTINGS.table();
        let theirs: String = text.replacen(&table, "", 1);
        let lines = |text: &str| text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(lines(&theirs), lines(&base));
        let merged = Document::parse(text.as_str()).unwrap();
        prop_assert_eq!(hosts(merged.as_table()).next().unwrap(), SETTINGS.host());
    }

    #[test]
    fn merging_and_stripping_gives_the_same_document_back(base in any_file()) {
        prop_assume!(Document::parse(base.as_str()).is_ok());
        let back = strip(&merged(&base), &SETTINGS.host()).unwrap();
        let lines = |text: &str| text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(lines(&back), lines(&base));
    }
}
