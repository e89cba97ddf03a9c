//! `zkd cli`: zkCli, with its commands, options and texts.
//! ref: org.apache.zookeeper.ZooKeeperMain.
//!
//! differs: `--json`; a line editor that completes paths; a wrong number is an error message and
//! not the end of the program; the session is closed at the end.

mod arguments;
mod commands;
mod quota;
mod text;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, bail};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Context, Editor, ExternalPrinter, Helper, Highlighter, Hinter, Validator};
use serde_json::{Map, Value, json};
use zk_client::{Client, Event, Options, Security};
use zk_proto::ErrorCode;

use crate::cli::ClientArgs;
use crate::security::{self, Given};
use crate::{Exit, Failure};
use commands::{COMMANDS, Command, Fault};

const HELP: &str = "\
Talk to a server, with zkCli's commands

Usage: zkd cli [OPTIONS] [COMMAND ...]

  -server HOST:PORT,...[/CHROOT]  servers [default: localhost:2181]
  -timeout MS                     session time-out [default: 30000]
  -r                              take a server that only serves reads
  -waitforconnection              wait for the connection, or fail
  -client-configuration FILE      properties of Java's client: TLS, logins
  -Dname=value                    one such property; it counts more
  --json                          one JSON object for each command and event

CLIENT_JVMFLAGS and JVMFLAGS in the environment are read for -Dname=value: with zookeeper.client.secure=true
and zookeeper.ssl.* connections have TLS, and java.security.auth.login.config names a file with logins.

With a command it is run and the exit code tells how it went. Without, lines are read:
with history and completion on a terminal, else as a script. `help` lists the commands.";

/// Commands that need no session. ref: ZooKeeperMain.commandMap.
const OWN: &[(&str, &str)] =
    &[("connect", "host:port"), ("history", ""), ("printwatches", "on|off"), ("quit", ""), ("redo", "cmdno")];
/// Lines that the history file keeps.
const HISTORY: usize = 1000;

/// What stands on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    servers: String,
    timeout: Duration,
    read_only: bool,
    wait: bool,
    json: bool,
    given: Given,
    command: Vec<String>,
}

/// ref: ZooKeeperMain.MyCommandOptions.parseOptions. One or two dashes are the same.
fn settings(words: &[String]) -> Result<Option<Settings>, anyhow::Error> {
    let mut out = Settings {
        servers: "localhost:2181".to_owned(),
        timeout: Duration::from_secs(30),
        read_only: false,
        wait: false,
        json: false,
        given: Given::default(),
        command: Vec::new(),
    };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Some(name) = word.strip_prefix('-') else {
            out.command.push(word.clone());
            out.command.extend(rest.cloned());
            break;
        };
        let mut value = || rest.next().ok_or_else(|| anyhow!("no argument found for option {word}"));
        match name.trim_start_matches('-') {
            "server" => out.servers.clone_from(value()?),
            "timeout" => {
                let text = value()?;
                let ms = text.parse().map_err(|_| anyhow!("-timeout {text}: it must be a number of ms"))?;
                out.timeout = Duration::from_millis(ms);
            }
            "r" => out.read_only = true,
            "waitforconnection" => out.wait = true,
            "json" => out.json = true,
            "help" | "h" => return Ok(None),
            "client-configuration" => out.given.file = Some(value()?.into()),
            name if name.starts_with('D') && name.len() > 1 => {
                out.given.properties.push(security::property(name.trim_start_matches('D')));
            }
            _ => bail!("{word} is no option of `zkd cli`; `zkd cli -help` lists them"),
        }
    }
    Ok(Some(out))
}

