//! The entry point of the container image: what people set for the official `zookeeper` image means the
//! same here.
//!
//! It is part of the binary and no script, so that it is tested as everything else and the image needs no
//! shell. It makes `zoo.cfg` from `ZOO_*` variables where there is none, and `myid`, then becomes the command.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context as _, bail};
use zk_client::Link;
use zk_config::Config;

use crate::status::exchange;
use crate::{Exit, Failure, serve};

/// How long the server may take to answer a health check.
const HEALTH_WAIT: Duration = Duration::from_secs(5);

/// The image's directories and variables.
struct Image<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Makes what is missing and becomes the command.
pub fn entry(command: &[String]) -> Result<(), Failure> {
    let image = Image { variable: &variable };
    let prepared = image.prepare();
    let serves = serves(command);
    if let (Err(e), false) = (&prepared, serves.is_some()) {
        // Whoever runs another program may not need it.
        eprintln!("zkd: no zoo.cfg was made: {e:#}");
    }
    let mut next = match serves {
        Some(named) => {
            let made = prepared.map_err(|e| Failure::new(Exit::Invalid, e))?;
            let binary = env::current_exe().map_err(|e| Failure::new(Exit::Unexpected, e))?;
            let mut next = Command::new(binary);
            next.arg("serve").arg(named.map_or(made, PathBuf::from));
            next
        }
        None => {
            let mut next = Command::new(&command[0]);
            next.args(&command[1..]);
            next
        }
    };
    if let Some(level) = image.log_level() {
        next.env("ZKD_LOG", level);
    }
    let program = next.get_program().to_owned();
    Err(Failure::new(
        Exit::Unexpected,
        anyhow::Error::new(next.exec()).context(format!("cannot run {program:?}")),
    ))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Whether a command is Java's to serve, and the configuration that it names.
fn serves(command: &[String]) -> Option<Option<OsString>> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Some(None),
        [program, "start-foreground"] if is_server(program) => Some(None),
        [program, "start-foreground", file] if is_server(program) => Some(Some(file.into())),
        _ => None,
    }
}

fn is_server(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "zkServer.sh")
}

