//! What a state of the matrix is.

use anyhow::Result;
use tidepool_tests::Disturbance;
use tidepool_tests::matrix::{Expect, Pull};

use crate::stage::Stage;

/// Applies a fault; given is the pull for which it is applied.
pub(crate) type Strike = for<'a> fn(&'a Stage, Pull) -> Result<Disturbance<'a>>;

/// A state that Tidepool, the cluster or upstream may be in.
#[derive(Debug)]
pub(crate) struct State {
    /// For commands and the table.
    pub(crate) name: &'static str,
    /// What is broken.
    pub(crate) title: &'static str,
    /// What must be true beside the promise.
    pub(crate) expect: Expect,
    /// The pulls that make sense in it.
    pub(crate) pulls: &'static [Pull],
    /// What must be in place before the pull, and is not felt by it.
    pub(crate) prepare: Strike,
    /// What strikes.
    pub(crate) strike: Strike,
    /// Whose pods are made anew afterwards: kubelet waits longer each time a container of a pod ends.
    pub(crate) renew: Renew,
    /// Those that `make test` makes.
    pub(crate) representative: &'static [Pull],
}

/// Pods that are made anew once a fault is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renew {
    /// None.
    Nobody,
    /// The agents of nodes that pull.
    Agents,
    /// The members.
    Members,
}

/// Nothing.
pub(crate) fn nothing(_: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    Ok(Disturbance::none())
}
