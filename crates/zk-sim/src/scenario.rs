//! A run that a text file tells.
//!
//! One step a line; `#` begins a comment. Members are told by their numbers, `all` is each.
//!
//! | step | what it does |
//! |---|---|
//! | `members 3`, `observers 1`, `snapshots` | first: the ensemble; a snapshot for every learner |
//! | `masters` | first: followers serve the observers |
//! | `start 1 2`, `crash 1 lost`, `crash 1 kept` | `lost`: with what is not synced |
//! | `crash 1 lost before Persist`, `... after AppendSync` | at the first output of this name |
//! | `disk 2 stop`, `disk 2 go`, `pause 2 3s` | its log is not synced; it does nothing |
//! | `cut 1 > 2`, `cut 1 \| 2 3`, `heal` | one direction; two sides |
//! | `spares 1` | first: machines that are no members, and `reconfigEnabled` |
//! | `hire 4 [observer]` | a machine is told of the members and itself, and starts |
//! | `a members +4 -1`, `+4o`, `+1p`, `only 1 2 4` | client a wishes other members: as an observer, on another port |
//! | `leave 1`, `abdicate 1`, `wipe 1` | it is told to stop, to hand over; it crashes and its disk is lost |
//! | `wait voters 2 3 4`, `expect voters 2 3 4` | of the newest configuration in force |
//! | `purge 1` | its log goes on behind its state |
//! | `client a 1 [s]`, `kill a` | a client of member 1 with a time-out; it falls silent |
//! | `a moves 2` | it leaves its member for another one, with its session |
//! | `a create /x [ephemeral]`, `a set /x v`, `a get /x [watch]`, `a close` | without waiting |
//! | `run 5s`, `wait leader`, `wait serving 1 2` | time passes |
//! | `expect leader 3`, `expect x /x v 1 2`, `expect none /x 1 2` | on these members |
//! | `expect same 1 2`, `expect answers a 3`, `expect down 1`, `expect epoch 1 2` | |
//!
//! Every checker looks on, as in a random run.

use std::collections::BTreeMap;

use bytes::Bytes;
use zk_proto::OpCode;
use zk_proto::client::WriteRequest;

use crate::clients::Mode;
use crate::disk::Unsynced;
use crate::member::CrashAt;
use crate::note;
use crate::operator::Wish;
use crate::plant::Plant;
use crate::sim::{Shape, Sim, catch};
use crate::state::Image;

/// Why a scenario failed: the line and what was wrong.
pub type Failure = String;

/// Runs a scenario, with a bug put back if one is named. Gives the trace as well.
///
/// # Errors
/// If a step does not parse, an expectation does not hold, or a checker found something.
pub fn run(text: &str, plant: Option<Plant>, trace: bool) -> (Result<(), Failure>, String) {
    let mut told = Told::new(text, plant, trace);
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<_> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        note!(told.sim.w, "== {line}");
        let mut result = Ok(());
        let panic = catch(|| result = told.step(&words));
        let violation = panic.map(|p| format!("panic: {p}")).or(told.sim.w.checks.violation.clone());
        if let Err(why) = violation.map_or(result, Err) {
            return (
                Err(format!("line {}: {line}: {why}", n + 1)),
                told.sim.w.trace.take().unwrap_or_default(),
            );
        }
    }
    (Ok(()), told.sim.w.trace.take().unwrap_or_default())
}

struct Told {
    sim: Sim,
    clients: BTreeMap<String, usize>,
}

fn number(word: &str) -> Result<usize, Failure> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

/// Places of those who vote in the newest configuration.
fn voters(sim: &Sim) -> Vec<usize> {
    let newest = sim.w.checks.configs.newest();
    sim.members.iter().filter(|m| newest.is_voter(m.id)).map(|m| m.index).collect()
}

