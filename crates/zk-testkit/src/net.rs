//! A network of our own: each member in a network namespace, and every packet
//! between members through this process, which delays, loses or drops it.
//!
//! Each namespace has a plain link to this machine, on which clients reach its
//! member, and a VXLAN device, on which members reach each other. The other end
//! of every VXLAN is a UDP socket here: [`Net`] reads whole Ethernet frames,
//! looks up the fault between the two members, and passes the frame on. It needs
//! root, `ip`, and a kernel with veth and VXLAN; no filter and no queueing
//! discipline.
//!
//! Names begin with `zkt` and the process id. Dropping a [`Net`] removes
//! everything, and making one removes what dead processes have left.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::ensemble::Place;

/// UDP port of VXLAN.
const VXLAN: u16 = 4789;
/// What VXLAN puts before a frame.
const VXLAN_HEADER: usize = 8;
/// Frames on their way, at most; more are lost, as in any router.
const MAX_UNDER_WAY: usize = 20_000;
/// How often the threads look whether they should end.
const TICK: Duration = Duration::from_millis(50);

/// What happens to packets from one member to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fault {
    /// None passes.
    pub cut: bool,
    /// Each takes this long.
    pub delay: Duration,
    /// This part of them is lost, 0 to 1.
    pub loss: f64,
}

/// Faults by sender and receiver.
type Faults = BTreeMap<(usize, usize), Fault>;

/// Frames by the time when they are due, with a number that keeps equal times
/// apart; each with its receiver.
type UnderWay = BTreeMap<(Instant, u64), (usize, Vec<u8>)>;

#[derive(Debug)]
struct Shared {
    faults: Mutex<Faults>,
    under_way: Mutex<UnderWay>,
    arrived: Condvar,
    stop: AtomicBool,
    passed: AtomicU64,
    dropped: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The network. Dropping it removes it; end the members before.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    slot: u8,
    members: usize,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

fn ip(args: &str) -> anyhow::Result<String> {
    let output = Command::new("ip").args(args.split_whitespace()).output().context("run ip")?;
    if !output.status.success() {
        bail!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes what processes that are gone have left.
pub fn remove_leftovers() -> anyhow::Result<()> {
    for name in namespaces()? {
        let digits: String =
            name.trim_start_matches("zkt").chars().take_while(char::is_ascii_digit).collect();
        let Ok(pid) = digits.parse::<u32>() else { continue };
        if name.starts_with("zkt") && !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            // The link in it goes with it, and so does the link's other end.
            ip(&format!("netns del {name}"))?;
        }
    }
    Ok(())
}

fn namespaces() -> anyhow::Result<Vec<String>> {
    let text = ip("netns list")?;
    Ok(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
}

/// Why there can be no networks of namespaces here, for example because only root may make
/// them. Tests that need them say so and end.
pub fn unavailable() -> Option<String> {
    match Command::new("unshare").args(["--net", "true"]).output() {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
        Err(e) => Some(e.to_string()),
    }
}

impl Net {
    /// Builds a network for this many members.
    pub fn new(members: usize) -> anyhow::Result<Net> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!((1..=9).contains(&members), "a network of {members} members");
        remove_leftovers().context("network namespaces need root and iproute2")?;
        let letter = char::from(b'a' + (COUNT.fetch_add(1, Ordering::Relaxed) % 26) as u8);
        let mut net = Net {
            prefix: format!("zkt{}{letter}", std::process::id()),
            slot: 0,
            members,
            shared: Arc::new(Shared {
                faults: Mutex::default(),
                under_way: Mutex::default(),
                arrived: Condvar::new(),
                stop: AtomicBool::new(false),
                passed: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            }),
            threads: Vec::new(),
        };
        net.claim_slot()?;
        let sockets = (0..members).map(|i| net.add(i)).collect::<anyhow::Result<Vec<_>>>()?;
        net.forward(sockets)?;
        Ok(net)
    }

    fn name(&self, i: usize) -> String {
        format!("{}{i}", self.prefix)
    }

    /// This machine's end of a member's link.
    fn near(&self, i: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.slot, (i * 4 + 1) as u8)
    }

    /// The member's end, where clients connect.
    pub fn client_ip(&self, i: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.slot, (i * 4 + 2) as u8)
    }

