//! The transport against itself and against raw sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::Receiver;
use zk_proto::quorum::election::{Address, Form, Hello, HelloVersion, Mark, Notification, PeerState};
use zk_proto::quorum::packet::{FromLeader, FromLearner, LearnerInfo};
use zk_proto::quorum::snap::SnapItem;
use zk_proto::{Epoch, PeerId, StatPersisted, Zxid};
use zk_testkit::process::free_port;
use zk_testkit::vectors;
use zk_tree::{Tree, TreeOptions};

use super::*;

const SOON: Duration = Duration::from_secs(60);
const WHILE: Duration = Duration::from_millis(300);

/// Counts nodes, and makes an empty tree of them.
struct Counting {
    nodes: usize,
    ended: bool,
}

impl SnapSink for Counting {
    fn item(&mut self, item: SnapItem) -> Result<(), String> {
        match item {
            SnapItem::Node { path, .. } if path == "/bad" => return Err("a bad node".to_owned()),
            SnapItem::Node { .. } => self.nodes += 1,
            SnapItem::End => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, zxid: Zxid) -> Result<Tree, String> {
        assert!(self.ended && zxid == Zxid(7));
        (self.nodes == NODES).then(|| Tree::new(TreeOptions::default())).ok_or("nodes are missing".to_owned())
    }
}

const NODES: usize = 3000;

/// A transport, and what came from it and was not asked for yet.
struct Member {
    me: i64,
    handle: PeerHandle,
    events: Receiver<PeerEvent>,
    kept: VecDeque<PeerEvent>,
}

impl Member {
    fn with(me: i64, change: impl FnOnce(&mut PeerConfig)) -> Self {
        let mut config = PeerConfig::new(PeerId(me));
        change(&mut config);
        let (handle, events) = start(config, Arc::new(|| Box::new(Counting { nodes: 0, ended: false })));
        Self { me, handle, events, kept: VecDeque::new() }
    }

    fn new(me: i64) -> Self {
        Self::with(me, |_| {})
    }

    fn tell(&self, command: PeerCommand) {
        self.handle.send(vec![command]);
    }