/// `+4` joins, `+4o` as an observer, `+4p` with another port, `-1` leaves; all are told if the
/// first word is `only`.
fn wish(words: &[&str]) -> Result<Wish, Failure> {
    let mut wish = Wish::default();
    for word in words {
        if *word == "only" {
            wish.all = true;
        } else if let Some(id) = word.strip_prefix('-') {
            wish.leaving.push(number(id)?.wrapping_sub(1));
        } else {
            let joins = word.trim_start_matches('+');
            let id = number(joins.trim_end_matches(['o', 'p']))?.wrapping_sub(1);
            let port = if joins.ends_with('p') { 2889 } else { 2888 };
            wish.joining.push((id, port, joins.ends_with('o')));
        }
    }
    Ok(wish)
}

fn time(word: &str) -> Result<u64, Failure> {
    let (digits, unit) = match word.strip_suffix("ms") {
        Some(digits) => (digits, 1_000),
        None => (word.strip_suffix('s').ok_or_else(|| format!("{word:?} is no time"))?, 1_000_000),
    };
    Ok(number(digits)? as u64 * unit)
}

impl Told {
    fn new(text: &str, plant: Option<Plant>, trace: bool) -> Self {
        let size = |key: &str| {
            let line = text.lines().find_map(|l| l.trim().strip_prefix(key));
            line.and_then(|n| n.trim().parse().ok())
        };
        let shape = Shape {
            voters: size("members ").unwrap_or(3),
            observers: size("observers ").unwrap_or(0),
            spares: size("spares ").unwrap_or(0),
            reconfig: size("spares ").is_some(),
            tick_ms: 200,
            force_snap: text.lines().any(|l| l.trim() == "snapshots"),
            join_bytes: zab::leader::JOIN_BYTES,
            rebase: 0,
            observer_master: text.lines().any(|l| l.trim() == "masters"),
        };
        let mut sim = Sim::new(1, shape, trace);
        sim.w.plant = plant;
        Self { sim, clients: BTreeMap::new() }
    }

    fn members(&self, words: &[&str]) -> Result<Vec<usize>, Failure> {
        if words == ["all"] {
            return Ok((0..self.sim.members.len()).collect());
        }
        words.iter().map(|w| self.member(w)).collect()
    }

    fn member(&self, word: &str) -> Result<usize, Failure> {
        let n = number(word)?.wrapping_sub(1);
        self.sim.members.get(n).map(|m| m.index).ok_or_else(|| format!("there is no member {word}"))
    }

    fn step(&mut self, words: &[&str]) -> Result<(), Failure> {
        match words {
            ["members" | "observers" | "spares", _] | ["snapshots" | "masters"] => {}
            ["start", who @ ..] => self.members(who)?.into_iter().for_each(|m| self.sim.restart(m)),
            ["crash", who, how, at @ ..] => self.crash(who, how, at)?,
            ["leave", who] => {
                let (m, calm) = (self.member(who)?, self.sim.is_calm());
                self.sim.members[m].leave(&mut self.sim.w, calm);
            }
            ["abdicate", who] => {
                let (m, calm) = (self.member(who)?, self.sim.is_calm());
                self.sim.members[m].abdicate(&mut self.sim.w, calm);
            }
            ["wipe", who] => {
                let m = self.member(who)?;
                self.sim.members[m].wipe(&mut self.sim.w);
            }
            ["hire", who, role @ ..] => {
                let m = self.member(who)?;
                self.sim.hire(m, role == ["observer"], false);
            }
            ["disk", who, go] => {
                let m = self.member(who)?;
                self.sim.members[m].disk_held = *go == "stop";
                self.sim.members[m].sync(&mut self.sim.w);
            }
            ["pause", who, t] => self.sim.pause(self.member(who)?, time(t)?),
            ["cut", from, ">", to] => self.sim.cut(&[(self.member(from)?, self.member(to)?)]),
            ["cut", sides @ ..] => self.cut(sides)?,
            ["heal"] => self.sim.heal(),
            ["purge", who] => self.purge(who)?,
            ["client", name, who] => {
                let (id, m) = (self.sim.clients.len(), self.member(who)?);
                self.sim.add_client(id, 4000, Mode::Told(m));
                self.clients.insert((*name).to_owned(), id);
            }
            ["kill", name] => self.kill(name)?,
            ["run", t] => self.sim.run_for(time(t)?),
            ["wait", "voters", who @ ..] => {
                let who = self.members(who)?;
                self.wait(|s| voters(s) == who)?;
            }
            ["wait", "leader"] => self.wait(|s| s.members.iter().any(|m| m.leads()))?,
            ["wait", "serving", who @ ..] => {
                let who = self.members(who)?;
                self.wait(|s| who.iter().all(|m| s.members[*m].serves()))?;
            }
            ["wait", "down", who] => {
                let who = self.member(who)?;
                self.wait(|s| s.members[who].live.is_none())?;
            }
            ["expect", rest @ ..] => self.expect(rest)?,
            [client, "moves", who] => {
                let (id, m) = (self.client(client)?, self.member(who)?);
                self.sim.clients[id].mode = Mode::Told(m);
                if let Some(conn) = self.sim.clients[id].conn {
                    self.sim.clients[id].leave(&mut self.sim.w, conn);
                }
            }
            [client, asks @ ..] => self.ask(client, asks)?,
            [] => {}
        }
        Ok(())
    }

