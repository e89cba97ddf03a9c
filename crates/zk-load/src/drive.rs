//! The load itself: a few threads with many sockets each.
//!
//! *Closed loop*: each connection has `depth` requests under way; what is answered is replaced at
//! once, by one write for all that one read brought. Times count from the sending.
//!
//! *Open loop*: requests are due at fixed times, whatever the server does, and their times count
//! from when they were due, not from when a slow server let them be sent ("coordinated omission"):
//! a pause of the server shows in every request that was due during it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::frames::{Frames, Head};
use crate::keys::Keys;
use crate::line::Line;
use crate::outcome::{Outcome, SLOT, Slot};
use crate::requests::{Dice, Mix, Requests};
use crate::{Error, Result};

/// Size of a thread's one read buffer.
const READ: usize = 256 << 10;

/// How long answers to the last requests are waited for.
const DRAIN: Duration = Duration::from_secs(30);

/// Requests that may be under way in one thread of an open loop before the server counts as overwhelmed.
const MAX_UNDER_WAY: usize = 1 << 20;

/// Sockets that one turn looks at.
const EVENTS: usize = 256;

/// Mark of the timer among the sockets.
const TIMER: u64 = u64::MAX;

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// When a reply has come: so many are under way on each connection.
    Closed {
        /// How many.
        depth: usize,
    },
    /// At fixed times.
    Open {
        /// Requests a second, over all connections.
        per_second: f64,
    },
}

/// What to do to a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where to connect, in turns.
    pub servers: Vec<SocketAddr>,
    /// How many sessions.
    pub connections: usize,
    /// Threads; 0: as many as processors, two at most.
    pub threads: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// Which ones.
    pub mix: Mix,
    /// To which nodes; they exist.
    pub keys: Keys,
    /// Size of written data in bytes.
    pub value: usize,
    /// How many parts a multi has.
    pub parts: usize,
    /// What is not counted at first.
    pub warm_up: Duration,
    /// What is counted.
    pub time: Duration,
}

/// Time-out of the load's sessions: the machine may be slow.
pub const SESSION_MS: i32 = 30_000;

/// Runs a load. `observe` is called when counting begins and when it ends, on a thread that does nothing else.
pub fn run<T>(plan: &Plan, mut observe: impl FnMut() -> T) -> Result<(Outcome, [T; 2])> {
    let threads = threads(plan)?;
    let mut lines = Line::open_many(&plan.servers, plan.connections, SESSION_MS)?;
    let requests = Requests::new(&plan.mix, &plan.keys, plan.value, plan.parts);
    let begin = Instant::now();
    let drivers: Vec<Driver> = (0..threads)
        .map(|t| {
            let mine = lines.drain(..lines.len() / (threads - t));
            Driver::new(plan, &requests, mine.map(Line::into_stream).collect(), t, threads, begin)
        })
        .collect::<Result<_>>()?;
    thread::scope(|scope| {
        let running: Vec<_> = drivers.into_iter().map(|d| scope.spawn(|| d.run())).collect();
        let mut total = Outcome { time: plan.time, ..Outcome::default() };
        sleep_until(begin + plan.warm_up);
        let (first, cpu) = (observe(), own_cpu());
        sleep_until(begin + plan.warm_up + plan.time);
        let (last, cpu) = (observe(), own_cpu().saturating_sub(cpu));
        total.own_cpu = cpu;
        for thread in running {
            total.add(&thread.join().map_err(|_| Error::Invalid("a thread of the load died".to_owned()))??);
        }
        Ok((total, [first, last]))
    })
}

fn threads(plan: &Plan) -> Result<usize> {
    let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
    if plan.servers.is_empty() || plan.connections == 0 {
        return invalid("a load needs a server and a connection");
    }
    match plan.pace {
        Pace::Closed { depth: 0 } => return invalid("a load needs a depth of at least 1"),
        Pace::Open { per_second } if !(0.1..1e8).contains(&per_second) => {
            return invalid("a rate is between 0.1 and 100,000,000 a second");
        }
        _ => {}
    }
    let wanted = match plan.threads {
        0 => thread::available_parallelism().map_or(1, |n| n.get()).min(2),
        n => n,
    };
    Ok(wanted.min(plan.connections))
}

fn sleep_until(when: Instant) {
    thread::sleep(when.saturating_duration_since(Instant::now()));
}

