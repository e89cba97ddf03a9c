//! Requests from a seed. The stream is made without looking at any reply, so
//! that a step can be left out and the rest still means the same.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::request::{self, OPEN, READ_ONLY, RawAcl};

/// Number of connections that take turns.
pub const SLOTS: usize = 6;

/// What a connection says before its requests: auth packets of scheme digest.
pub fn identities(slot: usize) -> &'static [&'static str] {
    match slot {
        1 => &["alice:pw"],
        2 => &["bob:pw", "alice:pw"],
        3 => &[crate::process::SUPER],
        _ => &[],
    }
}

const ALICE: &[u8] = b"alice:V55/p2T0OpjQ+low3NVAH4aLvm0=";
const BOB: &[u8] = b"bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

/// One request of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub xid: i32,
    /// Its opcode.
    pub op: i32,
    /// Its body.
    pub body: Vec<u8>,
}

/// How a session is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// With its password.
    Right,
    /// With another password; the session survives.
    WrongPassword,
    /// With a null password.
    NullPassword,
    /// A session that no server has made.
    UnknownSession,
    /// With a zxid that the server has not reached.
    Ahead,
}

/// One thing that is done to both servers before the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new session.
    Open {
        /// Whose.
        slot: usize,
        /// Time-out that is asked for, in ms.
        timeout: i32,
        /// The readOnly field or its absence.
        read_only: Option<bool>,
        /// Ignored by servers.
        protocol_version: i32,
        /// Bytes of password that come with session 0.
        password: Option<usize>,
    },
    /// The session of the slot on a new connection.
    Again {
        /// Whose.
        slot: usize,
        /// How.
        how: Again,
        /// Whether the old connection stays, so that the server must close it.
        keep: bool,
        /// The readOnly field or its absence.
        read_only: Option<bool>,
    },
    /// The client goes without a word.
    Drop {
        /// Whose.
        slot: usize,
    },
    /// Requests sent at once.
    Window {
        /// Whose.
        slot: usize,
        /// What.
        requests: Vec<Request>,
        /// Whether the server is to close the connection after the last reply.
        closes: bool,
    },
    /// Bytes that make the server close the connection.
    Garbage {
        /// Whose.
        slot: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Writes that do not decode. The reference answers them in a way that is
    /// not to be copied, so that only zkd gets them and has to answer -5
    /// without taking a zxid (row 57).
    Undecodable {
        /// Whose.
        slot: usize,
        /// What.
        requests: Vec<Request>,
    },
}

impl Step {
    /// The connection it is about.
    pub fn slot(&self) -> usize {
        match self {
            Self::Open { slot, .. }
            | Self::Again { slot, .. }
            | Self::Drop { slot }
            | Self::Window { slot, .. }
            | Self::Garbage { slot, .. }
            | Self::Undecodable { slot, .. } => *slot,
        }
    }

    /// Requests in it.
    pub fn operations(&self) -> usize {
        match self {
            Self::Window { requests, .. } | Self::Undecodable { requests, .. } => requests.len(),
            _ => 1,
        }
    }
}

/// What may be left out of a stream, to look behind a known difference.
pub const FEATURES: &[&str] = &[
    "auth",
    "bad-acl",
    "bad-path",
    "big",
    "close",
    "container",
    "garbage",
    "lossy-text",
    "malformed-multi",
    "malformed-read",
    "null",
    "odd-flags",
    "quota",
    "reconfig",
    "reopen",
    "sasl",
    "sequential",
    "setwatches",
    "ttl",
    "ttl-flags-in-multi",
    "undecodable",
    "unknown-op",
    "watches",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    Live,
    Dropped,
}

/// Makes steps.
#[derive(Debug)]
pub struct Generator {
    rng: StdRng,
    without: BTreeSet<String>,
    slots: [State; SLOTS],
    xid: [i32; SLOTS],
    /// About as many zxids as the stream has used.
    writes: i64,
    queue: Vec<Step>,
    windows: u64,
    longest: usize,
}

