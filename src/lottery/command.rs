//! A person's command, and whether it may be carried out. The rule is pure and there is one of it: the API asks it when
//! the command comes, so that a person hears "no" at once, and the operator asks it again when the command's turn has
//! come. Carrying it out is the operator's business.

use thiserror::Error;

use crate::lottery::action::{ActionKind, InFlight};
use crate::lottery::round::{Phase, Round, RoundState};

/// A manual action asked for by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub action_id: String,
    pub round_id: u64,
    pub kind: CommandKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    Draw,
    /// `force` allows refundRound() before the window is over.
    Refund {
        force: bool,
    },
}

impl CommandKind {
    /// What it asks for while nothing is known of the round.
    pub fn action(self) -> ActionKind {
        match self {
            CommandKind::Draw => ActionKind::Draw,
            CommandKind::Refund { force: false } => ActionKind::RefundExpired,
            CommandKind::Refund { force: true } => ActionKind::RefundForced,
        }
    }
}

/// What a command is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    pub round: &'a Round,
    /// Unix seconds of the chain, carried forward to now.
    pub chain_time: u64,
    pub key_loaded: bool,
    /// The action that is out. Only the operator, when the command's turn has come, can say: until then it may end.
    pub in_flight: Option<&'a InFlight>,
}

/// Why a command is not carried out; the text says what to do instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("round {asked} is not running, round {running} is")]
    NotRunning { asked: u64, running: u64 },
    #[error("round {round_id} is {}, it must be BETTING", state.label())]
    NotBetting { round_id: u64, state: RoundState },
    #[error("round {round_id} has no bets: there is nothing to draw or refund")]
    NoBets { round_id: u64 },
    #[error(
        "the draw window closed at {closed}, chain time is {chain_time}: only a refund is left"
    )]
    TooLate { closed: u64, chain_time: u64 },
    #[error("the draw window opens at {opens}, chain time is {chain_time}: try again then")]
    TooEarly { opens: u64, chain_time: u64 },
    #[error(
        "round {round_id} can be drawn until {closes}, chain time is {chain_time}: wait until then, or refund it all \
         the same with \"force\": true"
    )]
    NeedsForce {
        round_id: u64,
        closes: u64,
        chain_time: u64,
    },
    #[error("no key is configured here: this daemon only follows")]
    NoKey,
    #[error("{} of round {round_id} is in flight at nonce {nonce}: at most one action can be", action.label())]
    InFlight {
        action: ActionKind,
        round_id: u64,
        nonce: u64,
    },
}

impl Refused {
    /// A stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::NotRunning { .. } => "not_running",
            Refused::NotBetting { .. } => "not_betting",
            Refused::NoBets { .. } => "no_bets",
            Refused::TooLate { .. } => "too_late",
            Refused::TooEarly { .. } => "too_early",
            Refused::NeedsForce { .. } => "needs_force",
            Refused::NoKey => "no_key",
            Refused::InFlight { .. } => "in_flight",
        }
    }
}

