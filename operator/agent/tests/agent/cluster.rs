//! A stand-in for the API server: the few objects an agent sees, lists and watches over them, and its reports.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What the API server has.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    /// Text of the document, none without ConfigMap.
    pub(crate) document: Option<String>,
    /// Entries of the agents' Secret, none without it.
    pub(crate) secret: Option<BTreeMap<String, String>>,
    /// Members' addresses.
    pub(crate) members: Vec<SocketAddr>,
    /// Whether there is a DaemonSet.
    pub(crate) daemon_set: bool,
    /// Labels of the node.
    pub(crate) labels: Value,
}

/// A running stand-in.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    objects: Arc<watch::Sender<Objects>>,
    report: Arc<Mutex<Value>>,
    writes: Arc<Mutex<usize>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    pub(crate) async fn start(objects: Objects) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = json!({"apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": "n", "generation": 1}, "spec": {}});
        let shared = Shared {
            objects: Arc::new(watch::channel(objects).0),
            report: Arc::new(Mutex::new(node)),
            writes: Arc::default(),
        };
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, task }
    }

    /// The API server goes away.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Changes the objects; watchers hear of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Objects)) {
        self.shared.objects.send_modify(change);
    }

    /// The last reported status.
    pub(crate) fn status(&self) -> Value {
        self.shared.report.lock().unwrap()["status"].clone()
    }

    /// Status and reason of a reported condition.
    pub(crate) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
        let text = |key: &str| found.map(|found| found[key].as_str().unwrap().to_owned()).unwrap_or_default();
        (text("status"), text("reason"))
    }

    /// How often a report was written.
    pub(crate) fn writes(&self) -> usize {
        *self.shared.writes.lock().unwrap()
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let objects = shared.objects.borrow().clone();
    match path.as_str() {
        "/api/v1/namespaces/tidepool-agents/configmaps" => list(&shared, &query, "v1", "ConfigMap", &map(&objects)),
        "/api/v1/namespaces/tidepool-agents/secrets" => list(&shared, &query, "v1", "Secret", &secret(&objects)),
        "/api/v1/nodes" => list(&shared, &query, "v1", "Node", &[node(&objects)]),
        "/apis/discovery.k8s.io/v1/namespaces/tidepool-system/endpointslices" => {
            list(&shared, &query, "discovery.k8s.io/v1", "EndpointSlice", &[slice(&objects)])
        }
        "/apis/apps/v1/namespaces/tidepool-agents/daemonsets/tidepool-agent" if objects.daemon_set => {
            reply(StatusCode::OK, &json!({"metadata": {"name": "tidepool-agent"}}))
        }
        "/api/v1/namespaces/tidepool-agents" => {
            reply(StatusCode::OK, &json!({"metadata": {"name": "tidepool-agents"}}))
        }
        "/apis/tidepool.dev/v1alpha1/mirrornodes/n" => reply(StatusCode::OK, &shared.report.lock().unwrap()),
        "/apis/tidepool.dev/v1alpha1/mirrornodes/n/status" if request.method() == Method::PATCH => {
            let patch: Value = serde_json::from_slice(&to_bytes(request.into_body(), 1 << 20).await.unwrap()).unwrap();
            *shared.writes.lock().unwrap() += 1;
            let mut report = shared.report.lock().unwrap();
            report["status"] = patch["status"].clone();
            reply(StatusCode::OK, &report)
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}),
        ),
    }
}

fn reply(status: StatusCode, body: &Value) -> Response {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.body(Body::from(body.to_string())).unwrap()
}

/// A list; or a watch that ends with "too old" on the next change, after which the client lists again.
fn list(shared: &Shared, query: &str, version: &str, kind: &str, items: &[Value]) -> Response {
    if !query.contains("watch=") {
        let list = json!({"apiVersion": version, "kind": format!("{kind}List"), "metadata": {"resourceVersion": "1"}, "items": items});
        return reply(StatusCode::OK, &list);
    }
    let mut objects = shared.objects.subscribe();
    let event = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}});
    let line = async move {
        let _ = objects.changed().await;
        Ok::<_, Infallible>(format!("{event}\n"))
    };
    Response::new(Body::from_stream(futures::stream::once(line)))
}

fn map(objects: &Objects) -> Vec<Value> {
    let document = objects.document.iter();
    document.map(|text| json!({"metadata": {"name": "tidepool-nodes"}, "data": {"nodes.json": text}})).collect()
}

fn secret(objects: &Objects) -> Vec<Value> {
    let secret = |entries: &BTreeMap<String, String>| {
        let data = entries.iter().map(|(key, text)| (key.clone(), ByteString(text.clone().into_bytes())));
        json!({"metadata": {"name": "tidepool-agent-identity"}, "data": data.collect::<BTreeMap<_, _>>()})
    };
    objects.secret.iter().map(secret).collect()
}

fn node(objects: &Objects) -> Value {
    let info: serde_json::Map<String, Value> = [
        "architecture",
        "bootID",
        "kernelVersion",
        "kubeProxyVersion",
        "kubeletVersion",
        "machineID",
        "operatingSystem",
        "osImage",
        "systemUUID",
    ]
    .into_iter()
    .map(|key| (key.to_owned(), json!("")))
    .chain([("containerRuntimeVersion".to_owned(), json!("containerd://2.4.2"))])
    .collect();
    json!({"metadata": {"name": "n", "labels": objects.labels}, "status": {"nodeInfo": info}})
}

fn slice(objects: &Objects) -> Value {
    let port = objects.members.first().map_or(5443, SocketAddr::port);
    let endpoint = |(n, member): (usize, &SocketAddr)| json!({"addresses": [member.ip().to_string()], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": format!("mirror-m-{n}-abc-def")}});
    let endpoints: Vec<_> = objects.members.iter().enumerate().map(endpoint).collect();
    json!({
        "metadata": {"name": "mirror-m-x", "labels": {"tidepool.dev/mirror": "m"}},
        "addressType": "IPv4", "ports": [{"name": "registry", "port": 5000}, {"name": "agents", "port": port}], "endpoints": endpoints,
    })
}