    fn crash(&mut self, who: &str, how: &str, at: &[&str]) -> Result<(), Failure> {
        let m = self.member(who)?;
        let how = match how {
            "lost" => Unsynced::Lost,
            "kept" => Unsynced::Kept,
            other => return Err(format!("{other:?} is not lost or kept")),
        };
        let at = match at {
            [] => {
                self.sim.members[m].crash(&mut self.sim.w, how);
                return Ok(());
            }
            ["before", name] => CrashAt::Before((*name).to_owned()),
            ["after", name] => CrashAt::After((*name).to_owned()),
            other => return Err(format!("{other:?} is not before or after an output")),
        };
        self.sim.members[m].crash_at = Some((at, how));
        Ok(())
    }

    fn cut(&mut self, sides: &[&str]) -> Result<(), Failure> {
        let mut groups =
            sides.split(|w| *w == "|").map(|g| self.members(g)).collect::<Result<Vec<_>, _>>()?;
        let mut cuts = Vec::new();
        while let Some(group) = groups.pop() {
            for other in groups.iter().flatten() {
                cuts.extend(group.iter().flat_map(|m| [(*m, *other), (*other, *m)]));
            }
        }
        self.sim.cut(&cuts);
        Ok(())
    }

    fn purge(&mut self, who: &str) -> Result<(), Failure> {
        let m = self.member(who)?;
        let member = &mut self.sim.members[m];
        let live = member.live.as_ref().ok_or("it does not run")?;
        member.disk.rebase(std::rc::Rc::new(Image::of(&live.tree, &live.chain)), true);
        Ok(())
    }

    fn wait(&mut self, until: impl Fn(&Sim) -> bool) -> Result<(), Failure> {
        for _ in 0..3000 {
            if until(&self.sim) || !self.sim.is_fine() {
                return Ok(());
            }
            self.sim.run_for(10_000);
        }
        Err("30 s were not enough".to_owned())
    }

    fn client(&self, name: &str) -> Result<usize, Failure> {
        self.clients.get(name).copied().ok_or_else(|| format!("there is no {name:?}"))
    }

    fn kill(&mut self, name: &str) -> Result<(), Failure> {
        let id = self.client(name)?;
        if let Some(conn) = self.sim.clients[id].conn {
            self.sim.clients[id].leave(&mut self.sim.w, conn);
        }
        self.sim.clients[id].mode = Mode::Gone;
        Ok(())
    }

