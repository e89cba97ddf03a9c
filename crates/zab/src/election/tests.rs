//! Rules of the election, one by one.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;

/// A configuration with these voters and observers.
pub(super) fn ensemble(version: i64, voters: &[i64], observers: &[i64]) -> EnsembleConfig {
    let mut text = format!("version={version:x}\n");
    let members =
        voters.iter().map(|id| (id, "participant")).chain(observers.iter().map(|id| (id, "observer")));
    for (id, role) in members {
        writeln!(text, "server.{id}=h{id}:2888:3888:{role}").unwrap();
    }
    EnsembleConfig::parse(&text).unwrap()
}

/// Of three voters and the observer 4.
fn three(me: i64) -> Election {
    Election::new(ElectionConfig::new(PeerId(me)), Configs::new(ensemble(0, &[1, 2, 3], &[4])))
}

/// Of five voters.
fn five(me: i64) -> Election {
    Election::new(ElectionConfig::new(PeerId(me)), Configs::new(ensemble(0, &[1, 2, 3, 4, 5], &[])))
}

fn notification(state: PeerState, vote: Vote) -> Notification {
    let form = Form::Config { version: 2, config: Bytes::from_static(b"version=0") };
    let Vote { leader, zxid, round, peer_epoch } = vote;
    Notification { state, leader, zxid, round, peer_epoch, form, mark: None }
}

/// Numbers as a test writes them; `-` is what somebody without a vote says.
fn number(word: &str) -> i64 {
    match word {
        "-" => i64::MIN,
        word => word.parse().unwrap(),
    }
}

fn name(n: i64) -> String {
    if n == i64::MIN { "-".to_owned() } else { n.to_string() }
}

fn show(vote: Vote) -> String {
    let Vote { leader, zxid, round, peer_epoch } = vote;
    format!("{} {} {round} {}", name(leader.0), name(zxid.0), name(peer_epoch.0))
}

fn show_outputs(outputs: &[ElectionOutput], trace: &mut String) {
    let mut last = String::new();
    for output in outputs {
        match output {
            ElectionOutput::Send { to, notification: n } => {
                let what = format!("{:?} {}", n.state, show(Vote::of(n)));
                if what == last {
                    let end = trace.rfind(':').unwrap();
                    trace.insert_str(end, &format!(" {to}"));
                } else {
                    writeln!(trace, "    to {to}: {what}").unwrap();
                }
                last = what;
                continue;
            }
            ElectionOutput::Elected { vote, state } => {
                writeln!(trace, "    {state:?} {}", show(*vote)).unwrap()
            }
            ElectionOutput::AdoptConfig(config) => writeln!(trace, "    adopt {}", config.version).unwrap(),
        }
        last.clear();
    }
}

/// Runs a script and shows what comes out of each line. A line is one of
/// `start zxid epoch`, `blank`, `at ms` (the clock moves on, timers run), `up id`,
/// `down id`, `epoch n`, `designate id`, `prefer id`, or a message: its sender, state, leader,
/// zxid, round and epoch. Votes are shown in the same order.
fn run(election: &mut Election, script: &str) -> String {
    let mut trace = String::new();
    let mut now = 0;
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let arg = |i: usize| number(words[i]);
        match words[0] {
            "start" => election.start(now, Zxid(arg(1)), Epoch(arg(2))),
            "blank" => election.start_blank(now),
            "at" => {
                let until: u64 = words[1].parse().unwrap();
                while let Some(at) = election.deadline().filter(|at| *at <= until) {
                    now = at;
                    election.tick(now);
                }
                now = until;
            }
            "up" => election.reachable(now, PeerId(arg(1)), true),
            "down" => election.reachable(now, PeerId(arg(1)), false),
            "epoch" => election.set_peer_epoch(Epoch(arg(1))),
            "prefer" => election.prefer(Some(PeerId(arg(1)))),
            "designate" => election.follow_designated(PeerId(arg(1))),
            from => {
                let state = match words[1] {
                    "looking" => PeerState::Looking,
                    "following" => PeerState::Following,
                    "leading" => PeerState::Leading,
                    "observing" => PeerState::Observing,
                    n => PeerState::Unknown(n.parse().unwrap()),
                };
                let vote = Vote {
                    leader: PeerId(arg(2)),
                    zxid: Zxid(arg(3)),
                    round: arg(4),
                    peer_epoch: Epoch(arg(5)),
                };
                election.handle(now, PeerId(number(from)), &notification(state, vote));
            }
        }
        writeln!(trace, "{line}").unwrap();
        show_outputs(&election.take_outputs(), &mut trace);
    }
    trace
}

fn check(mut election: Election, script: &str, trace: Expect) {
    trace.assert_eq(&run(&mut election, script));
}