/// Runs the commands of the arguments, of a terminal or of a script.
pub fn run(args: &ClientArgs) -> Result<(), Failure> {
    let settings = settings(&args.arguments).map_err(|e| Failure::new(Exit::Invalid, e))?;
    let Some(settings) = settings else {
        say(HELP);
        return Ok(());
    };
    let security = security::load(&settings.given, |note| complain(&format!("zkd: {note}")));
    let security = security.map_err(|e| Failure::new(Exit::Invalid, e))?;
    let mut shell = Shell::start(settings, security).map_err(|e| Failure::new(Exit::Unexpected, e))?;
    let command = std::mem::take(&mut shell.settings.command);
    if !command.is_empty() {
        shell.execute(&command);
    } else {
        shell.banner("Welcome to ZooKeeper!");
        let read = if io::stdin().is_terminal() { edit(&mut shell) } else { script(&mut shell) };
        read.map_err(|e| Failure::new(Exit::Unexpected, e))?;
    }
    shell.end();
    if shell.failed {
        // What was wrong has been said.
        drop(shell);
        std::process::exit(Exit::Unexpected as i32);
    }
    Ok(())
}

/// A line on standard output. Whoever reads may have gone.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Where events go: through the line editor while it edits.
type Printer = Arc<Mutex<Option<Box<dyn FnMut(String) + Send>>>>;

/// A session and what is kept between commands.
struct Shell {
    settings: Settings,
    security: Security,
    client: Arc<Mutex<Arc<Client>>>,
    print_watches: Arc<AtomicBool>,
    printer: Printer,
    history: BTreeMap<usize, String>,
    count: usize,
    failed: bool,
    quit: bool,
}

impl Shell {
    fn start(settings: Settings, security: Security) -> Result<Shell, anyhow::Error> {
        let print_watches = Arc::new(AtomicBool::new(true));
        let printer = Printer::default();
        if !settings.json {
            say(&format!("Connecting to {}", settings.servers));
        }
        let client = connect(&settings, &security, &settings.servers, &print_watches, &printer)?;
        Ok(Shell {
            settings,
            security,
            client: Arc::new(Mutex::new(Arc::new(client))),
            print_watches,
            printer,
            history: BTreeMap::new(),
            count: 0,
            failed: false,
            quit: false,
        })
    }

    fn client(&self) -> Arc<Client> {
        current(&self.client)
    }

    fn banner(&self, text: &str) {
        if !self.settings.json {
            say(text);
        }
    }

    /// ref: ZooKeeperMain.getPrompt.
    fn prompt(&self) -> String {
        format!("[zk: {}({}) {}] ", self.settings.servers, self.client().state(), self.count)
    }

    /// A line of a terminal or script. ref: ZooKeeperMain.executeLine.
    fn line(&mut self, line: &str) {
        let words = arguments::words(line);
        if words.is_empty() {
            return;
        }
        self.history.insert(self.count, line.to_owned());
        self.execute(&words);
        self.count += 1;
    }

    /// ref: ZooKeeperMain.processCmd, processZKCmd.
    fn execute(&mut self, words: &[String]) {
        let Some((name, rest)) = words.split_first() else { return };
        match self.own(name, rest) {
            Ok(true) => {}
            Ok(false) => return,
            Err(text) => return self.fail(name, &Fault { text, code: None }),
        }
        let client = self.client();
        if !client.state().is_alive() {
            self.tell_trouble();
            match self.settings.json {
                true => self.fail(name, &Fault { text: "Not connected".to_owned(), code: None }),
                false => say("Not connected"),
            }
            return;
        }
        let Some(command) = Command::find(name) else {
            self.failed = false;
            return;
        };
        match command.run(&client, rest) {
            Ok(done) => {
                self.failed = false;
                if self.settings.json {
                    let mut object = Map::from_iter([("command".to_owned(), Value::from(name.as_str()))]);
                    object.extend(done.fields);
                    say(&Value::Object(object).to_string());
                    return;
                }
                done.complaints.iter().for_each(|c| complain(c));
                if let Some(text) = done.text {
                    say(&text);
                }
            }
            Err(fault) => self.fail(name, &fault),
        }
    }

    /// Why there is no connection, which Java leaves to its log.
    fn tell_trouble(&self) {
        if let Some(why) = self.client().trouble() {
            complain(&format!("no connection: {why}"));
        }
    }