/// What to do for the command, or why nothing.
///
/// # Errors
/// The first reason that forbids it.
pub fn admit(asked: u64, kind: CommandKind, grounds: &Grounds) -> Result<ActionKind, Refused> {
    let &Grounds {
        round, chain_time, ..
    } = grounds;
    let round_id = round.round_id;
    if asked != round_id {
        return Err(Refused::NotRunning {
            asked,
            running: round_id,
        });
    }
    if round.state != RoundState::Betting {
        let state = round.state;
        return Err(Refused::NotBetting { round_id, state });
    }
    if round.total_pot_wei.is_zero() {
        return Err(Refused::NoBets { round_id });
    }
    if !grounds.key_loaded {
        return Err(Refused::NoKey);
    }
    if let Some(flight) = grounds.in_flight {
        return Err(Refused::InFlight {
            action: flight.action,
            round_id: flight.round_id,
            nonce: flight.nonce,
        });
    }
    let (opens, closes) = (round.min_draw_time, round.max_draw_time);
    match (kind, round.phase(chain_time)) {
        (CommandKind::Draw, Phase::DrawWindow) => Ok(ActionKind::Draw),
        (CommandKind::Draw, Phase::Overdue) => Err(Refused::TooLate {
            closed: closes,
            chain_time,
        }),
        (CommandKind::Draw, _) => Err(Refused::TooEarly { opens, chain_time }),
        // Past the window the guarded refund does the same and cannot hit a later round.
        (CommandKind::Refund { .. }, Phase::Overdue) => Ok(ActionKind::RefundExpired),
        (CommandKind::Refund { force: true }, _) => Ok(ActionKind::RefundForced),
        (CommandKind::Refund { force: false }, _) => Err(Refused::NeedsForce {
            round_id,
            closes,
            chain_time,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::U256;

    const DRAW: CommandKind = CommandKind::Draw;
    const REFUND: CommandKind = CommandKind::Refund { force: false };
    const FORCED: CommandKind = CommandKind::Refund { force: true };

    fn round(state: RoundState, pot: u64) -> Round {
        Round {
            round_id: 7,
            state,
            start_time: 1_000,
            end_time: 1_180,
            min_draw_time: 1_185,
            max_draw_time: 1_360,
            total_pot_wei: U256::from(pot),
            participant_count: 2,
        }
    }

    fn grounds(round: &Round, chain_time: u64) -> Grounds<'_> {
        Grounds {
            round,
            chain_time,
            key_loaded: true,
            in_flight: None,
        }
    }

    #[test]
    fn every_conflict_has_its_reason() {
        let running = round(RoundState::Betting, 5);
        let waiting = round(RoundState::Waiting, 0);
        let empty = round(RoundState::Betting, 0);
        let table = [
            (6, DRAW, &running, 1_200, Err("not_running")),
            (8, FORCED, &running, 1_400, Err("not_running")),
            (7, DRAW, &waiting, 1_200, Err("not_betting")),
            (7, DRAW, &empty, 1_200, Err("no_bets")),
            (7, FORCED, &empty, 1_400, Err("no_bets")),
            (7, DRAW, &running, 1_180, Err("too_early")),
            (7, DRAW, &running, 1_184, Err("too_early")),
            (7, DRAW, &running, 1_185, Ok(ActionKind::Draw)),
            (7, DRAW, &running, 1_360, Ok(ActionKind::Draw)),
            (7, DRAW, &running, 1_361, Err("too_late")),
            (7, REFUND, &running, 1_100, Err("needs_force")),
            (7, REFUND, &running, 1_360, Err("needs_force")),
            (7, REFUND, &running, 1_361, Ok(ActionKind::RefundExpired)),
            (7, FORCED, &running, 1_100, Ok(ActionKind::RefundForced)),
            (7, FORCED, &running, 1_360, Ok(ActionKind::RefundForced)),
            // Forced or not: what the contract guards itself is sent where it can be.
            (7, FORCED, &running, 1_361, Ok(ActionKind::RefundExpired)),
        ];
        for (asked, kind, round, chain_time, expected) in table {
            let found = admit(asked, kind, &grounds(round, chain_time));
            let found = found.map_err(|refused| refused.code());
            assert_eq!(found, expected, "{kind:?} of {asked} at {chain_time}");
        }
        let other = admit(6, DRAW, &grounds(&running, 1_200)).unwrap_err();
        assert!(other.to_string().contains("round 7 is"), "{other}");
    }

    #[test]
    fn without_a_key_and_beside_what_is_out_nothing_is_done() {
        let running = round(RoundState::Betting, 5);
        let keyless = Grounds {
            key_loaded: false,
            ..grounds(&running, 1_200)
        };
        assert_eq!(admit(7, DRAW, &keyless), Err(Refused::NoKey));
        let out = InFlight {
            action: ActionKind::Draw,
            round_id: 7,
            nonce: 4,
            hashes: vec![],
            attempts: 1,
        };
        let beside = Grounds {
            in_flight: Some(&out),
            ..grounds(&running, 1_200)
        };
        let refused = admit(7, FORCED, &beside).unwrap_err();
        assert_eq!(refused.code(), "in_flight");
        assert!(refused.to_string().contains("draw of round 7"), "{refused}");
    }
}
