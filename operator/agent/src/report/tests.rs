//! Tests of reporting against a scripted API server.

mod many;

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tidepool_config::NodesDocument;

use super::*;
use crate::{
    states::Seen,
    wanted::{Part, Role, Wanted},
};

/// An API server with one MirrorNode, or none; counts writes.
#[derive(Clone, Default)]
struct Server {
    object: Arc<Mutex<Option<serde_json::Value>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                send.send_response(server.answer(&head.method, &head.uri.to_string(), &body));
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, uri: &str, body: &[u8]) -> Response<Body> {
        self.log.lock().unwrap().push(format!("{method} {uri}"));
        let mut object = self.object.lock().unwrap();
        let Some(object) = object.as_mut() else {
            let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
            return Response::builder().status(404).body(Body::from(status.to_string().into_bytes())).unwrap();
        };
        if *method == Method::PATCH {
            let patch: serde_json::Value = serde_json::from_slice(body).unwrap();
            object["status"] = patch["status"].clone();
        }
        Response::new(Body::from(object.to_string().into_bytes()))
    }

    fn create(&self) {
        *self.object.lock().unwrap() = Some(serde_json::json!({
            "apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": "n", "generation": 1}, "spec": {},
        }));
    }

    fn writes(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.starts_with("PATCH")).count()
    }
}

/// A document for so many nodes.
fn document(nodes: u32) -> watch::Receiver<Document> {
    let document = NodesDocument { nodes, ..NodesDocument::new(Vec::new()) };
    watch::channel(Document::remembered(Some(document))).1
}

fn report(honored: bool) -> Option<Report> {
    let seen = Seen {
        support: Some(crate::runtime_config::Support::Expected),
        honored: honored.then_some(crate::honored::Evidence::Pull),
        listener: None,
        reach: Default::default(),
        files: Default::default(),
        edited: Default::default(),
    };
    let role = Role::Serves { registries: Vec::new(), lost: Vec::new() };
    let part = Part { mirror: "m".to_owned(), uid: "u".to_owned(), role };
    let wanted = Wanted { mirrors: vec![part], ..Wanted::default() };
    Some(Report::new(&wanted, &seen, None, None))
}

#[tokio::test(start_paused = true)]
async fn a_report_waits_for_its_object_and_is_written_once() {
    let server = Server::default();
    let (send, receive) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(Reporter::new(server.client(), "n").run(receive, document(2), stop.clone()));
    send.send_replace(report(false));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(server.writes(), 0);
    server.create();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(server.writes(), 1);
    let patch = server.log.lock().unwrap().last().unwrap().clone();
    assert!(patch.contains("/mirrornodes/n/status?") && patch.contains("fieldManager=tidepool-agent"), "{patch}");
    for _ in 0..3 {
        send.send_replace(report(false));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(server.writes(), 1, "nothing changed");
    send.send_replace(report(true));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(server.writes(), 2);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_that_has_nothing_new_to_say_writes_nothing() {
    let server = Server::default();
    server.create();
    for (honored, writes) in [(true, 1), (false, 1)] {
        let (send, receive) = watch::channel(None);
        let stop = CancellationToken::new();
        let task = tokio::spawn(Reporter::new(server.client(), "n").run(receive, document(2), stop.clone()));
        send.send_replace(report(honored));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(server.writes(), writes, "honored: {honored}");
        stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_made_anew_is_told_again_and_one_that_is_as_it_was_is_only_read() {
    let server = Server::default();
    server.create();
    let (send, receive) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(Reporter::new(server.client(), "n").run(receive, document(2), stop.clone()));
    send.send_replace(report(false));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(server.writes(), 1, "nothing changed");
    let asked = server.log.lock().unwrap().len();
    let reads = asked - server.writes();
    assert!((5..=16).contains(&reads), "{reads} reads in an hour");
    server.create();
    tokio::time::sleep(REREAD * 2).await;
    assert_eq!(server.writes(), 2);
    assert!(server.object.lock().unwrap().as_ref().unwrap()["status"]["conditions"].is_array());
    stop.cancel();
    task.await.unwrap();
}