    fn fail(&mut self, name: &str, fault: &Fault) {
        self.failed = true;
        if matches!(fault.code, Some(ErrorCode::ConnectionLoss | ErrorCode::AuthFailed)) {
            self.tell_trouble();
        }
        if self.settings.json {
            let code = fault.code.map(|c| format!("{c:?}"));
            say(&json!({ "command": name, "error": fault.text.trim_end(), "code": code }).to_string());
        } else {
            complain(&fault.text);
        }
    }

    /// Commands of the shell itself. True: the rest of the road is gone as well, as in Java,
    /// which says "Not connected" behind them when there is no session.
    fn own(&mut self, name: &str, rest: &[String]) -> Result<bool, String> {
        match (name, rest) {
            ("quit", _) => {
                self.quit = true;
                return Ok(false);
            }
            ("help", _) if self.settings.json => {
                let names = self.usage().into_iter().map(|(n, u)| json!({ "command": n, "usage": u }));
                say(&json!({ "command": "help", "commands": names.collect::<Vec<_>>() }).to_string());
                return Ok(false);
            }
            ("redo", [number, ..]) => {
                let number = number.parse::<usize>().ok().filter(|n| *n <= self.count);
                let line = number.and_then(|n| self.history.get(&n).cloned());
                let Some(line) = line else { return Err("Command index out of range".to_owned()) };
                let words = arguments::words(&line);
                if words.first().is_some_and(|w| w == "redo") {
                    return Err("No redoing redos".to_owned());
                }
                self.history.insert(self.count, line);
                self.execute(&words);
                return Ok(false);
            }
            ("history", _) => {
                for n in self.count.saturating_sub(10)..=self.count {
                    if let Some(line) = self.history.get(&n) {
                        self.banner(&format!("{n} - {line}"));
                    }
                }
            }
            ("printwatches", []) => {
                let on = self.print_watches.load(Ordering::Relaxed);
                self.banner(&format!("printwatches is {}", if on { "on" } else { "off" }));
            }
            ("printwatches", [word, ..]) => self.print_watches.store(word == "on", Ordering::Relaxed),
            ("connect", rest) => {
                let servers = rest.first().cloned().unwrap_or_else(|| self.settings.servers.clone());
                self.client().close();
                let (watches, printer) = (&self.print_watches, &self.printer);
                let client = connect(&self.settings, &self.security, &servers, watches, printer)
                    .map_err(|e| format!("{e:#}"))?;
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
                self.settings.servers = servers;
            }
            ("redo", []) => {}
            _ if Command::find(name).is_none() => {
                if !self.settings.json {
                    complain("ZooKeeper -server host:port -client-configuration properties-file cmd args");
                    for (name, usage) in self.usage() {
                        complain(&format!("\t{name} {usage}"));
                    }
                }
                return Err(format!("Command not found: Command not found {name}"));
            }
            _ => {}
        }
        Ok(true)
    }

    fn usage(&self) -> BTreeMap<&'static str, &'static str> {
        OWN.iter().copied().chain(COMMANDS.iter().map(|c| (c.name, c.usage))).collect()
    }

    /// Closes the session; nobody asked to see that.
    fn end(&mut self) {
        self.print_watches.store(self.quit && self.print_watches.load(Ordering::Relaxed), Ordering::Relaxed);
        self.client().close();
    }
}

fn current(client: &Mutex<Arc<Client>>) -> Arc<Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// ref: ZooKeeperMain.connectToZK.
fn connect(
    settings: &Settings,
    security: &Security,
    servers: &str,
    print_watches: &Arc<AtomicBool>,
    printer: &Printer,
) -> Result<Client, anyhow::Error> {
    let mut options = Options::new(servers)?;
    (options.timeout, options.read_only) = (settings.timeout, settings.read_only);
    let (json, print_watches, printer) = (settings.json, print_watches.clone(), printer.clone());
    let client = Client::start(options, security.clone(), move |event| {
        if print_watches.load(Ordering::Relaxed) {
            print_event(&event, json, &printer);
        }
    });
    if settings.wait && !client.wait_connected(settings.timeout) {
        let why =
            client.trouble().unwrap_or_else(|| "is a server there, and does it have a quorum?".to_owned());
        bail!("no connection to {servers} within {} ms; {why}", settings.timeout.as_millis());
    }
    Ok(client)
}

