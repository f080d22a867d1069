//! What members report of themselves: each ready one is asked on its admin port, and what it says is kept in memory.
//!
//! Asking writes nothing. A mirror is reconciled when what is believed of a member changes; and a pod is nudged when its
//! member has not loaded the configuration that its mirror has now.

mod ask;
mod belief;
mod nudge;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::runtime::reflector::ObjectRef;
use tidepool_config::names::MIRROR_LABEL;
use tidepool_plan::{
    Report, Reports,
    names::{self, MEMBER_LABEL, REVISION},
};

use crate::{
    caches::{Caches, of_mirror},
    context::Context,
    queue::Queue,
    resources::{label, name},
};
use ask::Asker;
use belief::Belief;

/// How often it is looked whom to ask.
const TICK: Duration = Duration::from_secs(1);
/// How many are asked at once: a thousand members, all silent, take a minute.
const ASKED_AT_ONCE: usize = 32;

/// What is believed of each member, by the uid of its pod.
#[derive(Default)]
pub(crate) struct Members(Mutex<HashMap<String, Belief>>);

/// One member to ask.
struct Target {
    pod: Arc<Pod>,
    uid: String,
    mirror: String,
    /// The revision it should have loaded.
    wanted: Option<String>,
}

impl Members {
    fn beliefs(&self) -> MutexGuard<'_, HashMap<String, Belief>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is believed of the mirror's ready members, which should have loaded revision `wanted`.
    pub(crate) fn reports(&self, caches: &Caches, mirror: &str, wanted: Option<String>) -> Reports {
        let pods = of_mirror(&caches.pods, mirror);
        let beliefs = self.beliefs();
        let report = |pod: &Arc<Pod>| {
            let belief = pod.metadata.uid.as_ref().and_then(|uid| beliefs.get(uid));
            Report { pod: name(&**pod).to_owned(), answer: belief.map(|it| it.answer().clone()).unwrap_or_default() }
        };
        Reports { wanted, members: pods.iter().filter(|pod| is_ready(pod)).map(report).collect() }
    }
}

/// Asks members, for ever.
pub(crate) async fn run(context: Arc<Context>, queue: Queue) {
    let asker = Asker::default();
    loop {
        let targets = targets(&context);
        let there: HashSet<_> = targets.iter().map(|target| target.uid.clone()).collect();
        context.members.beliefs().retain(|uid, _| there.contains(uid));
        let due = targets.into_iter().filter(|target| is_due(&context.members, target));
        stream::iter(due).for_each_concurrent(ASKED_AT_ONCE, |target| step(&context, &queue, &asker, target)).await;
        tokio::time::sleep(TICK).await;
    }
}

fn is_due(members: &Members, target: &Target) -> bool {
    let beliefs = members.beliefs();
    beliefs.get(&target.uid).is_none_or(|belief| belief.is_due(Instant::now(), target.wanted.as_deref()))
}

/// Asks one member, and does what follows from its answer.
async fn step(context: &Context, queue: &Queue, asker: &Asker, target: Target) {
    let answer = match target.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()) {
        Some(address) => asker.ask(address).await,
        None => return,
    };
    if let Err(error) = &answer {
        tracing::debug!(pod = name(&*target.pod), error = crate::report::report(error), "the member does not answer");
    }
    let state = answer.ok();
    let lags = state.as_ref().is_some_and(|state| target.wanted.is_some() && state.revision != target.wanted);
    let changed = context.members.beliefs().entry(target.uid.clone()).or_default().hear(state.as_ref(), Instant::now());
    if changed {
        queue.push([target.mirror.clone()]);
    }
    if let Some(wanted) = target.wanted.as_ref().filter(|_| lags) {
        nudge::nudge(context, &target.pod, wanted).await;
    }
}

/// All ready members of all mirrors.
fn targets(context: &Context) -> Vec<Target> {
    let caches = &context.caches;
    let ready = caches.pods.state_filter(|pod| is_ready(pod) && label(pod, MEMBER_LABEL).is_some());
    let target = |pod: Arc<Pod>| {
        let (mirror, uid) = (label(&*pod, MIRROR_LABEL)?.to_owned(), pod.metadata.uid.clone()?);
        let config = ObjectRef::<Secret>::new(&names::config(&mirror)).within(&context.defaults.namespace);
        let wanted = caches.secrets.get(&config).and_then(|secret| revision(&secret));
        Some(Target { pod, uid, mirror, wanted })
    };
    ready.into_iter().filter_map(target).collect()
}

/// The revision of a configuration.
pub(crate) fn revision(config: &Secret) -> Option<String> {
    config.metadata.annotations.as_ref()?.get(REVISION).cloned()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