/// Processor time of this process so far.
pub fn own_cpu() -> Duration {
    let time = |t: nix::sys::time::TimeVal| {
        Duration::from_secs(t.tv_sec().unsigned_abs()) + Duration::from_micros(t.tv_usec().unsigned_abs())
    };
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |u| time(u.user_time()) + time(u.system_time()))
}

/// A request that has no reply yet.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    /// Nanoseconds behind the load's begin: when it was due or sent.
    since: u64,
    is_write: bool,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    frames: Frames,
    out: Vec<u8>,
    /// What of `out` has left.
    sent: usize,
    /// Whether the socket is waited for, because it did not take everything.
    blocked: bool,
    under_way: VecDeque<UnderWay>,
    /// Number of the newest request.
    xid: i32,
}

/// One thread.
struct Driver<'a> {
    requests: &'a Requests,
    conns: Vec<Conn>,
    epoll: Epoll,
    dice: Dice,
    begin: Instant,
    /// What counts, in nanoseconds behind the begin.
    window: (u64, u64),
    outcome: Outcome,
    pace: ThreadPace,
}

/// The pace of one thread.
enum ThreadPace {
    Closed(usize),
    Open {
        timer: TimerFd,
        /// Between two requests of this thread, in nanoseconds.
        step: f64,
        /// Before the first.
        offset: f64,
        /// Requests that were made.
        made: u64,
    },
}

