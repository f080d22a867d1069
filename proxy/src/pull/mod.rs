//! Pulls: what a client asked for, from the store or by one shared transfer from the upstream.
//!
//! - [`manifests`]: by digest from the store or by one GET. [`tags`]: by tag after one shared HEAD, stale when that fails.
//!   [`documents`]: what they say.
//! - [`blobs`]: from the store, or by following a fill.
//! - [`fill`]: one transfer of one blob into the store. [`transfer`] runs it, over the [`lines`] that [`planner`] gives their
//!   parts, each a [`connection`]; [`sink`] writes and hashes it ([`frontier`]). [`growth`] tells how many connections are
//!   best, [`lanes`] remembers it.
//! - [`body`]: bytes out, from a kept blob or from a fill in flight; [`direct`] past the store when the disk is full.
//! - [`lists`]: tags and referrers, passed through.
//! - [`permission`]: who may read what; asked before any of them, with [`probe`]s where it is not known. [`origin`]: of
//!   which repository content is a part. [`permit`]: what a request that was let in may have, and by when.

mod absent;
mod blobs;
mod body;
mod connection;
mod direct;
mod documents;
mod error;
mod fill;
mod frontier;
mod growth;
mod in_flight;
mod lanes;
mod lines;
mod lists;
mod manifests;
mod origin;
mod permission;
mod permit;
mod planner;
mod probe;
mod segments;
mod sink;
mod tags;
mod transfer;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use tidepool_oci::{Digest, RepositoryName};
use tokio::sync::Semaphore;

pub(crate) use body::{BlobBody, OCTETS, Part, Shape, Way};
pub(crate) use error::PullError;
pub(crate) use in_flight::InFlight;
pub(crate) use lists::List;
pub(crate) use manifests::DIGEST_HEADER;
pub(crate) use permission::Audience;
pub(crate) use permit::{Deadline, Permit};

use crate::{
    layers::Trace,
    metrics::{Class, Metrics, RequestResult},
    store::{Manifest, Store},
    tasks::{Flights, Tasks},
    upstream::{Ask, Upstream, UpstreamId},
};
use absent::Absent;
use fill::Fill;
use tags::TagKey;

/// Headers of HEAD and manifests are answered within 8 s (P1): what is waited for has to come somewhat earlier.
const ANSWER_WITHIN: Duration = Duration::from_millis(7500);
/// The first byte of a blob comes within 15 s (P1).
const FIRST_BYTE_WITHIN: Duration = Duration::from_millis(14_500);
/// How many blobs are filled at once: each holds a connection, a file and a thread that writes.
const MOST_FILLS: usize = 128;

/// How many kept blobs are read through at once.
const MOST_HASHED: usize = 4;
/// Of how many blobs it is known that they are too large to be kept.
const MOST_TOO_LARGE: usize = 1000;

/// Something served, and how it was had.
#[derive(Clone, Debug)]
pub(crate) struct Served<T> {
    pub(crate) what: T,
    pub(crate) how: RequestResult,
}

type Found = Result<Served<Arc<Manifest>>, PullError>;

/// Serves pulls for all upstreams of one proxy.
#[derive(Debug)]
pub(crate) struct Puller {
    store: Arc<Store>,
    tasks: Tasks,
    metrics: Metrics,
    absent: Absent,
    known: probe::Known,
    probes: Flights<probe::ProbeKey, Result<(), PullError>>,
    manifests: Flights<(UpstreamId, RepositoryName, Digest), Found>,
    tags: Flights<TagKey, Found>,
    fills: Mutex<HashMap<Digest, Arc<Fill>>>,
    fill_slots: Arc<Semaphore>,
    lists: lists::Lists,
    /// For what is kept and has to be read through first: it waits for no upstream's turn.
    hash_slots: Arc<Semaphore>,
    /// Bytes of blobs that were found to be more than the store can hold.
    too_large: quick_cache::sync::Cache<Digest, u64>,
    lanes: lanes::Lanes,
}

/// A repository of a mirrored registry, as a pull names it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) repository: RepositoryName,
    /// Of the request that began it, for whatever is asked upstream for it.
    pub(crate) trace: Option<Trace>,
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        self.upstream_id() == other.upstream_id() && self.repository == other.repository
    }

    /// A request to the upstream for something in the repository.
    fn ask<'a>(&'a self, method: Method, path: &'a str, class: Class, deadline: Duration) -> Ask<'a> {
        let mut ask = Ask::new(method, &self.repository, path, class, deadline);
        ask.headers.extend(self.trace.iter().flat_map(Trace::headers));
        ask
    }

    fn upstream_id(&self) -> UpstreamId {
        self.upstream.id()
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use documents::is_manifest as fuzz_manifest;

impl Puller {
    pub(crate) fn new(store: Arc<Store>, metrics: Metrics, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            store,
            metrics,
            absent: Absent::default(),
            known: probe::Known::default(),
            probes: Flights::new(tasks.clone()),
            manifests: Flights::new(tasks.clone()),
            tags: Flights::new(tasks.clone()),
            fills: Mutex::default(),
            fill_slots: Arc::new(Semaphore::new(MOST_FILLS)),
            lists: lists::Lists::default(),
            hash_slots: Arc::new(Semaphore::new(MOST_HASHED)),
            too_large: quick_cache::sync::Cache::new(MOST_TOO_LARGE),
            lanes: lanes::Lanes::default(),
            tasks,
        })
    }
}

/// Below the repository.
fn manifest_path(reference: impl fmt::Display) -> String {
    format!("manifests/{reference}")
}

/// Below the repository.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{digest}")
}
