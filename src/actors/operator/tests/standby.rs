//! Two daemons with one key, of which the first is killed at each step of a draw and of a refund: the second, which stands
//! by, ends the round, and one action is mined, never two.

use super::*;
use crate::chain::error::RpcError;
use crate::chain::script::answer_calls;
use crate::chain::transport::Answer;

/// The second acts only this long after the first could.
const STANDBY_DELAY: Duration = Duration::from_secs(20);

/// How far the first has come when it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Killed {
    BeforeSigning,
    /// Nothing of it reached a node.
    Signed,
    /// A node has it, and the answer was lost.
    Sent,
    Accepted,
    /// Seen in the pool for a block.
    SeenPending,
    /// Raised once, and still pending.
    Raised,
    Mined,
}

const STEPS: [Killed; 7] = [
    Killed::BeforeSigning,
    Killed::Signed,
    Killed::Sent,
    Killed::Accepted,
    Killed::SeenPending,
    Killed::Raised,
    Killed::Mined,
];

/// What the pool does with what the first left in it.
#[derive(Clone, Copy, Debug)]
enum Pool {
    Mines,
    Forgets,
    /// No block takes the first's transaction, nor anything else, for so many blocks.
    HoldsFor(usize),
}

struct Pair {
    first: Option<Stage>,
    second: Stage,
}

/// The first's way to the node.
fn way(step: Killed) -> Option<Quirk> {
    let quirk: Quirk = Box::new(move |request, sound| {
        let is_sending = request.to_string().contains("eth_sendRawTransaction");
        if is_sending && step == Killed::Signed {
            return Err(RpcError::transport("cut off"));
        }
        let answer = Answer::json(answer_calls(request, sound));
        match is_sending && step == Killed::Sent {
            true => Err(RpcError::transport("cut off")),
            false => Ok(answer),
        }
    });
    Some(quirk)
}

impl Pair {
    fn new(step: Killed) -> Pair {
        let first = Stage::before(settings(), |_| {}, vec![way(step)]);
        let mut standing_by = settings();
        standing_by.policy.standby_delay = STANDBY_DELAY;
        let mut second = Stage::with(standing_by, |_| {});
        second.adopt(first.node.clone());
        Pair {
            first: Some(first),
            second,
        }
    }

    fn node(&self) -> &SharedNode {
        &self.second.node
    }

    /// Two seconds and a block, which both see, the first a little earlier.
    fn block(&mut self) {
        self.node().with(|node| node.mine(2));
        for stage in self.first.iter_mut().chain([&mut self.second]) {
            stage.clock.advance(Duration::from_secs(2));
            stage.turn();
        }
    }

    fn until(&mut self, timestamp: u64) {
        while self.node().with(|node| node.head().timestamp) < timestamp {
            self.block();
        }
    }

    /// Up to the head at which the first acts.
    fn to_the_action(kind: ActionKind, step: Killed) -> Pair {
        let mut pair = Pair::new(step);
        if kind == ActionKind::RefundExpired {
            // The contract refuses every draw, so that the round is refunded after its window.
            pair.node()
                .with(|node| node.reason = Some("closed".to_owned()));
            pair.until(MAX - 1);
            pair.node().with(|node| node.reason = None);
        } else {
            pair.until(MIN - 4);
        }
        pair
    }

    /// The first goes on up to the step, and is no more.
    fn kill_first(&mut self, kind: ActionKind, step: Killed) {
        self.node()
            .with(|node| node.holds_back = step != Killed::Mined);
        let is_out = |pair: &Pair| pair.node().with(|node| !node.sent.is_empty());
        let blocks_after = match step {
            Killed::BeforeSigning => {
                self.first = None;
                return;
            }
            Killed::Signed | Killed::Sent | Killed::Accepted => 0,
            Killed::SeenPending | Killed::Mined => 1,
            // Outside a window fees are raised ten seconds apart.
            Killed::Raised if kind == ActionKind::Draw => 3,
            Killed::Raised => 6,
        };
        let first_acts = |pair: &Pair| {
            let first = pair.first.as_ref().unwrap();
            first.operator.in_flight().is_some()
        };
        for _ in 0..3 {
            if !first_acts(self) {
                self.block();
            }
        }
        assert!(first_acts(self), "{kind:?} {step:?}");
        assert_eq!(is_out(self), step != Killed::Signed, "{kind:?} {step:?}");
        for _ in 0..blocks_after {
            self.block();
        }
        let variants = self.node().with(|node| {
            let hashes: std::collections::BTreeSet<_> =
                node.sent.iter().map(|sent| sent.hash).collect();
            hashes.len()
        });
        assert_eq!(variants > 1, step == Killed::Raised, "{kind:?} {step:?}");
        self.first = None;
    }
}

fn second_ends_the_round(kind: ActionKind, step: Killed, pool: Pool) {
    let told = format!("{kind:?}, killed: {step:?}, the pool {pool:?}");
    let mut pair = Pair::to_the_action(kind, step);
    pair.kill_first(kind, step);
    match pool {
        Pool::Mines => {}
        Pool::Forgets => pair.node().with(|node| node.forget()),
        Pool::HoldsFor(blocks) => (0..blocks).for_each(|_| pair.block()),
    }
    pair.node().with(|node| node.holds_back = false);
    for _ in 0..40 {
        pair.block();
    }
    let mined = pair.second.mined();
    assert_eq!(mined, [(kind, true)], "{told}");
    assert!(pair.second.operator.in_flight().is_none(), "{told}");
    let given_up = [
        "draw_given_up",
        "draw_missed",
        "action_blocked",
        "action_failed",
    ];
    let alerts = pair.second.alert_codes();
    let is_bad = |code: &String| given_up.iter().any(|bad| code.starts_with(bad));
    let bad: Vec<&String> = alerts.iter().filter(|code| is_bad(code)).collect();
    let expected = kind == ActionKind::RefundExpired;
    assert!(expected || bad.is_empty(), "{told}: {bad:?}");
}

#[test]
fn whenever_the_first_of_two_is_killed_the_second_ends_the_round_and_one_action_is_mined() {
    for kind in [ActionKind::Draw, ActionKind::RefundExpired] {
        for step in STEPS {
            for pool in [
                Pool::Mines,
                Pool::Forgets,
                Pool::HoldsFor(3),
                Pool::HoldsFor(25),
            ] {
                second_ends_the_round(kind, step, pool);
            }
        }
    }
}

#[test]
fn while_both_live_the_second_sends_nothing() {
    for kind in [ActionKind::Draw, ActionKind::RefundExpired] {
        let mut pair = Pair::to_the_action(kind, Killed::Mined);
        for _ in 0..30 {
            pair.block();
        }
        let sent: Vec<ActionKind> = pair.second.sent().iter().map(|sent| sent.kind).collect();
        assert_eq!(sent, [kind]);
        assert_eq!(pair.second.mined(), [(kind, true)]);
    }
}
