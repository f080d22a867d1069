//! Whether a live object is what was wanted.

use serde_json::Value;
use tidepool_plan::quantity;

/// Whether `live` has all that `wanted` says. What it has besides (defaults, status, other people's fields) is no matter.
///
/// Lists must agree item by item. Two quantities agree when they are one value: the API server rewrites `1000m` as `1`.
pub(crate) fn covers(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| covers(wanted, live)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(wanted, live)| covers(wanted, live))
        }
        (Value::String(wanted), Value::String(live)) => {
            wanted == live || quantity(wanted).is_some_and(|value| quantity(live) == Some(value))
        }
        (wanted, live) => wanted == live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_is_no_difference_and_what_it_lacks_is() {
        let wanted = json!({"spec": {"replicas": 1, "list": [{"name": "a", "cpu": "1000m"}]}});
        let live = json!({"spec": {"replicas": 1, "list": [{"name": "a", "cpu": "1", "more": true}]}, "status": {}});
        assert!(covers(&wanted, &live));
        for drifted in [
            json!({"spec": {"replicas": 2, "list": [{"name": "a", "cpu": "1"}]}}),
            json!({"spec": {"replicas": 1, "list": []}}),
            json!({"spec": {"replicas": 1, "list": [{"name": "a"}]}}),
            json!({"spec": {"replicas": 1, "list": [{"name": "a", "cpu": "2"}]}}),
        ] {
            assert!(!covers(&wanted, &drifted), "{drifted}");
        }
    }
}