/// The rounds differ: also the vote of another round is not for oneself.
#[test]
fn a_leader_that_hands_over_votes_for_another_one_once() {
    check(
        three(3),
        "prefer 2
         start 7 1
         1 looking 1 7 4 1
         2 looking 2 7 4 1
         1 looking 2 7 4 1
         start 7 1",
        expect![[r#"
            prefer 2
            start 7 1
                to 1 2: Looking 2 7 1 1
            1 looking 1 7 4 1
                to 1 2: Looking 2 7 4 1
            2 looking 2 7 4 1
            1 looking 2 7 4 1
                Following 2 7 4 1
            start 7 1
                to 1 2: Looking 3 7 5 1
        "#]],
    );
}

#[test]
fn a_quorum_waits_for_something_better() {
    check(
        three(1),
        "start 7 1
         2 looking 2 7 1 1
         at 199
         2 looking 2 7 1 1
         at 398
         at 399",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 2 7 1 1
                to 2 3: Looking 2 7 1 1
            at 199
            2 looking 2 7 1 1
            at 398
            at 399
                Following 2 7 1 1
        "#]],
    );
}

#[test]
fn members_that_have_settled_end_the_wait() {
    check(
        five(1),
        "start 7 1
         2 looking 2 7 1 1
         3 looking 2 7 1 1
         at 10
         3 following 2 7 1 1
         2 leading 2 7 1 1",
        expect![[r#"
            start 7 1
                to 2 3 4 5: Looking 1 7 1 1
            2 looking 2 7 1 1
                to 2 3 4 5: Looking 2 7 1 1
            3 looking 2 7 1 1
            at 10
            3 following 2 7 1 1
            2 leading 2 7 1 1
                Following 2 7 1 1
        "#]],
    );
}

/// As in Java: what comes during the wait and is not better is dropped.
#[test]
fn a_later_round_without_a_better_vote_does_not_end_the_wait() {
    check(
        three(2),
        "start 7 1
         1 looking 2 7 1 1
         at 100
         1 looking 1 5 4 1
         1 leading 1 5 4 1
         at 299
         at 300",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 2 7 1 1
            at 100
            1 looking 1 5 4 1
            1 leading 1 5 4 1
            at 299
            at 300
                Leading 2 7 1 1
        "#]],
    );
}

#[test]
fn something_better_ends_the_wait() {
    check(
        three(1),
        "start 7 1
         2 looking 2 7 1 1
         at 100
         3 looking 3 7 1 1
         at 250
         2 looking 3 7 1 1",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 2 7 1 1
                to 2 3: Looking 2 7 1 1
            at 100
            3 looking 3 7 1 1
                to 2 3: Looking 3 7 1 1
            at 250
            2 looking 3 7 1 1
                Following 3 7 1 1
        "#]],
    );
}

#[test]
fn nothing_is_waited_for_when_everybody_agrees() {
    check(
        three(2),
        "start 7 1
         1 looking 1 7 1 1
         1 looking 2 7 1 1
         3 looking 2 7 1 1",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 1 7 1 1
            1 looking 2 7 1 1
            3 looking 2 7 1 1
                Leading 2 7 1 1
        "#]],
    );
    check(
        three(2),
        "start 7 1
         1 looking 2 7 1 1
         at 20
         down 3",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 2 7 1 1
            at 20
            down 3
                Leading 2 7 1 1
        "#]],
    );
    check(
        three(2),
        "down 3
         start 7 1
         1 looking 1 7 1 1
         1 looking 2 7 1 1",
        expect![[r#"
            down 3
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 1 7 1 1
            1 looking 2 7 1 1
                Leading 2 7 1 1
        "#]],
    );
    // Without a quorum nobody is elected, whoever is gone.
    check(
        three(2),
        "down 3
         down 1
         start 7 1",
        expect![[r#"
            down 3
            down 1
            start 7 1
                to 1 3: Looking 2 7 1 1
        "#]],
    );
}

#[test]
fn a_message_makes_its_sender_reachable() {
    check(
        three(2),
        "down 3
         start 7 1
         3 observing 1 7 1 1
         1 looking 2 7 1 1
         at 199
         at 200",
        expect![[r#"
            down 3
            start 7 1
                to 1 3: Looking 2 7 1 1
            3 observing 1 7 1 1
            1 looking 2 7 1 1
            at 199
            at 200
                Leading 2 7 1 1
        "#]],
    );
    check(
        three(2),
        "start 7 1
         down 3
         up 3
         up 3
         down 4
         up 4",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            down 3
            up 3
                to 3: Looking 2 7 1 1
            up 3
            down 4
            up 4
        "#]],
    );
}

#[test]
fn a_lone_voter_leads_at_once() {
    let election = Election::new(ElectionConfig::new(PeerId(5)), Configs::new(ensemble(0, &[5], &[])));
    check(
        election,
        "start 7 1",
        expect![[r#"
        start 7 1
            Leading 5 7 1 1
    "#]],
    );
}

#[test]
fn epoch_then_zxid_then_id() {
    check(
        three(2),
        "start 7 1
         3 looking 3 6 1 1
         1 looking 1 99 1 0
         1 looking 1 7 1 1
         3 looking 3 7 1 1
         1 looking 1 8 1 1
         3 looking 3 0 1 2",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            3 looking 3 6 1 1
            1 looking 1 99 1 0
            1 looking 1 7 1 1
            3 looking 3 7 1 1
                to 1 3: Looking 3 7 1 1
            1 looking 1 8 1 1
                to 1 3: Looking 1 8 1 1
            3 looking 3 0 1 2
                to 1 3: Looking 3 0 1 2
        "#]],
    );
}

#[test]
fn the_proposal_is_told_again_at_growing_intervals_whatever_is_heard() {
    check(
        three(3),
        "start 7 1
         at 200
         at 599
         at 600
         at 1399
         1 observing 1 7 1 1
         2 looking 2 5 1 1
         at 1400",
        expect![[r#"
            start 7 1
                to 1 2: Looking 3 7 1 1
            at 200
                to 1 2: Looking 3 7 1 1
            at 599
            at 600
                to 1 2: Looking 3 7 1 1
            at 1399
            1 observing 1 7 1 1
            2 looking 2 5 1 1
            at 1400
                to 1 2: Looking 3 7 1 1
        "#]],
    );
    let mut election = three(3);
    run(&mut election, "start 7 1\n at 1000000");
    let next = election.deadline().unwrap();
    election.tick(next);
    assert_eq!(election.deadline(), Some(next + 5_000));
}

#[test]
fn a_later_round_begins_with_the_initial_vote() {
    check(
        five(2),
        "start 7 1
         3 looking 3 9 1 1
         1 looking 1 5 4 1
         3 looking 3 9 1 1
         3 looking 3 9 4 1",
        expect![[r#"
            start 7 1
                to 1 3 4 5: Looking 2 7 1 1
            3 looking 3 9 1 1
                to 1 3 4 5: Looking 3 9 1 1
            1 looking 1 5 4 1
                to 1 3 4 5: Looking 2 7 4 1
            3 looking 3 9 1 1
                to 3: Looking 2 7 4 1
            3 looking 3 9 4 1
                to 1 3 4 5: Looking 3 9 4 1
        "#]],
    );
    // A message of an earlier round is told the proposal and changes nothing.
    check(
        three(2),
        "start 7 1
         1 looking 1 5 4 1
         3 looking 3 9 3 1
         3 following 1 9 3 1",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 1 5 4 1
                to 1 3: Looking 2 7 4 1
            3 looking 3 9 3 1
                to 3: Looking 2 7 4 1
            3 following 1 9 3 1
        "#]],
    );
}

#[test]
fn a_better_vote_of_an_earlier_round_ends_the_wait_as_well() {
    check(
        three(2),
        "start 7 1
         1 looking 2 7 1 1
         3 looking 3 9 0 1
         at 199
         at 200
         at 399
         at 400",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 2 7 1 1
            3 looking 3 9 0 1
                to 3: Looking 2 7 1 1
            at 199
            at 200
                to 1 3: Looking 2 7 1 1
            at 399
            at 400
                Leading 2 7 1 1
        "#]],
    );
}

#[test]
fn whoever_does_not_trust_its_data_is_not_heard() {
    check(
        three(2),
        "start 7 1
         1 looking 1 -1 1 5
         3 looking 3 -1 9 5",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            1 looking 1 -1 1 5
            3 looking 3 -1 9 5
        "#]],
    );
    check(
        three(2),
        "start -1 1
         1 looking 1 7 1 1
         3 looking 1 7 1 1
         1 leading 1 7 1 1
         3 following 1 7 1 1",
        expect![[r#"
            start -1 1
                to 1 3: Looking 2 -1 1 1
            1 looking 1 7 1 1
            3 looking 1 7 1 1
            1 leading 1 7 1 1
            3 following 1 7 1 1
                Following 1 7 1 1
        "#]],
    );
}

#[test]
fn votes_of_strangers_and_for_strangers_do_not_count() {
    check(
        three(2),
        "start 7 1
         4 looking - - 1 -
         9 looking 9 99 9 9
         4 17 - - 1 -
         1 looking 4 99 1 1
         1 17 1 99 1 1
         1 looking 9 99 9 1
         1 observing 3 99 1 1",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            4 looking - - 1 -
                to 4: Looking 2 7 1 1
            9 looking 9 99 9 9
            4 17 - - 1 -
                to 4: Looking 2 7 1 1
            1 looking 4 99 1 1
            1 17 1 99 1 1
            1 looking 9 99 9 1
            1 observing 3 99 1 1
        "#]],
    );
}

#[test]
fn who_asks_during_an_election_is_told_its_result() {
    check(
        three(2),
        "start 7 1
         4 looking - - 1 -
         8 looking - - 2 -
         1 looking 2 7 1 1
         3 looking 2 7 1 1",
        expect![[r#"
            start 7 1
                to 1 3: Looking 2 7 1 1
            4 looking - - 1 -
                to 4: Looking 2 7 1 1
            8 looking - - 2 -
            1 looking 2 7 1 1
            3 looking 2 7 1 1
                Leading 2 7 1 1
                to 4 8: Leading 2 7 1 1
        "#]],
    );
    // Without a vote one does not call others into one's round, but follows into theirs.
    check(
        three(4),
        "start 7 1
         start 7 1
         1 looking 1 7 1 1
         2 looking 2 7 3 1
         3 looking 3 7 1 1",
        expect![[r#"
            start 7 1
                to 1 2 3: Looking - - 1 -
            start 7 1
                to 1 2 3: Looking - - 2 -
            1 looking 1 7 1 1
                to 1 2 3: Looking 1 7 1 1
            2 looking 2 7 3 1
                to 1 2 3: Looking 2 7 3 1
            3 looking 3 7 1 1
        "#]],
    );
}

#[test]
fn joining_takes_a_quorum_and_the_leader_itself() {
    check(
        three(1),
        "start 7 1
         2 following 3 0 5 2
         2 following 3 0 5 2
         3 leading 3 0 5 2",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 following 3 0 5 2
            2 following 3 0 5 2
            3 leading 3 0 5 2
                Following 3 0 5 2
        "#]],
    );
    check(
        three(1),
        "start 7 1
         3 leading 3 0 5 2
         2 following 3 9 4 2",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            3 leading 3 0 5 2
            2 following 3 9 4 2
                Following 3 9 4 2
        "#]],
    );
    // Settled members must agree on the epoch.
    check(
        three(1),
        "start 7 1
         3 leading 3 0 5 2
         2 following 3 0 5 1
         2 following 3 0 5 2",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            3 leading 3 0 5 2
            2 following 3 0 5 1
            2 following 3 0 5 2
                Following 3 0 5 2
        "#]],
    );
    // In this round, only on the leader.
    check(
        three(1),
        "start 7 1
         3 leading 3 0 1 2
         2 following 3 0 1 1",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            3 leading 3 0 1 2
            2 following 3 0 1 1
                Following 3 0 1 1
        "#]],
    );
    // Not by what was said in an earlier round.
    check(
        five(1),
        "start 7 1
         2 following 3 0 1 9
         4 following 3 0 1 9
         5 looking 5 7 4 1
         3 leading 3 0 4 2",
        expect![[r#"
            start 7 1
                to 2 3 4 5: Looking 1 7 1 1
            2 following 3 0 1 9
            4 following 3 0 1 9
            5 looking 5 7 4 1
                to 2 3 4 5: Looking 5 7 4 1
            3 leading 3 0 4 2
        "#]],
    );
    // Votes of looking members count if all of them is equal.
    check(
        three(1),
        "start 7 1
         2 looking 3 9 1 1
         3 leading 3 9 1 2
         3 leading 3 9 1 1",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 3 9 1 1
                to 2 3: Looking 3 9 1 1
            3 leading 3 9 1 2
            3 leading 3 9 1 1
                Following 3 9 1 1
        "#]],
    );
}

#[test]
fn others_may_make_me_the_leader_of_this_round_only() {
    check(
        three(3),
        "start 7 1
         1 following 3 7 4 1
         2 following 3 7 4 1
         1 following 3 7 1 1
         2 following 3 7 1 1",
        expect![[r#"
            start 7 1
                to 1 2: Looking 3 7 1 1
            1 following 3 7 4 1
            2 following 3 7 4 1
            1 following 3 7 1 1
                Leading 3 7 1 1
            2 following 3 7 1 1
        "#]],
    );
}

#[test]
fn a_settled_member_answers() {
    check(
        three(3),
        "1 looking 1 7 1 1
         4 looking - - 1 -
         start 7 1
         1 looking 3 7 1 1
         2 looking 3 7 1 1
         epoch 2
         1 looking 1 8 3 1
         1 following 3 7 1 1
         4 looking - - 1 -
         4 observing 3 7 1 2
         9 17 9 0 0 0
         at 1000",
        expect![[r#"
            1 looking 1 7 1 1
            4 looking - - 1 -
            start 7 1
                to 1 2: Looking 3 7 1 1
            1 looking 3 7 1 1
            2 looking 3 7 1 1
                Leading 3 7 1 1
            epoch 2
            1 looking 1 8 3 1
                to 1: Leading 3 7 1 2
            1 following 3 7 1 1
            4 looking - - 1 -
                to 4: Leading 3 7 1 2
            4 observing 3 7 1 2
            9 17 9 0 0 0
                to 9: Leading 3 7 1 2
            at 1000
        "#]],
    );
    let mut election = three(3);
    run(&mut election, "start 7 1\n 1 looking 3 7 1 1\n 2 looking 3 7 1 1\n epoch 2");
    assert_eq!(
        election.vote(),
        Some(Vote { leader: PeerId(3), zxid: Zxid(7), round: 1, peer_epoch: Epoch(2) })
    );
    assert_eq!(
        (election.state(), election.deadline(), election.is_looking()),
        (PeerState::Leading, None, false)
    );
    run(&mut election, "start 8 2");
    assert_eq!((election.state(), election.vote(), election.is_looking()), (PeerState::Looking, None, true));
    assert_eq!(election.round(), 2);
}

#[test]
fn a_message_that_came_a_little_early_counts() {
    check(
        three(1),
        "2 looking 2 9 2 1
         3 looking 3 7 1 1
         3 following 3 7 1 1
         start 7 1
         at 10
         2 looking 2 9 2 1",
        expect![[r#"
            2 looking 2 9 2 1
            3 looking 3 7 1 1
            3 following 3 7 1 1
            start 7 1
                to 2 3: Looking 1 7 1 1
                to 2 3: Looking 2 9 2 1
            at 10
            2 looking 2 9 2 1
        "#]],
    );
    // Not after the time in which its sender would have told it again, nor from
    // somebody who is gone.
    check(
        three(1),
        "2 looking 2 9 1 1
         at 1
         3 looking 2 9 1 1
         down 3
         at 200
         start 7 1",
        expect![[r#"
            2 looking 2 9 1 1
            at 1
            3 looking 2 9 1 1
            down 3
            at 200
            start 7 1
                to 2 3: Looking 1 7 1 1
        "#]],
    );
}

#[test]
fn the_vote_keeps_its_round_when_the_clock_has_moved_on() {
    check(
        three(3),
        "start 7 1
         1 looking 1 5 8 1
         1 following 2 9 3 2
         2 leading 2 9 3 2
         1 looking 1 9 4 2
         4 looking - - 1 -",
        expect![[r#"
            start 7 1
                to 1 2: Looking 3 7 1 1
            1 looking 1 5 8 1
                to 1 2: Looking 3 7 8 1
            1 following 2 9 3 2
            2 leading 2 9 3 2
                Following 2 9 3 2
            1 looking 1 9 4 2
                to 1: Following 2 9 3 2
            4 looking - - 1 -
                to 4: Following 2 9 3 2
        "#]],
    );
}

#[test]
fn an_observer_learns_the_leader() {
    check(
        three(4),
        "start 7 1
         1 following 3 0 1 1
         3 leading 3 0 1 1",
        expect![[r#"
            start 7 1
                to 1 2 3: Looking - - 1 -
            1 following 3 0 1 1
            3 leading 3 0 1 1
                Observing 3 0 1 1
        "#]],
    );
    // And from members that look for one.
    check(
        three(4),
        "start 7 1
         1 looking 1 7 1 1
         2 looking 2 7 1 1
         1 looking 2 7 1 1
         3 looking 2 7 1 1",
        expect![[r#"
            start 7 1
                to 1 2 3: Looking - - 1 -
            1 looking 1 7 1 1
                to 1 2 3: Looking 1 7 1 1
            2 looking 2 7 1 1
                to 1 2 3: Looking 2 7 1 1
            1 looking 2 7 1 1
            3 looking 2 7 1 1
                Observing 2 7 1 1
        "#]],
    );
    // Somebody who is in no configuration follows, too.
    check(
        three(9),
        "start 7 1
         1 following 3 0 1 1
         3 leading 3 0 1 1",
        expect![[r#"
            start 7 1
                to 1 2 3: Looking - - 1 -
            1 following 3 0 1 1
            3 leading 3 0 1 1
                Following 3 0 1 1
        "#]],
    );
}

#[test]
fn a_member_without_weight_is_not_elected() {
    let text = "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2\n\
                group.1=1:2:3:4\nweight.3=0\nversion=0";
    let configs = Configs::new(EnsembleConfig::parse(text).unwrap());
    check(
        Election::new(ElectionConfig::new(PeerId(1)), configs),
        "start 7 1
         3 looking 3 9 1 1
         2 looking 2 7 1 1",
        expect![[r#"
            start 7 1
                to 2 3 4: Looking 1 7 1 1
            3 looking 3 9 1 1
            2 looking 2 7 1 1
                to 2 3 4: Looking 2 7 1 1
        "#]],
    );
}

#[test]
fn a_pending_configuration_has_a_say() {
    let mut configs = Configs::new(ensemble(5, &[1, 2, 3], &[]));
    configs.last_seen = Some(ensemble(6, &[3, 4, 5], &[]).into());
    let election = || Election::new(ElectionConfig::new(PeerId(3)), configs.clone());
    check(
        election(),
        "start 7 1
         1 looking 3 7 1 1
         4 looking 3 7 1 1
         at 200",
        expect![[r#"
            start 7 1
                to 1 2 4 5: Looking 3 7 1 1
            1 looking 3 7 1 1
            4 looking 3 7 1 1
            at 200
                Leading 3 7 1 1
        "#]],
    );
    let mut pending_only = election();
    pending_only.config.me = PeerId(4);
    check(
        pending_only,
        "start 7 1
         2 looking 3 7 1 1
         1 looking 3 7 1 1
         5 looking 3 7 1 1
         3 looking 3 7 1 1",
        expect![[r#"
            start 7 1
                to 1 2 3 5: Looking - - 1 -
            2 looking 3 7 1 1
                to 1 2 3 5: Looking 3 7 1 1
            1 looking 3 7 1 1
            5 looking 3 7 1 1
            3 looking 3 7 1 1
                Following 3 7 1 1
        "#]],
    );
}

/// What a leader proposed before it was killed, nobody else knows.
#[test]
fn a_pending_configuration_does_not_keep_anybody_out() {
    let mut configs = Configs::new(ensemble(5, &[1, 2, 3], &[]));
    configs.last_seen = Some(ensemble(6, &[1, 3], &[]).into());
    check(
        Election::new(ElectionConfig::new(PeerId(1)), configs),
        "start 7 1
         2 following 3 0 5 2
         3 leading 3 0 5 2",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 following 3 0 5 2
            3 leading 3 0 5 2
                Following 3 0 5 2
        "#]],
    );
}

#[test]
fn the_next_leader_may_be_named() {
    check(
        three(1),
        "designate 1
         start 7 1
         2 looking 2 9 1 1
         3 looking 2 9 1 1
         epoch 2
         designate 1
         3 looking 3 9 2 2
         designate 3
         3 looking 3 9 2 2",
        expect![[r#"
            designate 1
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 2 9 1 1
                to 2 3: Looking 2 9 1 1
            3 looking 2 9 1 1
                Following 2 9 1 1
            epoch 2
            designate 1
            3 looking 3 9 2 2
                to 3: Leading 1 9 1 2
            designate 3
            3 looking 3 9 2 2
                to 3: Following 3 9 1 2
        "#]],
    );
}

fn with_config(config: &EnsembleConfig) -> Notification {
    let vote = Vote { leader: PeerId(2), zxid: Zxid(0), round: 1, peer_epoch: Epoch(0) };
    let mut n = notification(PeerState::Looking, vote);
    n.form = Form::Config { version: 2, config: config.to_text().into() };
    n
}

fn reconfigurable() -> Election {
    let config = ElectionConfig { reconfig_enabled: true, ..ElectionConfig::new(PeerId(1)) };
    Election::new(config, Configs::new(ensemble(5, &[1, 2, 3], &[])))
}

fn handle(election: &mut Election, from: i64, n: &Notification) -> String {
    election.handle(1000, PeerId(from), n);
    let mut trace = String::new();
    show_outputs(&election.take_outputs(), &mut trace);
    trace.replace("    ", "")
}

#[test]
fn a_newer_configuration_is_adopted_while_looking() {
    let newer = ensemble(6, &[1, 2, 4], &[3]);
    let mut election = reconfigurable();
    run(&mut election, "start 7 1");
    expect![[r#"
            adopt 0x6
            to 2 4 2: Looking 1 7 2 1
    "#]]
    .assert_eq(&handle(&mut election, 2, &with_config(&newer)));
    assert_eq!(*election.configs.active, newer);
    // The same again, an older one, and one that is none, change nothing.
    for config in [&newer, &ensemble(5, &[1], &[])] {
        assert_eq!(handle(&mut election, 2, &with_config(config)), "to 2: Looking 1 7 2 1\n");
    }
    let mut bad = with_config(&newer);
    bad.form = Form::Config { version: 2, config: Bytes::from_static(b"version=9\n\xff") };
    assert_eq!(handle(&mut election, 2, &bad), "to 2: Looking 1 7 2 1\n");
}

#[test]
fn a_new_version_of_the_same_members_does_not_begin_again() {
    let mut election = reconfigurable();
    election.configs.last_seen = Some(ensemble(7, &[1, 2, 3], &[]).into());
    run(&mut election, "start 7 1");
    expect![[r#"
            adopt 0x6
    "#]]
    .assert_eq(&handle(&mut election, 2, &with_config(&ensemble(6, &[1, 2, 3], &[]))));
    assert!(election.configs.last_seen.is_some());
    expect![[r#"
            adopt 0x8
    "#]]
    .assert_eq(&handle(&mut election, 2, &with_config(&ensemble(8, &[1, 2, 3], &[]))));
    assert!(election.configs.last_seen.is_none());
    // What is sent has the text of the active configuration.
    election.start(1000, Zxid(7), Epoch(1));
    let outputs = election.take_outputs();
    let Some(ElectionOutput::Send { notification, .. }) = outputs.first() else { panic!("{outputs:?}") };
    let Form::Config { version: 2, config } = &notification.form else { panic!("{notification:?}") };
    assert_eq!(*config, ensemble(8, &[1, 2, 3], &[]).to_text());
}

#[test]
fn a_configuration_is_not_adopted_otherwise() {
    let newer = with_config(&ensemble(6, &[1, 2, 4], &[3]));
    let mut election = reconfigurable();
    run(&mut election, "start 7 1\n 2 looking 2 9 1 1\n 3 looking 2 9 1 1");
    assert_eq!(handle(&mut election, 2, &newer), "to 2: Following 2 9 1 1\n");
    let mut election = three(1);
    run(&mut election, "start 7 1");
    assert_eq!(handle(&mut election, 2, &newer), "");
    assert_eq!(election.configs.active.version, Zxid::ZERO);
}

#[test]
fn ancient_members() {
    // Without a version, an epoch of another meaning: the leader alone counts.
    let mut election = three(1);
    run(&mut election, "start 7 1\n 3 leading 3 0 5 2");
    let vote = Vote { leader: PeerId(3), zxid: Zxid(0), round: 5, peer_epoch: Epoch(1) };
    let mut n = notification(PeerState::Following, vote);
    n.form = Form::NoVersion(0);
    expect![[r#"
            Following 3 0 5 1
    "#]]
    .assert_eq(&handle(&mut election, 2, &n));
}

#[test]
fn the_clock_may_overflow() {
    check(
        three(1),
        "start 7 1
         2 looking 2 7 9223372036854775807 1
         start 7 1
         2 looking 2 7 9223372036854775807 1",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 2 7 9223372036854775807 1
                to 2 3: Looking 2 7 9223372036854775807 1
            start 7 1
                to 2 3: Looking 1 7 -9223372036854775808 1
            2 looking 2 7 9223372036854775807 1
                to 2 3: Looking 2 7 9223372036854775807 1
        "#]],
    );
}

/// Notifications of the capture that belong to its part named `part`:
/// milliseconds, sender, receiver and body.
fn captured(part: &str) -> Vec<(u64, i64, i64, Bytes)> {
    let mut ends = (0, 0);
    let (mut at, mut in_part, mut out) = (0, false, Vec::new());
    for line in include_str!("../../../zk-testkit/vectors/election.hex").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            in_part = title.starts_with(part);
        } else if let Some(note) = line.strip_prefix("# t=") {
            let (seconds, note) = note.split_once(' ').unwrap();
            at = seconds.replace('.', "").parse().unwrap();
            if note.starts_with("initial message") {
                let id = |before: &str| {
                    let rest = note.split_once(before).unwrap().1;
                    rest.split(',').next().unwrap().parse().unwrap()
                };
                ends = (id(", sid "), id("sent to sid "));
            }
        } else if let Some((direction, hex)) = line.split_once(' ') {
            let bytes: Option<Vec<u8>> =
                (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect();
            let (from, to) = if direction == "I>A" { ends } else { (ends.1, ends.0) };
            match bytes {
                // The initial message has no length in front.
                Some(bytes) if in_part && bytes[0] == 0 => {
                    out.push((at, from, to, Bytes::from(bytes).slice(4..)));
                }
                _ => {}
            }
        }
    }
    out.sort_by_key(|(at, ..)| *at);
    out
}

/// Receivers and bodies.
type Sent = Vec<(i64, Bytes)>;

/// Plays to a member what it was sent, and gives what it sends and its vote.
/// `start` is when it began; what came earlier is taken then.
fn replay(part: &str, me: i64, start: u64, zxid: i64, epoch: i64) -> (Sent, Option<(Vote, PeerState)>) {
    let messages = captured(part);
    let (_, _, _, body) = &messages[0];
    let Form::Config { config, .. } = Notification::decode(body).unwrap().form else { panic!("no config") };
    let config = EnsembleConfig::parse(std::str::from_utf8(&config).unwrap()).unwrap();
    let mut election = Election::new(ElectionConfig::new(PeerId(me)), Configs::new(config));
    election.start(start, Zxid(zxid), Epoch(epoch));
    for (at, from, _, body) in messages.iter().filter(|m| m.2 == me) {
        let at = (*at).max(start);
        while let Some(due) = election.deadline().filter(|due| *due <= at) {
            election.tick(due);
        }
        election.handle(at, PeerId(*from), &Notification::decode(body).unwrap());
    }
    while let Some(due) =
        election.deadline().filter(|_| election.is_looking()).filter(|due| *due < start + 5000)
    {
        election.tick(due);
    }
    let (mut sent, mut elected) = (Vec::new(), None);
    for output in election.take_outputs() {
        match output {
            ElectionOutput::Send { to, notification } => {
                // The mark stands behind all that Java sends.
                let mut body = Vec::new();
                Notification { mark: None, ..notification }.encode_body(&mut body);
                sent.push((to.0, Bytes::from(body)));
            }
            ElectionOutput::Elected { vote, state } => elected = Some((vote, state)),
            ElectionOutput::AdoptConfig(_) => panic!("reconfiguration is off"),
        }
    }
    (sent, elected)
}

/// A member without data: `2 looking 2 -1 0 0` is what another one says.
#[test]
fn blank_members_vote_when_all_were_heard() {
    check(
        three(1),
        "blank
         at 200
         3 looking 3 -1 0 0
         2 looking 2 -1 0 0
         at 400
         3 looking 3 -1 0 0
         2 looking 2 -1 0 0
         2 looking 3 0 1 0
         3 looking 3 0 1 0",
        expect![[r#"
            blank
                to 2 3: Looking 1 -1 0 0
            at 200
                to 2 3: Looking 1 -1 0 0
            3 looking 3 -1 0 0
            2 looking 2 -1 0 0
            at 400
                to 2 3: Looking 1 -1 0 0
            3 looking 3 -1 0 0
            2 looking 2 -1 0 0
                to 2 3: Looking 1 0 1 0
            2 looking 3 0 1 0
                to 2 3: Looking 3 0 1 0
            3 looking 3 0 1 0
                Following 3 0 1 0
        "#]],
    );
}

#[test]
fn blank_members_wait_for_the_last_one_and_vote_for_the_best() {
    check(
        three(1),
        "blank
         2 looking 2 7 4 1
         at 5000
         2 looking 2 7 4 1
         3 looking 3 -1 0 0
         at 5199
         2 looking 2 7 4 1
         at 5200
         2 looking 2 7 4 1
         3 looking 3 -1 0 0
         at 5300
         2 looking 2 7 4 1
         at 5499
         at 5500",
        expect![[r#"
            blank
                to 2 3: Looking 1 -1 0 0
            2 looking 2 7 4 1
            at 5000
                to 2 3 2 3 2 3 2 3 2 3 2 3: Looking 1 -1 0 0
            2 looking 2 7 4 1
            3 looking 3 -1 0 0
            at 5199
            2 looking 2 7 4 1
            at 5200
                to 2 3: Looking 1 -1 0 0
            2 looking 2 7 4 1
            3 looking 3 -1 0 0
                to 2 3: Looking 2 7 4 1
            at 5300
            2 looking 2 7 4 1
            at 5499
            at 5500
                Following 2 7 4 1
        "#]],
    );
}

/// Whoever was blank long ago may have data now.
#[test]
fn a_blank_members_word_counts_for_a_while() {
    check(
        three(1),
        "blank
         3 looking 3 -1 0 0
         at 3100
         2 looking 2 7 4 1
         3 looking 3 -1 0 0
         at 3300
         2 looking 2 7 4 1
         3 looking 3 -1 0 0",
        expect![[r#"
            blank
                to 2 3: Looking 1 -1 0 0
            3 looking 3 -1 0 0
            at 3100
                to 2 3 2 3 2 3 2 3: Looking 1 -1 0 0
            2 looking 2 7 4 1
            3 looking 3 -1 0 0
            at 3300
                to 2 3: Looking 1 -1 0 0
            2 looking 2 7 4 1
            3 looking 3 -1 0 0
                to 2 3: Looking 2 7 4 1
        "#]],
    );
}

#[test]
fn a_blank_member_joins_who_leads_already() {
    let mut election = three(1);
    let trace = run(&mut election, "blank\n 2 following 3 7 1 1\n 3 leading 3 7 1 1");
    expect![[r#"
        blank
            to 2 3: Looking 1 -1 0 0
        2 following 3 7 1 1
        3 leading 3 7 1 1
            Following 3 7 1 1
    "#]]
    .assert_eq(&trace);
    assert!(election.is_without_vote());
}

/// What was told in an earlier round may not be the best any more.
#[test]
fn a_later_round_takes_a_blank_members_vote_back() {
    check(
        five(1),
        "blank
         2 looking 2 7 1 1
         3 looking 3 9 1 1
         4 looking 4 8 1 1
         5 looking 5 -1 0 0
         at 200
         2 looking 2 7 1 1
         3 looking 3 9 1 1
         4 looking 4 8 1 1
         5 looking 5 -1 0 0
         2 looking 2 8 2 1
         3 looking 3 9 1 1
         4 looking 4 8 2 1
         5 looking 5 -1 0 0
         3 looking 3 9 2 1",
        expect![[r#"
            blank
                to 2 3 4 5: Looking 1 -1 0 0
            2 looking 2 7 1 1
            3 looking 3 9 1 1
            4 looking 4 8 1 1
            5 looking 5 -1 0 0
            at 200
                to 2 3 4 5: Looking 1 -1 0 0
            2 looking 2 7 1 1
            3 looking 3 9 1 1
            4 looking 4 8 1 1
            5 looking 5 -1 0 0
                to 2 3 4 5: Looking 3 9 1 1
            2 looking 2 8 2 1
                to 2 3 4 5: Looking 1 -1 0 0
            3 looking 3 9 1 1
            4 looking 4 8 2 1
            5 looking 5 -1 0 0
            3 looking 3 9 2 1
                to 2 3 4 5: Looking 3 9 2 1
        "#]],
    );
}

/// 6 is to vote, and has voted for itself while it did so by its own file. 3 knows of no 6.
#[test]
fn who_is_to_vote_is_not_elected_before() {
    let proposed = ensemble(7, &[1, 3, 6], &[]);
    let configs = Configs { last_seen: Some(proposed.into()), ..Configs::new(ensemble(6, &[1, 3], &[])) };
    check(
        Election::new(ElectionConfig::new(PeerId(1)), configs),
        "start 9 1
         6 looking 6 9 1 1
         3 looking 3 8 1 1
         3 looking 1 9 1 1
         6 looking 1 9 1 1",
        expect![[r#"
            start 9 1
                to 3 6: Looking 1 9 1 1
            6 looking 6 9 1 1
            3 looking 3 8 1 1
            3 looking 1 9 1 1
            6 looking 1 9 1 1
                Leading 1 9 1 1
        "#]],
    );
}

/// 1 lost its disk; 4 and 5 are to vote in a configuration of which 2 does not know, so that it
/// tells them nothing that they could take up.
#[test]
fn a_blank_member_hears_who_has_no_vote_yet() {
    let proposed = ensemble(7, &[1, 4, 5], &[]);
    let configs = Configs { last_seen: Some(proposed.into()), ..Configs::new(ensemble(6, &[1, 2], &[])) };
    let election = Election::new(ElectionConfig::new(PeerId(1)), configs);
    check(
        election,
        "blank
         2 looking 2 6 1 1
         4 looking - - 2 -
         at 200
         2 looking 2 6 1 1
         4 looking - - 2 -
         5 looking - - 2 -
         at 400
         2 looking 2 6 1 1
         4 looking - - 2 -
         5 looking - - 2 -",
        expect![[r#"
            blank
                to 2 4 5: Looking 1 -1 0 0
            2 looking 2 6 1 1
            4 looking - - 2 -
            at 200
                to 2 4 5: Looking 1 -1 0 0
            2 looking 2 6 1 1
            4 looking - - 2 -
            5 looking - - 2 -
            at 400
                to 2 4 5: Looking 1 -1 0 0
            2 looking 2 6 1 1
            4 looking - - 2 -
            5 looking - - 2 -
                to 2 4 5: Looking 2 6 1 1
        "#]],
    );
}

/// On a new connection the last message comes again, however old it is: 3 has led since.
#[test]
fn a_blank_member_does_not_believe_what_may_be_old() {
    let mut election = three(1);
    let script = "blank\n 3 looking 3 7 2 1\n 2 looking 2 6 2 1\n at 200\n 2 looking 2 6 2 1\n \
        3 leading 3 7 2 2\n at 5000\n 2 looking 2 6 2 1";
    run(&mut election, script);
    assert!(election.is_looking() && election.is_gathering());
}

/// An answer that names the question is not old, and the second question is another one: 3 was
/// heard and has led since.
#[test]
fn a_blank_member_asks_anew_and_hears_what_answers_that() {
    let mut election = three(1);
    election.start_blank(0);
    let asks = |e: &mut Election| {
        let marks = e.take_outputs().into_iter().filter_map(|o| match o {
            ElectionOutput::Send { notification, .. } => notification.mark,
            _ => None,
        });
        marks.last().map(|m| m.asks)
    };
    let says = |e: &mut Election, now, from: i64, zxid, heard| {
        let vote = Vote { leader: PeerId(from), zxid: Zxid(zxid), round: 2, peer_epoch: Epoch(1) };
        let mark = Some(Mark { asks: 50, heard });
        e.handle(now, PeerId(from), &Notification { mark, ..notification(PeerState::Looking, vote) });
    };
    let first = asks(&mut election).unwrap();
    // What was not said to this process does not count, however often it comes.
    for now in [1500, 3000] {
        election.tick(now);
        says(&mut election, now, 2, 6, first);
        says(&mut election, now, 3, 7, first - 1);
    }
    assert_eq!(asks(&mut election), Some(first));
    says(&mut election, 3000, 3, 7, first);
    for now in [4500, 6000] {
        election.tick(now);
        says(&mut election, now, 2, 6, first + 1);
        says(&mut election, now, 3, 7, first);
    }
    assert_eq!(asks(&mut election), Some(first + 1));
    assert!(election.is_gathering());
    says(&mut election, 6000, 3, 7, first + 1);
    assert!(!election.is_gathering() && election.is_looking());
    // It takes its vote back for a later round only if that is no old word either.
    let later = |e: &mut Election, heard| {
        let vote = Vote { leader: PeerId(3), zxid: Zxid(8), round: 3, peer_epoch: Epoch(1) };
        let mark = Some(Mark { asks: 50, heard });
        e.handle(6001, PeerId(3), &Notification { mark, ..notification(PeerState::Looking, vote) });
    };
    later(&mut election, first);
    assert!(!election.is_gathering());
    later(&mut election, first + 1);
    assert!(election.is_gathering());
}

/// Whoever is asked names the question from then on, to that member.
#[test]
fn answers_name_the_question() {
    let mut election = three(3);
    election.start(0, Zxid(7), Epoch(1));
    election.take_outputs();
    let vote = Vote { leader: PeerId(1), zxid: Zxid(-1), round: 0, peer_epoch: Epoch(0) };
    let question =
        Notification { mark: Some(Mark { asks: 9, heard: 0 }), ..notification(PeerState::Looking, vote) };
    election.handle(0, PeerId(1), &question);
    election.tick(200);
    let heard = |to: i64, outputs: &[ElectionOutput]| {
        let of = |o: &ElectionOutput| match o {
            ElectionOutput::Send { to: t, notification } if *t == PeerId(to) => {
                notification.mark.map(|m| m.heard)
            }
            _ => None,
        };
        outputs.iter().filter_map(of).collect::<Vec<_>>()
    };
    let outputs = election.take_outputs();
    assert_eq!((heard(1, &outputs), heard(2, &outputs)), (vec![9, 9], vec![0]));
}

/// It is asked by an old round and answers; its own vote is untouched.
#[test]
fn a_member_with_data_answers_a_blank_one() {
    check(
        three(1),
        "start 7 1
         2 looking 2 -1 0 0
         at 199
         at 200",
        expect![[r#"
            start 7 1
                to 2 3: Looking 1 7 1 1
            2 looking 2 -1 0 0
                to 2: Looking 1 7 1 1
            at 199
            at 200
                to 2 3: Looking 1 7 1 1
        "#]],
    );
}

#[test]
fn the_only_voter_needs_nobody() {
    let config = Configs::new(ensemble(0, &[1], &[4]));
    check(
        Election::new(ElectionConfig::new(PeerId(1)), config),
        "blank\n at 200",
        expect![[r#"
        blank
            Leading 1 0 1 0
        at 200
    "#]],
    );
}

#[test]
fn a_fresh_start_as_captured() {
    let leader = Vote { leader: PeerId(3), zxid: Zxid(0), round: 1, peer_epoch: Epoch(0) };
    for (me, start, state) in
        [(1, 382, PeerState::Following), (2, 9, PeerState::Following), (3, 402, PeerState::Leading)]
    {
        let (sent, elected) = replay("initial election", me, start, 0, 0);
        assert_eq!(elected, Some((leader, state)), "{me}");
        // All that Java sent, we send as well, to the byte.
        for (at, _, to, body) in captured("initial election").into_iter().filter(|m| m.1 == me) {
            assert!(sent.contains(&(to, body)), "{me} to {to} at {at}");
        }
    }
}

#[test]
fn a_rejoin_as_captured() {
    let leader = Vote { leader: PeerId(3), zxid: Zxid(0), round: 1, peer_epoch: Epoch(1) };
    let (sent, elected) = replay("follower 1 restarts", 1, 20_652, 0x1_0000_0032, 1);
    assert_eq!(elected, Some((leader, PeerState::Following)));
    for (_, _, to, body) in captured("follower 1 restarts").into_iter().filter(|m| m.1 == 1) {
        assert!(sent.contains(&(to, body)), "{to}");
    }
    let (sent, elected) = replay("observer 4 joins", 4, 14_098, 0, 0);
    assert_eq!(elected, Some((leader, PeerState::Observing)));
    for (_, _, to, body) in captured("observer 4 joins").into_iter().filter(|m| m.1 == 4) {
        assert!(sent.contains(&(to, body)), "{to}");
    }
}

#[test]
fn answers_as_captured() {
    for (me, state) in [(3, PeerState::Leading), (2, PeerState::Following)] {
        let config = ensemble(0, &[1, 2, 3], &[4]);
        let mut election = Election::new(ElectionConfig::new(PeerId(me)), Configs::new(config));
        let other = 5 - me;
        run(&mut election, &format!("start 0 0\n {other} looking 3 0 1 0\n 1 looking 3 0 1 0\n epoch 1"));
        assert_eq!(election.state(), state);
        let messages = captured("follower 1 restarts");
        let (_, _, _, question) = messages.iter().find(|m| (m.1, m.2) == (1, me)).unwrap();
        let (_, _, _, answer) = messages.iter().rfind(|m| (m.1, m.2) == (me, 1)).unwrap();
        election.handle(0, PeerId(1), &Notification::decode(question).unwrap());
        let outputs = election.take_outputs();
        let [ElectionOutput::Send { to: PeerId(1), notification }] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        let answer = Notification::decode(answer).unwrap();
        assert_eq!((Vote::of(notification), notification.state), (Vote::of(&answer), answer.state));
    }
}
