//! Servers as child processes: the reference (Java, stand-alone) and zkd, with
//! the same configuration file and the same system properties.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::raw;

/// The user who is super in every test server: auth data of scheme digest.
pub const SUPER: &str = "super:secret";
const SUPER_DIGEST: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// What goes into `zoo.cfg` and onto the command line.
#[derive(Debug, Clone)]
pub struct Config {
    /// Keys and values behind the ones that every test server has; a later one wins.
    pub lines: Vec<(String, String)>,
    /// System properties, without `-D`.
    pub properties: Vec<(String, String)>,
    /// System properties for zkd alone, where the programs understand one differently.
    pub zkd_properties: Vec<(String, String)>,
    /// How long the start may take.
    pub start_within: Duration,
    /// Where the server listens for clients.
    pub host: Ipv4Addr,
    /// Words before the command, such as those that enter a network namespace.
    pub wrapper: Vec<String>,
    /// Java packages that log at level INFO; all others do from WARN on.
    pub verbose: Vec<&'static str>,
    /// Flags of the reference's JVM. By default it starts quickly and stays small, which makes it slow later.
    pub jvm: Vec<String>,
}

/// A JVM that is there soon.
const QUICK_JVM: [&str; 5] =
    ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData", "-Xmx384m"];

impl Default for Config {
    fn default() -> Self {
        let pair = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
        Self {
            lines: [
                ("tickTime", "500"),
                ("maxClientCnxns", "0"),
                ("4lw.commands.whitelist", "*"),
                ("extendedTypesEnabled", "true"),
                ("admin.enableServer", "false"),
                // Tests fail on purpose, and in parallel.
                ("zkd.login.longestWaitMs", "0"),
                // Enough for tests, and quick to zero on a slow disk.
                ("preAllocSize", "1024"),
            ]
            .map(pair)
            .to_vec(),
            properties: vec![pair(("zookeeper.DigestAuthenticationProvider.superDigest", SUPER_DIGEST))],
            zkd_properties: Vec::new(),
            start_within: Duration::from_secs(240),
            host: Ipv4Addr::LOCALHOST,
            wrapper: Vec::new(),
            verbose: Vec::new(),
            jvm: QUICK_JVM.map(str::to_owned).to_vec(),
        }
    }
}

impl Config {
    /// With this line in `zoo.cfg`.
    #[must_use]
    pub fn line(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.lines.retain(|(k, _)| k != key);
        self.lines.push((key.to_owned(), value.to_string()));
        self
    }

    /// With this system property.
    #[must_use]
    pub fn property(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.properties.retain(|(k, _)| k != key);
        self.properties.push((key.to_owned(), value.to_string()));
        self
    }

    /// With this system property for zkd alone.
    #[must_use]
    pub fn zkd_property(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.zkd_properties.push((key.to_owned(), value.to_string()));
        self
    }

    fn text(&self, data: &Path, port: u16) -> String {
        let (data, host) = (data.display(), self.host);
        let mut out = format!("dataDir={data}\nclientPort={port}\nclientPortAddress={host}\n");
        for (k, v) in &self.lines {
            out.push_str(&format!("{k}={v}\n"));
        }
        out
    }

    fn flags(&self) -> Vec<String> {
        self.properties.iter().map(|(k, v)| format!("-D{k}={v}")).collect()
    }
}

/// How one implementation is started.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Short name for messages.
    fn name(&self) -> &'static str;
    /// The command that runs the server in the foreground with this `zoo.cfg`.
    fn command(&self, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command>;
}

/// The reference, stand-alone.
#[derive(Debug)]
pub struct Java;

/// The reference with what its admin port and its page for Prometheus need.
#[derive(Debug)]
pub struct JavaWithAdmin;

/// zkd.
#[derive(Debug)]
pub struct Zkd;

/// The jars of the reference as a class path.
pub fn java_class_path() -> anyhow::Result<String> {
    class_path("ZKD_JAVA_CLASSPATH", "zookeeper-3.9.4.classpath")
}

