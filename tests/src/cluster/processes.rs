//! Programs of the cluster that are killed or stopped in the middle of things.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use super::{Cluster, Disturbance};
use crate::machine::Machine;
use crate::process::{self, Process};
use crate::state::State;

/// SIGKILL works at once, but a process that writes to a disk dies when the disk lets it.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods<'a> {
    /// In any pod of a node.
    Of(usize),
    /// In one pod of a node, by its uid.
    One(usize, &'a str),
}

impl Cluster {
    /// Kills a daemon of a machine, `cp` or `node1` and so on; healed, it is started again as it was.
    pub fn kill_daemon(&self, machine: &str, name: &str) -> Result<Disturbance<'_>> {
        let machine = self.machine(machine)?;
        machine.daemon_process(name)?.kill(GONE_WITHIN)?;
        let name = name.to_owned();
        Ok(Disturbance::until(move || machine.daemon_again(&name)))
    }

    /// Stops a daemon of a machine: its sockets stay, and nobody answers.
    pub fn stop_daemon(&self, machine: &str, name: &str) -> Result<Disturbance<'_>> {
        stop(vec![self.machine(machine)?.daemon_process(name)?])
    }

    /// Kills a program in pods, by the start of its command line, and gives how many processes it had.
    pub fn kill_in_pods(&self, pods: Pods<'_>, command: &str) -> Result<usize> {
        let found = self.in_pods(pods, command)?;
        found.iter().try_for_each(|process| process.kill(GONE_WITHIN))?;
        Ok(found.len())
    }

    /// Stops a program in pods.
    pub fn stop_in_pods(&self, pods: Pods<'_>, command: &str) -> Result<Disturbance<'_>> {
        let found = self.in_pods(pods, command)?;
        ensure!(!found.is_empty(), "no {command} runs in {pods:?}");
        stop(found)
    }

    /// Stops the processes of a program that another process of it started, or, where none was, all of them: of a
    /// supervisor and what it looks after the latter.
    pub fn stop_children_in_pods(&self, pods: Pods<'_>, command: &str) -> Result<Disturbance<'_>> {
        let all = self.in_pods(pods, command)?;
        let is_child = |process: &&Process| all.iter().any(|other| Some(other.pid) == process.parent());
        let children: Vec<Process> = all.iter().filter(is_child).copied().collect();
        ensure!(!all.is_empty(), "no {command} runs in {pods:?}");
        stop(if children.is_empty() { all } else { children })
    }

    /// Kills a program in pods whenever it runs, at most once in `pause`, for as long as this lasts.
    pub fn keep_killing_in_pods(&self, pods: Pods<'_>, command: &str, pause: Duration) -> Result<Disturbance<'static>> {
        let (groups, command) = (self.groups_of(pods)?, command.to_owned());
        let (stop, stopped) = mpsc::channel::<()>();
        let killer = std::thread::spawn(move || {
            while matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                for process in process::of_program(&command, &groups) {
                    // It may have ended by itself; the next round sees what is left.
                    let _ = process.signal(Signal::KILL);
                }
            }
        });
        Ok(Disturbance::until(move || {
            drop(stop);
            killer.join().map_err(|_| anyhow!("the killer panicked"))
        }))
    }

    fn in_pods(&self, pods: Pods<'_>, command: &str) -> Result<Vec<Process>> {
        Ok(process::of_program(command, &self.groups_of(pods)?))
    }

    /// Parts of the control groups' paths that these pods have, and nobody else.
    fn groups_of(&self, pods: Pods<'_>) -> Result<Vec<String>> {
        let local = self.local()?;
        let (number, pod) = match pods {
            Pods::Of(number) => (number, None),
            Pods::One(number, uid) => (number, Some(format!("/pod{uid}/"))),
        };
        let node = format!("/{}/{}/", State::control_group(&local.folder)?, local.node(number)?.name());
        Ok(std::iter::once(node).chain(pod).collect())
    }

    pub(super) fn machine(&self, name: &str) -> Result<&Machine> {
        let state = &self.local()?.state;
        let mut machines = std::iter::once(&state.control_plane).chain(&state.nodes);
        machines
            .find(|known| known.name() == name)
            .with_context(|| format!("there is no machine {name}: try cp or node1"))
    }
}

fn stop(processes: Vec<Process>) -> Result<Disturbance<'static>> {
    processes.iter().try_for_each(|process| process.signal(Signal::STOP))?;
    Ok(Disturbance::until(move || processes.iter().try_for_each(|process| process.signal(Signal::CONT))))
}