impl Image<'_> {
    fn text(&self, name: &str, default: &str) -> String {
        (self.variable)(name).filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned())
    }

    fn conf_dir(&self) -> PathBuf {
        self.text("ZOO_CONF_DIR", "/conf").into()
    }

    fn data_dir(&self) -> PathBuf {
        self.text("ZOO_DATA_DIR", "/data").into()
    }

    /// Where `zoo.cfg` is when the directory for it cannot be written to.
    fn second_file(&self) -> PathBuf {
        self.data_dir().join("zoo.cfg.made")
    }

    /// The configuration that serves: the one that was mounted, or the one that was made.
    fn config_file(&self) -> PathBuf {
        let first = self.conf_dir().join("zoo.cfg");
        if first.exists() { first } else { self.second_file() }
    }

    fn prepare(&self) -> anyhow::Result<PathBuf> {
        let file = self.make_config()?;
        let myid = self.data_dir().join("myid");
        let id = format!("{}\n", self.text("ZOO_MY_ID", "1"));
        match fs::OpenOptions::new().write(true).create_new(true).open(&myid) {
            Ok(mut file) => {
                file.write_all(id.as_bytes()).with_context(|| format!("write {}", myid.display()))?
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("make {}", myid.display())),
        }
        Ok(file)
    }

    /// A file that was mounted, or that an earlier start made, is left alone. On a root file system that
    /// is read-only it is made in the data directory, anew at each start, unless the server has begun to
    /// keep its members beside it.
    fn make_config(&self) -> anyhow::Result<PathBuf> {
        let first = self.conf_dir().join("zoo.cfg");
        if first.exists() {
            return Ok(first);
        }
        let text = self.zoo_cfg();
        match fs::write(&first, &text) {
            Ok(()) => return Ok(first),
            Err(e) if may_be_read_only(&e) => {}
            Err(e) => return Err(e).with_context(|| format!("write {}", first.display())),
        }
        let second = self.second_file();
        let kept = fs::read_to_string(&second).is_ok_and(|text| text.contains("\ndynamicConfigFile="));
        if !kept {
            fs::write(&second, text).with_context(|| {
                format!("write {} or {}; mount a volume there", first.display(), second.display())
            })?;
        }
        Ok(second)
    }

    fn zoo_cfg(&self) -> String {
        let mut lines = vec![
            format!("dataDir={}", self.data_dir().display()),
            format!("dataLogDir={}", self.text("ZOO_DATA_LOG_DIR", "/datalog")),
        ];
        let keys = [
            ("tickTime", "ZOO_TICK_TIME", "2000"),
            ("initLimit", "ZOO_INIT_LIMIT", "5"),
            ("syncLimit", "ZOO_SYNC_LIMIT", "2"),
            ("autopurge.snapRetainCount", "ZOO_AUTOPURGE_SNAPRETAINCOUNT", "3"),
            ("autopurge.purgeInterval", "ZOO_AUTOPURGE_PURGEINTERVAL", "0"),
            ("maxClientCnxns", "ZOO_MAX_CLIENT_CNXNS", "60"),
            ("standaloneEnabled", "ZOO_STANDALONE_ENABLED", "true"),
            ("admin.enableServer", "ZOO_ADMINSERVER_ENABLED", "true"),
        ];
        lines.extend(keys.map(|(key, variable, default)| format!("{key}={}", self.text(variable, default))));
        let servers = self.text("ZOO_SERVERS", "server.1=localhost:2888:3888;2181");
        // Lines of the time before client ports were among them.
        if !servers.contains(';') {
            lines.push("clientPort=2181".to_owned());
        }
        lines.extend(servers.split_whitespace().map(str::to_owned));
        if let Some(words) = (self.variable)("ZOO_4LW_COMMANDS_WHITELIST").filter(|w| !w.is_empty()) {
            lines.push(format!("4lw.commands.whitelist={words}"));
        }
        lines.extend(self.text("ZOO_CFG_EXTRA", "").split_whitespace().map(str::to_owned));
        lines.join("\n") + "\n"
    }

    /// `ZOO_LOG4J_PROP` such as `DEBUG,CONSOLE`: a level, and where to. Messages go to the standard error.
    fn log_level(&self) -> Option<String> {
        let property = (self.variable)("ZOO_LOG4J_PROP")?;
        if property.contains("FILE") {
            eprintln!(
                "zkd: ZOO_LOG4J_PROP={property}: messages go to the standard error, no file is written"
            );
        }
        let level = property.split(',').next().map(|l| l.trim().to_ascii_lowercase())?;
        let known = ["error", "warn", "info", "debug", "trace"].contains(&level.as_str());
        (known && (self.variable)("ZKD_LOG").is_none()).then_some(level)
    }
}

/// A directory of the image that belongs to root, or a file system without writing.
fn may_be_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound)
}

/// Asks the server beside for its mode.
pub fn health() -> Result<(), Failure> {
    ask().map_err(|e| Failure::new(Exit::Unexpected, e))
}

