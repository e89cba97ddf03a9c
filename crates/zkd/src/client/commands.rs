//! zkCli's commands. ref: org.apache.zookeeper.cli.
//!
//! Texts are Java's, since scripts search them. What Java writes to standard error goes there.

use std::fs;

use serde_json::{Map, Value, json};
use zk_client::{Client, Error, check_path};
use zk_proto::client::{CreateMode, WatcherKind};
use zk_proto::{Acl, ErrorCode, Stat};
use zk_tree::owner::MAX_TTL;

use super::arguments::{OptionSpec, Parsed, parse};
use super::{quota, text};
use crate::out::put_data;

/// A command's name, its options as the usage shows them, and what it takes.
pub struct Command {
    pub name: &'static str,
    pub usage: &'static str,
    options: &'static [OptionSpec],
    least: usize,
    run: fn(&Client, &Parsed) -> Outcome,
}

/// What a command has to say.
#[derive(Debug, Default)]
pub struct Done {
    /// For standard output, lines without the last line's end.
    pub text: Option<String>,
    /// For standard error.
    pub complaints: Vec<String>,
    /// The same as an object's fields.
    pub fields: Map<String, Value>,
}

/// Why a command did not do it: for standard error, lines without the last line's end.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub text: String,
    pub code: Option<ErrorCode>,
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault { text: text::error(&e), code: e.code() }
    }
}

fn fault(text: impl Into<String>) -> Fault {
    Fault { text: text.into(), code: None }
}

type Outcome = Result<Done, Fault>;

fn done(fields: Value) -> Done {
    match fields {
        Value::Object(fields) => Done { fields, ..Done::default() },
        _ => Done::default(),
    }
}

impl Done {
    fn line(mut self, text: impl Into<String>) -> Done {
        let text = text.into();
        match &mut self.text {
            Some(all) => {
                all.push('\n');
                all.push_str(&text);
            }
            None => self.text = Some(text),
        }
        self
    }

    fn stat(mut self, stat: &Stat, shown: bool) -> Done {
        self.fields.insert("stat".to_owned(), text::stat_json(stat));
        if shown { self.line(text::stat(stat)) } else { self }
    }
}

const MODES: &str = "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE";
const RECONFIG: &str = "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]";

/// Those that need a session. ref: CommandFactory.Command.
pub const COMMANDS: &[Command] = &[
    Command { name: "addWatch", usage: MODES, options: &[("m", true)], least: 1, run: add_watch },
    Command { name: "addauth", usage: "scheme auth", options: &[], least: 1, run: add_auth },
    Command { name: "close", usage: "", options: &[], least: 0, run: close },
    Command {
        name: "config",
        usage: "[-c] [-w] [-s]",
        options: &[("c", false), ("w", false), ("s", false)],
        least: 0,
        run: config,
    },
    Command {
        name: "create",
        usage: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        options: &[("s", false), ("e", false), ("c", false), ("t", true)],
        least: 1,
        run: create,
    },
    Command { name: "delete", usage: "[-v version] path", options: &[("v", true)], least: 1, run: delete },
    Command {
        name: "deleteall",
        usage: "path [-b batch size]",
        options: &[("b", true)],
        least: 1,
        run: delete_all,
    },
    Command {
        name: "delquota",
        usage: "[-n|-b|-N|-B] path",
        options: &[("n", false), ("b", false), ("N", false), ("B", false)],
        least: 1,
        run: delquota,
    },
    Command {
        name: "get",
        usage: "[-s] [-w] [-b] [-x] path",
        options: &[("s", false), ("w", false), ("b", false), ("x", false)],
        least: 1,
        run: get,
    },
    Command { name: "getAcl", usage: "[-s] path", options: &[("s", false)], least: 1, run: get_acl },
    Command { name: "getAllChildrenNumber", usage: "path", options: &[], least: 1, run: all_children },
    Command { name: "getEphemerals", usage: "path", options: &[], least: 0, run: ephemerals },
    Command { name: "listquota", usage: "path", options: &[], least: 1, run: listquota },
    Command {
        name: "ls",
        usage: "[-s] [-w] [-R] path",
        options: &[("s", false), ("w", false), ("R", false), ("?", false)],
        least: 1,
        run: ls,
    },
    Command {
        name: "reconfig",
        usage: RECONFIG,
        options: &[
            ("s", false),
            ("v", true),
            ("file", true),
            ("members", true),
            ("add", true),
            ("remove", true),
        ],
        least: 0,
        run: reconfig,
    },
    Command {
        name: "removewatches",
        usage: "path [-c|-d|-a] [-l]",
        options: &[("c", false), ("d", false), ("p", false), ("r", false), ("a", false), ("l", false)],
        least: 1,
        run: remove_watches,
    },
    Command {
        name: "set",
        usage: "path data [-s] [-v version] [-b]",
        options: &[("s", false), ("v", true), ("b", false)],
        least: 2,
        run: set,
    },
    Command {
        name: "setAcl",
        usage: "[-s] [-v version] [-R] path acl",
        options: &[("s", false), ("v", true), ("R", false)],
        least: 2,
        run: set_acl,
    },
    Command {
        name: "setquota",
        usage: "-n|-b|-N|-B val path",
        options: &[("n", true), ("b", true), ("N", true), ("B", true)],
        least: 1,
        run: setquota,
    },
    Command { name: "stat", usage: "[-w] path", options: &[("w", false)], least: 1, run: stat },
    Command { name: "sync", usage: "path", options: &[], least: 1, run: sync },
    Command { name: "version", usage: "", options: &[], least: 0, run: version },
    Command { name: "whoami", usage: "", options: &[], least: 0, run: who_am_i },
];

