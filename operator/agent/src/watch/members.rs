//! Where members are, as EndpointSlice events tell of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::{ResourceExt as _, runtime::watcher::Event};
use tidepool_config::names::{AGENTS_PORT_NAME, MIRROR_LABEL};

use crate::forward::Members;

/// Takes events of EndpointSlices in and says where members are.
#[derive(Debug, Default)]
pub struct MembersView {
    slices: BTreeMap<String, Slice>,
    /// What a list has brought so far; none between lists.
    listing: Option<BTreeMap<String, Slice>>,
}

#[derive(Clone, Debug, Default)]
struct Slice {
    mirror: String,
    members: Vec<(String, SocketAddr)>,
}

impl MembersView {
    /// Takes an event in; the members after it, where it may have changed them.
    pub fn on(&mut self, event: &Event<EndpointSlice>) -> Option<Members> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                return None;
            }
            Event::InitApply(slice) => {
                self.listing.get_or_insert_default().insert(slice.name_any(), read(slice));
                return None;
            }
            Event::InitDone => self.slices = self.listing.take().unwrap_or_default(),
            Event::Apply(slice) => drop(self.slices.insert(slice.name_any(), read(slice))),
            Event::Delete(slice) => drop(self.slices.remove(&slice.name_any())),
        }
        Some(self.members())
    }

    fn members(&self) -> Members {
        let mut members = Members::new();
        for slice in self.slices.values().filter(|slice| !slice.mirror.is_empty()) {
            members.entry(slice.mirror.clone()).or_default().extend(slice.members.iter().cloned());
        }
        members
    }
}

fn read(slice: &EndpointSlice) -> Slice {
    let mirror = slice.labels().get(MIRROR_LABEL).cloned().unwrap_or_default();
    let ports = slice.ports.as_deref().unwrap_or_default();
    let port = ports.iter().find(|port| port.name.as_deref() == Some(AGENTS_PORT_NAME)).and_then(|port| port.port);
    // Of an earlier release, while its mirror is upgraded: pulls go elsewhere meanwhile.
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Slice { mirror, ..Slice::default() };
    };
    let ready = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
    let member = |endpoint: &Endpoint| {
        // Kubernetes: all addresses of an endpoint are the same; the first is to be used.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        Some((id(endpoint, &mirror, address), SocketAddr::new(address, port)))
    };
    let members = ready.filter_map(member).collect();
    Slice { mirror, members }
}

/// Unknown counts as ready, as the API says.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}

/// A member's stable name: `mirror-<name>-<number>` for one with a volume, whose content outlives its pod; otherwise
/// the pod's.
fn id(endpoint: &Endpoint, mirror: &str, address: IpAddr) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
    let Some(pod) = pod else { return address.to_string() };
    let prefix = format!("mirror-{mirror}-");
    let rest = pod.strip_prefix(&prefix).unwrap_or_default();
    match rest.split_once('-') {
        Some((number, _)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{prefix}{number}")
        }
        Some(_) | None => pod.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, endpoints: &[(&str, &str, Option<bool>)]) -> EndpointSlice {
        let endpoint = |(pod, address, ready): &(&str, &str, Option<bool>)| serde_json::json!({"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": pod}});
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"tidepool.dev/mirror": "public"}},
            "addressType": "IPv4",
            "ports": [{"name": "admin", "port": 8080}, {"name": "registry", "port": 5000}, {"name": "agents", "port": 5443}],
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn ready_endpoints_of_all_slices_are_members_under_names_that_outlive_a_pod() {
        let mut view = MembersView::default();
        assert_eq!(view.on(&Event::Init), None);
        assert_eq!(
            view.on(&Event::InitApply(slice("a", &[("mirror-public-0-7d9f-x2", "10.0.0.1", Some(true))]))),
            None
        );
        let second =
            [("mirror-public-ephemeral-7d-x", "10.0.0.2", None), ("mirror-public-1-a-b", "10.0.0.3", Some(false))];
        assert_eq!(view.on(&Event::InitApply(slice("b", &second))), None);
        let members = view.on(&Event::InitDone).unwrap();
        let expected = [("mirror-public-0", "10.0.0.1:5443"), ("mirror-public-ephemeral-7d-x", "10.0.0.2:5443")];
        let expected: BTreeMap<_, _> = expected.map(|(id, at)| (id.to_owned(), at.parse().unwrap())).into();
        assert_eq!(members["public"], expected);
    }

    #[test]
    fn a_member_that_goes_is_none_at_once_while_another_takes_its_name() {
        let mut view = MembersView::default();
        let (old, new) = ("mirror-public-1-7d9f-aa", "mirror-public-1-7d9f-bb");
        view.on(&Event::Apply(slice(
            "a",
            &[("mirror-public-0-5c-x", "10.0.0.1", Some(true)), (old, "10.0.0.2", Some(true))],
        )));
        let mut going = slice("a", &[("mirror-public-0-5c-x", "10.0.0.1", Some(true)), (old, "10.0.0.2", Some(false))]);
        // It serves what it has begun, and is ready for nothing new.
        let conditions = going.endpoints[1].conditions.as_mut().unwrap();
        (conditions.serving, conditions.terminating) = (Some(true), Some(true));
        assert_eq!(view.on(&Event::Apply(going.clone())).unwrap()["public"].len(), 1);
        going.endpoints.extend(slice("a", &[(new, "10.0.0.3", Some(true))]).endpoints);
        let members = view.on(&Event::Apply(going)).unwrap();
        assert_eq!(members["public"]["mirror-public-1"], "10.0.0.3:5443".parse().unwrap());
    }

    #[test]
    fn a_member_without_a_port_for_agents_is_none() {
        let mut old = slice("a", &[("mirror-public-0-a-b", "10.0.0.1", Some(true))]);
        old.ports.as_mut().unwrap().retain(|port| port.name.as_deref() != Some("agents"));
        assert!(MembersView::default().on(&Event::Apply(old)).unwrap()["public"].is_empty());
    }

    #[test]
    fn a_new_list_replaces_what_was_known_only_when_it_is_complete() {
        let mut view = MembersView::default();
        view.on(&Event::Apply(slice("a", &[("p", "10.0.0.1", None)])));
        view.on(&Event::Init);
        assert_eq!(view.members().len(), 1);
        assert!(view.on(&Event::InitDone).unwrap().is_empty());
    }
}
