//! All states, in the order of the table.

use std::time::Duration;

use tidepool_tests::matrix::{Expect, Pull};

use crate::state::{Renew, State, nothing};
use crate::{agents, members, operator, trust};

/// What most states are: all three pulls, no preparation, no pods to make anew.
const ORDINARY: State = State {
    name: "",
    title: "",
    expect: Expect::Either,
    pulls: &Pull::ALL,
    prepare: nothing,
    strike: nothing,
    renew: Renew::Nobody,
    representative: &[],
};

/// Until the liveness probe has ended an agent that does nothing at all (docs/nodes.md).
const LIVENESS: Duration = Duration::from_secs(20);

/// A pull cannot outlive the boot of its node.
const BEFORE_ALONE: &[Pull] = &[Pull::Cold, Pull::Warm];

/// Every state.
pub(crate) const STATES: &[State] = &[
    State {
        name: "nothing",
        title: "nothing broken",
        expect: Expect::Mirror,
        representative: &[Pull::Cold],
        ..ORDINARY
    },
    State {
        name: "member-killed",
        title: "one of two members killed",
        expect: Expect::Half,
        strike: members::killed,
        renew: Renew::Members,
        representative: &[Pull::Running],
        ..ORDINARY
    },
    State {
        name: "member-stopped",
        title: "one of two members stopped (SIGSTOP)",
        expect: Expect::Half,
        strike: members::stopped,
        renew: Renew::Members,
        representative: &[Pull::Warm],
        ..ORDINARY
    },
    State {
        name: "member-unreachable",
        title: "packets to and from one of two members dropped",
        expect: Expect::Half,
        strike: members::unreachable,
        ..ORDINARY
    },
    State {
        name: "members-killed",
        title: "all members killed",
        strike: members::all_killed,
        renew: Renew::Members,
        ..ORDINARY
    },
    State {
        name: "members-stopped",
        title: "all members stopped (SIGSTOP)",
        strike: members::all_stopped,
        renew: Renew::Members,
        ..ORDINARY
    },
    State {
        name: "members-unreachable",
        title: "packets to and from all members dropped",
        strike: members::all_unreachable,
        ..ORDINARY
    },
    State {
        name: "member-full",
        title: "members' volumes full",
        strike: members::full,
        representative: &[Pull::Running],
        ..ORDINARY
    },
    State { name: "member-unreadable", title: "members' stores unreadable", strike: members::unreadable, ..ORDINARY },
    State {
        name: "member-500",
        title: "one of two members answers 500 to everything",
        expect: Expect::Half,
        strike: members::refusing,
        ..ORDINARY
    },
    State {
        name: "member-cut",
        title: "every connection with a member cut after 6 MiB",
        expect: Expect::Half,
        prepare: members::relayed,
        strike: members::cut,
        ..ORDINARY
    },
    State {
        name: "member-stall",
        title: "every connection with a member silent after 6 MiB",
        expect: Expect::Half,
        prepare: members::relayed,
        strike: members::stalled,
        ..ORDINARY
    },
    State {
        name: "members-gone",
        title: "no member left, no operator",
        prepare: operator::gone,
        strike: members::gone,
        ..ORDINARY
    },
    State { name: "operator-gone", title: "no operator", expect: Expect::Mirror, strike: operator::gone, ..ORDINARY },
    State {
        name: "api-stopped",
        title: "API server stopped (SIGSTOP)",
        expect: Expect::Mirror,
        strike: operator::api_stopped,
        ..ORDINARY
    },
    State {
        name: "api-killed",
        title: "API server killed",
        expect: Expect::Mirror,
        strike: operator::api_killed,
        ..ORDINARY
    },
    State {
        name: "agent-killed",
        title: "agent killed, all of its processes",
        strike: agents::killed,
        renew: Renew::Agents,
        ..ORDINARY
    },
    State {
        name: "agent-stopped",
        title: "agent's forwarder stopped (SIGSTOP)",
        strike: agents::stopped,
        renew: Renew::Agents,
        representative: &[Pull::Running],
        ..ORDINARY
    },
    State {
        name: "agent-looping",
        title: "agent killed again whenever it runs",
        strike: agents::looping,
        renew: Renew::Agents,
        ..ORDINARY
    },
    State {
        name: "agent-restarted-without-api",
        title: "agent restarted while the API server is gone",
        expect: Expect::Mirror,
        pulls: BEFORE_ALONE,
        strike: agents::restarted_without_api,
        renew: Renew::Agents,
        ..ORDINARY
    },
    State {
        name: "upstream-refused",
        title: "upstream refuses connections",
        expect: Expect::UpstreamGone,
        strike: operator::upstream_off,
        representative: &[Pull::Warm],
        ..ORDINARY
    },
    State {
        name: "upstream-hung",
        title: "upstream accepts and never answers",
        expect: Expect::UpstreamGone,
        strike: operator::upstream_hung,
        ..ORDINARY
    },
    State {
        name: "upstream-429",
        title: "upstream answers 429",
        expect: Expect::UpstreamGone,
        strike: operator::upstream_429,
        ..ORDINARY
    },
    State {
        name: "upstream-503",
        title: "upstream answers 503",
        expect: Expect::UpstreamGone,
        strike: operator::upstream_503,
        ..ORDINARY
    },
    State {
        name: "kube-proxy-gone",
        title: "kube-proxy gone with its rules",
        expect: Expect::Mirror,
        strike: operator::kube_proxy_gone,
        ..ORDINARY
    },
    State {
        name: "clock-skewed",
        title: "members' certificate not good yet, as a node sees it whose clock is a day behind; no operator",
        prepare: operator::gone,
        strike: trust::member_of_tomorrow,
        renew: Renew::Members,
        ..ORDINARY
    },
    State {
        name: "certificate-expired",
        title: "agents' certificate expired a day ago, no operator",
        prepare: operator::gone,
        strike: trust::agent_of_yesterday,
        ..ORDINARY
    },
    State {
        name: "document-garbage",
        title: "ConfigMap tidepool-nodes garbage, no operator",
        expect: Expect::Mirror,
        prepare: operator::gone,
        strike: operator::document_garbage,
        ..ORDINARY
    },
    State {
        name: "agent-and-supervisor-stopped",
        title: "all of the agent's processes stopped (SIGSTOP); outside the promise: the liveness probe ends them, 20 s later",
        expect: Expect::Outside(LIVENESS),
        pulls: &[Pull::Cold],
        strike: agents::all_stopped,
        renew: Renew::Agents,
        ..ORDINARY
    },
    // The last: a cluster that boots again without its API server may take minutes to make agents.
    State {
        name: "node-booted-without-api",
        title: "node freshly booted while the API server is gone",
        pulls: BEFORE_ALONE,
        strike: agents::booted_without_api,
        renew: Renew::Agents,
        ..ORDINARY
    },
];