impl Command {
    /// The command with this name.
    pub fn find(name: &str) -> Option<&'static Command> {
        COMMANDS.iter().find(|c| c.name == name)
    }

    /// Runs it with the words behind its name.
    pub fn run(&self, client: &Client, words: &[String]) -> Outcome {
        // These look at no option.
        let specs = self.options;
        let parsed = match self.name {
            "close" | "version" | "whoami" => Parsed::default(),
            _ => parse(specs, words).map_err(fault)?,
        };
        if parsed.arguments.len() < self.least {
            return Err(fault(self.help()));
        }
        (self.run)(client, &parsed)
    }

    fn help(&self) -> String {
        let usage = format!("{} {}", self.name, self.usage);
        match self.name {
            // Two explain their options.
            "get" => format!(
                "{usage}\n -b   Output data in base64 format\n -s   Print znode stats additionally\n \
                 -w   Watch for changes on the znode\n -x   Output data in hexdump format\n"
            ),
            "set" => format!(
                "{usage}\n -b         Supply data in base64 format\n -s         Print znode stats additionally\n \
                 -v <arg>   Set with an expected version\n"
            ),
            _ => usage,
        }
    }
}

fn first(p: &Parsed) -> &str {
    p.arguments.first().map_or("", String::as_str)
}

fn second(p: &Parsed) -> Option<&str> {
    p.arguments.get(1).map(String::as_str)
}

/// `-v`. differs: Java ends with a stack trace when it is no number.
fn version_of(p: &Parsed) -> Result<i32, Fault> {
    match p.value("v") {
        None => Ok(-1),
        Some(text) => text.parse().map_err(|_| fault("-v argument must be an int value")),
    }
}

/// The old form with a word behind the path still sets a watch.
fn watch(p: &Parsed, name: &str, options: &str, out: &mut Done) -> bool {
    let old = p.arguments.len() > 1;
    if old {
        out.complaints.push(format!(
            "'{name} path [watch]' has been deprecated. Please use '{name} {options} path' instead."
        ));
    }
    old || p.has("w")
}

