//! A machine of the cluster: a network, mount and host-name namespace inside the cluster's pid namespace.
//!
//! One process (`holder`) keeps the namespaces alive; commands enter them with `nsenter`. The control plane's holder is
//! the init of the pid namespace, so everything on every machine ends with it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{self, Process};
use crate::tools::Tools;

/// How long a captured command may take unless said otherwise: a `kubectl wait` fits, a hang shows.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(240);

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it ended with status 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    command: String,
}

impl Output {
    /// The standard output of a command that had to succeed.
    pub fn ok(self) -> Result<String> {
        if !self.success {
            bail!("`{}` failed: {}{}", self.command, self.stderr.trim_end(), self.stdout.trim_end());
        }
        Ok(self.stdout)
    }
}

/// Namespaces that commands and daemons run in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    name: String,
    holder: Process,
    /// Number of the holder inside the cluster's pid namespace, as `ip link ... netns` wants it.
    inner: u32,
    home: PathBuf,
    tools: PathBuf,
    /// A folder of programs that win over `tools`.
    #[serde(default)]
    preferred: Option<PathBuf>,
}

impl Machine {
    /// The machine whose namespaces the init of a cluster holds.
    pub(crate) fn of_init(init: Process, home: PathBuf, tools: &Tools) -> Result<Self> {
        let tools = tools.folder().to_path_buf();
        let machine = Self { name: "cp".into(), holder: init, inner: 1, home, tools, preferred: None };
        machine.settle()?;
        Ok(machine)
    }

    /// A further machine with its own network, mounts and host name in the same pid namespace.
    pub(crate) fn beside(&self, name: &str, home: PathBuf) -> Result<Self> {
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let holder = ["unshare", "-n", "-m", "-u", "--propagation", "private", "sleep", "infinity"];
        let inner = self.daemon(&format!("{name}-holder"), &holder)?;
        let holder = process::inside(self.holder.pid, inner)?;
        let tools = self.tools.clone();
        let machine = Self { name: name.to_owned(), holder, inner, home, tools, preferred: None };
        machine.await_namespaces(self)?;
        machine.settle()?;
        Ok(machine)
    }

    /// Has the programs in a folder beside the peers win over the peers of the same name.
    pub(crate) fn preferring(mut self, folder: &str) -> Self {
        self.preferred = Some(self.tools.join(folder));
        self
    }

    /// Its name, which is its host name too.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its files and logs on the host.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Its holder's number inside the cluster.
    pub(crate) fn inner_pid(&self) -> u32 {
        self.inner
    }

    /// Its network.
    pub(crate) fn network(&self) -> Result<fs::File> {
        let file = format!("/proc/{}/ns/net", self.holder.pid);
        fs::File::open(&file).with_context(|| format!("cannot open {file}"))
    }

    /// Whether its namespaces still exist.
    pub(crate) fn is_alive(&self) -> bool {
        self.holder.is_alive()
    }

