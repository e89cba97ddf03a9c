//! The differential run: the same random requests to two servers, and every
//! byte of their answers compared.
//!
//! The stream comes from a seed ([`generate`]). A step is one window of
//! pipelined requests on one of several connections, or something that happens
//! to a connection. Both servers get a step before the next one begins, so that
//! everything is in one order and zxids must be equal. Events of one session's
//! requests are read with the next replies of the session that gets them: they
//! were queued before, so that their place is fixed too.

pub mod generate;
mod side;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use zk_proto::OpCode;

use crate::process::{Config, Launcher, SUPER, Server};
use crate::raw::{Conn, event};
use crate::reply::Body;
use crate::{request, tree, vectors};
use generate::{Generator, Step};
use side::{Frame, Outcome, Side};

/// What may differ, and why. Everything else is a failure.
pub const KNOWN: &[(&str, &str)] = &[
    ("times", "ctime and mtime are the server's clock; each must be of this run, and one for each zxid"),
    ("session ids", "made from a clock; compared by order of creation, and the password must be the id's"),
    ("order of children", "the reference answers in hash order; getChildren and getChildren2 are sorted"),
    (
        "order of identities",
        "a hash set in the reference: whoAmI, and the entries that `auth` became, are sorted",
    ),
    (
        "order of ephemerals",
        "getEphemerals, and the events of one closeSession, are in hash order; sorted, and quotas are never ephemeral",
    ),
    (
        "digests",
        "cover times and owners; `hash` is compared by its zxids only, digests by the tests of files",
    ),
    (
        "used zxids",
        "a multi with a null list is answered -5 and takes no zxid; the reference logs an error under the zxid before \
         it all the same, and `hash` then has two lines for it",
    ),
    (
        "null scheme in a list",
        "behind an entry of equal perms the reference answers -5, because it compares before it checks; zkd answers \
         -114 as for any other unknown scheme. Such lists are not sent",
    ),
    ("version", "the text of `srvr` names the build; only zxid, mode and node count are compared"),
    (
        "setACL in flight",
        "3.9.4 checks requests pipelined behind a setACL sometimes against the old list (mended later, see \
         PrepRequestProcessor of 3.10), so that a setACL ends its window",
    ),
    (
        "hard quotas and pipelining",
        "with enforceQuota=true the reference compares with what is applied, not with what is in flight (row 89): \
         compare such servers with windows of 1 only",
    ),
    (
        "undecodable writes",
        "sent to zkd only: it answers -5 and takes no zxid (row 57); the reference logs an error under a used zxid",
    ),
    (
        "createSession, deleteContainer",
        "internal opcodes (rows 20, 36, 56) are sent to neither; zkd's tests have them",
    ),
    (
        "setWatches",
        "the reference tells of changes of nodes that the client may not read; events with zxid -1 that only it sends \
         are passed over",
    ),
    ("createTTL with plain flags and a negative ttl", "-8 in zkd (row 34), not sent"),
    (
        "old connection at a wrong password",
        "the reference closes the old connection before it looks at the password; the client drops it first here",
    ),
    (
        "connections that go",
        "the reference forgets the connection of a session when it notices that any connection of the session has gone, \
         so that an older one noticed late leaves the newer one open at the next re-open; a client that goes waits \
         for the server's end. Events that a connection has not been sent yet are lost when the reference closes it; \
         a ping brings them in first",
    ),
];

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the stream comes from.
    pub seed: u64,
    /// At least so many operations.
    pub operations: usize,
    /// Features of the stream that are left out, see [`generate::FEATURES`].
    pub without: BTreeSet<String>,
    /// Most requests of a random window; 1: nothing is pipelined.
    pub window: usize,
    /// Settings of both servers.
    pub config: Config,
    /// Whether progress goes to stderr.
    pub progress: bool,
    /// Goes on behind this many differences, as long as zxids agree, and tells
    /// each on stderr. What follows may be a consequence of the first.
    pub forgive: usize,
}

/// What a run without differences did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Operations sent.
    pub operations: usize,
    /// Steps.
    pub steps: usize,
    /// Replies compared.
    pub replies: usize,
    /// Replies with code 0.
    pub good: usize,
    /// Events compared.
    pub events: usize,
    /// Nodes at the end.
    pub nodes: usize,
    /// zxid at the end.
    pub zxid: i64,
    /// How long it took.
    pub time: Duration,
}

/// A difference, with all a person needs to look at it.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Number of the step, from 0; the number of steps: the comparison at the end.
    pub step: usize,
    /// The steps up to it.
    pub steps: Vec<Step>,
    /// What differs.
    pub text: String,
}

