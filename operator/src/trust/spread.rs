//! Whether an authority is believed everywhere: by what is in the cluster, not by what was meant to be written there.

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _, runtime::reflector::ObjectRef};
use tidepool_config::trust::AUTHORITIES_KEY;
use tidepool_plan::names::{self, MEMBER_AUTHORITIES};

use super::certificate::Certificate;
use crate::{
    caches::Caches,
    resources::{AnyMirror, name},
};

/// Whether agents, and the members of each mirror that has a configuration, are told to believe `authority`. Members
/// that are made from now on are told from the first, and those of a version that believes no authority are never told.
pub(super) fn is_told(caches: &Caches, namespace: &str, authority: &Certificate) -> bool {
    let agents = caches.agent_identity.state();
    let members = |mirror: &AnyMirror| {
        let config = caches.secrets.get(&ObjectRef::<Secret>::new(&names::config(name(mirror))).within(namespace));
        // That of an earlier mirror of this name goes with that mirror.
        let own = config.filter(|config| {
            config.owner_references().iter().any(|owner| Some(&owner.uid) == mirror.meta().uid.as_ref())
        });
        let believes = |config: &Secret| config.data.as_ref().is_some_and(|data| data.contains_key(MEMBER_AUTHORITIES));
        own.is_none_or(|config| !believes(&config) || holds(&config, MEMBER_AUTHORITIES, authority))
    };
    agents.first().is_some_and(|identity| holds(identity, AUTHORITIES_KEY, authority))
        && caches.mirrors.state().iter().all(|mirror| mirror.meta().deletion_timestamp.is_some() || members(mirror))
}

fn holds(secret: &Secret, key: &str, authority: &Certificate) -> bool {
    let bundle = secret.data.as_ref().and_then(|data| data.get(key));
    bundle.is_some_and(|bundle| String::from_utf8_lossy(&bundle.0).contains(&authority.pem))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::{super::issue, *};
    use crate::testing::{context, filled, mirror};

    fn secret(name: &str, key: &str, bundle: &str, owner: &str) -> Secret {
        let object = json!({
            "metadata": {"name": name, "namespace": "deep", "ownerReferences": [
                {"apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "name": "reef", "uid": owner},
            ]},
            "data": {key: ByteString(bundle.as_bytes().to_vec())},
        });
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn told_are_all_only_when_each_secret_has_it() {
        let made = || issue::authority(SystemTime::now(), Duration::from_secs(36_000)).unwrap().certificate;
        let (old, new) = (made(), made());
        let both = format!("{}{}", old.pem, new.pem);
        let told = |mirrors: &[(&str, &Value)], configs: &[(&str, &str, &str)], agents: &[&str]| {
            let mirrors = mirrors.iter().map(|(name, spec)| mirror(name, &format!("uid-{name}"), spec)).collect();
            let config = |(name, bundle, owner): &(&str, &str, &str)| {
                let key = if bundle.is_empty() { "users" } else { "agents-ca.crt" };
                secret(&format!("mirror-{name}-config"), key, bundle, owner)
            };
            let (mut context, _server) = context(mirrors, configs.iter().map(config).collect());
            let agents = agents.iter().map(|bundle| secret("tidepool-agent-identity", "ca.crt", bundle, "none"));
            context.caches.agent_identity = filled(agents.collect());
            is_told(&context.caches, "deep", &new)
        };
        let readable = json!({"upstreams": [{"registry": "a.io"}]});
        let (reef, unread) = (("reef", &readable), ("next", &Value::Null));
        assert!(!told(&[], &[], &[]) && !told(&[], &[], &[&old.pem]) && told(&[], &[], &[&both]));
        assert!(told(&[reef], &[], &[&both]), "it is told as it is made");
        assert!(!told(&[reef], &[("reef", &old.pem, "uid-reef")], &[&both]));
        assert!(told(&[reef], &[("reef", &old.pem, "uid-before")], &[&both]), "it goes");
        assert!(told(&[reef], &[("reef", "", "uid-reef")], &[&both]), "it is of a version without authorities");
        let configs = [("reef", &*both, "uid-reef"), ("next", &*old.pem, "uid-next")];
        assert!(!told(&[reef, unread], &configs, &[&both]), "its members work, though it cannot be read");
        assert!(told(&[reef], &configs, &[&both]));
        assert!(!told(&[reef], &configs, &[&old.pem]));
    }
}
