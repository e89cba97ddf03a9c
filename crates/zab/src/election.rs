//! Who leads: fast leader election without IO.
//!
//! ```text
//!            start                quorum for the proposal, and the wait is over
//!  (idle) ----------> LOOKING ------------------------------------------------> LEADING,
//!                     ^     |     quorum of settled members, their leader too   FOLLOWING or
//!                     |     +-------------------------------------------------> OBSERVING
//!                     +-------------------------- start -------------------------+
//! ```
//! Members tell each other their proposal, take over the best one they hear of,
//! and settle when a quorum proposes the same. The host sends what
//! [`Election::take_outputs`] gives, in its order, and calls [`Election::tick`] at
//! [`Election::deadline`].
//!
//! Safety does not rest on this module: at most one member gets a quorum to
//! accept its epoch later on. ref: FastLeaderElection, QuorumPeer, Vote.
//!
//! That holds as long as disks keep what they acknowledged. A member with a
//! blank disk may have lost it, so it [gathers](Election::start_blank) first: it
//! has no vote until it has heard every voter's, and then knows whose data is the
//! best. What it sends until then looks to Java like the vote of a member that
//! does not trust its data (zxid -1), which Java ignores, and has round 0, which
//! everybody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, info};
use zk_proto::quorum::election::{Form, Mark, Notification, PeerState};
use zk_proto::{Epoch, PeerId, Zxid};

use crate::config::{Configs, EnsembleConfig};

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

/// How many members without a vote are told the result of an election: as many as
/// an ensemble can have. The others ask again.
const MAX_STRANGERS: usize = 255;

/// The round that a member tells which gathers the others' votes: it is before
/// all rounds, and who is asked by an older round answers.
const GATHERING_ROUND: i64 = 0;

/// Whom a member wants to lead that has no vote.
const NOBODY: PeerId = PeerId(i64::MIN);

/// How often such a member asks, in the shortest intervals of silence.
const GATHERING_INTERVALS: u64 = 5;

/// How long a blank member's word counts, in the same: it may have been given
/// data since.
const BLANK_INTERVALS: u64 = 3 * GATHERING_INTERVALS;

/// Whom a member wants to lead, or follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The leader.
    pub leader: PeerId,
    /// The leader's last zxid when it was proposed.
    pub zxid: Zxid,
    /// Round of the election in which the vote was given.
    pub round: i64,
    /// The leader's current epoch when it was proposed; of a settled member the
    /// epoch that the leader established.
    pub peer_epoch: Epoch,
}

impl Vote {
    /// Votes are compared by epoch, zxid and id. The epoch is the one the leader
    /// finished recovering with, not that of the zxid.
    fn rank(&self) -> (Epoch, Zxid, PeerId) {
        (self.peer_epoch, self.zxid, self.leader)
    }

    fn of(n: &Notification) -> Self {
        Self { leader: n.leader, zxid: n.zxid, round: n.round, peer_epoch: n.peer_epoch }
    }
}

/// What the election needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionConfig {
    /// This member.
    pub me: PeerId,
    /// `zookeeper.fastleader.minNotificationInterval`: after this silence in ms
    /// the proposal is sent again.
    pub min_interval_ms: u64,
    /// `zookeeper.fastleader.maxNotificationInterval`: up to this the interval
    /// doubles.
    pub max_interval_ms: u64,
    /// How long a proposal with a quorum waits for a better one, in ms.
    /// ref: FastLeaderElection.finalizeWait.
    pub finalize_ms: u64,
    /// `reconfigEnabled`: whether a newer configuration is taken from a peer.
    pub reconfig_enabled: bool,
    /// What this member's questions are numbered from: no earlier process of this member came
    /// that far.
    pub first_question: i64,
}

impl ElectionConfig {
    /// Java's defaults.
    ///
    /// differs: the longest interval is 5 s, where Java has 60. A member that was alone for
    /// long finds the others that much sooner when the network is well again.
    pub fn new(me: PeerId) -> Self {
        Self {
            me,
            min_interval_ms: 200,
            max_interval_ms: 5_000,
            finalize_ms: 200,
            reconfig_enabled: false,
            first_question: 1,
        }
    }
}