/// Settings that both servers run with: nothing expires and nothing is reaped
/// by a timer while they are compared.
pub fn config() -> Config {
    Config::default()
        .line("tickTime", 2000)
        .line("minSessionTimeout", 3_600_000)
        .line("maxSessionTimeout", 7_200_000)
        .line("forceSync", "no")
        .property("znode.container.checkIntervalMs", i32::MAX)
}

/// Starts two servers and runs a plan. `Ok(Err(_))` is a difference.
pub fn run(
    reference: &'static dyn Launcher,
    subject: &'static dyn Launcher,
    plan: &Plan,
) -> anyhow::Result<Result<Report, Box<Difference>>> {
    let mut generator = Generator::new(plan.seed, &plan.without, plan.window);
    let mut steps = Vec::new();
    let mut operations = 0;
    while operations < plan.operations {
        let step = generator.step();
        operations += step.operations();
        steps.push(step);
    }
    run_forgiving(reference, subject, &plan.config, &steps, plan.progress, plan.forgive)
}

/// Runs these steps on fresh servers.
pub fn run_steps(
    reference: &'static dyn Launcher,
    subject: &'static dyn Launcher,
    config: &Config,
    steps: &[Step],
    progress: bool,
) -> anyhow::Result<Result<Report, Box<Difference>>> {
    run_forgiving(reference, subject, config, steps, progress, 0)
}

fn run_forgiving(
    reference: &'static dyn Launcher,
    subject: &'static dyn Launcher,
    config: &Config,
    steps: &[Step],
    progress: bool,
    mut forgive: usize,
) -> anyhow::Result<Result<Report, Box<Difference>>> {
    let mut first = Server::prepare(reference, config.clone())?;
    let mut second = Server::prepare(subject, config.clone())?;
    first.spawn()?;
    second.spawn()?;
    first.wait_until_serving()?;
    second.wait_until_serving()?;
    let mut a = Side::new(reference.name(), first.addr());
    let name = if subject.name() == reference.name() { "the other" } else { subject.name() };
    let mut b = Side::new(name, second.addr());
    let mut report = Report::default();
    let began = Instant::now();
    let mut told = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        let text = match compare_step(&mut a, &mut b, step, &mut report) {
            Ok(text) => text,
            Err(e) => format!("{e:#}\n"),
        };
        if !text.is_empty() && forgive > 0 && a.newest() == b.newest() {
            forgive -= 1;
            eprintln!("forgiven at step {number}:\n{text}");
        } else if !text.is_empty() {
            let mut text = text;
            for s in [&mut first, &mut second] {
                if let Ok(Some(status)) = s.exited() {
                    let _ = writeln!(text, "{} has ended ({status}):\n{}", s.name(), s.log_tail());
                }
            }
            return Ok(Err(Box::new(Difference { step: number, steps: steps[..=number].to_vec(), text })));
        }
        report.steps += 1;
        report.operations += step.operations();
        if progress && told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            eprintln!(
                "  {} operations, {} events, zxid {:#x}, {:.0} operations/s",
                report.operations,
                report.events,
                a.newest(),
                report.operations as f64 / began.elapsed().as_secs_f64()
            );
        }
    }
    report.zxid = a.newest();
    let text = match compare_end(&mut a, &mut b, &first, &second, &mut report) {
        Ok(text) => text,
        Err(e) => format!("at the end: {e:#}\n"),
    };
    report.time = began.elapsed();
    if text.is_empty() {
        return Ok(Ok(report));
    }
    Ok(Err(Box::new(Difference { step: steps.len(), steps: steps.to_vec(), text })))
}

/// Does one step on both; the text says what differs.
fn compare_step(a: &mut Side, b: &mut Side, step: &Step, report: &mut Report) -> anyhow::Result<String> {
    let slot = step.slot();
    if a.is_live(slot) != b.is_live(slot) {
        bail!(
            "connection {slot}: {} has {}, {} has {}",
            a.name,
            if a.is_live(slot) { "one" } else { "none" },
            b.name,
            if b.is_live(slot) { "one" } else { "none" }
        );
    }
    // A step that lost its place, because others were left out.
    let possible = match step {
        Step::Open { .. } => !a.is_live(slot) && !a.has_session(slot),
        Step::Again { keep, .. } => a.has_session(slot) && a.is_live(slot) == *keep,
        _ => a.is_live(slot),
    };
    if !possible {
        return Ok(String::new());
    }
    // Events on their way have to be in on both sides before what only the second
    // server gets, and before the server closes the connection, see `KNOWN`.
    if matches!(step, Step::Undecodable { .. } | Step::Garbage { .. } | Step::Again { keep: true, .. }) {
        let text = compare_step(a, b, &ping(slot), report)?;
        if !text.is_empty() || !a.is_live(slot) {
            return Ok(text);
        }
    }
    if let Step::Undecodable { requests, .. } = step {
        return undecodable(a, b, step, requests);
    }
    a.begin(step)?;
    b.begin(step)?;
    let (x, y) = (a.finish(step)?, b.finish(step)?);
    Ok(compare_outcomes(a.name, b.name, step, &x, &y, report))
}

