//! The document that the operator writes for agents, as ConfigMap events tell of it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::Event;
use tidepool_config::{NodesDocument, names::NODES_KEY};

/// What is known of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The last one that could be read; none when there never was one: then nothing on the node is touched.
    pub last: Option<NodesDocument>,
    /// Why the present one is not `last`.
    pub problem: Option<Problem>,
    listed: bool,
}

/// Why there is no present document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no ConfigMap, and there never was one that this node knows of.
    Missing,
    /// It cannot be read, or is of a version this agent does not know.
    Unreadable(String),
}

impl Document {
    /// What a predecessor on this node last knew.
    #[must_use]
    pub fn remembered(last: Option<NodesDocument>) -> Self {
        Self { last, ..Self::default() }
    }

    /// About how many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.last.as_ref().map_or(NodesDocument::FEW, |last| last.nodes)
    }

    /// Takes an event in.
    ///
    /// That the API server says there is no ConfigMap means that there is no mirror any more; that it says nothing
    /// changes nothing.
    pub fn on(&mut self, event: &Event<ConfigMap>) {
        match event {
            Event::Init => self.listed = false,
            Event::InitApply(map) | Event::Apply(map) => {
                self.listed = true;
                self.read(map);
            }
            Event::InitDone if self.listed => {}
            Event::InitDone | Event::Delete(_) => self.is_gone(),
        }
    }

    fn is_gone(&mut self) {
        self.problem = self.last.is_none().then_some(Problem::Missing);
        if let Some(last) = &mut self.last {
            last.mirrors.clear();
        }
    }

    fn read(&mut self, map: &ConfigMap) {
        match parse(map) {
            Ok(document) => {
                self.last = Some(document);
                self.problem = None;
            }
            Err(why) => self.problem = Some(Problem::Unreadable(why)),
        }
    }
}

fn parse(map: &ConfigMap) -> Result<NodesDocument, String> {
    let text =
        map.data.as_ref().and_then(|data| data.get(NODES_KEY)).ok_or_else(|| format!("it has no key {NODES_KEY}"))?;
    // The version first: a document of another one may be of another shape.
    let version: Version = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let probe = NodesDocument { version: version.version, ..NodesDocument::new(Vec::new()) };
    probe.check_version().map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn map(text: &str) -> ConfigMap {
        ConfigMap { data: Some(BTreeMap::from([(NODES_KEY.to_owned(), text.to_owned())])), ..ConfigMap::default() }
    }

    const ONE: &str = r#"{"version":1,"mirrors":[{"name":"m","uid":"u","created":"2026-01-01T00:00:00Z","mode":"Configure","registries":["docker.io"]}]}"#;

    fn seen(document: &mut Document, events: &[Event<ConfigMap>]) {
        events.iter().for_each(|event| document.on(event));
    }

    #[test]
    fn a_document_that_was_never_seen_is_unknown_and_not_empty() {
        let mut document = Document::default();
        seen(&mut document, &[Event::Init, Event::InitDone]);
        assert_eq!((document.last, document.problem), (None, Some(Problem::Missing)));
    }

    #[test]
    fn a_document_that_is_gone_asks_for_nothing_whether_its_deletion_was_seen_or_not() {
        for gone in [vec![Event::Delete(map(ONE))], vec![Event::Init, Event::InitDone]] {
            let mut document = Document::default();
            seen(&mut document, &[Event::Init, Event::InitApply(map(ONE)), Event::InitDone]);
            assert_eq!(document.last.as_ref().unwrap().mirrors.len(), 1);
            seen(&mut document, &gone);
            assert_eq!(document.last.unwrap().mirrors.len(), 0);
        }
    }

    #[test]
    fn what_a_predecessor_knew_stays_until_the_api_server_says_otherwise() {
        let mut document = Document::remembered(serde_json::from_str(ONE).ok());
        seen(&mut document, &[Event::Init]);
        assert_eq!(document.last.as_ref().unwrap().mirrors.len(), 1);
        seen(&mut document, &[Event::InitDone]);
        assert!(document.last.unwrap().mirrors.is_empty());
    }

    #[test]
    fn an_unknown_version_or_garbage_keeps_the_last_and_says_so() {
        let mut document = Document::default();
        document.on(&Event::Apply(map(ONE)));
        for (text, why) in [(r#"{"version":2,"mirrors":3}"#, "version 2"), ("{", "EOF"), ("[]", "expected")] {
            document.on(&Event::Apply(map(text)));
            assert_eq!(document.last.as_ref().unwrap().mirrors.len(), 1);
            let Some(Problem::Unreadable(problem)) = &document.problem else { panic!("{text}") };
            assert!(problem.contains(why), "{problem}");
        }
        document.on(&Event::Apply(map(ONE)));
        assert_eq!(document.problem, None);
    }
}