    /// Waits until the counters are so: what is closed is counted a moment later.
    fn counts(&self, so: impl Fn(&PeerCounters) -> bool) {
        let until = Instant::now() + SOON;
        while !so(self.handle.counters()) {
            assert!(Instant::now() < until, "{:?}", self.handle.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The first event that `pick` takes; the others are kept for later.
    fn wait<T>(&mut self, mut pick: impl FnMut(&PeerEvent) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        for i in 0..self.kept.len() {
            if let Some(t) = pick(&self.kept[i]) {
                self.kept.remove(i);
                return t;
            }
        }
        loop {
            let event = self
                .events
                .recv_deadline(until)
                .unwrap_or_else(|_| panic!("member {} waits in vain, it has {:?}", self.me, self.kept));
            match pick(&event) {
                Some(t) => return t,
                None => self.kept.push_back(event),
            }
        }
    }

    /// Opens the election port somewhere.
    fn listen(&mut self) -> u16 {
        self.tell(PeerCommand::ElectionPort(vec![("127.0.0.1".to_owned(), free_port().unwrap())]));
        self.wait(|e| match e {
            PeerEvent::ElectionPort(bound) => Some(bound.as_ref().unwrap()[0].port()),
            _ => None,
        })
    }

    fn members(&self, ports: &[(i64, u16)]) {
        let one = |(sid, port): &(i64, u16)| {
            (PeerId(*sid), PeerAddresses { addresses: vec![("127.0.0.1".to_owned(), 1, *port)] })
        };
        self.tell(PeerCommand::Members(ports.iter().map(one).collect()));
    }

    fn notify(&self, to: i64, round: i64) {
        self.tell(PeerCommand::Notify { to: PeerId(to), notification: vote(round) });
    }

    fn hears(&mut self, from: i64, round: i64) {
        self.wait(|e| match e {
            PeerEvent::Notification { from: f, notification } if *f == PeerId(from) => {
                (*notification == vote(round)).then_some(())
            }
            _ => None,
        });
    }

    fn reaches(&mut self, peer: i64, yes: bool) {
        self.wait(|e| {
            matches!(e, PeerEvent::Reachable { peer: p, yes: y } if *p == PeerId(peer) && *y == yes)
                .then_some(())
        });
    }

    fn lead(&mut self) -> u16 {
        self.tell(PeerCommand::Lead(vec![("127.0.0.1".to_owned(), free_port().unwrap())]));
        self.wait(|e| match e {
            PeerEvent::QuorumPort(bound) => Some(bound.as_ref().unwrap()[0].port()),
            _ => None,
        })
    }

    fn follow(&self, attempt: u64, port: u16) {
        self.tell(PeerCommand::Follow {
            attempt,
            leader: PeerId(3),
            addresses: vec![("127.0.0.1".to_owned(), port)],
            try_for: SOON,
            retry_delay: Duration::from_millis(20),
        });
    }

    fn link_up(&mut self) -> LinkId {
        self.wait(|e| match e {
            PeerEvent::LinkUp { link, .. } => Some(*link),
            _ => None,
        })
    }

    fn link_down(&mut self, link: LinkId) {
        self.wait(|e| matches!(e, PeerEvent::LinkDown { link: l } if *l == link).then_some(()));
    }

    /// Packets of the leader in order; a snapshot is its zxid.
    fn packets(&mut self, n: usize) -> Vec<Result<FromLeader, Zxid>> {
        let mut out = Vec::new();
        while out.len() < n {
            self.wait(|e| match e {
                PeerEvent::FromLeader { messages, .. } => {
                    out.extend(messages.iter().map(|m| match m {
                        LeaderMessage::Packet(p) => Ok(p.clone()),
                        LeaderMessage::Snapshot { zxid, .. } => Err(*zxid),
                    }));
                    Some(())
                }
                _ => None,
            });
        }
        out
    }
}

fn vote(round: i64) -> Notification {
    Notification {
        state: PeerState::Looking,
        leader: PeerId(1),
        zxid: Zxid(5),
        round,
        peer_epoch: Epoch(0),
        form: Form::Config { version: 2, config: Bytes::from_static(b"version=0") },
        mark: Some(Mark { asks: 1, heard: 2 }),
    }
}

/// Members 1..=n, who know each other.
fn ensemble(n: i64) -> Vec<Member> {
    ensemble_at(n).0
}

fn ensemble_at(n: i64) -> (Vec<Member>, Vec<(i64, u16)>) {
    let mut members: Vec<Member> = (1..=n).map(Member::new).collect();
    let ports: Vec<(i64, u16)> = members.iter_mut().map(|m| (m.me, m.listen())).collect();
    members.iter().for_each(|m| m.members(&ports));
    (members, ports)
}

#[test]
fn two_talk_whoever_begins() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut two = ensemble(2);
        two[first].notify(second as i64 + 1, 1);
        two[second].hears(first as i64 + 1, 1);
        two[second].notify(first as i64 + 1, 2);
        two[first].hears(second as i64 + 1, 2);
        two[0].reaches(2, true);
        two[1].reaches(1, true);
    }
}

#[test]
fn three_talk_all_at_once() {
    let mut three = ensemble(3);
    let others = |a: i64| (1..=3).filter(move |b| *b != a);
    for one in &three {
        others(one.me).for_each(|b| one.notify(b, one.me));
    }
    for one in &mut three {
        others(one.me).for_each(|b| one.hears(b, b));
    }
}

#[test]
fn a_restarted_one_is_called_back_and_hears_the_last_message_again() {
    for gone in [1, 2] {
        let (mut two, ports) = ensemble_at(2);
        let stays = 3 - gone;
        two[stays as usize - 1].notify(gone, 1);
        two[gone as usize - 1].hears(stays, 1);
        let index = gone as usize - 1;
        two[index].handle.stop();
        two[2 - gone as usize].reaches(gone, false);

        let mut again = Member::new(gone);
        again.tell(PeerCommand::ElectionPort(vec![("127.0.0.1".to_owned(), ports[index].1)]));
        again.members(&ports);
        again.notify(stays, 7);
        two[2 - gone as usize].hears(gone, 7);
        again.hears(stays, 1);
    }
}

#[test]
fn who_refuses_is_told_and_dialled_again_for_the_next_message() {
    let mut one = Member::new(1);
    let port = one.listen();
    let closed = free_port().unwrap();
    one.members(&[(1, port), (2, closed)]);
    for _ in 0..3 {
        one.notify(2, 1);
        one.reaches(2, false);
    }
    let mut two = Member::new(2);
    two.tell(PeerCommand::ElectionPort(vec![("127.0.0.1".to_owned(), closed)]));
    two.wait(|e| matches!(e, PeerEvent::ElectionPort(Ok(_))).then_some(()));
    one.notify(2, 9);
    two.hears(1, 9);
    // Two does not know one by its configuration, only by its hello.
    two.notify(1, 10);
    one.hears(2, 10);
    one.members(&[(1, port)]);
    two.reaches(1, false);
}

fn hello(sid: i64, port: u16) -> Vec<u8> {
    let addresses = vec![Address { host: "127.0.0.1".to_owned(), port }];
    let mut out = Vec::new();
    Hello { version: HelloVersion::V1, sid: PeerId(sid), addresses }.encode(&mut out);
    out
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Reads until the other side closes.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok() || {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        !matches!(stream.read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// Reads one frame and not a byte more: the next one may be there already.
fn read_vote(stream: &mut TcpStream) -> Notification {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    Notification::decode(&body.into()).unwrap()
}

#[test]
fn captured_hellos_and_notifications_are_understood() {
    let mut one = Member::new(1);
    let port = one.listen();
    let lines = vectors::load("election.hex").unwrap();
    let from_two = lines.iter().filter(|l| l.connection == 1 && l.from == vectors::From::Active);
    let mut java = connect(port);
    let mut sent = 0;
    for bytes in from_two.filter_map(|l| l.bytes.as_ref()) {
        java.write_all(bytes).unwrap();
        sent += 1;
    }
    assert!(sent > 1);
    one.reaches(2, true);
    for _ in 1..sent {
        one.wait(|e| matches!(e, PeerEvent::Notification { from: PeerId(2), .. }).then_some(()));
    }
    one.notify(2, 3);
    assert_eq!(read_vote(&mut java), vote(3));
}

#[test]
fn our_hello_is_one_segment_and_a_smaller_id_closes_behind_it() {
    let fake = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut one = Member::new(1);
    let port = one.listen();
    one.members(&[(2, fake.local_addr().unwrap().port())]);
    one.notify(2, 4);
    let (mut asked, _) = fake.accept().unwrap();
    let mut bytes = [0; 100];
    let n = asked.read(&mut bytes).unwrap();
    assert_eq!(bytes[..n], hello(1, port));
    assert_eq!(asked.read(&mut bytes).unwrap(), 0);

    // Called back, in pieces.
    let mut back = connect(port);
    for piece in hello(2, 1).chunks(7) {
        back.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read_vote(&mut back), vote(4));
    // A newer one replaces it, and begins with the last message.
    let mut newer = connect(port);
    newer.write_all(&hello(2, 1)).unwrap();
    assert_eq!(read_vote(&mut newer), vote(4));
    assert!(is_closed(&mut back));
}

#[test]
fn strangers_do_not_disturb() {
    let mut two = Member::with(2, |c| c.handshake_timeout = Duration::from_secs(2));
    let port = two.listen();
    let mut silent: Vec<TcpStream> = (0..limits::HANDSHAKES + 20).map(|_| connect(port)).collect();
    let mut three = connect(port);
    three.write_all(&hello(3, 1)).unwrap();
    two.reaches(3, true);
    two.notify(3, 1);
    assert_eq!(read_vote(&mut three), vote(1));

    for junk in [&b"GET / HTTP/1.1\r\n\r\n\xff"[..], &[0xff; 64], &hello(2, 1), &hello(-5, 1)] {
        let mut stranger = connect(port);
        stranger.write_all(junk).unwrap();
        if junk[0] == b'G' {
            // An id of an ancient peer, to Java as well: its next bytes are no frame.
            let _ = stranger.write_all(&[0xff; 8]);
        }
        assert!(is_closed(&mut stranger));
    }
    let mut oversized = connect(port);
    oversized.write_all(&hello(9, 1)).unwrap();
    oversized.write_all(&(524_289_i32).to_be_bytes()).unwrap();
    assert!(is_closed(&mut oversized));
    assert!(silent.iter_mut().all(is_closed));

    // Silence is nothing bad once it is known who is silent.
    std::thread::sleep(WHILE);
    two.notify(3, 2);
    assert_eq!(read_vote(&mut three), vote(2));
    two.counts(|c| c.refused() >= 20 && c.bad_hellos() >= 3 && c.bad_notifications() >= 1);
}

#[test]
fn an_observer_without_an_id_gets_one() {
    let mut two = Member::new(2);
    let port = two.listen();
    let mut observer = connect(port);
    observer.write_all(&hello(i64::MAX, 1)).unwrap();
    two.reaches(-1, true);
    two.notify(-1, 5);
    assert_eq!(read_vote(&mut observer), vote(5));
    drop(observer);
    two.reaches(-1, false);
}

fn to_leader(messages: &[FromLearner]) -> Bytes {
    let mut out = BytesMut::new();
    messages.iter().for_each(|m| m.to_packet().encode(&mut out));
    out.freeze()
}

fn to_learner(messages: &[FromLeader]) -> Bytes {
    let mut out = BytesMut::new();
    messages.iter().for_each(|m| m.to_packet().encode(&mut out));
    out.freeze()
}

fn info(sid: i64) -> FromLearner {
    FromLearner::Info {
        observer: false,
        accepted_epoch: Epoch(0),
        learner: LearnerInfo::new(PeerId(sid), Zxid(0)),
    }
}

fn commit(n: i64) -> FromLeader {
    FromLeader::Commit { zxid: Zxid(n) }
}

/// A leader and a learner that are connected.
fn linked() -> (Member, Member, LinkId) {
    let (mut leader, mut learner) = (Member::new(3), Member::new(1));
    let port = leader.lead();
    learner.follow(1, port);
    learner.wait(|e| matches!(e, PeerEvent::Following { attempt: 1 }).then_some(()));
    let ack = FromLearner::Ack { zxid: Zxid(1) };
    learner.tell(PeerCommand::ToLeader { attempt: 0, packets: Bytes::from_static(b"of another time") });
    learner.tell(PeerCommand::ToLeader { attempt: 1, packets: to_leader(&[info(1), ack.clone()]) });
    let link = leader.link_up();
    let mut got = Vec::new();
    while got.len() < 2 {
        leader.wait(|e| match e {
            PeerEvent::FromLearner { link: l, messages } if *l == link => {
                got.extend(messages.iter().cloned());
                Some(())
            }
            _ => None,
        });
    }
    assert_eq!(got, [info(1), ack]);
    (leader, learner, link)
}

fn snapshot(bad: bool) -> Bytes {
    let mut out = BytesMut::new();
    SnapItem::Sessions(0).encode(&mut out);
    SnapItem::Acls(0).encode(&mut out);
    for n in 0..NODES {
        let path = if bad { "/bad".to_owned() } else { format!("/n{n}") };
        let data = Some(Bytes::from(vec![1; 1000]));
        SnapItem::Node { path, data, acl: -1, stat: StatPersisted::default() }.encode(&mut out);
    }
    SnapItem::End.encode(&mut out);
    out.freeze()
}

fn stream(link: LinkId, mut bytes: Bytes) -> PeerCommand {
    let source: StreamSource = Box::new(move |give| {
        while !bytes.is_empty() {
            if !give(bytes.split_to(bytes.len().min(100_003))) {
                break;
            }
        }
        Ok(())
    });
    PeerCommand::Stream { link, source }
}

#[test]
fn packets_and_a_snapshot_arrive_in_order() {
    let (mut leader, mut learner, link) = linked();
    let gone = LinkId(99);
    let send = |messages: &[FromLeader]| PeerCommand::ToLearners {
        links: vec![gone, link],
        packets: to_learner(messages),
    };
    leader.handle.send(vec![
        send(&[commit(1), commit(2)]),
        send(&[FromLeader::Snap { zxid: Zxid(7) }]),
        stream(link, snapshot(false)),
        send(&[commit(8)]),
        send(&[commit(9)]),
    ]);
    let got = learner.packets(5);
    assert_eq!(got, [Ok(commit(1)), Ok(commit(2)), Err(Zxid(7)), Ok(commit(8)), Ok(commit(9))]);
    leader.wait(|e| matches!(e, PeerEvent::Streamed { link: l } if *l == link).then_some(()));

    leader.tell(PeerCommand::CloseLink(link));
    leader.link_down(link);
    learner.wait(|e| matches!(e, PeerEvent::LeaderLost { attempt: 1, .. }).then_some(()));
}

#[test]
fn a_snapshot_that_is_none_loses_the_leader() {
    let (mut leader, mut learner, link) = linked();
    let packets = to_learner(&[FromLeader::Snap { zxid: Zxid(7) }]);
    leader.tell(PeerCommand::ToLearners { links: vec![link], packets });
    leader.tell(stream(link, snapshot(true)));
    let why = learner.wait(|e| match e {
        PeerEvent::LeaderLost { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why, "a bad node");
    leader.link_down(link);
    learner.counts(|c| c.bad_packets() == 1);
}

#[test]
fn a_stream_that_fails_closes_the_link() {
    let (mut leader, mut learner, link) = linked();
    let source: StreamSource = Box::new(|_| Err("the disk is gone".to_owned()));
    leader.tell(PeerCommand::Stream { link, source });
    leader.link_down(link);
    learner.wait(|e| matches!(e, PeerEvent::LeaderLost { .. }).then_some(()));
}

#[test]
fn junk_on_the_quorum_port_is_closed() {
    let mut leader = Member::new(3);
    let port = leader.lead();
    let no_info = to_leader(&[FromLearner::Ack { zxid: Zxid(1) }]);
    for junk in [&[0xff; 40][..], &no_info] {
        let mut stranger = connect(port);
        stranger.write_all(junk).unwrap();
        assert!(is_closed(&mut stranger));
    }
    leader.counts(|c| c.bad_hellos() == 2);

    let mut learner = connect(port);
    learner.write_all(&to_leader(&[info(1)])).unwrap();
    let link = leader.link_up();
    // What is good before the junk is told. An unknown type is passed over.
    learner.write_all(&to_leader(&[FromLearner::Ack { zxid: Zxid(4) }])).unwrap();
    learner
        .write_all(&[0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
        .unwrap();
    learner.write_all(&[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).unwrap();
    leader.wait(|e| match e {
        PeerEvent::FromLearner { messages, .. } => {
            messages.contains(&FromLearner::Ack { zxid: Zxid(4) }).then_some(())
        }
        _ => None,
    });
    leader.link_down(link);
    assert!(is_closed(&mut learner));
    leader.counts(|c| c.bad_packets() == 1);
}

#[test]
fn who_does_not_read_is_closed() {
    let mut leader = Member::new(3);
    let port = leader.lead();
    let mut slow = connect(port);
    slow.write_all(&to_leader(&[info(1)])).unwrap();
    let link = leader.link_up();
    // The same bytes again and again: what counts is what is queued.
    let packets = Bytes::from(vec![0; 16 << 20]);
    for _ in 0..limits::LINK_BYTES / packets.len() + 4 {
        leader.tell(PeerCommand::ToLearners { links: vec![link], packets: packets.clone() });
    }
    leader.link_down(link);
    leader.counts(|c| c.slow_links() == 1);
}

#[test]
fn a_stream_to_who_is_gone_stops() {
    let (mut leader, learner, link) = linked();
    let (stopped, seen) = crossbeam_channel::bounded(1);
    let source: StreamSource = Box::new(move |give| {
        while give(Bytes::from_static(&[0; 1000])) {}
        let _ = stopped.send(());
        Ok(())
    });
    leader.tell(PeerCommand::Stream { link, source });
    std::thread::sleep(Duration::from_millis(50));
    drop(learner);
    seen.recv_timeout(SOON).unwrap();
    leader.link_down(link);
}

#[test]
fn the_end_of_leading_closes_all_and_the_port_opens_again() {
    let (mut leader, mut learner, link) = linked();
    leader.tell(PeerCommand::StopLeading);
    leader.link_down(link);
    learner.wait(|e| matches!(e, PeerEvent::LeaderLost { attempt: 1, .. }).then_some(()));

    let port = leader.lead();
    let mut waiting = connect(port);
    leader
        .handle
        .send(vec![PeerCommand::StopLeading, PeerCommand::Lead(vec![("127.0.0.1".to_owned(), port)])]);
    assert!(is_closed(&mut waiting));
    let again = leader.wait(|e| match e {
        PeerEvent::QuorumPort(bound) => Some(bound.clone()),
        _ => None,
    });
    assert_eq!(again, Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    learner.follow(2, port);
    learner.wait(|e| matches!(e, PeerEvent::Following { attempt: 2 }).then_some(()));
    learner.tell(PeerCommand::ToLeader { attempt: 2, packets: to_leader(&[info(1)]) });
    assert!(leader.link_up() > link);

    leader.tell(PeerCommand::StopLeading);
    learner.wait(|e| matches!(e, PeerEvent::LeaderLost { attempt: 2, .. }).then_some(()));
    learner.follow(3, port);
    learner.wait(|e| matches!(e, PeerEvent::LeaderLost { attempt: 3, .. }).then_some(()));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut one = Member::with(1, |c| c.bind_retry = 1);
    let at = vec![("127.0.0.1".to_owned(), port)];
    one.handle.send(vec![PeerCommand::ElectionPort(at.clone()), PeerCommand::Lead(at)]);
    one.wait(|e| matches!(e, PeerEvent::ElectionPort(Err(_))).then_some(()));
    one.wait(|e| matches!(e, PeerEvent::QuorumPort(Err(_))).then_some(()));
}

#[test]
fn a_core_that_does_not_listen_stops_the_readers_and_not_the_commands() {
    let mut two = Member::new(2);
    let port = two.listen();
    let mut three = connect(port);
    three.write_all(&hello(3, 1)).unwrap();
    two.reaches(3, true);
    let mut votes = BytesMut::new();
    let n = 3 * limits::PEER_EVENTS as i64;
    (0..n).for_each(|round| vote(round).encode(&mut votes));
    three.write_all(&votes).unwrap();
    std::thread::sleep(WHILE);
    for round in 0..n {
        two.notify(3, round);
    }
    while read_vote(&mut three) != vote(n - 1) {}
    for round in 0..n {
        two.hears(3, round);
    }
}

#[test]
fn nobody_is_asked_to_call_back_nowhere() {
    let mut one = Member::new(1);
    one.tell(PeerCommand::Members(BTreeMap::new()));
    one.notify(2, 1);
    one.reaches(2, false);
    // Nor before there is a port to call.
    let fake = TcpListener::bind("127.0.0.1:0").unwrap();
    fake.set_nonblocking(true).unwrap();
    one.members(&[(2, fake.local_addr().unwrap().port())]);
    one.notify(2, 1);
    std::thread::sleep(WHILE);
    assert!(fake.accept().is_err());
    one.listen();
    let until = Instant::now() + SOON;
    while fake.accept().is_err() {
        assert!(Instant::now() < until, "nobody dials");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With SLOW=1: a Java server between a smaller and a larger id of ours.
#[test]
fn java_talks_to_both_sides() {
    use zk_testkit::process;
    if std::env::var_os("SLOW").is_none() {
        return;
    }
    let (mut one, mut three) = (Member::new(1), Member::new(3));
    let (mine, quorum, election) = (three.lead(), free_port().unwrap(), free_port().unwrap());
    let ports = [(1, one.listen()), (2, election), (3, three.listen())];
    one.members(&ports);
    three.members(&ports);
    let mut config = process::Config::default().line("initLimit", 10).line("syncLimit", 5);
    for (sid, port) in ports {
        let quorum = if sid == 3 { mine } else { quorum };
        config = config.line(&format!("server.{sid}"), format!("127.0.0.1:{quorum}:{port}"));
    }
    let mut java = process::Server::prepare(process::launcher("java").unwrap(), config).unwrap();
    std::fs::create_dir_all(java.data_dir()).unwrap();
    std::fs::write(java.data_dir().join("myid"), "2").unwrap();
    java.spawn().unwrap();
    let votes_for_itself = |e: &PeerEvent| match e {
        PeerEvent::Notification { from: PeerId(2), notification: n } => {
            (n.leader == PeerId(2) && n.state == PeerState::Looking).then_some(())
        }
        _ => None,
    };
    one.wait(votes_for_itself);
    three.wait(votes_for_itself);

    // A better vote than its own comes back from it, on both connections.
    let better = Notification { zxid: Zxid(9), leader: PeerId(3), form: Form::Plain(1), ..vote(1) };
    let votes_for_three = |e: &PeerEvent| match e {
        PeerEvent::Notification { from: PeerId(2), notification: n } => {
            (n.leader == PeerId(3) && n.zxid == Zxid(9)).then_some(())
        }
        _ => None,
    };
    three.tell(PeerCommand::Notify { to: PeerId(2), notification: better.clone() });
    one.wait(votes_for_three);
    three.wait(votes_for_three);

    // Two of three vote so: it follows, and comes to the quorum port.
    let link = three.link_up();
    let first = three.wait(|e| match e {
        PeerEvent::FromLearner { messages, .. } => messages.first().cloned(),
        _ => None,
    });
    assert_eq!(first, info(2));
    java.kill().unwrap();
    one.reaches(2, false);
    three.reaches(2, false);
    three.link_down(link);
}