/// What the election wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElectionOutput {
    /// To be sent. Of several unsent ones to a member only the last one counts.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        notification: Notification,
    },
    /// The election is over.
    Elected {
        /// The final vote.
        vote: Vote,
        /// Leading, Following or Observing.
        state: PeerState,
    },
    /// A peer has a newer configuration. It is active in the election already and,
    /// if its content is new, the search has begun again with it: what follows
    /// goes to its members. The host makes it the active one everywhere else.
    AdoptConfig(EnsembleConfig),
}

/// What was heard from a member. ref: Vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    vote: Vote,
    state: PeerState,
    /// Version of the notification, as far as Java keeps it.
    version: i32,
}

impl Heard {
    /// ref: Vote.equals.
    fn agrees(&self, other: &Self) -> bool {
        let looking = |h: &Self| h.state == PeerState::Looking;
        if looking(self) || looking(other) {
            return self.vote == other.vote;
        }
        // A member before 3.4.6 tells another epoch, and settled members may
        // differ in zxid and round.
        let one_is_ancient = (self.version > 0) != (other.version > 0);
        self.vote.leader == other.vote.leader
            && (one_is_ancient || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

/// A search for a leader.
#[derive(Debug)]
struct Search {
    proposal: Vote,
    /// This round's votes. ref: recvset.
    votes: BTreeMap<PeerId, Heard>,
    /// What settled members say, of any round. ref: outofelection.
    settled: BTreeMap<PeerId, Heard>,
    /// Silence after which the proposal is sent again.
    interval_ms: u64,
    timer: Timer,
    /// Who asked without having a vote.
    strangers: BTreeSet<PeerId>,
    /// Until it has a vote: when each voter without one was heard of.
    gathering: Option<BTreeMap<PeerId, u64>>,
    /// Every voter was heard once: from when on what they say counts.
    again_from: Option<u64>,
}

/// What a search waits for.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// For messages; the proposal is sent again then.
    ///
    /// differs: a message starts Java's time anew. Members that send to this one more often than
    /// it would send to them then never learn what it proposes, if they missed it once.
    Resend(u64),
    /// For something better than the proposal, which has a quorum.
    Finalize(u64),
}

#[derive(Debug)]
enum Phase {
    /// Never started.
    Idle,
    Looking(Search),
    Settled {
        vote: Vote,
        state: PeerState,
    },
}

/// One member's part in elections.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    configs: Configs,
    /// Text of the active configuration.
    text: Bytes,
    phase: Phase,
    /// The logical clock.
    round: i64,
    /// Last zxid and current epoch of this member at the last start.
    own: (Zxid, Epoch),
    /// Nothing is on its disk, and that may be a loss.
    blank: bool,
    /// The last search ended before it had a vote.
    without_vote: bool,
    unreachable: BTreeSet<PeerId>,
    /// What this member asks by now; see [`Mark`].
    question: i64,
    /// The last question of each member.
    heard: BTreeMap<PeerId, i64>,
    /// The last message of each voter that looks for a leader while this member
    /// does not, and when it came.
    early: BTreeMap<PeerId, (u64, Notification)>,
    /// Whom this member proposes instead of itself until the next election is over.
    preferred: Option<PeerId>,
    outputs: Vec<ElectionOutput>,
}

impl Election {
    /// A member that does not look for a leader yet and has no vote.
    pub fn new(config: ElectionConfig, configs: Configs) -> Self {
        Self {
            question: config.first_question,
            config,
            heard: BTreeMap::new(),
            text: configs.active.to_text().into(),
            configs,
            phase: Phase::Idle,
            round: 0,
            own: (Zxid::ZERO, Epoch::default()),
            blank: false,
            without_vote: false,
            unreachable: BTreeSet::new(),
            early: BTreeMap::new(),
            preferred: None,
            outputs: Vec::new(),
        }
    }

    /// Begins to look for a leader. `zxid` is the last one in the log, `epoch` the
    /// current epoch. ref: FastLeaderElection.lookForLeader.
    pub fn start(&mut self, now: u64, zxid: Zxid, epoch: Epoch) {
        (self.own, self.blank) = ((zxid, epoch), false);
        self.search(now);
    }

