//! `spec.nodes`: what is done on which nodes.

use tidepool_api::{LabelOperator, LabelRequirement, NodeLabels, NodeMode};
use tidepool_config::{Mode, NodeSelector, Operator, Requirement};

use super::Invalid;

pub(super) fn mode(raw: NodeMode) -> Mode {
    match raw {
        NodeMode::Configure => Mode::Configure,
        NodeMode::ReportOnly => Mode::ReportOnly,
        NodeMode::Withdraw => Mode::Withdraw,
    }
}

pub(super) fn selector(raw: Option<&NodeLabels>, faults: &mut Vec<Invalid>) -> NodeSelector {
    let Some(raw) = raw else { return NodeSelector::default() };
    let requirements = raw.match_expressions.iter().enumerate();
    let match_expressions = requirements
        .map(|(index, raw)| requirement(&format!("spec.nodes.selector.matchExpressions[{index}]"), raw, faults))
        .collect();
    NodeSelector { match_labels: raw.match_labels.clone(), match_expressions }
}

fn requirement(field: &str, raw: &LabelRequirement, faults: &mut Vec<Invalid>) -> Requirement {
    let operator = match raw.operator {
        LabelOperator::In => Operator::In,
        LabelOperator::NotIn => Operator::NotIn,
        LabelOperator::Exists => Operator::Exists,
        LabelOperator::DoesNotExist => Operator::DoesNotExist,
    };
    let needs_values = matches!(operator, Operator::In | Operator::NotIn);
    if needs_values == raw.values.is_empty() {
        let message = "In and NotIn need values, Exists and DoesNotExist take none: add or remove values";
        faults.push(Invalid::spec(format!("{field}.values"), message));
    }
    Requirement { key: raw.key.clone(), operator, values: raw.values.clone() }
}
