//! What a process and its children use, as `/proc` shows it.

use std::fs;

use anyhow::{Context, Result};

/// A process with those it started.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pids: Vec<u32>,
}

impl Family {
    /// The process with its present children.
    pub(crate) fn of(pid: u32) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = pids.filter(|child| stat(*child).is_some_and(|fields| fields.get(1) == Some(&u64::from(pid))));
        Self { pids: std::iter::once(pid).chain(children).collect() }
    }

    /// CPU seconds so far, user and system.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in &self.pids {
            let fields = stat(*pid).with_context(|| format!("process {pid} has ended"))?;
            ticks += fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0);
        }
        Ok(crate::storm::precise(ticks) / crate::storm::precise(rustix::param::clock_ticks_per_second()))
    }

    /// Begins anew to note the peak of resident memory.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        let clear = |pid: &u32| fs::write(format!("/proc/{pid}/clear_refs"), "5");
        self.pids.iter().try_for_each(clear).context("cannot clear a peak")
    }

    /// The peak of resident memory since then, in MiB, all processes added.
    pub(crate) fn peak(&self) -> Result<f64> {
        let peak = |pid: &u32| -> Option<u64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
        };
        let peaks: Option<Vec<_>> = self.pids.iter().map(peak).collect();
        Ok(crate::storm::precise(peaks.context("a process has ended")?.iter().sum()) / 1024.0)
    }
}

/// The numbers of a process's `stat` after its name and state; what is no number counts as 0.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything.
    let fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    Some(fields.map(|field| field.parse().unwrap_or(0)).collect())
}

/// CPU seconds of the calling thread.
pub(crate) fn thread_cpu() -> f64 {
    seconds(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
}

/// CPU seconds of this process.
pub(crate) fn own_cpu() -> f64 {
    seconds(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime))
}

/// CPU seconds of the whole machine since it started: user, nice, system, interrupts.
pub(crate) fn machine_cpu() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text.lines().next()?.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let busy = fields.iter().take(3).sum::<u64>() + fields.iter().skip(5).take(2).sum::<u64>();
    Some(crate::storm::precise(busy) / crate::storm::precise(rustix::param::clock_ticks_per_second()))
}

fn seconds(time: rustix::time::Timespec) -> f64 {
    std::time::Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_shows() {
        let family = Family::of(std::process::id());
        let before = family.cpu().unwrap();
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(60) {
            std::hint::black_box(0);
        }
        assert!(family.cpu().unwrap() > before);
        assert!(family.peak().unwrap() > 1.0);
    }
}