    /// The same for a member with nothing on its disk, which may be new or may
    /// have lost what it had acknowledged. It votes when it has heard each voter
    /// of the configuration in this search: what its vote elects then is the best
    /// data that is left. Whoever leads already is joined at once.
    ///
    /// differs: Java's member votes for anybody, so that two of three with lost
    /// disks make an empty leader, and the third throws its data away.
    pub fn start_blank(&mut self, now: u64) {
        (self.own, self.blank) = ((Zxid::ZERO, Epoch(0)), true);
        self.search(now);
    }

    /// In the next election this member votes for another one, which must have its history: a
    /// leader that hands over is not to lead again. If that one is gone, the election behind it
    /// is as any other.
    pub fn prefer(&mut self, voter: Option<PeerId>) {
        self.preferred = voter;
    }

    /// Whether the last search ended without a vote of this member: its history is
    /// not to be counted by the leader that it found.
    pub fn is_without_vote(&self) -> bool {
        self.without_vote
    }

    /// Takes a notification of another member.
    /// ref: FastLeaderElection.Messenger.WorkerReceiver.
    pub fn handle(&mut self, now: u64, from: PeerId, n: &Notification) {
        if from == self.config.me {
            return;
        }
        self.unreachable.remove(&from);
        let known = self.configs.is_voter(from) || self.heard.contains_key(&from);
        if let Some(mark) = n.mark.filter(|_| known || self.heard.len() < MAX_STRANGERS) {
            self.heard.insert(from, mark.asks);
        }
        self.adopt_config(now, n);
        if !self.configs.is_voter(from) {
            return self.answer_stranger(from, n);
        }
        if matches!(n.state, PeerState::Unknown(_)) {
            return;
        }
        match &self.phase {
            Phase::Idle => self.keep(now, from, n),
            Phase::Looking(search) => {
                // differs: Java answers without a vote of its own, too, which nobody
                // takes up and a voter answers again.
                let proposal = search.proposal;
                let round = search.gathering.as_ref().map_or(self.round, |_| GATHERING_ROUND);
                let lags = n.state == PeerState::Looking && n.round < round;
                if lags && self.configs.is_voter(self.config.me) {
                    self.send(from, PeerState::Looking, proposal);
                }
                self.hear(now, from, n);
            }
            Phase::Settled { vote, state } => {
                let (vote, state) = (*vote, *state);
                if n.state == PeerState::Looking {
                    self.send(from, state, vote);
                }
                self.keep(now, from, n);
            }
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        let Phase::Looking(search) = &mut self.phase else { return };
        match search.timer {
            Timer::Finalize(at) if at <= now => {
                let vote = search.proposal;
                self.settle(vote);
            }
            Timer::Resend(at) if at <= now => {
                let max = match search.gathering {
                    Some(_) => self.config.min_interval_ms.saturating_mul(GATHERING_INTERVALS),
                    None => self.config.max_interval_ms,
                };
                search.interval_ms = search.interval_ms.saturating_mul(2).min(max);
                search.timer = Timer::Resend(now.saturating_add(search.interval_ms));
                self.send_proposal();
                self.check_quorum(now);
            }
            _ => {}
        }
    }

    /// When to call [`Election::tick`].
    pub fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Looking(Search { timer: Timer::Resend(at) | Timer::Finalize(at), .. }) => Some(*at),
            _ => None,
        }
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<ElectionOutput> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether it looks for a leader.
    pub fn is_looking(&self) -> bool {
        matches!(self.phase, Phase::Looking(_))
    }

    /// The final vote of the last election; none while looking.
    pub fn vote(&self) -> Option<Vote> {
        match &self.phase {
            Phase::Settled { vote, .. } => Some(*vote),
            _ => None,
        }
    }

    /// What this member does, as it tells others; Looking before the first start.
    pub fn state(&self) -> PeerState {
        match &self.phase {
            Phase::Settled { state, .. } => *state,
            _ => PeerState::Looking,
        }
    }

    /// The logical clock.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// The leader's new epoch is established here: the vote tells it from now on,
    /// so that joining members see a quorum of equal votes.
    /// ref: QuorumPeer.updateElectionVote.
    pub fn set_peer_epoch(&mut self, epoch: Epoch) {
        // It has the leader's history now.
        self.without_vote = false;
        if let Phase::Settled { vote, .. } = &mut self.phase {
            vote.peer_epoch = epoch;
        }
    }