    fn ask(&mut self, name: &str, asks: &[&str]) -> Result<(), Failure> {
        let id = self.client(name)?;
        for _ in 0..1000 {
            if self.sim.clients[id].open {
                break;
            }
            self.sim.run_for(10_000);
        }
        let (client, w) = (&mut self.sim.clients[id], &mut self.sim.w);
        let Some(conn) = client.conn.filter(|_| client.open) else {
            return Err("it is not connected".to_owned());
        };
        match asks {
            ["create", path] => client.create(w, conn, path, 0),
            ["create", path, "ephemeral"] => client.create(w, conn, path, 1),
            ["set", path, value] => {
                let data = Some(Bytes::copy_from_slice(value.as_bytes()));
                let set = WriteRequest::SetData { path: Some((*path).into()), data, version: -1 };
                client.write(w, conn, path, set);
            }
            ["get", path] => client.read(w, conn, OpCode::GetData, path, false),
            ["get", path, "watch"] => client.read(w, conn, OpCode::GetData, path, true),
            ["sync"] => client.read(w, conn, OpCode::Sync, "/", false),
            ["members", change @ ..] => {
                let wish = wish(change)?;
                client.write(w, conn, "", wish.request(-1));
            }
            ["close"] => {
                client.write(w, conn, "", WriteRequest::CloseSession);
                client.mode = Mode::Gone;
            }
            other => return Err(format!("{other:?} is nothing that a client asks for")),
        }
        Ok(())
    }

    fn expect(&self, what: &[&str]) -> Result<(), Failure> {
        match what {
            ["leader", who] => {
                let m = self.member(who)?;
                let leader = self.sim.members.iter().position(|m| m.leads()).map(|n| n + 1);
                self.holds(self.sim.members[m].leads(), || format!("the leader is {leader:?}"))
            }
            ["data", path, value, who @ ..] => self.each(who, |tree| {
                let node = tree.get(path).and_then(|n| n.data_bytes());
                (node.as_deref() != Some(value.as_bytes())).then(|| format!("has {node:?}"))
            }),
            ["node", path, who @ ..] => {
                self.each(who, |tree| tree.get(path).is_none().then(|| "does not have it".to_owned()))
            }
            ["none", path, who @ ..] => {
                self.each(who, |tree| tree.get(path).map(|n| format!("has {:?}", n.data_bytes())))
            }
            ["same", who @ ..] => {
                let committed = &self.sim.w.checks.committed;
                self.each(who, |tree| {
                    let same = tree.digest() == committed.tree.digest();
                    (!same).then(|| format!("is at {}, not at {}", tree.last_zxid(), committed.last()))
                })
            }
            ["answers", name, n] => {
                let got = self.sim.clients[self.client(name)?].count.writes;
                self.holds(got == number(n)? as u64, || format!("it got {got} writes answered"))
            }
            ["events", name, n] => {
                let got = self.sim.clients[self.client(name)?].count.events;
                self.holds(got == number(n)? as u64, || format!("it got {got} events"))
            }
            ["serving", who @ ..] => {
                let who = self.members(who)?;
                let not = who.iter().find(|m| !self.sim.members[**m].serves());
                self.holds(not.is_none(), || format!("{:?} does not serve", not.map(|m| m + 1)))
            }
            ["silent", who] => {
                let m = self.member(who)?;
                self.holds(!self.sim.members[m].serves(), || "it serves".to_owned())
            }
            ["voters", who @ ..] => {
                let (is, who) = (voters(&self.sim), self.members(who)?);
                self.holds(is == who, || format!("voters are {is:?}"))
            }
            ["epoch", who, n] => {
                let is = self.sim.members[self.member(who)?].disk.current.0;
                self.holds(is.to_string() == **n, || format!("currentEpoch is {is}"))
            }
            ["logged", who, n] => {
                let is = self.sim.members[self.member(who)?].disk.last().counter();
                self.holds(is as usize == number(n)?, || format!("the log ends at counter {is}"))
            }
            other => Err(format!("{other:?} is nothing to expect")),
        }
    }

    fn holds(&self, holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(otherwise()) }
    }

    fn each(&self, who: &[&str], wrong: impl Fn(&zk_tree::Tree) -> Option<String>) -> Result<(), Failure> {
        for m in self.members(who)? {
            let member = &self.sim.members[m];
            let live = member.live.as_ref().ok_or_else(|| format!("member {} does not run", member.id))?;
            if let Some(why) = wrong(&live.tree) {
                return Err(format!("member {} {why}", member.id));
            }
        }
        Ok(())
    }
}