fn create(client: &Client, p: &Parsed) -> Outcome {
    let (e, s, c, t) = (p.has("e"), p.has("s"), p.has("c"), p.has("t"));
    if c && (e || s) {
        return Err(fault(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    let ttl: i64 = match p.value("t") {
        None => 0,
        Some(text) => text.parse().map_err(|_| fault("-t argument must be a long value"))?,
    };
    if t && e {
        return Err(fault("TTLs cannot be used with Ephemeral znodes"));
    }
    if t && c {
        return Err(fault("TTLs cannot be used with Container znodes"));
    }
    let mode = match (e, s) {
        (true, true) => CreateMode::EphemeralSequential,
        (true, false) => CreateMode::Ephemeral,
        (false, true) if t => CreateMode::TtlSequential,
        (false, true) => CreateMode::PersistentSequential,
        _ if c => CreateMode::Container,
        _ if t => CreateMode::Ttl,
        _ => CreateMode::Persistent,
    };
    if t && !(1..=MAX_TTL).contains(&ttl) {
        return Err(fault(format!("ttl must be positive and cannot be larger than: {MAX_TTL}")));
    }
    let (acl, complaints) = p.arguments.get(2).map_or((Acl::open(), Vec::new()), |a| text::parse_acl(a));
    let data = second(p).map(str::as_bytes);
    if acl.is_empty() {
        check_path(first(p), mode.is_sequential())?;
        return Err(no_acl(complaints, true));
    }
    match client.create(first(p), data, &acl, mode, ttl) {
        Ok(path) => {
            let mut out = done(json!({ "path": path }));
            // Java prints this to standard error.
            out.complaints = complaints;
            out.complaints.push(format!("Created {path}"));
            Ok(out)
        }
        Err(Error::Refused { code: ErrorCode::EphemeralOnLocalSession, .. }) => {
            Err(fault("Unable to create ephemeral node on a local session"))
        }
        Err(e @ Error::Refused { code: code @ ErrorCode::InvalidAcl, .. }) => {
            let mut lines = complaints;
            lines.push(text::keeper(code, first(p)));
            lines.push(text::error(&e));
            Err(Fault { text: lines.join("\n"), code: Some(code) })
        }
        Err(e) => Err(e.into()),
    }
}

/// An empty list does not reach the server. ref: ZooKeeper.validateACL.
fn no_acl(mut lines: Vec<String>, with_code: bool) -> Fault {
    if with_code {
        lines.push(text::keeper(ErrorCode::InvalidAcl, ""));
    }
    lines.push("Acl is not valid : null".to_owned());
    Fault { text: lines.join("\n"), code: Some(ErrorCode::InvalidAcl) }
}

fn delete(client: &Client, p: &Parsed) -> Outcome {
    let mut out = Done::default();
    let version = match second(p) {
        Some(old) => {
            let text =
                "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.";
            out.complaints.push(text.to_owned());
            old.parse().map_err(|_| fault("the version must be an int value"))?
        }
        None => version_of(p)?,
    };
    client.delete(first(p), version)?;
    Ok(out)
}

/// ref: ZKUtil.deleteRecursive.
fn delete_all(client: &Client, p: &Parsed) -> Outcome {
    let batch: usize = match p.value("b") {
        None => 1000,
        Some(text) => match text.parse() {
            Ok(n) if n > 0 => n,
            _ => return Err(fault("-b argument must be an int value")),
        },
    };
    let mut all = vec![first(p).to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        match client.get_children(&path, false) {
            Ok((children, _)) => all.extend(children.iter().map(|c| below(&path, c))),
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) if at > 1 => {}
            Err(e) => return Err(e.into()),
        }
    }
    all.reverse();
    let mut failed = false;
    for part in all.chunks(batch) {
        failed |= match client.delete_all(part) {
            Ok(()) => false,
            // Somebody was quicker with one of them.
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) => part.iter().any(|path| {
                !matches!(
                    client.delete(path, -1),
                    Ok(()) | Err(Error::Refused { code: ErrorCode::NoNode, .. })
                )
            }),
            Err(_) => true,
        };
    }
    let mut out = done(json!({ "deleted": if failed { Value::Null } else { all.len().into() } }));
    if failed {
        out.complaints.push("Failed to delete some node(s) in the subtree!".to_owned());
    }
    Ok(out)
}

/// A child's path.
pub fn below(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}

fn get(client: &Client, p: &Parsed) -> Outcome {
    use base64::Engine as _;
    let mut out = Done::default();
    let watch = watch(p, "get", "[-s] [-w]", &mut out);
    let (data, stat) = client.get_data(first(p), watch)?;
    out.fields.insert("path".to_owned(), first(p).into());
    put_data(&mut out.fields, data.as_deref());
    let shown = match data.as_deref() {
        None => "null".to_owned(),
        Some(d) if p.has("b") => base64::engine::general_purpose::STANDARD.encode(d),
        Some(d) if p.has("x") => text::hex_dump(d),
        Some(d) => String::from_utf8_lossy(d).into_owned(),
    };
    Ok(out.line(shown).stat(&stat, p.has("s")))
}

fn set(client: &Client, p: &Parsed) -> Outcome {
    use base64::Engine as _;
    let word = second(p).unwrap_or_default();
    let data = match p.has("b") {
        true => base64::engine::general_purpose::STANDARD
            .decode(word)
            .map_err(|e| fault(format!("the data is no base64: {e}")))?,
        false => word.as_bytes().to_vec(),
    };
    let stat = client.set_data(first(p), Some(&data), version_of(p)?)?;
    Ok(done(json!({ "path": first(p) })).stat(&stat, p.has("s")))
}

fn stat(client: &Client, p: &Parsed) -> Outcome {
    let mut out = done(json!({ "path": first(p) }));
    let watch = watch(p, "stat", "[-w]", &mut out);
    match client.exists(first(p), watch)? {
        Some(stat) => Ok(out.stat(&stat, true)),
        None => Err(Error::Refused { code: ErrorCode::NoNode, path: first(p).to_owned() }.into()),
    }
}

fn ls(client: &Client, p: &Parsed) -> Outcome {
    let mut out = done(json!({ "path": first(p) }));
    let watch = watch(p, "ls", "[-w]", &mut out);
    if p.has("R") {
        let mut all = Vec::new();
        walk(client, first(p), watch, &mut |path| {
            all.push(path.to_owned());
            Ok(())
        })?;
        out.fields.insert("paths".to_owned(), all.clone().into());
        return Ok(out.line(all.join("\n")));
    }
    let (mut children, stat) = client.get_children(first(p), watch)?;
    children.sort();
    out.fields.insert("children".to_owned(), children.clone().into());
    Ok(out.line(text::list(&children)).stat(&stat, p.has("s")))
}

/// A node and all below it: a node's children one after the other, then what is below each.
/// ref: ZKUtil.visitSubTreeDFS.
pub fn walk(
    client: &Client,
    top: &str,
    watch: bool,
    each: &mut dyn FnMut(&str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    client.get_data(top, watch)?;
    each(top)?;
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        let mut children = match client.get_children(&path, watch) {
            Ok((children, _)) => children,
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) => continue,
            Err(e) => return Err(e.into()),
        };
        children.sort();
        let children: Vec<_> = children.iter().map(|c| below(&path, c)).collect();
        for child in &children {
            each(child)?;
        }
        open.extend(children.into_iter().rev());
    }
    Ok(())
}