    /// The configurations have changed. A member that looks for a leader goes on
    /// with the votes it has; start again if the members are others.
    pub fn set_configs(&mut self, configs: Configs) {
        self.text = configs.active.to_text().into();
        self.configs = configs;
    }

    /// The transport has lost the election connection to a peer and cannot get
    /// another one, or it has one again. Only voters matter. A voter of whom
    /// nothing was said may still be heard from.
    pub fn reachable(&mut self, _now: u64, peer: PeerId, yes: bool) {
        if !yes {
            if self.configs.is_voter(peer) {
                self.unreachable.insert(peer);
            }
            self.early.remove(&peer);
            self.settle_early();
        } else if self.unreachable.remove(&peer)
            && self.configs.is_voter(peer)
            && let Phase::Looking(search) = &self.phase
        {
            let proposal = search.proposal;
            self.send(peer, PeerState::Looking, proposal);
        }
    }

    /// A reconfiguration named the next leader: the vote says so from now on, and
    /// [`Election::state`] is what this member becomes without an election.
    /// ref: QuorumPeer.updateVote, updateServerState.
    ///
    /// differs: the vote keeps its zxid, round and epoch, where Java forgets round
    /// and epoch until the new leader has established its own.
    pub fn follow_designated(&mut self, leader: PeerId) {
        let new_state = self.state_under(leader);
        if let Phase::Settled { vote, state } = &mut self.phase {
            vote.leader = leader;
            *state = new_state;
        }
    }

    fn search(&mut self, now: u64) {
        self.round = self.round.wrapping_add(1);
        self.question = self.question.wrapping_add(1);
        let interval_ms = self.config.min_interval_ms;
        let gathers = self.blank && self.configs.active.is_voter(self.config.me);
        self.phase = Phase::Looking(Search {
            proposal: if gathers { self.no_vote() } else { self.initial_vote() },
            gathering: gathers.then(BTreeMap::new),
            again_from: None,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            interval_ms,
            timer: Timer::Resend(now.saturating_add(interval_ms)),
            strangers: BTreeSet::new(),
        });
        self.send_proposal();
        self.check_gathered(now);
        self.check_quorum(now);
        for (from, (at, n)) in std::mem::take(&mut self.early) {
            if now.saturating_sub(at) < interval_ms {
                self.handle(now, from, &n);
            }
        }
    }

    /// Keeps a voter's message until this member looks for a leader as well.
    ///
    /// differs: Java drops it, and whoever noticed first that the leader is gone
    /// tells its vote again only after the first interval. Up to then it is as
    /// good as one that the network held up; later it may have been overtaken.
    fn keep(&mut self, now: u64, from: PeerId, n: &Notification) {
        match n.state {
            PeerState::Looking => self.early.insert(from, (now, n.clone())),
            _ => self.early.remove(&from),
        };
    }

    /// For oneself, or for whom one has made way. Whoever has no vote proposes what is worse
    /// than anything.
    fn initial_vote(&self) -> Vote {
        let round = self.round;
        let preferred = self.preferred.filter(|p| self.configs.active.is_voter(*p));
        let leader = preferred.unwrap_or(self.config.me);
        match self.configs.active.is_voter(self.config.me) {
            true => Vote { leader, zxid: self.own.0, round, peer_epoch: self.own.1 },
            false => Vote { leader: NOBODY, zxid: Zxid(i64::MIN), round, peer_epoch: Epoch(i64::MIN) },
        }
    }

    /// What a member tells that gathers.
    fn no_vote(&self) -> Vote {
        Vote { leader: self.config.me, zxid: Zxid(-1), round: GATHERING_ROUND, peer_epoch: Epoch(0) }
    }