    /// A command that will run here with the terminal and pipes of its caller, in the folder `inside`.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, inside: &Path, args: &[S]) -> Command {
        let mut command = Command::new("nsenter");
        // Proxy settings and the like of the host's environment must not reach into the cluster.
        command.env_clear().envs(self.environment());
        command.args(["-t", &self.holder.pid.to_string(), "-n", "-m", "-u", "-p", "--", "env", "-C"]);
        command.arg(inside).args(args);
        command
    }

    /// Runs a command to its end and captures its output. A command that takes longer than `within` is killed.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S], input: &str, within: Duration) -> Result<Output> {
        let seconds = within.as_secs().max(1).to_string();
        let mut full: Vec<OsString> = ["timeout", "-k", "2", &seconds].map(OsString::from).to_vec();
        full.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        let shown = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let inside = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        capture(self.command(&inside, &full), &format!("{}: {shown}", self.name), input)
    }

    /// Runs a command that must succeed and gives its standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        self.run(args, "", COMMAND_WITHIN)?.ok()
    }

    /// Runs a shell script that must succeed.
    pub(crate) fn script(&self, script: &str) -> Result<String> {
        self.run(&["sh", "-eu"], script, COMMAND_WITHIN)?.ok()
    }

    /// Starts a daemon in a session of its own and gives its number inside the cluster; its log is `<home>/<name>.log`.
    pub(crate) fn daemon<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<u32> {
        let log = self.home.join(format!("{name}.log"));
        let script = r#"log=$0; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!"#;
        let mut full: Vec<OsString> = ["sh", "-c", script].map(OsString::from).to_vec();
        full.push(log.into_os_string());
        full.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        let output = self.run(&full, "", COMMAND_WITHIN)?.ok()?;
        let pid = output.trim().parse().with_context(|| format!("no process number of {name}: {output}"))?;
        fs::write(self.home.join(format!("{name}.pid")), output.trim()).context("cannot note a process number")?;
        let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        let args = serde_json::to_string(&args).context("cannot write JSON")?;
        fs::write(self.home.join(format!("{name}.args")), args).context("cannot note a command")?;
        Ok(pid)
    }

    /// Starts a daemon again that has ended, as it was started before.
    pub(crate) fn daemon_again(&self, name: &str) -> Result<()> {
        let args = fs::read_to_string(self.home.join(format!("{name}.args")))
            .with_context(|| format!("{} never had a daemon {name}", self.name))?;
        let args: Vec<String> = serde_json::from_str(&args).context("cannot read a command")?;
        self.daemon(name, &args)?;
        Ok(())
    }

    /// The process of a daemon that runs.
    pub(crate) fn daemon_process(&self, name: &str) -> Result<Process> {
        let noted = fs::read_to_string(self.home.join(format!("{name}.pid")))
            .with_context(|| format!("{} never had a daemon {name}", self.name))?;
        process::inside(self.holder.pid, noted.trim().parse().context("cannot read a process number")?)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut path = OsString::new();
        if let Some(preferred) = &self.preferred {
            path.push(preferred);
            path.push(":");
        }
        path.push(Tools::at(self.tools.clone()).search_path());
        let mut environment = vec![("PATH", path), ("HOME", self.home.clone().into_os_string())];
        environment.extend(std::env::var_os("TERM").map(|term| ("TERM", term)));
        // distribution exports traces to localhost unless told not to.
        environment.push(("OTEL_TRACES_EXPORTER", "none".into()));
        environment
    }

    /// `unshare` changes its namespaces a moment after it has a number.
    fn await_namespaces(&self, other: &Self) -> Result<()> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/uts")).ok();
        let ready = || {
            let own = fs::read_to_string(format!("/proc/{}/comm", self.holder.pid)).unwrap_or_default();
            namespace(self.holder.pid) != namespace(other.holder.pid) && own.trim() == "sleep"
        };
        crate::wait::until(Duration::from_secs(60), Duration::from_millis(5), "namespaces of a node", || Ok(ready()))
    }

    fn settle(&self) -> Result<()> {
        fs::create_dir_all(&self.home).with_context(|| format!("cannot make {}", self.home.display()))?;
        self.script(&format!(
            "echo {} > /proc/sys/kernel/hostname\nip link set lo up\necho 1 > /proc/sys/net/ipv4/ip_forward\n",
            self.name
        ))?;
        Ok(())
    }
}

/// Runs a command that is bounded by `timeout` to its end, with this input.
pub(crate) fn capture(mut command: Command, shown: &str, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let output = std::thread::scope(|scope| {
        let stdin = child.stdin.take();
        // From a thread, since a command may write much before it reads all. It may also not read at all.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.with_context(|| format!("cannot read the output of `{shown}`"))?;
    let mut stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if matches!(output.status.code(), Some(124 | 137)) {
        stderr.push_str("(killed, since it took too long)");
    }
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Output { success: output.status.success(), stdout, stderr, command: shown.to_owned() })
}