fn class_path(variable: &str, name: &str) -> anyhow::Result<String> {
    let file = match std::env::var_os(variable) {
        Some(f) => PathBuf::from(f),
        None => {
            let cache = match std::env::var_os("XDG_CACHE_HOME") {
                Some(c) => PathBuf::from(c),
                None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
            };
            cache.join("zkd/compat").join(name)
        }
    };
    let text = fs::read_to_string(&file).with_context(|| {
        format!(
            "the reference's class path is missing ({}): run compat-tests/run --setup-only",
            file.display()
        )
    })?;
    Ok(text.trim().to_owned())
}

impl Launcher for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn command(&self, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command> {
        java_server(&java_class_path()?, zoo_cfg, config)
    }
}

impl Launcher for JavaWithAdmin {
    fn name(&self) -> &'static str {
        "java"
    }

    fn command(&self, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command> {
        let class_path = class_path("ZKD_JAVA_ADMIN_CLASSPATH", "zookeeper-admin-3.9.4.classpath")?;
        java_server(&class_path, zoo_cfg, config)
    }
}

fn java_server(class_path: &str, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command> {
    let dir = zoo_cfg.parent().context("zoo.cfg has no directory")?;
    let mut command = java(class_path, dir, &config.verbose)?;
    command
        .args(&config.jvm)
        .args(config.flags())
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(zoo_cfg);
    Ok(command)
}

/// The reference's JVM without its main class. `dir` takes the settings of
/// its log, which goes to the standard output: warnings, and more of the `verbose` classes.
fn java(class_path: &str, dir: &Path, verbose: &[&str]) -> anyhow::Result<Command> {
    // Without it logback logs everything.
    let logback = dir.join("logback.xml");
    let verbose: String =
        verbose.iter().map(|name| format!("<logger name=\"{name}\" level=\"INFO\"/>")).collect();
    fs::write(
        &logback,
        format!(
            "<configuration><appender name=\"A\" class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
             <pattern>%d{{HH:mm:ss.SSS}} %-5level %logger{{0}} %msg%n</pattern></encoder></appender>{verbose}\
             <root level=\"WARN\"><appender-ref ref=\"A\"/></root></configuration>"
        ),
    )?;
    let java = std::env::var_os("JAVA_HOME")
        .map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
    let mut command = Command::new(java);
    command.arg(format!("-Dlogback.configurationFile={}", logback.display())).args(["-cp", class_path]);
    Ok(command)
}

/// What the reference's command line tool prints for these lines, as the super user.
pub fn zk_cli(addr: SocketAddr, lines: &[String]) -> anyhow::Result<String> {
    zk_cli_with(addr, &[], lines)
}

/// The same with system properties, each as `name=value`.
pub fn zk_cli_with(addr: SocketAddr, properties: &[String], lines: &[String]) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let mut child = java(&java_class_path()?, dir.path(), &[])?
        .args(QUICK_JVM)
        .args(properties.iter().map(|p| format!("-D{p}")))
        .args(["org.apache.zookeeper.ZooKeeperMain", "-waitforconnection", "-server", &addr.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("java")?;
    let mut input = child.stdin.take().context("no standard input")?;
    writeln!(input, "addauth digest {SUPER}")?;
    lines.iter().try_for_each(|line| writeln!(input, "{line}"))?;
    writeln!(input, "quit")?;
    drop(input);
    let out = child.wait_with_output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

/// The zkd under test.
pub fn zkd_binary() -> anyhow::Result<PathBuf> {
    if let Some(bin) = std::env::var_os("ZKD_BIN") {
        let bin = PathBuf::from(bin);
        if !bin.is_file() {
            bail!("ZKD_BIN names no file: {}", bin.display());
        }
        return Ok(bin);
    }
    let exe = std::env::current_exe()?;
    exe.ancestors().skip(1).take(2).map(|d| d.join("zkd")).find(|p| p.is_file()).with_context(|| {
        format!("no zkd beside {}: build it (cargo build -p zkd) or set ZKD_BIN", exe.display())
    })
}

impl Launcher for Zkd {
    fn name(&self) -> &'static str {
        "zkd"
    }

    fn command(&self, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command> {
        let mut command = Command::new(zkd_binary()?);
        let own = config.zkd_properties.iter().map(|(k, v)| format!("-D{k}={v}"));
        let flags = config.flags().into_iter().chain(own).collect::<Vec<_>>().join(" ");
        command.arg("serve").arg(zoo_cfg).env("SERVER_JVMFLAGS", flags);
        Ok(command)
    }
}

/// The launcher with this name.
pub fn launcher(name: &str) -> anyhow::Result<&'static dyn Launcher> {
    match name {
        "java" => Ok(&Java),
        "zkd" => Ok(&Zkd),
        other => bail!("no server is called {other}: java or zkd"),
    }
}

/// A server with its directory. Dropping it kills the process and removes the directory.
#[derive(Debug)]
pub struct Server {
    launcher: &'static dyn Launcher,
    config: Config,
    home: TempDir,
    port: u16,
    keeps_config: bool,
    child: Option<Child>,
    starts: u32,
}

/// A port that nobody listens on now, and that this process has not given to anybody
/// for long. No other process gives it away while this one lives. It is below the range
/// from which the kernel takes those of outgoing connections, so that it stays free while
/// its server is down, and apart from those of `compat-tests`, which may run at the same time.
pub fn free_port() -> anyhow::Result<u16> {
    static PORTS: Mutex<Ports> = Mutex::new(Ports { claims: Vec::new(), next: 0 });
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..Ports::MOST * Ports::EACH {
        let port = ports.next()?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}

/// The ports of this process, in blocks. Who listens on the first port of a block has the others.
struct Ports {
    claims: Vec<(u16, TcpListener)>,
    next: usize,
}

impl Ports {
    const FIRST: u16 = 16_500;
    const BLOCKS: u16 = 110;
    const BLOCK: u16 = 50;
    /// Ports to give away in a block.
    const EACH: usize = Self::BLOCK as usize - 1;
    /// Blocks of one process; then it begins anew.
    const MOST: usize = 40;

    fn next(&mut self) -> anyhow::Result<u16> {
        let used_up = self.next == self.claims.len() * Self::EACH;
        if used_up && (self.claims.len() == Self::MOST || !self.claim()) {
            self.next = 0;
        }
        let (first, _) = self.claims.get(self.next / Self::EACH).context("other tests have all ports")?;
        let port = first + 1 + (self.next % Self::EACH) as u16;
        self.next += 1;
        Ok(port)
    }

    /// Takes one more block; false: there is none. Processes begin at different ones.
    fn claim(&mut self) -> bool {
        let begin = (std::process::id() % u32::from(Self::BLOCKS)) as u16;
        let all = (0..Self::BLOCKS).map(|n| Self::FIRST + (begin + n) % Self::BLOCKS * Self::BLOCK);
        let claim = |first| Some((first, TcpListener::bind((Ipv4Addr::UNSPECIFIED, first)).ok()?));
        let claim = all.into_iter().find_map(claim);
        let found = claim.is_some();
        self.claims.extend(claim);
        found
    }
}

impl Server {
    /// Starts on an empty directory and waits until it serves.
    pub fn start(launcher: &'static dyn Launcher, config: Config) -> anyhow::Result<Server> {
        let mut server = Self::prepare(launcher, config)?;
        server.restart()?;
        Ok(server)
    }

    /// Makes the directories and starts nothing.
    pub fn prepare(launcher: &'static dyn Launcher, config: Config) -> anyhow::Result<Server> {
        let home = tempfile::Builder::new().prefix(&format!("zkd-test-{}-", launcher.name())).tempdir()?;
        fs::create_dir_all(home.path().join("data"))?;
        Ok(Server { launcher, config, home, port: free_port()?, keeps_config: false, child: None, starts: 0 })
    }

    /// Another program for the next start, on the same directory.
    pub fn set_launcher(&mut self, launcher: &'static dyn Launcher) {
        self.launcher = launcher;
    }

    /// Another client port for the next start.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Whether the next starts find `zoo.cfg` as the server has left it.
    pub fn keep_config(&mut self, keep: bool) {
        self.keeps_config = keep;
    }

    /// Short name of the implementation.
    pub fn name(&self) -> &'static str {
        self.launcher.name()
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((self.config.host, self.port))
    }

    /// `dataDir`.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The server's own directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process, if it was started.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The configuration for the next start.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Output of all starts.
    pub fn log(&self) -> String {
        (1..=self.starts)
            .map(|n| fs::read(self.log_file(n)).unwrap_or_default())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .collect::<Vec<_>>()
            .join("--- next start ---\n")
    }

    fn log_file(&self, start: u32) -> PathBuf {
        self.home.path().join(format!("output.{start}"))
    }

    /// The last lines of the output.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name());
        }
        let zoo_cfg = self.home.path().join("zoo.cfg");
        if !self.keeps_config {
            fs::write(&zoo_cfg, self.config.text(&self.data_dir(), self.port))?;
        }
        let command = self.launcher.command(&zoo_cfg, &self.config)?;
        let mut command = wrapped(command, &self.config.wrapper);
        self.starts += 1;
        let output = File::create(self.log_file(self.starts))?;
        command.current_dir(self.home.path()).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        self.child = Some(command.spawn().with_context(|| format!("start {command:?}"))?);
        Ok(())
    }

    /// Starts (again) on the same directory and waits until it serves.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_until_serving()
    }

    /// Waits until `srvr` answers with a mode.
    pub fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.config.start_within;
        loop {
            if let Some(status) = self.exited()? {
                bail!("{} ended while it started ({status}):\n{}", self.name(), self.log_tail());
            }
            // The reference may fail inside while it starts, and then leaves
            // the connection open.
            if self.mode().is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} does not serve within {:?}:\n{}",
                    self.name(),
                    self.config.start_within,
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `srvr` says that the server is: standalone, leader, follower or
    /// observer. `None`: it does not serve.
    pub fn mode(&self) -> Option<String> {
        let text = raw::four_letter_within(self.addr(), "srvr", Duration::from_millis(500)).ok()?;
        text.lines().find_map(|l| l.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Whether the process has ended by itself.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(c) => Ok(c.try_wait()?),
            None => Ok(None),
        }
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {within:?}:\n{}", self.name(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the server does not run")?;
        kill(Pid::from_raw(child.id() as i32), signal)?;
        Ok(())
    }

    /// Sends SIGTERM and waits.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(Duration::from_secs(60))
    }

    /// Sends SIGKILL and waits.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait_exit(Duration::from_secs(30)).map(|_| ())
    }

    /// Another server on a copy of this one's data; this one must not run.
    pub fn successor(&self, launcher: &'static dyn Launcher, config: Config) -> anyhow::Result<Server> {
        if self.child.is_some() {
            bail!("{} still runs on the directory", self.name());
        }
        let server = Self::prepare(launcher, config)?;
        copy_dir(&self.data_dir(), &server.data_dir())?;
        Ok(server)
    }

    /// A four-letter word's answer.
    pub fn word(&self, word: &str) -> anyhow::Result<String> {
        raw::four_letter(self.addr(), word)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let pid = self.pid().context("the server does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kb: u64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kb * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- end of the output of {} ---\n{}", self.name(), self.log_tail());
        }
    }
}

/// The command behind these words.
fn wrapped(command: Command, wrapper: &[String]) -> Command {
    let Some((first, rest)) = wrapper.split_first() else { return command };
    let mut outer = Command::new(first);
    outer.args(rest).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(v) => outer.env(key, v),
            None => outer.env_remove(key),
        };
    }
    outer
}

/// Copies a directory with all below it.
pub fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