    /// Makes the configuration of a looking member's message the active one if it
    /// is newer.
    ///
    /// differs: with reconfiguration switched off nothing happens, where Java
    /// starts its election again; and the message that brought the configuration
    /// is not lost.
    fn adopt_config(&mut self, now: u64, n: &Notification) {
        let Form::Config { config, .. } = &n.form else { return };
        if !self.config.reconfig_enabled || !self.is_looking() || *config == self.text {
            return;
        }
        let parsed = std::str::from_utf8(config).ok().map(EnsembleConfig::parse);
        let Some(Ok(new)) = parsed else {
            return debug!("a peer's configuration does not parse");
        };
        if new.version <= self.configs.active.version {
            return;
        }
        info!(version = %new.version, "configuration of a peer adopted");
        let same = new.same_content(&self.configs.active);
        let last_seen = self.configs.last_seen.take().filter(|c| c.version > new.version);
        self.outputs.push(ElectionOutput::AdoptConfig(new.clone()));
        self.set_configs(Configs { active: Arc::new(new), last_seen });
        if !same {
            self.search(now);
        }
    }

    /// Whoever has no vote gets an answer at any time, so that observers and
    /// members to come find the leader. The round is the clock here.
    ///
    /// differs: while looking, Java tells the vote of the election before under
    /// the round of this one; the proposal does not send anybody to a dead leader.
    /// A stranger of a later round cannot use that answer and Java's observers
    /// answer it, without end: it waits. All who asked are told the result. Who has
    /// a leader asks nothing and is told nothing: Java answers that, too, and one who
    /// answers as well does so without end.
    fn answer_stranger(&mut self, to: PeerId, n: &Notification) {
        if is_settled(n.state) {
            return;
        }
        let (vote, state) = match &mut self.phase {
            Phase::Idle => return,
            Phase::Looking(search) => {
                if search.strangers.len() < MAX_STRANGERS {
                    search.strangers.insert(to);
                }
                if n.round > self.round {
                    return;
                }
                (search.proposal, PeerState::Looking)
            }
            Phase::Settled { vote, state } => (*vote, *state),
        };
        self.send(to, state, Vote { round: self.round, ..vote });
    }

    fn send(&mut self, to: PeerId, state: PeerState, vote: Vote) {
        let notification = Notification {
            state,
            leader: vote.leader,
            zxid: vote.zxid,
            round: vote.round,
            peer_epoch: vote.peer_epoch,
            form: Form::Config { version: Notification::VERSION, config: self.text.clone() },
            mark: Some(Mark { asks: self.question, heard: self.heard.get(&to).copied().unwrap_or(0) }),
        };
        self.outputs.push(ElectionOutput::Send { to, notification });
    }

    /// Tells the proposal to all voters, to oneself as well.
    /// ref: FastLeaderElection.sendNotifications.
    fn send_proposal(&mut self) {
        let Phase::Looking(search) = &mut self.phase else { return };
        let (me, proposal) = (self.config.me, search.proposal);
        let counts = self.configs.is_voter(me) && self.configs.is_voter(proposal.leader);
        if counts && !trustless(proposal.zxid) {
            let own = Heard { vote: proposal, state: PeerState::Looking, version: 0 };
            search.votes.insert(me, own);
        }
        for to in self.configs.voters() {
            if to != me {
                self.send(to, PeerState::Looking, proposal);
            }
        }
    }

    /// A voter's message while looking.
    fn hear(&mut self, now: u64, from: PeerId, n: &Notification) {
        let takes_back = self.blank && self.configs.active.is_voter(self.config.me) && n.round > self.round;
        let asks = self.is_gathering() || takes_back;
        // Who is to vote in a proposed configuration only repeats what others say, and those must be
        // heard anyway. It may be in a round in which nobody is who does not know of that proposal.
        let repeats = !self.configs.active.is_voter(from);
        let passed = self.is_old(n) || repeats && !self.is_gathering();
        if n.state == PeerState::Looking && asks && passed {
            return;
        }
        let Phase::Looking(search) = &mut self.phase else { return };
        let without_vote = trustless(n.zxid) || search.gathering.is_some() && repeats;
        if n.state == PeerState::Looking && without_vote {
            if let Some(blank) =
                search.gathering.as_mut().filter(|_| search.again_from.is_none_or(|at| now >= at))
            {
                search.votes.remove(&from);
                blank.insert(from, now);
                self.check_gathered(now);
            }
            return;
        }
        // differs: Java also takes who is to vote in a proposed configuration only. Whoever does not
        // know of that one would never vote for it, and may be needed.
        if n.state == PeerState::Looking && !self.configs.active.is_voter(n.leader) {
            return debug!(leader = %n.leader, peer = %from, "vote for somebody who is no voter ignored");
        }
        let better = is_better(&self.configs, &Vote::of(n), &search.proposal);
        match search.timer {
            // Any better vote ends the wait, whatever its round and state.
            Timer::Finalize(_) if !better => self.hear_nothing_better(now, from, n),
            _ => self.weigh(now, from, n),
        }
    }

