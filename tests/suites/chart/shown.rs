//! RegistryMirrors that the texts for people show, beside `examples/`, which the cluster suite applies.

use tidepool_tests::repository;

use crate::rendered::installed;

#[test]
fn the_api_server_takes_every_mirror_that_a_text_shows() {
    let Some(cluster) = installed() else { return };
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut shown = 0;
    for text in docs.chain([repository().join("README.md")]) {
        let contents = std::fs::read_to_string(&text).unwrap();
        let blocks = contents.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("kind: RegistryMirror")) {
            shown += 1;
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            let answer = cluster.try_kubectl_with(&create, block).unwrap();
            assert!(answer.success, "{}: {}\n{block}", text.display(), answer.stderr);
        }
    }
    assert!(shown >= 4, "{shown} mirrors were found");
}