    /// Where other members connect.
    pub fn peer_ip(&self, i: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 214, self.slot, (i + 1) as u8)
    }

    /// Where a member lives.
    pub fn place(&self, i: usize) -> Place {
        let wrapper = ["ip", "netns", "exec", &self.name(i)].map(str::to_owned).to_vec();
        Place { client: self.client_ip(i), peer: self.peer_ip(i), wrapper }
    }

    /// All places.
    pub fn places(&self) -> Vec<Place> {
        (0..self.members).map(|i| self.place(i)).collect()
    }

    /// Takes the first range of addresses that nobody has: the first link of it
    /// is the claim.
    fn claim_slot(&mut self) -> anyhow::Result<()> {
        static CLAIM: Mutex<()> = Mutex::new(());
        let _one_at_a_time = lock(&CLAIM);
        let used = ip("-o -4 addr show")?;
        let free = (0..=u8::MAX).find(|s| !used.contains(&format!(" 10.213.{s}.")));
        self.slot = free.context("all ranges of addresses are taken")?;
        self.link(0)
    }

    fn link(&self, i: usize) -> anyhow::Result<()> {
        let name = self.name(i);
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name} type veth peer name link0 netns {name}"))?;
        ip(&format!("addr add {}/30 dev {name}", self.near(i)))?;
        ip(&format!("link set {name} up"))?;
        Ok(())
    }

    fn mac(i: usize) -> String {
        format!("02:7a:6b:00:00:{:02x}", i + 1)
    }

    /// Gives a member its devices, and the socket behind them.
    fn add(&self, i: usize) -> anyhow::Result<UdpSocket> {
        if i > 0 {
            self.link(i)?;
        }
        let (name, near, far, peer) = (self.name(i), self.near(i), self.client_ip(i), self.peer_ip(i));
        let inside = |args: String| ip(&format!("-n {name} {args}"));
        inside("link set lo up".to_owned())?;
        inside(format!("addr add {far}/30 dev link0"))?;
        inside("link set link0 up".to_owned())?;
        inside(format!("link add vx type vxlan id 7 remote {near} local {far} dstport {VXLAN} nolearning"))?;
        // Segments must be as large as the frames that we pass on.
        inside(format!("link set vx address {} mtu 1400 gso_max_segs 1", Self::mac(i)))?;
        inside(format!("addr add {peer}/24 dev vx"))?;
        inside("link set vx up".to_owned())?;
        for other in (0..self.members).filter(|o| *o != i) {
            let (to, mac) = (self.peer_ip(other), Self::mac(other));
            inside(format!("neigh replace {to} lladdr {mac} dev vx nud permanent"))?;
        }
        let socket = UdpSocket::bind((near, VXLAN)).with_context(|| format!("bind {near}"))?;
        socket.set_read_timeout(Some(TICK))?;
        Ok(socket)
    }

    fn forward(&mut self, sockets: Vec<UdpSocket>) -> anyhow::Result<()> {
        for (from, socket) in sockets.iter().enumerate() {
            let (shared, socket, members) = (self.shared.clone(), socket.try_clone()?, self.members);
            self.threads.push(std::thread::spawn(move || shared.receive(from, members, &socket)));
        }
        let targets: Vec<SocketAddr> =
            (0..self.members).map(|i| SocketAddr::from((self.client_ip(i), VXLAN))).collect();
        let shared = self.shared.clone();
        self.threads.push(std::thread::spawn(move || shared.deliver(&sockets, &targets)));
        Ok(())
    }

    /// Changes what happens from one member to another.
    pub fn set(&self, from: usize, to: usize, change: impl FnOnce(&mut Fault)) {
        change(lock(&self.shared.faults).entry((from, to)).or_default());
    }

    /// Changes it for every pair.
    pub fn set_all(&self, change: impl Fn(&mut Fault)) {
        for from in 0..self.members {
            for to in (0..self.members).filter(|t| *t != from) {
                self.set(from, to, &change);
            }
        }
    }

    /// Cuts both ways between members of the group and all others.
    pub fn partition(&self, group: &[usize]) {
        for a in group {
            for b in (0..self.members).filter(|b| !group.contains(b)) {
                self.set(*a, b, |f| f.cut = true);
                self.set(b, *a, |f| f.cut = true);
            }
        }
    }

    /// Cuts one way: what `from` sends does not reach `to`.
    pub fn cut(&self, from: usize, to: usize) {
        self.set(from, to, |f| f.cut = true);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Frames passed on and dropped so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for t in self.threads.drain(..) {
            let _ = t.join();
        }
        for i in 0..self.members {
            let name = self.name(i);
            // The namespace lives on while a process is in it; its link must not.
            let _ = ip(&format!("link del {name}"));
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

impl Shared {
    /// Takes the frames of one member.
    fn receive(&self, from: usize, members: usize, socket: &UdpSocket) {
        let mut rng = StdRng::seed_from_u64(from as u64);
        let mut packet = vec![0; 1 << 16];
        let mut serial = (from as u64) << 48;
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((len, _)) = socket.recv_from(&mut packet) else { continue };
            let Some(bytes) = packet.get_mut(..len) else { continue };
            let Some(to) = receiver(bytes).filter(|to| *to < members) else { continue };
            let fault = lock(&self.faults).get(&(from, to)).copied().unwrap_or_default();
            complete_checksum(bytes);
            let mut queue = lock(&self.under_way);
            if fault.cut || queue.len() >= MAX_UNDER_WAY || rng.random_bool(fault.loss.clamp(0.0, 1.0)) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            serial += 1;
            queue.insert((Instant::now() + fault.delay, serial), (to, bytes.to_vec()));
            self.arrived.notify_one();
        }
    }

    /// Hands the frames over when they are due.
    fn deliver(&self, sockets: &[UdpSocket], targets: &[SocketAddr]) {
        let mut queue = lock(&self.under_way);
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = queue.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now));
            if due != Some(Duration::ZERO) {
                let wait = due.unwrap_or(TICK).min(TICK);
                queue = self.arrived.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some((_, (to, bytes))) = queue.pop_first() else { continue };
            drop(queue);
            if let (Some(socket), Some(target)) = (sockets.get(to), targets.get(to)) {
                // Lost like any packet if the other end is not there.
                let _ = socket.send_to(&bytes, target);
                self.passed.fetch_add(1, Ordering::Relaxed);
            }
            queue = lock(&self.under_way);
        }
    }
}