    /// A message during the wait that is not better: the wait begins anew.
    ///
    /// differs: Java drops it. Here it may end the wait, if its sender is the last
    /// one that had to agree, or has settled with the others.
    fn hear_nothing_better(&mut self, now: u64, from: PeerId, n: &Notification) {
        let at = now.saturating_add(self.config.finalize_ms);
        let Phase::Looking(search) = &mut self.phase else { return };
        search.timer = Timer::Finalize(at);
        let vote = Vote::of(n);
        match n.state {
            PeerState::Looking if vote == search.proposal => {
                search.votes.insert(from, Heard { vote, state: n.state, version: 0 });
                self.settle_early();
            }
            PeerState::Following | PeerState::Leading if self.configs.is_voter(n.leader) => {
                self.weigh_settled(from, n);
            }
            _ => {}
        }
    }

    /// A message outside of the wait, or one that ends it.
    fn weigh(&mut self, now: u64, from: PeerId, n: &Notification) {
        let Phase::Looking(search) = &mut self.phase else { return };
        if let Timer::Finalize(_) = search.timer {
            search.timer = Timer::Resend(now.saturating_add(search.interval_ms));
        }
        if !self.configs.is_voter(n.leader) {
            return debug!(leader = %n.leader, peer = %from, "vote for somebody who is no voter ignored");
        }
        match n.state {
            PeerState::Looking => self.weigh_proposal(now, from, n),
            PeerState::Following | PeerState::Leading => self.weigh_settled(from, n),
            PeerState::Observing | PeerState::Unknown(_) => {}
        }
    }

    fn weigh_proposal(&mut self, now: u64, from: PeerId, n: &Notification) {
        let voter = self.configs.active.is_voter(self.config.me);
        if voter && trustless(self.own.0) {
            return;
        }
        let vote = Vote::of(n);
        let newer = n.round > self.round;
        if self.is_gathering() || newer && voter && self.blank {
            return self.gather(now, from, vote);
        }
        let Phase::Looking(search) = &mut self.phase else { return };
        let mut begins = newer;
        if n.round < self.round {
            // differs: who has no vote and has heard none follows into an earlier round, too.
            // Java waits for a later one. A configuration that is only proposed may need the
            // votes of members that do not know of it: whoever knows hears them, but passes
            // over the vote for nobody which would call it into their round.
            if search.proposal.leader != NOBODY {
                return;
            }
            begins = true;
        }
        self.round = n.round;
        let initial = self.initial_vote();
        let Phase::Looking(search) = &mut self.phase else { return };
        // A new round begins with the initial vote, whatever was proposed before.
        let current = if begins { initial } else { search.proposal };
        let better = is_better(&self.configs, &vote, &current);
        if begins {
            search.votes.clear();
        }
        if begins || better {
            search.proposal = if better { vote } else { current };
            self.send_proposal();
        }
        let Phase::Looking(search) = &mut self.phase else { return };
        // The version of a looking member's message does not count.
        search.votes.insert(from, Heard { vote, state: n.state, version: 0 });
        self.check_quorum(now);
    }

    /// Whether the sender may have said it before it heard what this member asks now.
    fn is_old(&self, n: &Notification) -> bool {
        n.mark.is_some_and(|mark| mark.heard != self.question)
    }

    fn is_gathering(&self) -> bool {
        matches!(&self.phase, Phase::Looking(Search { gathering: Some(_), .. }))
    }

