//! How a rule in the Common Expression Language is put on a type.

use serde_json::{Value, json};

/// One rule the API server checks: `expression` must hold, else the object is refused with `message`.
///
/// Messages end with what to do. See `x-kubernetes-validations` in the Kubernetes documentation.
pub(crate) fn rule(expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message})
}

/// As [`rule`], with the error at `field` below the place of the rule, such as `.volume.size`.
pub(crate) fn rule_at(field: &str, expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message, "fieldPath": field})
}