impl<'a> Driver<'a> {
    fn new(
        plan: &Plan,
        requests: &'a Requests,
        streams: Vec<TcpStream>,
        number: usize,
        threads: usize,
        begin: Instant,
    ) -> Result<Driver<'a>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Error::os("epoll"))?;
        let mut conns = Vec::with_capacity(streams.len());
        for (i, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true).map_err(Error::io("non-blocking socket"))?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, i as u64)).map_err(Error::os("epoll"))?;
            conns.push(Conn {
                stream,
                frames: Frames::default(),
                out: Vec::new(),
                sent: 0,
                blocked: false,
                under_way: VecDeque::new(),
                xid: 0,
            });
        }
        let pace = match plan.pace {
            Pace::Closed { depth } => ThreadPace::Closed(depth),
            Pace::Open { per_second } => {
                let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)
                    .map_err(Error::os("timer"))?;
                epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER)).map_err(Error::os("epoll"))?;
                let all = 1e9 / per_second;
                ThreadPace::Open { timer, step: all * threads as f64, offset: all * number as f64, made: 0 }
            }
        };
        let nanos = |d: Duration| d.as_nanos() as u64;
        let mut outcome = Outcome::default();
        let slots = plan.time.as_nanos().div_ceil(SLOT.as_nanos()) as usize;
        outcome.slots.resize(slots, Slot::default());
        Ok(Driver {
            requests,
            conns,
            epoll,
            dice: Dice::new(number as u64 + 1),
            begin,
            window: (nanos(plan.warm_up), nanos(plan.warm_up + plan.time)),
            outcome,
            pace,
        })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn run(mut self) -> Result<Outcome> {
        let mut buf = vec![0; READ];
        let mut events = [EpollEvent::empty(); EVENTS];
        if let ThreadPace::Closed(depth) = self.pace {
            let now = self.now();
            for i in 0..self.conns.len() {
                (0..depth).for_each(|_| self.push(i, now));
                self.flush(i)?;
            }
        } else {
            self.send_due()?;
        }
        let give_up = self.window.1 + DRAIN.as_nanos() as u64;
        loop {
            let now = self.now();
            if now >= give_up || (now >= self.window.1 && self.conns.iter().all(|c| c.under_way.is_empty())) {
                break;
            }
            let n = self.epoll.wait(&mut events, EpollTimeout::from(20u8)).or_else(|e| match e {
                nix::errno::Errno::EINTR => Ok(0),
                e => Err(Error::os("epoll")(e)),
            })?;
            for event in &events[..n] {
                if event.data() == TIMER {
                    continue;
                }
                let i = event.data() as usize;
                if self.conns[i].blocked {
                    self.flush(i)?;
                }
                self.read(i, &mut buf)?;
            }
            self.send_due()?;
        }
        self.count_lost();
        Ok(self.outcome)
    }

    /// Takes what has come on a connection, and in a closed loop sends as much again.
    fn read(&mut self, i: usize, buf: &mut [u8]) -> Result<()> {
        let n = match self.conns[i].stream.read(buf) {
            Ok(0) => return Err(Error::Closed),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(e) => return Err(Error::io("reply")(e)),
        };
        let now = self.now();
        let (conn, outcome, window) = (&mut self.conns[i], &mut self.outcome, self.window);
        let is_open = matches!(self.pace, ThreadPace::Open { .. });
        let mut answered = 0;
        let Conn { frames, under_way, xid, .. } = conn;
        frames.feed(&buf[..n], |head| {
            if head.is_event() {
                return Ok(());
            }
            let request = under_way
                .pop_front()
                .ok_or_else(|| Error::Protocol(format!("a reply {} to nothing", head.xid)))?;
            let expected = number(*xid, under_way.len());
            if head.xid != expected {
                return Err(Error::Protocol(format!("a reply {} instead of {expected}", head.xid)));
            }
            answered += 1;
            note(outcome, window, is_open, request, now, head);
            Ok(())
        })?;
        if !is_open && now < self.window.1 {
            (0..answered).for_each(|_| self.push(i, now));
            self.flush(i)?;
        }
        Ok(())
    }

    fn push(&mut self, i: usize, since: u64) {
        let conn = &mut self.conns[i];
        conn.xid = conn.xid.checked_add(1).unwrap_or(1);
        let is_write = self.requests.push(&mut conn.out, conn.xid, &mut self.dice);
        conn.under_way.push_back(UnderWay { since, is_write });
    }

    fn flush(&mut self, i: usize) -> Result<()> {
        let conn = &mut self.conns[i];
        while conn.sent < conn.out.len() {
            match conn.stream.write(&conn.out[conn.sent..]) {
                Ok(n) => conn.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(Error::io("request")(e)),
            }
        }
        let blocked = conn.sent < conn.out.len();
        if !blocked {
            conn.out.clear();
            conn.sent = 0;
        }
        if blocked != conn.blocked {
            conn.blocked = blocked;
            let wanted =
                if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            let mut event = EpollEvent::new(wanted, i as u64);
            self.epoll.modify(&conn.stream, &mut event).map_err(Error::os("epoll"))?;
        }
        Ok(())
    }

    /// Sends what an open loop has due by now, and sets the timer for the next.
    fn send_due(&mut self) -> Result<()> {
        let mut touched = Vec::new();
        loop {
            let now = self.now();
            let ThreadPace::Open { timer, step, offset, made } = &mut self.pace else { return Ok(()) };
            let due = (*offset + *step * *made as f64) as u64;
            if due >= self.window.1 {
                timer.unset().map_err(Error::os("timer"))?;
                break;
            }
            if due > now {
                // Whatever an earlier setting has left is cleared by the new one.
                let wait = TimeSpec::from_duration(Duration::from_nanos(due - now));
                timer
                    .set(Expiration::OneShot(wait), TimerSetTimeFlags::empty())
                    .map_err(Error::os("timer"))?;
                break;
            }
            let i = (*made % self.conns.len() as u64) as usize;
            *made += 1;
            self.push(i, due);
            if !touched.contains(&i) {
                touched.push(i);
            }
        }
        for i in touched {
            self.flush(i)?;
        }
        if self.conns.iter().map(|c| c.under_way.len()).sum::<usize>() > MAX_UNDER_WAY {
            return Err(Error::Late(format!("{MAX_UNDER_WAY} requests: the rate is beyond the server")));
        }
        Ok(())
    }

    /// What was due and never came took at least as long as it was waited for.
    fn count_lost(&mut self) {
        let now = self.now();
        for request in self.conns.iter().flat_map(|c| &c.under_way) {
            if (self.window.0..self.window.1).contains(&request.since) {
                self.outcome.lost += 1;
                let times = if request.is_write { &mut self.outcome.writes } else { &mut self.outcome.reads };
                times.record(now - request.since);
            }
        }
    }
}

/// The number of the request with so many behind it, of which the newest has this one. Numbers go
/// from 1 to the largest and begin again.
fn number(newest: i32, behind: usize) -> i32 {
    let behind = i32::try_from(behind).unwrap_or(i32::MAX);
    match newest - behind {
        n if n > 0 || newest == 0 => n,
        n => n.wrapping_add(i32::MAX),
    }
}