    /// A blank member hears a vote. Its own round means nothing as long as it has
    /// no vote; a later round of the others makes it begin anew, since what was
    /// told in an earlier one may not be the best any more.
    fn gather(&mut self, now: u64, from: PeerId, vote: Vote) {
        let none = self.no_vote();
        let Phase::Looking(search) = &mut self.phase else { return };
        if search.gathering.is_some() && search.again_from.is_some_and(|at| now < at) {
            return;
        }
        let is_vote = |h: &Heard| h.state == PeerState::Looking;
        let began = search.gathering.is_some() && search.votes.values().any(is_vote);
        if began && vote.round < self.round {
            return;
        }
        if !began || vote.round > self.round {
            search.votes.clear();
            self.round = vote.round;
        }
        search.votes.insert(from, Heard { vote, state: PeerState::Looking, version: 0 });
        match &mut search.gathering {
            Some(blank) => drop(blank.remove(&from)),
            // It takes its vote back and asks the others.
            None => {
                search.gathering = Some(BTreeMap::new());
                search.proposal = none;
                search.timer = Timer::Resend(now.saturating_add(self.config.min_interval_ms));
                search.interval_ms = self.config.min_interval_ms;
                self.send_proposal();
            }
        }
        self.check_gathered(now);
    }

    /// Votes for the best one as soon as every voter was heard twice.
    ///
    /// The first words may be old: each new connection begins with the last message that there
    /// was for this member, also if its sender has followed and led since, and does not come to
    /// answer. ref: QuorumCnxManager.lastMessageSent.
    ///
    /// So the answers of a member with [`Mark`]s have to name the question, which is another one
    /// the second time. By then nobody leads who could count what this member's lost disk has
    /// acknowledged; what each has logged behind that is all that there is. Of Java's members
    /// any two words count that are an interval apart.
    fn check_gathered(&mut self, now: u64) {
        let me = self.config.me;
        let counts_for = self.config.min_interval_ms.saturating_mul(BLANK_INTERVALS);
        let Phase::Looking(search) = &mut self.phase else { return };
        let Some(blank) = &search.gathering else { return };
        let votes = &search.votes;
        let heard = |id: &PeerId| {
            votes.get(id).is_some_and(|h| h.state == PeerState::Looking)
                || blank.get(id).is_some_and(|at| now.saturating_sub(*at) <= counts_for)
        };
        if !self.configs.voters().iter().all(|id| *id == me || heard(id)) {
            return;
        }
        if search.again_from.is_none() && self.configs.voters().len() > 1 {
            search.again_from = Some(now.saturating_add(self.config.min_interval_ms));
            self.question = self.question.wrapping_add(1);
            search.votes.clear();
            search.gathering = Some(BTreeMap::new());
            // All answer what is asked then.
            search.interval_ms = self.config.min_interval_ms;
            search.timer = Timer::Resend(now.saturating_add(search.interval_ms));
            return;
        }
        self.vote_for_best(now);
    }

    fn vote_for_best(&mut self, now: u64) {
        let initial = self.initial_vote();
        let Phase::Looking(search) = &mut self.phase else { return };
        let votes = &search.votes;
        info!("all voters were heard: this member without data votes");
        let proposed = votes.values().filter(|h| h.state == PeerState::Looking).map(|h| h.vote);
        let best = |a: Vote, b: Vote| if is_better(&self.configs, &b, &a) { b } else { a };
        search.proposal = Vote { round: self.round, ..proposed.fold(initial, best) };
        search.gathering = None;
        self.send_proposal();
        self.check_quorum(now);
    }

    /// A member that has a leader: joins if a quorum has it, and the leader
    /// itself says so. ref: FastLeaderElection.receivedFollowingNotification.
    ///
    /// differs: the quorum is one of the configuration in force. Java asks for one of a proposed
    /// configuration, too. A leader that was killed behind its proposal has that proposal in its
    /// files and nobody else may ever hear of it: if it takes this member itself, or one that is
    /// not there, this member could never come back. Whoever leads counts it, or does not.
    fn weigh_settled(&mut self, from: PeerId, n: &Notification) {
        let Phase::Looking(search) = &mut self.phase else { return };
        // They followed this member before it lost its disk.
        if search.gathering.is_some() && n.leader == self.config.me {
            return;
        }
        let heard = Heard { vote: Vote::of(n), state: n.state, version: n.version() };
        let in_force = Configs::new(Arc::clone(&self.configs.active));
        let mut joins = false;
        if let Some(blank) = &mut search.gathering {
            // What it said before was old.
            blank.remove(&from);
            search.votes.remove(&from);
        }
        if n.round == self.round {
            // Java forgets the version here.
            search.votes.insert(from, Heard { version: 0, ..heard });
            joins = quorum(&in_force, &search.votes, &heard)
                && self.config.leader_agrees(self.round, &search.votes, &heard.vote);
        }
        search.settled.insert(from, heard);
        joins |= quorum(&in_force, &search.settled, &heard)
            && self.config.leader_agrees(self.round, &search.settled, &heard.vote);
        if joins {
            self.round = n.round;
            self.settle(heard.vote);
        }
    }