fn ping(slot: usize) -> Step {
    let ping = generate::Request { xid: -2, op: OpCode::Ping.to_i32(), body: Vec::new() };
    Step::Window { slot, requests: vec![ping], closes: false }
}

fn undecodable(
    a: &Side,
    b: &mut Side,
    step: &Step,
    requests: &[generate::Request],
) -> anyhow::Result<String> {
    if b.name != "zkd" {
        return Ok(String::new());
    }
    let slot = step.slot();
    b.begin(step)?;
    let out = b.finish(step)?;
    let replies: Vec<&Frame> = out.frames.iter().filter(|f| f.op.is_some()).collect();
    if let Some(e) = out.frames.iter().find(|f| f.op.is_none()) {
        bail!("connection {slot}: an event came late: {}", show_frame(e));
    }
    let mut text = String::new();
    for (i, r) in requests.iter().enumerate() {
        let mut due = r.xid.to_be_bytes().to_vec();
        due.extend_from_slice(&a.newest().to_be_bytes());
        due.extend_from_slice(&(-5_i32).to_be_bytes());
        let got = replies.get(i).map(|f| f.bytes.clone()).unwrap_or_default();
        if got != due {
            let _ = writeln!(
                text,
                "{}\n  due   {}\n  {} {}",
                request::describe(r.op, &r.body),
                vectors::hex(&due),
                b.name,
                vectors::hex(&got)
            );
        }
    }
    text.push_str(&out.end);
    Ok(text)
}

fn compare_outcomes(a: &str, b: &str, step: &Step, x: &Outcome, y: &Outcome, report: &mut Report) -> String {
    let mut text = String::new();
    let mut replies = 0;
    let (left, right) = told_by_both((a, x), (b, y));
    for i in 0..left.len().max(right.len()) {
        let (f, g) = (left.get(i).copied(), right.get(i).copied());
        if f.map(|f| &f.plain) == g.map(|g| &g.plain) {
            match f.and_then(|f| f.op) {
                Some(_) => {
                    replies += 1;
                    report.replies += 1;
                    let good = f.is_some_and(|f| f.bytes.get(12..16) == Some(&[0; 4]));
                    report.good += usize::from(good);
                }
                None => report.events += 1,
            }
            continue;
        }
        if let Step::Window { requests, .. } = step
            && let Some(r) = requests.get(replies)
        {
            let _ = writeln!(
                text,
                "request {replies} of {}: xid {} {}",
                requests.len(),
                r.xid,
                request::describe(r.op, &r.body)
            );
        }
        let show = |f: Option<&Frame>| f.map_or_else(|| "nothing".to_owned(), show_frame);
        let _ = writeln!(
            text,
            "frame {i} of connection {}:\n  {a}: {}\n  {b}: {}",
            step.slot(),
            show(f),
            show(g)
        );
        break;
    }
    if x.end != y.end {
        let _ = writeln!(text, "end of the step: {a} \"{}\", {b} \"{}\"", x.end, y.end);
    }
    text
}

/// Without the events of setWatches that only the reference sends, see `KNOWN`.
fn told_by_both<'o>(
    (a, x): (&str, &'o Outcome),
    (b, y): (&str, &'o Outcome),
) -> (Vec<&'o Frame>, Vec<&'o Frame>) {
    let of_set_watches =
        |f: &Frame| f.op.is_none() && event(&f.bytes).is_some_and(|e| e.zxid == zk_proto::Zxid(-1));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut xs, mut ys) = (x.frames.iter().peekable(), y.frames.iter().peekable());
    while xs.peek().is_some() || ys.peek().is_some() {
        let same = xs.peek().map(|f| &f.plain) == ys.peek().map(|f| &f.plain);
        if !same && a != "zkd" && xs.next_if(|f| of_set_watches(f)).is_some() {
            continue;
        }
        if !same && b != "zkd" && ys.next_if(|f| of_set_watches(f)).is_some() {
            continue;
        }
        left.extend(xs.next());
        right.extend(ys.next());
    }
    (left, right)
}

