//! What clients asked and got, and who was turned away.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tidepool_oci::RegistryName;

use super::{Class, CutBy, Listener, Metrics, Name, Of, RequestResult, SentPath, ShedReason};

/// Seconds to the headers of an answer: from what memory gives to the deadlines of P1.
const HEADERS_SECONDS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    upstream: Name,
    class: Class,
    result: RequestResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: Class,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    class: Class,
    by: CutBy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: Listener,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    listener: Listener,
    reason: ShedReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    path: SentPath,
}

/// What clients got.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    requests: Family<RequestLabels, Counter>,
    headers_seconds: Family<ClassLabels, Histogram, fn() -> Histogram>,
    served_bytes: Family<Of, Counter>,
    sent_bytes: Family<SentLabels, Counter>,
    cut: Family<CutLabels, Counter>,
    in_flight: Family<ListenerLabels, Gauge>,
    connections: Family<ListenerLabels, Gauge>,
    shed: Family<ShedLabels, Counter>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            headers_seconds: Family::new_with_constructor(|| Histogram::new(HEADERS_SECONDS)),
            served_bytes: Family::default(),
            sent_bytes: Family::default(),
            cut: Family::default(),
            in_flight: Family::default(),
            connections: Family::default(),
            shed: Family::default(),
        }
    }
}

impl Serving {
    pub(super) fn register(&self, tidepool: &mut Registry) {
        tidepool.register("requests", "Requests of clients", self.requests.clone());
        let help = "Time from a request to the headers of its answer";
        tidepool.register_with_unit("response_headers", help, Unit::Seconds, self.headers_seconds.clone());
        let help = "Bytes of manifests and blobs sent to clients";
        tidepool.register_with_unit("served", help, Unit::Bytes, self.served_bytes.clone());
        let help = "Bytes of blobs' files sent to clients, by how they left";
        tidepool.register_with_unit("sent", help, Unit::Bytes, self.sent_bytes.clone());
        tidepool.register("answers_cut", "Answers that ended before their end", self.cut.clone());
        let help = "Requests whose answer is not at its end";
        tidepool.register("requests_in_flight", help, self.in_flight.clone());
        tidepool.register("connections", "Connections of clients and agents", self.connections.clone());
        let help = "Connections and requests turned away, for too much is going on";
        tidepool.register("shed", help, self.shed.clone());
    }
}

/// One more of something, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn request(&self, upstream: Option<&RegistryName>, class: Class, result: RequestResult) {
        let labels = RequestLabels { upstream: Name(upstream.cloned()), class, result };
        self.serving.requests.get_or_create(&labels).inc();
    }

    /// Notes how long the headers of an answer took.
    pub(crate) fn headers_after(&self, class: Class, time: Duration) {
        self.serving.headers_seconds.get_or_create(&ClassLabels { class }).observe(time.as_secs_f64());
    }

    /// The counter of bytes served from one upstream's content, for a body to keep.
    pub(crate) fn served(&self, upstream: &RegistryName) -> Counter {
        self.serving.served_bytes.get_or_create_owned(&Of::upstream(upstream))
    }

    /// The counter of bytes of files that left in that way, for a body to keep.
    pub(crate) fn sent(&self, path: SentPath) -> Counter {
        self.serving.sent_bytes.get_or_create_owned(&SentLabels { path })
    }

    /// Notes an answer that ended before its end.
    pub(crate) fn cut(&self, class: Class, by: CutBy) {
        self.serving.cut.get_or_create(&CutLabels { class, by }).inc();
    }

    /// The gauge of requests in flight.
    pub(crate) fn in_flight(&self, listener: Listener) -> Gauge {
        self.serving.in_flight.get_or_create_owned(&ListenerLabels { listener })
    }

    /// Counts a connection in use.
    pub(crate) fn connection(&self, listener: Listener) -> Held {
        Held::one(&self.serving.connections.get_or_create_owned(&ListenerLabels { listener }))
    }

    /// Connections in use, and requests in flight.
    pub(crate) fn load(&self, listener: Listener) -> (i64, i64) {
        let of =
            |family: &Family<ListenerLabels, Gauge>| family.get(&ListenerLabels { listener }).map(|gauge| gauge.get());
        (of(&self.serving.connections).unwrap_or_default(), of(&self.serving.in_flight).unwrap_or_default())
    }

    /// Notes that somebody was turned away.
    pub(crate) fn shed(&self, listener: Listener, reason: ShedReason) {
        self.serving.shed.get_or_create(&ShedLabels { listener, reason }).inc();
    }
}