    /// Begins to wait for something better if the proposal has a quorum.
    fn check_quorum(&mut self, now: u64) {
        let at = now.saturating_add(self.config.finalize_ms);
        let Phase::Looking(search) = &mut self.phase else { return };
        let proposal = Heard { vote: search.proposal, state: PeerState::Looking, version: 0 };
        if quorum(&self.configs, &search.votes, &proposal) {
            search.timer = Timer::Finalize(at);
            self.settle_early();
        }
    }

    /// Ends the wait when nothing better can come.
    ///
    /// differs: Java always waits. The wait only makes it likelier that the best
    /// member leads; safety does not depend on it, because a leader needs a quorum
    /// that accepts its epoch and its history anyway.
    fn settle_early(&mut self) {
        let Phase::Looking(search) = &self.phase else { return };
        let agrees = |id: &PeerId| search.votes.get(id).is_some_and(|h| h.vote == search.proposal);
        let done = |id: &PeerId| *id == self.config.me || self.unreachable.contains(id) || agrees(id);
        if matches!(search.timer, Timer::Finalize(_)) && self.configs.voters().iter().all(done) {
            let vote = search.proposal;
            self.settle(vote);
        }
    }

    fn settle(&mut self, vote: Vote) {
        let state = self.state_under(vote.leader);
        info!(leader = %vote.leader, round = vote.round, zxid = %vote.zxid, ?state, "leader elected");
        self.without_vote = self.is_gathering();
        self.preferred = None;
        let before = std::mem::replace(&mut self.phase, Phase::Settled { vote, state });
        self.outputs.push(ElectionOutput::Elected { vote, state });
        if let Phase::Looking(search) = before {
            for to in search.strangers {
                self.send(to, state, Vote { round: self.round, ..vote });
            }
        }
    }

    /// ref: FastLeaderElection.learningState, QuorumPeer.updateLearnerType.
    fn state_under(&self, leader: PeerId) -> PeerState {
        let me = self.config.me;
        match self.configs.active.members.get(&me) {
            _ if leader == me => PeerState::Leading,
            Some(member) if member.observer => PeerState::Observing,
            _ => PeerState::Following,
        }
    }
}

impl ElectionConfig {
    /// A quorum of followers is not enough: the leader must say that it leads. If
    /// it is this member, the others must mean this round.
    /// ref: FastLeaderElection.checkLeader.
    fn leader_agrees(&self, round: i64, heard: &BTreeMap<PeerId, Heard>, vote: &Vote) -> bool {
        match vote.leader == self.me {
            true => vote.round == round,
            false => heard.get(&vote.leader).is_some_and(|h| h.state == PeerState::Leading),
        }
    }
}

/// ref: FastLeaderElection.totalOrderPredicate.
fn is_better(configs: &Configs, vote: &Vote, than: &Vote) -> bool {
    configs.active.weight(vote.leader) != 0 && vote.rank() > than.rank()
}

/// Whether a quorum agrees with `vote`. ref: FastLeaderElection.getVoteTracker.
fn quorum(configs: &Configs, heard: &BTreeMap<PeerId, Heard>, vote: &Heard) -> bool {
    let agree = heard.iter().filter(|(_, h)| vote.agrees(h)).map(|(id, _)| *id).collect();
    configs.has_quorum(&agree)
}

fn is_settled(state: PeerState) -> bool {
    matches!(state, PeerState::Following | PeerState::Leading | PeerState::Observing)
}

/// Whether a member says that its database may have lost something: such a
/// member neither votes nor is voted for. ref: FileTxnSnapLog, `initialize`.
fn trustless(zxid: Zxid) -> bool {
    zxid.0 == -1
}