fn show_frame(f: &Frame) -> String {
    let mut hex = vectors::hex(&f.bytes);
    if hex.len() > 2000 {
        hex.truncate(2000);
        hex.push_str("...");
    }
    let decoded = match f.op {
        None => event(&f.bytes).map_or_else(
            || format!("{:?}", zk_proto::client::ConnectResponse::decode(&f.bytes)),
            |e| format!("{e:?}"),
        ),
        Some(op) => {
            let mut r = jute::Reader::new(&f.bytes);
            match zk_proto::client::ReplyHeader::read(&mut r) {
                Err(e) => format!("no header: {e}"),
                Ok(h) if r.is_empty() => format!("xid {} zxid {} err {}", h.xid, h.zxid, h.err),
                Ok(h) => {
                    let mut body = format!("{:?}", Body::decode(op, r.rest()));
                    body.truncate(
                        (0..=1000.min(body.len())).rev().find(|i| body.is_char_boundary(*i)).unwrap_or(0),
                    );
                    format!("xid {} zxid {} err {} {body}", h.xid, h.zxid, h.err)
                }
            }
        }
    };
    format!("{decoded}\n     {hex}")
}

/// Compares everything that is left: late events, the trees, the counts.
fn compare_end(
    a: &mut Side,
    b: &mut Side,
    first: &Server,
    second: &Server,
    report: &mut Report,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let field = |s: &Server, word: &str, name: &str| -> anyhow::Result<String> {
        let answer = s.word(word)?;
        let line = answer.lines().find(|l| l.starts_with(name));
        Ok(line.with_context(|| format!("{word} of {} has no line {name}:\n{answer}", s.name()))?.to_owned())
    };
    // Connections that went are noticed a moment later.
    let watches = (0..600)
        .map(|_| {
            let counts = (first.word("wchs")?, second.word("wchs")?);
            if counts.0 != counts.1 {
                std::thread::sleep(Duration::from_millis(100));
            }
            anyhow::Ok(counts)
        })
        .find(|c| c.as_ref().map_or(true, |(x, y)| x == y));
    if watches.is_none() {
        let _ = writeln!(text, "wchs:\n{}\n{}", first.word("wchs")?, second.word("wchs")?);
    }
    for slot in 0..generate::SLOTS {
        text.push_str(&compare_step(a, b, &ping(slot), report)?);
    }
    for name in ["Zxid:", "Mode:", "Node count:"] {
        let (x, y) = (field(first, "srvr", name)?, field(second, "srvr", name)?);
        if x != y {
            let _ = writeln!(text, "srvr: {x} and {y}");
        }
    }
    // Digests cover times and owners and differ; the zxids they are kept for do
    // not. A line that comes twice is an error under a used zxid, see `KNOWN`.
    let zxids = |text: String| {
        let mut zxids: Vec<&str> = text.lines().map(|l| l.split(':').next().unwrap_or(l)).collect();
        zxids.dedup();
        zxids.join("\n")
    };
    let (x, y) = (zxids(first.word("hash")?), zxids(second.word("hash")?));
    if x != y {
        let differ = x.lines().zip(y.lines()).find(|(x, y)| x != y);
        let _ = writeln!(
            text,
            "hash: {} and {} lines, first difference {differ:?}",
            x.lines().count(),
            y.lines().count()
        );
    }
    let mut trees = Vec::new();
    for (side, server) in [(&mut *a, first), (&mut *b, second)] {
        let mut conn = Conn::open(server.addr(), 4_000_000)?;
        conn.auth("digest", SUPER.as_bytes())?;
        let mut tree = tree::read(&mut conn)?;
        conn.close()?;
        for (path, node) in &mut tree {
            node.stat = side.plain_node_stat(node.stat).with_context(|| path.clone())?;
            if let Some(acl) = &mut node.acl {
                side::sort_acl(acl);
            }
        }
        trees.push(tree);
    }
    report.nodes = trees[0].len();
    text.push_str(&tree::compare(&trees[0], &trees[1], |_, _, _| false));
    Ok(text)
}

/// What a person reads of a difference.
pub fn explain(difference: &Difference, replay: &str) -> String {
    let mut out = format!("DIFFERENCE at step {}\n{}\n", difference.step, difference.text);
    let from = difference.steps.len().saturating_sub(12);
    out.push_str("the last steps:\n");
    for (i, step) in difference.steps.iter().enumerate().skip(from) {
        let _ = writeln!(out, "{}", show_step(i, step));
    }
    let _ = writeln!(out, "replay: {replay}");
    out
}