fn get_acl(client: &Client, p: &Parsed) -> Outcome {
    let (list, stat) = client.get_acl(first(p))?;
    let fields = json!({ "path": first(p), "acl": crate::out::acl(&list) });
    let out = if list.is_empty() { done(fields) } else { done(fields).line(text::acl(&list)) };
    Ok(out.stat(&stat, p.has("s")))
}

fn set_acl(client: &Client, p: &Parsed) -> Outcome {
    let (list, complaints) = text::parse_acl(second(p).unwrap_or_default());
    let version = version_of(p)?;
    let mut out = done(json!({ "path": first(p) }));
    if list.is_empty() && !p.has("R") {
        check_path(first(p), false)?;
        return Err(no_acl(complaints, false));
    }
    out.complaints = complaints;
    let set = |path: &str| client.set_acl(path, &list, version);
    if p.has("R") {
        let mut failed = Vec::new();
        walk(client, first(p), false, &mut |path| {
            // Java says it and goes on.
            match set(path) {
                Err(Error::Refused { code, path }) => failed.push(text::keeper(code, &path)),
                done => drop(done?),
            }
            Ok(())
        })?;
        return Ok(if failed.is_empty() { out } else { out.line(failed.concat()) });
    }
    match set(first(p)) {
        Ok(stat) => Ok(out.stat(&stat, p.has("s"))),
        Err(e) => {
            let code = e.code();
            out.complaints.push(text::error(&e));
            Err(Fault { text: out.complaints.join("\n"), code })
        }
    }
}

fn all_children(client: &Client, p: &Parsed) -> Outcome {
    let n = client.all_children_number(first(p))?;
    Ok(done(json!({ "path": first(p), "number": n })).line(n.to_string()))
}