impl Generator {
    /// A generator that always makes the same steps from the same arguments.
    /// `longest` bounds the random windows.
    pub fn new(seed: u64, without: &BTreeSet<String>, longest: usize) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            without: without.clone(),
            slots: [State::None; SLOTS],
            xid: [0; SLOTS],
            writes: 0,
            queue: Vec::new(),
            windows: 0,
            longest,
        }
    }

    fn has(&self, feature: &str) -> bool {
        debug_assert!(FEATURES.contains(&feature), "{feature}");
        !self.without.contains(feature)
    }

    fn chance(&mut self, percent: f64) -> bool {
        self.rng.random_bool(percent / 100.0)
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        loop {
            if !self.queue.is_empty() {
                return self.queue.remove(0);
            }
            self.plan();
        }
    }

    fn plan(&mut self) {
        self.windows += 1;
        if self.windows.is_multiple_of(150) {
            return self.tidy();
        }
        let slot = self.below(SLOTS);
        match self.slots[slot] {
            State::None => self.open(slot),
            State::Dropped => self.again(slot),
            State::Live => self.live(slot),
        }
    }

    fn read_only_field(&mut self, slot: usize) -> Option<bool> {
        if slot == 4 { None } else { Some(self.chance(20.0)) }
    }

    fn open(&mut self, slot: usize) {
        let timeout = self.pick(&[0, 1, -1, 6000, 4_000_000, 5_000_000, i32::MAX, i32::MIN]);
        let read_only = self.read_only_field(slot);
        let protocol_version = self.pick(&[0, 0, 0, 1, 7, -1]);
        let password = self.pick(&[Some(16), Some(16), Some(16), Some(0), Some(3), Some(40), None]);
        self.queue.push(Step::Open { slot, timeout, read_only, protocol_version, password });
        self.writes += 1;
        self.slots[slot] = State::Live;
        self.greet(slot);
    }

    fn greet(&mut self, slot: usize) {
        let requests: Vec<Request> = identities(slot)
            .iter()
            .map(|id| Request { xid: -4, op: 100, body: request::auth(Some(b"digest"), Some(id.as_bytes())) })
            .collect();
        if !requests.is_empty() {
            self.queue.push(Step::Window { slot, requests, closes: false });
        }
    }

    fn again(&mut self, slot: usize) {
        let read_only = self.read_only_field(slot);
        while self.chance(25.0) {
            let how =
                self.pick(&[Again::WrongPassword, Again::NullPassword, Again::UnknownSession, Again::Ahead]);
            self.queue.push(Step::Again { slot, how, keep: false, read_only });
        }
        self.queue.push(Step::Again { slot, how: Again::Right, keep: false, read_only });
        self.slots[slot] = State::Live;
        self.greet(slot);
    }

    fn live(&mut self, slot: usize) {
        let dice = self.rng.random_range(0.0..100.0);
        if dice < 1.2 && self.has("reopen") {
            self.queue.push(Step::Drop { slot });
            self.slots[slot] = State::Dropped;
        } else if dice < 1.8 && self.has("reopen") {
            let read_only = self.read_only_field(slot);
            self.queue.push(Step::Again { slot, how: Again::Right, keep: true, read_only });
            self.greet(slot);
        } else if dice < 2.6 && self.has("close") {
            let mut requests = self.window(slot);
            let xid = self.next_xid(slot);
            requests.push(Request { xid, op: -11, body: Vec::new() });
            self.writes += 1;
            self.queue.push(Step::Window { slot, requests, closes: true });
            self.slots[slot] = State::None;
        } else if dice < 3.2 && self.has("unknown-op") {
            // Alone, because the reference answers it out of turn (row 20).
            let op = self.pick(&[0, -1, 10, 13, 23, 24, 77, 99, 108, 200, 1000, -2, -12, i32::MAX, i32::MIN]);
            let body = request::path_int(Some(b"/a"), 0);
            let xid = self.next_xid(slot);
            self.queue.push(Step::Window { slot, requests: vec![Request { xid, op, body }], closes: true });
            self.slots[slot] = State::Dropped;
        } else if dice < 3.7 && self.has("garbage") {
            self.garbage(slot);
        } else if dice < 4.3 && self.has("auth") {
            self.auth(slot);
        } else if dice < 4.6 && self.has("sasl") {
            // Alone: answered out of turn like auth packets.
            let token = self.data();
            // A null token ends the connection.
            let closes = token.is_none();
            if closes && !self.has("null") {
                return;
            }
            let mut body = Vec::new();
            jute::Writer::new(&mut body).buffer(token.as_deref());
            let xid = self.next_xid(slot);
            self.queue.push(Step::Window { slot, requests: vec![Request { xid, op: 102, body }], closes });
            if closes {
                self.slots[slot] = State::Dropped;
            }
        } else if dice < 5.6 && self.has("undecodable") {
            let requests = (0..=self.below(3)).map(|_| self.undecodable(slot)).collect();
            self.queue.push(Step::Undecodable { slot, requests });
        } else if dice < 6.6 && self.has("odd-flags") {
            // Alone, because the reference's notes on requests in flight call
            // the node what the flags say, and the tree what the opcode says.
            let request = self.odd_create(slot);
            self.queue.push(Step::Window { slot, requests: vec![request], closes: false });
        } else if dice < 7.0 && self.has("big") {
            let request = self.big(slot);
            self.queue.push(Step::Window { slot, requests: vec![request], closes: false });
        } else {
            let requests = self.window(slot);
            self.queue.push(Step::Window { slot, requests, closes: false });
        }
    }

    fn garbage(&mut self, slot: usize) {
        let bytes = match self.below(5) {
            // One more than the limit.
            0 => 0x10_0000_i32.to_be_bytes().to_vec(),
            1 => (-1_i32).to_be_bytes().to_vec(),
            2 => i32::MIN.to_be_bytes().to_vec(),
            // Shorter than a header.
            3 => vec![0, 0, 0, 2, 0, 1],
            // An auth packet that does not decode.
            _ => {
                let mut out = Vec::new();
                crate::raw::push_frame(&mut out, &request::frame(-4, 100, &[0, 0, 0, 0, 0, 0, 9, 9]));
                out
            }
        };
        self.queue.push(Step::Garbage { slot, bytes });
        self.slots[slot] = State::Dropped;
    }

    fn auth(&mut self, slot: usize) {
        let (scheme, data, closes): (Option<&[u8]>, Option<&[u8]>, bool) = match self.below(7) {
            0 => (Some(b"nosuch"), Some(b"x"), true),
            1 => (Some(b"digest"), None, true),
            2 => (Some(b"ip"), Some(b"1.2.3.4"), false),
            3 => (Some(b"digest"), Some(b""), false),
            4 => (Some(b"world"), Some(b"anyone"), true),
            5 => (Some(b"sasl"), Some(b""), true),
            _ => (Some(b"digest"), Some(b"carol:pw:with:colons"), false),
        };
        let requests = vec![Request { xid: -4, op: 100, body: request::auth(scheme, data) }];
        self.queue.push(Step::Window { slot, requests, closes });
        if closes {
            self.slots[slot] = State::Dropped;
        }
    }

    /// The super user opens what was locked and deletes what piled up.
    fn tidy(&mut self) {
        let slot = 3;
        match self.slots[slot] {
            State::None => self.open(slot),
            State::Dropped => self.again(slot),
            State::Live => {}
        }
        let mut requests = Vec::new();
        for p in ["/", "/zookeeper", "/zookeeper/quota"] {
            let body = request::set_acl(Some(p.as_bytes()), Some(OPEN), -1);
            requests.push(Request { xid: self.next_xid(slot), op: 7, body });
        }
        for p in all_paths() {
            let (op, body) = if self.chance(30.0) {
                (2, request::path_int(Some(p.as_bytes()), -1))
            } else {
                (7, request::set_acl(Some(p.as_bytes()), Some(OPEN), -1))
            };
            requests.push(Request { xid: self.next_xid(slot), op, body });
        }
        self.writes += requests.len() as i64;
        self.queue.push(Step::Window { slot, requests, closes: false });
    }

    fn next_xid(&mut self, slot: usize) -> i32 {
        self.xid[slot] += 1;
        if self.chance(0.5) {
            // Numbers that no client uses; those with a meaning are left out.
            return self.pick(&[0, i32::MAX, i32::MIN, -3, -5, -100]);
        }
        self.xid[slot]
    }

    fn window(&mut self, slot: usize) -> Vec<Request> {
        let n = match self.below(10) {
            0 | 1 => 1,
            2..=5 => 2 + self.below(12),
            6..=8 => 10 + self.below(40),
            _ => 50 + self.below(100),
        };
        let mut out = Vec::new();
        for _ in 0..n.min(self.longest) {
            let request = self.request(slot);
            out.push(request);
            // See "setACL in flight" in `KNOWN`. The super user is not checked.
            if slot != 3 && out.last().is_some_and(|r| r.op == 7) {
                break;
            }
        }
        out
    }

    fn request(&mut self, slot: usize) -> Request {
        let (mut xid, (op, mut body)) = (self.next_xid(slot), self.operation());
        match op {
            11 => xid = -2,
            101 | 105 => xid = -8,
            _ => {}
        }
        if request::is_write(op) {
            self.writes += 1;
        }
        if self.chance(0.7) && op != 14 {
            // What follows a body is ignored.
            body.extend_from_slice(b"behind");
        }
        Request { xid, op, body }
    }

    fn operation(&mut self) -> (i32, Vec<u8>) {
        loop {
            let made = match self.below(100) {
                0..=19 => self.write(),
                20..=23 => (7, self.set_acl()),
                24..=30 => (3, self.path_watch()),
                31..=38 => (4, self.path_watch()),
                39..=42 => (8, self.path_watch()),
                43..=46 => (12, self.path_watch()),
                47..=49 => (6, request::path(self.path().as_deref())),
                50..=52 => (9, self.sync_path()),
                53..=60 => (14, self.multi()),
                61..=64 => (22, self.multi_read()),
                65..=68 if self.has("watches") => self.watch_op(),
                69..=71 if self.has("watches") => (106, self.add_watch()),
                72..=74 if self.has("setwatches") => self.set_watches(),
                75 => (107, Vec::new()),
                76..=77 => {
                    let p = match self.below(5) {
                        0 => None,
                        1 => Some(Vec::new()),
                        2 => Some(b"/".to_vec()),
                        _ => self.path(),
                    };
                    (103, request::path(p.as_deref()))
                }
                78 => (104, request::path(self.path().as_deref())),
                79..=80 => (11, Vec::new()),
                81 if self.has("reconfig") && self.chance(30.0) => {
                    let lines: [Option<&[u8]>; 4] =
                        [None, Some(b""), Some(b"server.2=127.0.0.1:1:2"), Some(b"x")];
                    let (a, b, c) = (self.pick(&lines), self.pick(&lines), self.pick(&lines));
                    let base = self.pick(&[-1, 0, 5]);
                    (16, request::reconfig(a, b, c, base))
                }
                82 if self.has("malformed-read") => self.malformed_read(),
                83..=99 => self.write(),
                _ => continue,
            };
            return made;
        }
    }

    fn write(&mut self) -> (i32, Vec<u8>) {
        loop {
            return match self.below(26) {
                0..=6 => (1, self.create(false)),
                7..=10 => (15, self.create(false)),
                11 if self.has("container") => {
                    let (p, d, a) = (self.path(), self.data(), self.acl());
                    (19, request::create(p.as_deref(), d.as_deref(), a.as_deref(), 4))
                }
                12..=13 if self.has("ttl") => (21, self.create_ttl()),
                14..=19 => (2, self.delete()),
                20..=25 => (5, self.set_data()),
                _ => continue,
            };
        }
    }

    /// `in_multi`: flags that spoil the decoding of a multi are left out.
    fn create(&mut self, in_multi: bool) -> Vec<u8> {
        let (mut p, d, a) = (self.path(), self.data(), self.acl());
        let flags = match self.below(20) {
            0..=9 => 0,
            10..=13 => 1,
            14..=15 if self.has("sequential") => 2,
            16..=17 if self.has("sequential") => 3,
            18 if self.has("ttl") && (!in_multi || self.has("ttl-flags-in-multi")) => self.pick(&[5, 6]),
            19 if !in_multi => self.pick(&[7, -1, 100, i32::MIN]),
            _ => 0,
        };
        // An ephemeral limit goes before or after the nodes it counts.
        let quota = p.as_deref().is_some_and(|p| p.starts_with(b"/zookeeper/quota"));
        let flags = if quota && flags == 1 { 0 } else { flags };
        if flags == 2 || flags == 3 {
            // Into the parents that the paths name, also with an empty name.
            let parent = self.parent();
            p = Some(
                [parent.as_bytes(), self.pick(&["/", "/s-", "/x", "/s-", "/lock-"]).as_bytes()].concat(),
            );
        }
        request::create(p.as_deref(), d.as_deref(), a.as_deref(), flags)
    }

    /// A create whose flags and opcode do not belong together, under a name
    /// that nothing else uses.
    fn odd_create(&mut self, slot: usize) -> Request {
        let name = format!("{}/odd{}", self.parent(), self.below(6));
        let (op, flags) =
            self.pick(&[(1, 4), (15, 4), (19, 0), (19, 1), (19, 2), (19, 3), (21, 0), (21, 1), (21, 2)]);
        let (d, a) = (self.data(), self.acl());
        let mut body = request::create(Some(name.as_bytes()), d.as_deref(), a.as_deref(), flags);
        if op == 21 {
            // With a negative ttl the reference does what is not to be copied (row 34).
            body.extend_from_slice(&self.pick(&[0_i64, 1, 60_000]).to_be_bytes());
        }
        self.writes += 1;
        let xid = self.next_xid(slot);
        if self.chance(40.0) {
            // In a multi the flags choose the kind of transaction.
            return Request { xid, op: 14, body: request::multi(&[(op, body)]) };
        }
        Request { xid, op, body }
    }

    fn create_ttl(&mut self) -> Vec<u8> {
        let (p, d, a) = (self.path(), self.data(), self.acl());
        let flags = if self.has("sequential") && self.chance(20.0) { 6 } else { 5 };
        let ttl = self.pick(&[
            1,
            60_000,
            600_000,
            1 << 39,
            (1 << 40) - 1,
            1 << 40,
            0,
            -1,
            -5,
            i64::MAX,
            i64::MIN,
            3_600_000,
            3_600_000,
        ]);
        request::create_ttl(p.as_deref(), d.as_deref(), a.as_deref(), flags, ttl)
    }

    fn delete(&mut self) -> Vec<u8> {
        let v = self.version();
        if self.has("sequential") && self.chance(40.0) {
            let parent = self.parent();
            let name = self.pick(&["/s-", "/x", "/lock-", "/"]);
            let n = self.below(40 + (self.writes / 200) as usize);
            return request::path_int(Some(format!("{parent}{name}{n:010}").as_bytes()), -1);
        }
        request::path_int(self.path().as_deref(), v)
    }

    fn set_data(&mut self) -> Vec<u8> {
        let p = self.path();
        let d = if p.as_deref().is_some_and(|p| p.starts_with(b"/zookeeper/quota")) {
            self.quota_text()
        } else {
            self.data()
        };
        let v = self.version();
        request::set_data(p.as_deref(), d.as_deref(), v)
    }

    fn set_acl(&mut self) -> Vec<u8> {
        let mut p = self.path();
        if p.as_deref() == Some(b"/") && self.chance(90.0) {
            // Rarely, because it locks everything.
            p = Some(b"/a".to_vec());
        }
        let (a, v) = (self.acl(), self.version());
        request::set_acl(p.as_deref(), a.as_deref(), v)
    }

    fn path_watch(&mut self) -> Vec<u8> {
        let watch = self.has("watches") && self.chance(25.0);
        request::path_bool(self.path().as_deref(), watch)
    }

    fn sync_path(&mut self) -> Vec<u8> {
        request::path(self.path().as_deref())
    }

    fn multi(&mut self) -> Vec<u8> {
        if self.chance(4.0) {
            return request::multi(&[]);
        }
        let n = 1 + self.below(6);
        let mut parts: Vec<(i32, Vec<u8>)> = (0..n).map(|_| self.multi_part()).collect();
        if self.chance(8.0) && self.has("malformed-multi") {
            return self.malformed_multi(parts);
        }
        if self.chance(40.0) {
            // Likely to succeed: a node of its own.
            let p = format!("/m{}", self.below(50));
            parts = vec![
                (1, request::create(Some(p.as_bytes()), Some(b"m"), Some(OPEN), 0)),
                (13, request::path_int(Some(p.as_bytes()), 0)),
                (5, request::set_data(Some(p.as_bytes()), Some(b"mm"), 0)),
                (2, request::path_int(Some(p.as_bytes()), 1)),
            ];
            parts.truncate(1 + self.below(4));
            if self.chance(30.0) {
                let part = self.multi_part();
                parts.push(part);
            }
        }
        request::multi(&parts)
    }

    fn multi_part(&mut self) -> (i32, Vec<u8>) {
        loop {
            return match self.below(22) {
                0..=5 => (1, self.create(true)),
                6..=8 => (15, self.create(true)),
                9 if self.has("container") => {
                    let (p, d, a) = (self.path(), self.data(), self.acl());
                    (19, request::create(p.as_deref(), d.as_deref(), a.as_deref(), 4))
                }
                10 if self.has("ttl") => (21, self.create_ttl()),
                11..=14 => (2, self.delete()),
                15..=18 => (5, self.set_data()),
                19..=21 => {
                    let v = self.version();
                    (13, request::path_int(self.path().as_deref(), v))
                }
                _ => continue,
            };
        }
    }

    fn malformed_multi(&mut self, mut parts: Vec<(i32, Vec<u8>)>) -> Vec<u8> {
        match self.below(6) {
            // Of two kinds.
            0 => parts.push((4, request::path_bool(Some(b"/a"), false))),
            // A multi in a multi.
            1 => parts.push((14, request::multi(&[]))),
            // Of a kind that does not go into one.
            2 => {
                let op = self.pick(&[3, 7, 9, 12, 16, 20, 77, 0, -1, -10, -11, 100]);
                parts.push((op, request::path_int(Some(b"/a"), 0)));
            }
            // A create mode that does not exist.
            3 => parts.push((1, request::create(Some(b"/a/z"), None, Some(OPEN), 9))),
            // Cut somewhere.
            4 => {
                let mut body = request::multi(&parts);
                let at = self.below(body.len());
                body.truncate(at);
                return body;
            }
            _ => {
                let mut body = request::multi(&parts);
                body.truncate(body.len() - 9);
                return body;
            }
        }
        request::multi(&parts)
    }

    fn multi_read(&mut self) -> Vec<u8> {
        if self.chance(4.0) {
            return request::multi(&[]);
        }
        let n = 1 + self.below(6);
        let mut parts = Vec::new();
        for _ in 0..n {
            let op = self.pick(&[4, 8]);
            parts.push((op, self.path_watch()));
        }
        if self.has("malformed-multi") && self.chance(6.0) {
            parts.push(match self.below(3) {
                0 => (1, request::create(Some(b"/a"), None, Some(OPEN), 0)),
                1 => (12, request::path_bool(Some(b"/a"), false)),
                _ => (3, request::path_bool(Some(b"/a"), false)),
            });
        }
        request::multi(&parts)
    }

    fn watch_op(&mut self) -> (i32, Vec<u8>) {
        let op = self.pick(&[17, 18]);
        let kind = self.pick(&[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6, -1]);
        (op, request::path_int(self.path().as_deref(), kind))
    }

    fn add_watch(&mut self) -> Vec<u8> {
        let mode = self.pick(&[0, 1, 0, 1, 0, 1, 2, -1]);
        request::path_int(self.path().as_deref(), mode)
    }

    fn set_watches(&mut self) -> (i32, Vec<u8>) {
        let zxid = match self.below(4) {
            0 => 0,
            1 => i64::MAX,
            _ => self.rng.random_range(0..=self.writes),
        };
        let five = self.chance(50.0);
        let mut lists = Vec::new();
        for _ in 0..if five { 5 } else { 3 } {
            if self.chance(3.0) {
                lists.push(None);
                continue;
            }
            let n = self.below(4);
            lists.push(Some((0..n).map(|_| self.path().unwrap_or_default()).collect()));
        }
        (if five { 105 } else { 101 }, request::set_watches(zxid, &lists))
    }

    fn malformed_read(&mut self) -> (i32, Vec<u8>) {
        let op = self.pick(&[3, 4, 6, 8, 9, 12, 17, 18, 22, 101, 103, 104, 105, 106]);
        let whole: Vec<u8> = match op {
            3 | 4 | 8 | 12 => request::path_bool(Some(b"/a"), true),
            6 | 9 | 103 | 104 => request::path(Some(b"/a")),
            17 | 18 | 106 => request::path_int(Some(b"/a"), 1),
            22 => request::multi(&[(4, request::path_bool(Some(b"/a"), true))]),
            101 => request::set_watches(0, &[Some(vec![b"/a".to_vec()]), Some(vec![]), Some(vec![])]),
            _ => request::set_watches(0, &vec![Some(vec![b"/a".to_vec()]); 5]),
        };
        let body = match self.below(3) {
            0 => vec![0x7f, 0xff, 0xff, 0xff],
            1 => vec![0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1],
            _ => {
                let n = self.below(whole.len());
                whole[..n].to_vec()
            }
        };
        (op, body)
    }

    fn undecodable(&mut self, slot: usize) -> Request {
        let (p, d) = (Some(&b"/a"[..]), Some(&b"data"[..]));
        let (op, whole) = match self.below(8) {
            0 => (1, request::create(p, d, Some(OPEN), 0)),
            1 => (15, request::create(p, d, Some(OPEN), 1)),
            2 => (19, request::create(p, d, Some(OPEN), 4)),
            3 => (21, request::create_ttl(p, d, Some(OPEN), 5, 1000)),
            4 => (2, request::path_int(p, -1)),
            5 => (5, request::set_data(p, d, -1)),
            6 => (7, request::set_acl(p, Some(OPEN), -1)),
            _ => (16, request::reconfig(p, p, p, -1)),
        };
        let n = self.below(whole.len());
        Request { xid: self.next_xid(slot), op, body: whole[..n].to_vec() }
    }

    /// Near and at the limit of a frame.
    fn big(&mut self, slot: usize) -> Request {
        let p = format!("/big{}", self.below(3));
        let xid = self.next_xid(slot);
        let (op, empty) = match self.below(3) {
            0 => (1, request::create(Some(p.as_bytes()), Some(b""), Some(OPEN), 0).len()),
            _ => (5, request::set_data(Some(p.as_bytes()), Some(b""), -1).len()),
        };
        let room = zk_proto::limits::MAX_FRAME - 8 - empty;
        let n = self.pick(&[room, room - 1, room / 2, 100_000, 70_000, 300_000]);
        let fill = self.rng.random_range(0..=255u8);
        let data = vec![fill; n];
        let body = match op {
            1 => request::create(Some(p.as_bytes()), Some(&data), Some(OPEN), 0),
            _ => request::set_data(Some(p.as_bytes()), Some(&data), -1),
        };
        self.writes += 1;
        Request { xid, op, body }
    }

    fn version(&mut self) -> i32 {
        match self.below(20) {
            0..=9 => -1,
            10..=13 => 0,
            14..=15 => 1,
            16 => 2,
            17 => 3,
            18 => self.pick(&[-2, i32::MAX, i32::MIN, 1000]),
            _ => self.below(30) as i32,
        }
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.below(20) {
            0 => None,
            1..=2 => Some(Vec::new()),
            3..=16 => {
                let n = 1 + self.below(20);
                Some((0..n).map(|_| self.rng.random()).collect())
            }
            17..=18 => Some(vec![b'd'; self.below(500)]),
            _ => Some(vec![b'D'; 1000 + self.below(4000)]),
        }
    }

    fn quota_text(&mut self) -> Option<Vec<u8>> {
        let (c, b) = (self.below(20) as i64 - 1, self.below(200) as i64 - 1);
        let text = match self.below(3) {
            0 => format!("count={c},bytes={b}"),
            _ => format!("count={c},bytes={b}=;byteHardLimit={b};countHardLimit={c}"),
        };
        Some(text.into_bytes())
    }

    fn parent(&mut self) -> String {
        self.pick(&["", "/a", "/b", "/a/a", "/a/b", "/c", "/zookeeper", "/gone"]).to_owned()
    }

    fn path(&mut self) -> Option<Vec<u8>> {
        let dice = self.below(100);
        if dice < 82 {
            return Some(self.good_path().into_bytes());
        }
        if dice < 88 {
            let p = self.pick(&["/", "/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/a/a/a/a"]);
            return Some(p.as_bytes().to_vec());
        }
        if dice < 91 && self.has("quota") {
            let p = self.pick(&[
                "/zookeeper/quota/a",
                "/zookeeper/quota/a/zookeeper_limits",
                "/zookeeper/quota/a/zookeeper_stats",
                "/zookeeper/quota/b",
                "/zookeeper/quota/b/zookeeper_limits",
                "/zookeeper/quota/b/zookeeper_stats",
            ]);
            return Some(p.as_bytes().to_vec());
        }
        if dice < 94 && self.has("lossy-text") {
            let p: &[u8] = self.pick(&[
                &b"/\xff"[..],
                b"/a/\xc3(",
                b"/\xed\xa0\xbd\xed\xb8\x80",
                b"/\xf0\x9f\x98\x80",
                b"\xf0\x9f\x98\x80",
                b"/a\xe2\x82",
                b"/\xc0\x80",
            ]);
            return Some(p.to_vec());
        }
        if dice < 99 && self.has("bad-path") {
            let p = self.pick(&[
                "",
                "a",
                "a/b",
                "/a/",
                "//",
                "/a//b",
                "/a/.",
                "/a/./b",
                "/a/..",
                "/../a",
                "/a/\0",
                "/\u{1}",
                "/a/\u{1f}",
                "/\u{7f}",
                "/\u{9f}",
                "/\u{e000}",
                "/\u{f8ff}",
                "/\u{fff0}",
                "/\u{ffff}",
                "/.a",
                "/a.",
                "/...",
                "/ ",
                "/\u{e9}",
                "/\u{4e2d}\u{6587}",
                "/a/\u{a0}",
                "/zookeeper/",
                "/zookeeper/quota/",
            ]);
            return Some(p.as_bytes().to_vec());
        }
        if dice == 99 && self.has("null") { None } else { Some(b"/a".to_vec()) }
    }

    fn good_path(&mut self) -> String {
        let depth = self.pick(&[1, 1, 1, 2, 2, 2, 3, 3]);
        let mut out = String::new();
        for _ in 0..depth {
            out.push('/');
            out.push_str(self.pick(&NAMES));
        }
        out
    }

    fn acl(&mut self) -> Option<Vec<RawAcl<'static>>> {
        let dice = self.below(100);
        if dice < 75 {
            return Some(OPEN.to_vec());
        }
        if dice < 78 {
            return Some(READ_ONLY.to_vec());
        }
        if dice < 94 || !self.has("bad-acl") {
            let n = 1 + self.below(3);
            return Some((0..n).map(|_| self.good_acl()).collect());
        }
        match self.below(10) {
            0 if self.has("null") => None,
            1 => Some(Vec::new()),
            _ => {
                let mut list: Vec<RawAcl<'static>> = (0..self.below(2)).map(|_| self.good_acl()).collect();
                let bad = self.bad_acl();
                // Java compares entries before it looks at them, and stumbles over a
                // null scheme behind another entry: see `KNOWN`.
                if bad.1.is_none() {
                    list.clear();
                }
                list.push(bad);
                Some(list)
            }
        }
    }

    fn good_acl(&mut self) -> RawAcl<'static> {
        let perms = match self.below(4) {
            0 => self.pick(&[0, 32, 63, -1, i32::MIN, i32::MAX]),
            1 => 31,
            _ => self.below(32) as i32,
        };
        let (scheme, id): (&[u8], &[u8]) = self.pick(&[
            (&b"world"[..], &b"anyone"[..]),
            (b"world", b"anyone"),
            (b"digest", ALICE),
            (b"digest", BOB),
            (b"digest", b"nobody:x"),
            (b"digest", b":b"),
            (b"digest", b"a:b:"),
            (b"ip", b"127.0.0.1"),
            (b"ip", b"127.0.0.0/8"),
            (b"ip", b"10.0.0.0/8"),
            (b"ip", b"127.0.0.1/0"),
            (b"ip", b"::1"),
            (b"auth", b""),
            (b"auth", b"whatever"),
        ]);
        (perms, Some(scheme), Some(id))
    }

    fn bad_acl(&mut self) -> RawAcl<'static> {
        if self.has("null") && self.chance(10.0) {
            let id: Option<&[u8]> = self.pick(&[None, Some(&b"x"[..])]);
            return (self.below(32) as i32, None, id);
        }
        let (scheme, id): (Option<&[u8]>, Option<&[u8]>) = self.pick(&[
            (Some(&b"world"[..]), Some(&b"foo"[..])),
            (Some(b"nosuch"), Some(b"x")),
            (Some(b""), Some(b"")),
            (Some(b"digest"), Some(b"a")),
            (Some(b"digest"), Some(b"a:")),
            (Some(b"digest"), Some(b":")),
            (Some(b"digest"), Some(b"a:b:c")),
            (Some(b"digest"), Some(b"")),
            (Some(b"ip"), Some(b"localhost")),
            (Some(b"ip"), Some(b"127.0.0.1/33")),
            (Some(b"ip"), Some(b"127.0.0.1/-1")),
            (Some(b"ip"), Some(b"127.0.0")),
            (Some(b"ip"), Some(b"::ffff:127.0.0.1")),
            (Some(b"ip"), Some(b"")),
            (Some(b"super"), Some(b"")),
            (Some(b"sasl"), Some(b"x")),
            (Some(b"x509"), Some(b"CN=x")),
            (Some(b"World"), Some(b"anyone")),
        ]);
        (self.below(32) as i32, scheme, id)
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "\u{e4}\u{20ac}"];

/// All paths of [`Generator::good_path`] that others hang on, deepest first.
fn all_paths() -> Vec<String> {
    let mut out = Vec::new();
    for a in NAMES {
        for b in NAMES {
            for c in NAMES {
                out.push(format!("/{a}/{b}/{c}"));
            }
        }
    }
    for a in NAMES {
        for b in NAMES {
            out.push(format!("/{a}/{b}"));
        }
    }
    out.extend(NAMES.iter().map(|a| format!("/{a}")));
    out
}
