//! Tests of what is no member: others who got a member's old address.

use super::*;

#[tokio::test]
async fn what_a_stranger_on_a_members_old_address_says_is_not_relayed() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ndocker-content-digest: d\r\ncontent-length: 2\r\n\r\nhi";
    let bare = "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 2\r\n\r\nhi";
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ndocker-content-digest: d\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    for (path, reply) in [
        (MANIFEST.to_owned(), page),
        (MANIFEST.to_owned(), bare),
        (MANIFEST.to_owned(), chunked),
        (blob_path(), chunked),
    ] {
        let stranger = Fake::answering(reply).await;
        let rig = Rig::start(&[stranger.address]);
        assert_eq!(rig.get(&path).await.status(), 503, "{path} {reply}");
        let member = Fake::answering(OK).await;
        let key = if path == MANIFEST { "docker.io/library/a".to_owned() } else { digest() };
        let rig = Rig::start(&home_first(stranger.address, member.address, &key));
        assert_eq!(rig.get(&path).await.body, "{}", "{path} {reply}");
    }
}

#[tokio::test]
async fn a_stranger_is_no_member_that_is_alive() {
    for (header, alive) in [("", false), ("docker-distribution-api-version: registry/2.0\r\n", true)] {
        let text = format!("HTTP/1.1 200 OK\r\n{header}content-length: 0\r\n\r\n");
        let other = Fake::start(move |_| Act::Write(text.clone())).await;
        let rig = Rig::start(&[]);
        assert_eq!(rig.forwarder.is_alive(&Member::new("m-0", "u", other.address)).await, alive);
    }
}