/// ref: ZooKeeperMain.MyWatcher.process.
fn print_event(event: &Event, as_json: bool, printer: &Printer) {
    let text = match as_json {
        true => json!({
            "event": format!("{:?}", event.kind), "state": event.state, "path": event.path, "zxid": event.zxid,
        })
        .to_string(),
        false => format!("\nWATCHER::\n\n{event}"),
    };
    match printer.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(print) => print(format!("{text}\n")),
        None => say(&text),
    }
}

fn script(shell: &mut Shell) -> Result<(), anyhow::Error> {
    for line in io::stdin().lock().lines() {
        shell.line(&line?);
        if shell.quit {
            break;
        }
    }
    Ok(())
}

fn edit(shell: &mut Shell) -> Result<(), anyhow::Error> {
    let config = rustyline::Config::builder().max_history_size(HISTORY)?.build();
    let mut editor: Editor<Completion, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Completion { client: shell.client.clone() }));
    let file = history_file();
    if let Some(file) = &file {
        // It is not there the first time.
        let _ = editor.load_history(file);
    }
    let mut external = editor.create_external_printer()?;
    let print = move |text: String| {
        let _ = external.print(text);
    };
    *shell.printer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(print));
    loop {
        match editor.readline(&shell.prompt()) {
            Ok(line) => {
                // A password must not get into the file.
                if !line.trim_start().starts_with("addauth") {
                    editor.add_history_entry(line.as_str())?;
                }
                shell.line(&line);
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(e.into()),
        }
        if shell.quit {
            break;
        }
    }
    *shell.printer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if let Some(file) = &file
        && let Err(e) = editor.save_history(file)
    {
        complain(&format!("the history is not kept: {}: {e}", file.display()));
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".zkd_history"))
}

/// Completes commands, and paths by asking the server.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Completion {
    client: Arc<Mutex<Arc<Client>>>,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let start = typed.rfind(char::is_whitespace).map_or(0, |i| i + 1);
        let word = typed.get(start..).unwrap_or_default();
        if start == 0 {
            let names = OWN.iter().map(|(n, _)| *n).chain(COMMANDS.iter().map(|c| c.name));
            let fitting = names.filter(|n| n.starts_with(word)).map(|n| format!("{n} ")).collect();
            return Ok((0, fitting));
        }
        let Some((parent, name)) = word.rsplit_once('/') else { return Ok((at, Vec::new())) };
        let client = current(&self.client);
        // A key press must not wait for a server.
        if !client.state().is_alive() || !client.wait_connected(Duration::ZERO) {
            return Ok((at, Vec::new()));
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        let mut names = client.get_children(parent, false).map(|(names, _)| names).unwrap_or_default();
        names.retain(|n| n.starts_with(name));
        names.sort();
        let paths = names.iter().map(|n| commands::below(parent, n)).collect();
        Ok((start, paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Option<Settings>, anyhow::Error> {
        settings(&arguments::words(line))
    }

    #[test]
    fn arguments_as_of_zkcli() {
        let s = of("-server a:1,b:2/x -timeout 5000 -r --json ls -s /").unwrap().unwrap();
        assert_eq!((s.servers.as_str(), s.timeout.as_millis()), ("a:1,b:2/x", 5000));
        assert!(s.read_only && s.json && !s.wait);
        assert_eq!(s.command, ["ls", "-s", "/"]);
        assert!(of("-help").unwrap().is_none());
        assert!(of("").unwrap().unwrap().command.is_empty());
        let s = of("-client-configuration /c -Da.b=c=d --Dx ls /").unwrap().unwrap();
        assert_eq!(s.given.file.as_deref(), Some(std::path::Path::new("/c")));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(s.given.properties, [pair("a.b", "c=d"), pair("x", "")]);
        for bad in ["-server", "-timeout x", "-foo", "-secure", "-D", "-client-configuration"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