fn ask() -> anyhow::Result<()> {
    let file = Image { variable: &variable }.config_file();
    let client = Config::load(&file, &serve::env())?.config.connections.client;
    let client = client.context("there is no clientPort to ask")?;
    let host = client.host.as_deref().unwrap_or("localhost");
    let mut last = anyhow::anyhow!("{host} has no address");
    for address in (host, client.port).to_socket_addrs()? {
        match srvr(&address) {
            Ok(answer) if answer.contains("\nMode: ") => return Ok(()),
            Ok(answer) => bail!("{}", answer.trim_end()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn srvr(address: &std::net::SocketAddr) -> anyhow::Result<String> {
    let stream = TcpStream::connect_timeout(address, HEALTH_WAIT)?;
    exchange(&Link::open(stream, "", None, HEALTH_WAIT)?, "srvr", HEALTH_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(variables: &[(&str, &str)]) -> String {
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Image { variable: &lookup }.zoo_cfg()
    }

    #[test]
    fn without_variables_one_server_alone() {
        assert_eq!(
            made(&[]),
            "dataDir=/data\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n\
             autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\nstandaloneEnabled=true\n\
             admin.enableServer=true\nserver.1=localhost:2888:3888;2181\n"
        );
    }

    #[test]
    fn each_variable_is_a_line() {
        for (variable, line) in [
            ("ZOO_DATA_DIR", "dataDir=7"),
            ("ZOO_DATA_LOG_DIR", "dataLogDir=7"),
            ("ZOO_TICK_TIME", "tickTime=7"),
            ("ZOO_INIT_LIMIT", "initLimit=7"),
            ("ZOO_SYNC_LIMIT", "syncLimit=7"),
            ("ZOO_AUTOPURGE_PURGEINTERVAL", "autopurge.purgeInterval=7"),
            ("ZOO_AUTOPURGE_SNAPRETAINCOUNT", "autopurge.snapRetainCount=7"),
            ("ZOO_MAX_CLIENT_CNXNS", "maxClientCnxns=7"),
            ("ZOO_STANDALONE_ENABLED", "standaloneEnabled=7"),
            ("ZOO_ADMINSERVER_ENABLED", "admin.enableServer=7"),
            ("ZOO_4LW_COMMANDS_WHITELIST", "4lw.commands.whitelist=7"),
            ("ZOO_SERVERS", "7"),
            ("ZOO_CFG_EXTRA", "7"),
        ] {
            let text = made(&[(variable, "7")]);
            assert!(text.lines().any(|l| l == line), "{variable}: {text}");
        }
        let text = made(&[("ZOO_SERVERS", "server.1=a:1:2;3 server.2=b:1:2"), ("ZOO_CFG_EXTRA", "a=1 b=2")]);
        assert!(text.ends_with("server.1=a:1:2;3\nserver.2=b:1:2\na=1\nb=2\n"), "{text}");
        assert!(made(&[("ZOO_SERVERS", "server.1=a:1:2")]).contains("clientPort=2181\nserver.1=a:1:2\n"));
        assert!(!made(&[]).contains("clientPort"));
    }

    #[test]
    fn what_is_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (conf, data) = (at("conf"), at("data"));
        let lookup = |name: &str| match name {
            "ZOO_CONF_DIR" => Some(conf.clone()),
            "ZOO_DATA_DIR" => Some(data.clone()),
            "ZOO_MY_ID" => Some("3".to_owned()),
            _ => None,
        };
        let image = Image { variable: &lookup };
        fs::create_dir(&data).expect("made");
        // No directory for the configuration.
        let second = image.prepare().expect("prepared");
        assert_eq!(second, Path::new(&data).join("zoo.cfg.made"));
        assert_eq!(fs::read_to_string(at("data/myid")).ok().as_deref(), Some("3\n"));
        fs::write(&second, "a=1\ndynamicConfigFile=x\n").expect("written");
        fs::write(at("data/myid"), "9\n").expect("written");
        image.prepare().expect("prepared");
        assert_eq!(fs::read_to_string(&second).ok().as_deref(), Some("a=1\ndynamicConfigFile=x\n"));
        assert_eq!(fs::read_to_string(at("data/myid")).ok().as_deref(), Some("9\n"));
        fs::create_dir(&conf).expect("made");
        fs::write(at("conf/zoo.cfg"), "mine\n").expect("written");
        assert_eq!(image.prepare().ok(), Some(Path::new(&conf).join("zoo.cfg")));
        assert_eq!(fs::read_to_string(at("conf/zoo.cfg")).ok().as_deref(), Some("mine\n"));
    }

    #[test]
    fn commands_that_serve() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(serves(&[]), Some(None));
        assert_eq!(serves(&words("zkServer.sh start-foreground")), Some(None));
        assert_eq!(serves(&words("/a/zkServer.sh start-foreground /b.cfg")), Some(Some("/b.cfg".into())));
        assert_eq!(serves(&words("zkServer.sh status")), None);
        assert_eq!(serves(&words("zkCli.sh -server a")), None);
    }

    #[test]
    fn the_level_of_log4j() {
        let level = |value: &str| {
            let lookup = |name: &str| (name == "ZOO_LOG4J_PROP").then(|| value.to_owned());
            Image { variable: &lookup }.log_level()
        };
        assert_eq!(level("DEBUG,CONSOLE").as_deref(), Some("debug"));
        assert_eq!(level("nonsense"), None);
    }
}