fn note(outcome: &mut Outcome, window: (u64, u64), is_open: bool, request: UnderWay, now: u64, head: Head) {
    let within = |t: u64| (window.0..window.1).contains(&t);
    let slot = |t: u64| ((t - window.0) / SLOT.as_nanos() as u64) as usize;
    let took = now.saturating_sub(request.since);
    if within(now)
        && let Some(slot) = outcome.slots.get_mut(slot(now))
    {
        slot.replies += 1;
    }
    if within(request.since)
        && let Some(slot) = outcome.slots.get_mut(slot(request.since))
    {
        slot.worst = slot.worst.max(took);
    }
    if within(if is_open { request.since } else { now }) {
        outcome.replies += 1;
        outcome.refused += u64::from(head.err != 0);
        let times = if request.is_write { &mut outcome.writes } else { &mut outcome.reads };
        times.record(took);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use zk_proto::SessionId;
    use zk_proto::client::ConnectResponse;

    use super::*;
    use crate::line::seal;

    #[test]
    fn numbers_begin_again() {
        assert_eq!(number(5, 0), 5);
        assert_eq!(number(5, 4), 1);
        assert_eq!(number(1, 1), i32::MAX);
        assert_eq!(number(2, 3), i32::MAX - 1);
    }
    /// Takes one connection, answers its session, and from then on what `answer` says to each request.
    fn server(mut answer: impl FnMut(usize, i32) -> Option<i32> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || -> Option<()> {
            let (mut stream, _) = listener.accept().unwrap();
            let mut n = 0;
            loop {
                let mut len = [0; 4];
                stream.read_exact(&mut len).ok()?;
                let mut frame = vec![0; u32::from_be_bytes(len) as usize];
                stream.read_exact(&mut frame).ok()?;
                let mut out = vec![0; 4];
                if n == 0 {
                    ConnectResponse::accepted(SessionId(1), 30_000, Some(false)).encode(&mut out);
                } else {
                    let xid = answer(n, i32::from_be_bytes(*frame.first_chunk()?))?;
                    out.extend(xid.to_be_bytes());
                    out.extend([0; 12]);
                }
                seal(&mut out, 0);
                stream.write_all(&out).ok()?;
                n += 1;
            }
        });
        addr
    }

    fn plan(server: SocketAddr, pace: Pace, millis: u64) -> Plan {
        Plan {
            servers: vec![server],
            connections: 1,
            threads: 1,
            pace,
            mix: Mix::parse("set").unwrap(),
            keys: Keys::all("/x").unwrap(),
            value: 1,
            parts: 1,
            warm_up: Duration::ZERO,
            time: Duration::from_millis(millis),
        }
    }

    #[test]
    fn a_pause_shows_in_all_that_was_due() {
        let pause = |n, xid| {
            if n == 10 {
                thread::sleep(Duration::from_millis(500));
            }
            Some(xid)
        };
        let (seen, _) = run(&plan(server(pause), Pace::Open { per_second: 1000.0 }, 600), || ()).unwrap();
        assert_eq!((seen.replies, seen.lost, seen.writes.count()), (600, 0, 600));
        // Requests were due all through the pause, and waited for its rest: half of them 250 ms or more.
        assert!(seen.writes.quantile(0.5) > Duration::from_millis(150), "{:?}", seen.writes.quantile(0.5));
        // One that waits for its replies asks once during the pause, and notices little.
        let (seen, _) = run(&plan(server(pause), Pace::Closed { depth: 1 }, 600), || ()).unwrap();
        assert!(seen.writes.max() >= Duration::from_millis(500));
        assert!(seen.writes.quantile(0.5) < Duration::from_millis(150), "{:?}", seen.writes.quantile(0.5));
    }

    #[test]
    fn what_never_comes_is_lost_and_what_is_wrong_is_told() {
        let wrong = run(&plan(server(|_, xid| Some(xid + 1)), Pace::Closed { depth: 2 }, 100), || ());
        assert!(matches!(wrong, Err(Error::Protocol(_))), "{wrong:?}");
        let gone = run(&plan(server(|n, xid| (n < 5).then_some(xid)), Pace::Closed { depth: 2 }, 100), || ());
        assert!(matches!(gone, Err(Error::Closed | Error::Io { .. })), "{gone:?}");
    }
}
