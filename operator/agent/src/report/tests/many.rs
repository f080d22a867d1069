//! What thousands of reporters write together, in paused time: the budget of design N8.

use std::{collections::BTreeMap, ops::Range};

use super::*;

/// Kubernetes' largest cluster.
const NODES: u32 = 5000;
/// Seconds in which these tests count.
const WINDOW: u64 = 10;

/// An API server that has a MirrorNode for every name, and notes the second of each write.
#[derive(Clone, Default)]
struct Registry {
    objects: Arc<Mutex<BTreeMap<String, serde_json::Value>>>,
    writes: Arc<Mutex<Vec<u64>>>,
}

impl Registry {
    fn client(&self, start: Instant) -> Client {
        let registry = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let registry = registry.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let name = head.uri.path().split('/').nth(5).unwrap().to_owned();
                let object = registry.answer(&head.method, &name, &body, start.elapsed().as_secs());
                Ok::<_, std::io::Error>(Response::new(Body::from(object.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, name: &str, body: &[u8], second: u64) -> serde_json::Value {
        let mut objects = self.objects.lock().unwrap();
        let object = objects.entry(name.to_owned()).or_insert_with(|| {
            serde_json::json!({"apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": name}, "spec": {}})
        });
        if *method == Method::PATCH {
            let patch: serde_json::Value = serde_json::from_slice(body).unwrap();
            object["status"] = patch["status"].clone();
            self.writes.lock().unwrap().push(second);
        }
        object.clone()
    }

    /// How many writes came in these seconds.
    fn within(&self, seconds: Range<u64>) -> usize {
        self.writes.lock().unwrap().iter().filter(|second| seconds.contains(second)).count()
    }

    /// The most writes a second, over any ten seconds of the first so many.
    fn busiest(&self, seconds: u64) -> f64 {
        let windows = (0..seconds).map(|from| self.within(from..from + WINDOW));
        windows.max().unwrap_or_default() as f64 / WINDOW as f64
    }
}

/// The reporters of a whole cluster, all told of the same at the same instant.
struct Fleet {
    registry: Registry,
    reports: watch::Sender<Option<Report>>,
    stop: CancellationToken,
}

impl Fleet {
    async fn of(nodes: u32) -> Self {
        let (registry, stop) = (Registry::default(), CancellationToken::new());
        let (reports, receive) = watch::channel(None);
        let client = registry.client(Instant::now());
        for number in 0..nodes {
            let reporter = Reporter::new(client.clone(), &format!("n{number}"));
            tokio::spawn(reporter.run(receive.clone(), document(nodes), stop.clone()));
        }
        // Each waits for its first report by then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Self { registry, reports, stop }
    }

    fn tell(&self, honored: bool) {
        self.reports.send_replace(report(honored));
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn n8_five_thousand_nodes_that_learn_the_same_write_it_at_42_a_second() {
    let fleet = Fleet::of(NODES).await;
    fleet.tell(true);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(fleet.registry.within(0..200), NODES as usize, "each says it once");
    let busiest = fleet.registry.busiest(200);
    // 41.7 a second on the average; by chance a little more in the busiest ten seconds.
    assert!(busiest < 51.0, "{busiest} writes a second");
}

#[tokio::test(start_paused = true)]
async fn n8_five_thousand_nodes_that_learn_two_things_at_once_write_less_than_85_a_second() {
    let fleet = Fleet::of(NODES).await;
    // Pending; and active, when half of the nodes have said so.
    fleet.tell(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    fleet.tell(true);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let writes = fleet.registry.within(0..460);
    assert!((7000..8000).contains(&writes), "{writes}: those that waited say the latter alone");
    let busiest = fleet.registry.busiest(460);
    assert!(busiest < 85.0, "{busiest} writes a second");
    let before = fleet.registry.writes.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(fleet.registry.writes.lock().unwrap().len(), before, "idle");
}

#[tokio::test(start_paused = true)]
async fn a_small_cluster_is_told_within_seconds_also_of_the_second_change() {
    let fleet = Fleet::of(3).await;
    for (told, honored) in [(1, false), (2, true)] {
        fleet.tell(honored);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(fleet.registry.writes.lock().unwrap().len(), told * 3);
    }
}