/// The member whose address is the frame's destination.
fn receiver(packet: &[u8]) -> Option<usize> {
    match packet.get(VXLAN_HEADER..VXLAN_HEADER + 6)? {
        [0x02, 0x7a, 0x6b, 0, 0, n] => usize::from(*n).checked_sub(1),
        _ => None,
    }
}

/// The kernel leaves TCP's checksum to the device, and no device comes.
fn complete_checksum(packet: &mut [u8]) {
    const ETHERNET: usize = 14;
    const TCP: u8 = 6;
    let Some(ip) = packet.get_mut(VXLAN_HEADER + ETHERNET..) else { return };
    let (Some(first), Some(total), Some(protocol)) = (ip.first(), ip.get(2..4), ip.get(9)) else { return };
    let (header, protocol) = (usize::from(first & 15) * 4, *protocol);
    let total = usize::from(u16::from_be_bytes([total[0], total[1]]));
    if first >> 4 != 4 || protocol != TCP || header < 20 || total > ip.len() || total < header + 20 {
        return;
    }
    let (head, rest) = ip.split_at_mut(header);
    let segment = &mut rest[..total - header];
    segment[16..18].fill(0);
    // Source, destination, protocol and length stand before the segment.
    let mut sum = u32::from(TCP) + (total - header) as u32;
    for part in [&head[12..20], &*segment] {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(net: &Net, from: usize, to: usize) -> bool {
        ping_within(net, from, to, Duration::from_secs(60))
    }

    fn no_ping(net: &Net, from: usize, to: usize) -> bool {
        !ping_within(net, from, to, Duration::from_millis(900))
    }

    fn ping_within(net: &Net, from: usize, to: usize, within: Duration) -> bool {
        let name = net.name(from);
        let target = net.peer_ip(to).to_string();
        // A TCP connection that is refused has been there and back.
        let script = format!("exec 3<>/dev/tcp/{target}/9");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &name, "bash", "-c", &script])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + within;
        loop {
            if child.try_wait().unwrap().is_some() {
                return true;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn faults_act_between_the_members_they_name() {
        if let Some(why) = unavailable() {
            return eprintln!("not run, no network namespaces here: {why}");
        }
        let net = Net::new(3).unwrap();
        assert!(ping(&net, 0, 1) && ping(&net, 1, 2) && ping(&net, 2, 0));
        net.partition(&[2]);
        assert!(ping(&net, 0, 1) && no_ping(&net, 1, 2) && no_ping(&net, 2, 0));
        net.heal();
        net.cut(0, 1);
        // Neither the question nor the answer.
        assert!(no_ping(&net, 0, 1) && no_ping(&net, 1, 0) && ping(&net, 1, 2));
        net.heal();
        net.set_all(|f| f.delay = Duration::from_millis(100));
        let began = Instant::now();
        assert!(ping(&net, 0, 1));
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        let (passed, dropped) = net.counts();
        assert!(passed > 10 && dropped > 3, "{passed} {dropped}");
        let prefix = net.prefix.clone();
        drop(net);
        assert!(namespaces().unwrap().iter().all(|n| !n.starts_with(&prefix)));
    }
}