fn ephemerals(client: &Client, p: &Parsed) -> Outcome {
    let top = if p.arguments.is_empty() { "/" } else { first(p) };
    let names = client.ephemerals(top)?;
    Ok(done(json!({ "ephemerals": names })).line(text::list(&names)))
}

fn sync(client: &Client, p: &Parsed) -> Outcome {
    match client.sync(first(p)) {
        Ok(()) => Ok(done(json!({ "path": first(p) })).line("Sync is OK")),
        Err(Error::Refused { code, .. }) => {
            Err(Fault { text: format!("Sync has failed. rc={}", code.to_i32()), code: Some(code) })
        }
        Err(e) => Err(e.into()),
    }
}

fn add_auth(client: &Client, p: &Parsed) -> Outcome {
    client.add_auth(first(p), second(p).unwrap_or_default().as_bytes());
    Ok(Done::default())
}

fn add_watch(client: &Client, p: &Parsed) -> Outcome {
    if p.arguments.len() != 1 {
        return Err(fault(format!("addWatch {MODES}")));
    }
    let recursive = match p.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => true,
        Some("PERSISTENT") => false,
        Some(_) => return Err(fault(format!("addWatch {MODES}"))),
    };
    client.add_watch(first(p), recursive)?;
    Ok(Done::default())
}

fn remove_watches(client: &Client, p: &Parsed) -> Outcome {
    let kind = [
        ("c", WatcherKind::Children),
        ("d", WatcherKind::Data),
        ("p", WatcherKind::Persistent),
        ("r", WatcherKind::PersistentRecursive),
    ];
    let kind = kind.into_iter().find(|(name, _)| p.has(name)).map_or(WatcherKind::Any, |(_, kind)| kind);
    match client.remove_watches(first(p), kind, p.has("l")) {
        Ok(()) => Ok(Done::default()),
        Err(Error::Refused { code, path }) => {
            Err(Fault { text: text::keeper(code, &path), code: Some(code) })
        }
        Err(e) => Err(e.into()),
    }
}

fn close(client: &Client, _: &Parsed) -> Outcome {
    client.close();
    Ok(Done::default())
}

fn who_am_i(client: &Client, _: &Parsed) -> Outcome {
    let ids = client.who_am_i()?;
    let list: Vec<_> = ids.iter().map(|i| json!({ "scheme": i.scheme, "id": i.id })).collect();
    let lines = ids.iter().fold(done(json!({ "identities": list })).line("Auth scheme: User"), |out, i| {
        out.line(format!("{}: {}", i.scheme, i.id))
    });
    Ok(lines)
}

fn version(_: &Client, _: &Parsed) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    Ok(done(json!({ "version": version })).line(format!("ZooKeeper CLI version: zkd {version}")))
}

fn config(client: &Client, p: &Parsed) -> Outcome {
    let (data, stat) = client.get_config(p.has("w"))?;
    let text = data.map_or_else(|| "null".to_owned(), |d| String::from_utf8_lossy(&d).into_owned());
    let shown = if p.has("c") { client_addresses(&text) } else { text.clone() };
    Ok(done(json!({ "config": text })).line(shown).stat(&stat, p.has("s")))
}

/// Version and clients' addresses. ref: ConfigUtils.getClientConfigStr.
fn client_addresses(config: &str) -> String {
    let (mut version, mut addresses) = (String::new(), Vec::new());
    for (key, value) in config.lines().filter_map(|l| l.split_once('=')) {
        match key.trim() {
            "version" => version = value.trim().to_owned(),
            key if key.starts_with("server.") => {
                if let Some((_, address)) = value.trim().rsplit_once(';') {
                    let port_only = !address.contains(':');
                    addresses.push(if port_only { format!("0.0.0.0:{address}") } else { address.to_owned() });
                }
            }
            _ => {}
        }
    }
    format!("{version} {}", addresses.join(","))
}