/// One step for a person.
pub fn show_step(number: usize, step: &Step) -> String {
    let (slot, requests) = match step {
        Step::Window { slot, requests, .. } | Step::Undecodable { slot, requests } => (slot, requests),
        other => return format!("step {number}: {other:?}"),
    };
    let kind = match step {
        Step::Window { closes: true, .. } => ", then closed",
        Step::Undecodable { .. } => ", undecodable",
        _ => "",
    };
    let mut out = format!("step {number}: connection {slot}, {} requests{kind}", requests.len());
    for r in requests {
        let mut line = request::describe(r.op, &r.body);
        line.truncate((0..=300.min(line.len())).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0));
        let _ = write!(out, "\n    xid {} {line}", r.xid);
    }
    out
}

/// Cuts the steps of a difference to fewer that still differ: whole steps
/// first, then requests of the steps that are left. Each try starts two
/// servers; `tries` and `time` bound them.
pub fn shrink(
    reference: &'static dyn Launcher,
    subject: &'static dyn Launcher,
    config: &Config,
    difference: Difference,
    tries: usize,
    time: Duration,
) -> anyhow::Result<Difference> {
    let mut s =
        Shrinker { reference, subject, config, best: difference, tries, deadline: Instant::now() + time };
    // Without the steps that make sessions nothing else means anything.
    s.steps(|step| !matches!(step, Step::Open { .. } | Step::Again { .. }) && !is_auth(step))?;
    s.steps(|_| true)?;
    s.requests()?;
    Ok(s.best)
}

fn is_auth(step: &Step) -> bool {
    matches!(step, Step::Window { requests, .. } if requests.iter().all(|r| r.op == OpCode::Auth.to_i32()))
}

struct Shrinker<'a> {
    reference: &'static dyn Launcher,
    subject: &'static dyn Launcher,
    config: &'a Config,
    best: Difference,
    tries: usize,
    deadline: Instant,
}

impl Shrinker<'_> {
    fn spent(&self) -> bool {
        self.tries == 0 || Instant::now() > self.deadline
    }

    /// Whether fewer steps still differ; they are the best then.
    fn attempt(&mut self, steps: &[Step]) -> anyhow::Result<bool> {
        self.tries -= 1;
        match run_steps(self.reference, self.subject, self.config, steps, false)? {
            Ok(_) => Ok(false),
            Err(d) => {
                self.best = *d;
                let operations: usize = self.best.steps.iter().map(Step::operations).sum();
                eprintln!("  still different: {} steps, {operations} operations", self.best.steps.len());
                Ok(true)
            }
        }
    }

    /// Leaves out chunks of the steps that `may` allows, ever smaller ones.
    fn steps(&mut self, may: impl Fn(&Step) -> bool) -> anyhow::Result<()> {
        let mut chunk = self.best.steps.len().div_ceil(2);
        while chunk > 0 && !self.spent() {
            let mut at = 0;
            while at < self.best.steps.len() && !self.spent() {
                let end = (at + chunk).min(self.best.steps.len());
                let fewer: Vec<Step> = (self.best.steps.iter().enumerate())
                    .filter(|(i, step)| !(at..end).contains(i) || !may(step))
                    .map(|(_, step)| step.clone())
                    .collect();
                if fewer.len() == self.best.steps.len() || !self.attempt(&fewer)? {
                    at = end;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
        Ok(())
    }

    /// Leaves out chunks of the requests of each window, the last window first.
    fn requests(&mut self) -> anyhow::Result<()> {
        let mut at = self.best.steps.len();
        while at > 0 && !self.spent() {
            at -= 1;
            let mut chunk = self.window_len(at).div_ceil(2);
            while chunk > 0 && !self.spent() {
                let mut from = 0;
                while from < self.window_len(at) && self.window_len(at) > 1 && !self.spent() {
                    let to = (from + chunk).min(self.window_len(at));
                    let mut fewer = self.best.steps.clone();
                    if let Some(Step::Window { requests, .. }) = fewer.get_mut(at) {
                        requests.drain(from..to);
                    }
                    if !self.attempt(&fewer)? {
                        from = to;
                    }
                }
                chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
            }
        }
        Ok(())
    }

    fn window_len(&self, at: usize) -> usize {
        match self.best.steps.get(at) {
            Some(Step::Window { requests, .. }) => requests.len(),
            _ => 0,
        }
    }
}