fn reconfig(client: &Client, p: &Parsed) -> Outcome {
    let usage = || fault(format!("reconfig {RECONFIG}"));
    let (file, members, add, remove) =
        (p.value("file"), p.value("members"), p.value("add"), p.value("remove"));
    if file.is_none() && members.is_none() && add.is_none() && remove.is_none() {
        return Err(usage());
    }
    let base = match p.value("v").map(|v| i64::from_str_radix(v, 16)) {
        None => -1,
        Some(Ok(v)) => v,
        Some(Err(_)) => return Err(fault("-v must be followed by a long (configuration version)")),
    };
    if (file.is_some() || members.is_some()) && (add.is_some() || remove.is_some()) {
        return Err(fault(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes is not allowed)",
        ));
    }
    if file.is_some() && members.is_some() {
        return Err(fault("Can't use -file and -members together (conflicting non-incremental modes)"));
    }
    let from_file = match file {
        None => None,
        Some(path) => {
            let text =
                fs::read_to_string(path).map_err(|e| fault(format!("Error processing {path}: {e}")))?;
            let servers = text.lines().map(str::trim).filter(|l| l.starts_with("server."));
            Some(servers.collect::<Vec<_>>().join(","))
        }
    };
    match client.reconfigure(add, remove, from_file.as_deref().or(members), base) {
        Ok((data, stat)) => {
            let text = String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned();
            let out = done(json!({ "config": text }));
            Ok(out.line(format!("Committed new configuration:\n{text}")).stat(&stat, p.has("s")))
        }
        Err(e) => Err(e.into()),
    }
}

fn listquota(client: &Client, p: &Parsed) -> Outcome {
    let path = first(p);
    let mut out = done(json!({ "path": path }));
    out.complaints.push(format!("absolute path is {}", quota::limits_path(path)));
    match quota::list(client, path) {
        Ok((limits, used)) => {
            out.fields.insert("limits".to_owned(), limits.to_string().into());
            out.fields.insert("used".to_owned(), used.to_string().into());
            Ok(out
                .line(format!("Output quota for {path} {limits}"))
                .line(format!("Output stat for {path} {used}")))
        }
        Err(Error::Refused { code: ErrorCode::NoNode, .. }) => {
            out.fields.insert("limits".to_owned(), Value::Null);
            out.complaints.push(format!("quota for {path} does not exist."));
            Ok(out)
        }
        Err(e) => Err(e.into()),
    }
}

fn setquota(client: &Client, p: &Parsed) -> Outcome {
    let path = first(p);
    check_path(path, false)?;
    check_path(&format!("{}{path}", zk_proto::path::QUOTA), false)?;
    if path.starts_with(zk_proto::path::QUOTA) {
        return Err(fault("cannot set a quota under the path: /zookeeper/quota"));
    }
    let given = ["n", "b", "N", "B"].into_iter().find_map(|name| Some((name, p.value(name)?)));
    let Some((name, value)) = given else {
        return Err(fault(
            "org.apache.commons.cli.MissingOptionException: Missing required option: [-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard quota]",
        ));
    };
    let Ok(value) = value.parse::<i64>() else {
        return Err(fault("NumberFormatException happens when parsing the option value"));
    };
    let count = matches!(name, "n" | "N");
    if count && (value <= 0 || value > i64::from(i32::MAX)) {
        return Err(fault("the num quota must be greater than zero"));
    }
    if value < 0 {
        return Err(fault("the bytes quota must be greater than or equal to zero"));
    }
    let warnings = quota::set(client, path, quota::field(name), value)?;
    Ok(warnings.into_iter().fold(done(json!({ "path": path })), Done::line))
}

fn delquota(client: &Client, p: &Parsed) -> Outcome {
    let path = first(p);
    let fields: Vec<_> = ["n", "b", "N", "B"].into_iter().filter(|o| p.has(o)).map(quota::field).collect();
    match quota::remove(client, path, &fields) {
        Ok(true) => Ok(done(json!({ "path": path }))),
        Ok(false) => Ok(done(json!({ "path": path })).line(format!("Quota does not exist for {path}"))),
        Err(Error::Refused { code: ErrorCode::NoNode, .. }) => {
            Err(Fault { text: format!("quota for {path} does not exist."), code: Some(ErrorCode::NoNode) })
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_clients() {
        let text =
            "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2;2182\nserver.3=c:1:2\nversion=100000000";
        assert_eq!(client_addresses(text), "100000000 0.0.0.0:2181,0.0.0.0:2182");
        assert_eq!(client_addresses(""), " ");
    }

    #[test]
    fn names_are_in_javas_order() {
        assert!(COMMANDS.windows(2).all(|w| w[0].name < w[1].name));
    }
}
